// Pulling the plug: kill -9 of each part while a task is in its hands, on the whole shipped system.
// Owns: the proof that a task finishes with exactly one effect whichever part dies, checked in the company's own database.
// Where a kill fell is read from the victim's own log: the line of the step before is there, the line of the step after is not.
// A step is held open by stopping (SIGSTOP) what it waits for, so nothing here depends on how fast a machine is.

import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type Desk, effectsOf, type LogLine, ONE_REFUND, type Part, shippedTicket, startDesk, until } from './desk.ts';

let desk: Desk;
beforeAll(async () => {
  desk = await startDesk('kills');
});
afterAll(() => desk?.[Symbol.asyncDispose]());

/** Whatever was killed: everything runs again, and the ledger is whole. */
afterEach(async () => {
  await desk.system.ready(60_000);
  const { code, out, err } = await desk.cli('audit', 'verify', '--json');
  expect([code, out, err], 'audit verify').toEqual([0, expect.stringContaining('"ok":true'), '']);
});

const of = (task: string, msg: string) => (line: LogLine): boolean => line.msg === msg && (line['task'] === task || (line['tasks'] as string[] | undefined)?.includes(task) === true);
/** Whether the process that was killed had said this about the task. */
const said = async (part: Part, pid: number, task: string, msg: string): Promise<boolean> => (await desk.lines(part)).some((line) => line.pid === pid && of(task, msg)(line));

/** A refund ticket that policy lets through, with its agent's turn begun and held where it asks the gateway. */
async function heldInTurn(ticketId: string) {
  const ticket = await shippedTicket(ticketId);
  const wake = desk.freeze(desk.pid('gateway'));
  const task = await desk.start(ticket);
  await desk.line('agents', of(task, 'turn started'));
  await desk.line('brain', of(task, 'dispatched'));
  return { ticket, task, wake };
}

async function endsWithOneRefund(task: string, customer: string): Promise<void> {
  const result = await desk.finished(task);
  expect({ state: result.state, effect: result.effect, error: result.error }).toMatchObject({ state: 'done', effect: { kind: 'refund', applied: true } });
  expect(effectsOf(desk.db, customer)).toEqual(ONE_REFUND);
}

test('kill -9 of the agent host in mid-turn - its successor takes the turn again, one refund', async () => {
  const { ticket, task, wake } = await heldInTurn('T-040');
  const killed = desk.kill('agents');
  wake();
  await endsWithOneRefund(task, ticket.customer);
  expect([await said('agents', killed, task, 'turn started'), await said('agents', killed, task, 'turn committed')]).toEqual([true, false]);
  expect((await desk.line('agents', (line) => of(task, 'turn committed')(line))).pid).not.toBe(killed);
});

test('kill -9 of the brain between dispatch and settlement - its successor hears the same outcome, one refund', async () => {
  const { ticket, task, wake } = await heldInTurn('T-028');
  const killed = desk.kill('brain');
  wake();
  await endsWithOneRefund(task, ticket.customer);
  expect([await said('brain', killed, task, 'dispatched'), await said('brain', killed, task, 'settled')]).toEqual([true, false]);
});

test('kill -9 of the brain between the recorded intent and the effect - the effect happens once', async () => {
  const ticket = await shippedTicket('T-005');
  using lock = new DatabaseSync(join(desk.config.home, 'records', 'company.db'), { timeout: 5_000 });
  lock.exec('BEGIN IMMEDIATE');
  const task = await desk.start(ticket);
  await desk.line('brain', of(task, 'intents recorded'));
  const killed = desk.kill('brain');
  await until('the brain to be gone', async () => (await desk.system.views().find(({ name }) => name === 'brain'))?.pid !== killed || undefined);
  expect(effectsOf(desk.db, ticket.customer)).toEqual({ applied: 0, changes: 0, refundedPayments: 0 });
  lock.exec('ROLLBACK');
  await endsWithOneRefund(task, ticket.customer);
  expect([await said('brain', killed, task, 'intents recorded'), await said('brain', killed, task, 'settled')]).toEqual([true, false]);
});

test('kill -9 of the brain while a task waits for a person - it waits on, and the decision completes it', async () => {
  const ticket = await shippedTicket('T-113');
  const task = await desk.start(ticket);
  const { approvers } = await desk.waiting(task);
  expect([approvers, effectsOf(desk.db, ticket.customer).applied]).toEqual(['billing-lead', 0]);
  const killed = desk.kill('brain');
  await desk.back('brain', killed);
  await desk.waiting(task);
  const { code, out } = await desk.cli('approve', task, '--as', 'ben', '--json');
  expect([code, out]).toEqual([0, expect.stringContaining('"accepted":true')]);
  await endsWithOneRefund(task, ticket.customer);
  expect([await said('brain', killed, task, 'dispatched'), await said('brain', killed, task, 'settled')]).toEqual([true, false]);
});

test('kill -9 of a model slot in mid-batch - another child takes the batch, one refund', async () => {
  const ticket = await shippedTicket('T-096');
  const slot = await warmSlot();
  desk.freeze(slot);
  const task = await desk.start(ticket);
  const begun = await desk.line('model-worker', (line) => line.msg === 'batch started' && line['slotPid'] === slot && isLast(line));
  process.kill(slot, 'SIGKILL');
  await endsWithOneRefund(task, ticket.customer);
  const about = (await desk.lines('model-worker')).filter((line) => line['batch'] === begun['batch'] && line.pid === begun.pid);
  expect(about.map(({ msg }) => msg)).toEqual(['batch started', 'batch broken']);
});

test('kill -9 of the model worker in mid-batch - its slot dies with it, its successor answers, one refund', async () => {
  const ticket = await shippedTicket('T-146');
  const slot = await warmSlot();
  const wake = desk.freeze(slot);
  const task = await desk.start(ticket);
  const begun = await desk.line('model-worker', (line) => line.msg === 'batch started' && line['slotPid'] === slot && isLast(line));
  const killed = desk.kill('model-worker');
  wake();
  await until('the slot to end with its worker', async () => !alive(slot) || undefined);
  await endsWithOneRefund(task, ticket.customer);
  expect(begun.pid).toBe(killed);
  const about = (await desk.lines('model-worker')).filter((line) => line['batch'] === begun['batch'] && line.pid === killed);
  expect(about.map(({ msg }) => msg)).toEqual(['batch started']);
});

test('kill -9 of NATS in mid-turn - everybody comes back to it, one refund', async () => {
  const { ticket, task, wake } = await heldInTurn('T-217');
  const { pid } = desk.system.servers.nats();
  desk.system.servers.nats().kill('SIGKILL');
  await until('another NATS server', async () => (desk.system.servers.nats().running && desk.system.servers.nats().pid !== pid) || undefined);
  wake();
  await endsWithOneRefund(task, ticket.customer);
  const agents = await desk.lines('agents');
  const at = (fits: (line: LogLine) => boolean): number => agents.findIndex(fits);
  const order = [at(of(task, 'turn started')), at((line) => line.msg === 'the message server is gone; reconnecting'), at(of(task, 'turn committed'))];
  expect(order[0]).toBeGreaterThanOrEqual(0);
  expect(order.toSorted((a, b) => a - b), 'begun, then without a server, then committed').toEqual(order);
});

test('kill -9 of Temporal between dispatch and settlement - the workflow goes on where it was, one refund', async () => {
  const { ticket, task, wake } = await heldInTurn('T-222');
  const { pid } = desk.system.servers.temporal();
  desk.system.servers.temporal().kill('SIGKILL');
  await until('the server to be gone', async () => !alive(pid) || undefined);
  const goneAt = Date.now();
  await until('another Temporal server', async () => (desk.system.servers.temporal().running && desk.system.servers.temporal().pid !== pid) || undefined);
  wake();
  await endsWithOneRefund(task, ticket.customer);
  expect((await desk.line('brain', of(task, 'dispatched')))['time']).toBeLessThanOrEqual(goneAt);
  expect((await desk.line('brain', of(task, 'settled')))['time']).toBeGreaterThan(goneAt);
});

let batchesBefore = 0;
const isLast = (line: LogLine): boolean => Number(line['batch']) > batchesBefore;

/** The pid of the slot that runs the next batch; notes how many batches there were. */
async function warmSlot(): Promise<number> {
  const worker = desk.pid('model-worker');
  const lines = (await desk.lines('model-worker')).filter((line) => line.pid === worker || line.msg === 'slot warm');
  batchesBefore = Math.max(0, ...lines.filter((line) => line.msg === 'batch started').map((line) => Number(line['batch'])));
  const slots = lines.filter((line) => line.msg === 'slot warm').map((line) => line.pid as number);
  return slots.at(-1) ?? 0;
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
