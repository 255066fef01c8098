// Budgets on the main path, on real servers: degrading for want of money, limits at admission, levels, the desk and its record.
// Owns: what the governed line adds to the rules of policies/budget. Never tests a rule of the reducer.
// Others may assume: one system for all tests of this file, each with a tenant of its own.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TenantTerms } from '../../contracts/budget.ts';
import type { PolicyBundle } from '../../contracts/bundle.ts';
import type { StartRequest } from '../../contracts/ports.ts';
import type { TaskResult } from '../../contracts/task.ts';
import { type Line, startLine } from './line.ts';

let line: Line;
beforeAll(async () => {
  line = await startLine();
});
afterAll(() => line[Symbol.asyncDispose]());

const principal = (tenant: string, roles: readonly string[] = []): StartRequest['principal'] => ({ id: 'helpdesk', type: 'service', tenant, roles });
const money = (budgets: Readonly<Record<string, number>>, limits: Readonly<Record<string, TenantTerms>> = {}) => (bundle: PolicyBundle): PolicyBundle => ({ ...bundle, budgets: { '*': 1_000_000_000, ...budgets }, limits });
const codeOf = async (work: Promise<unknown>): Promise<{ readonly code?: string; readonly retryAfterMs?: number }> => work.then(() => ({}), (error: { code?: string; retryAfterMs?: number }) => ({ ...(error.code === undefined ? {} : { code: error.code }), ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }) }));

async function finished(tenant: string, text: string, over: Parameters<Line['request']>[1] = {}, roles: readonly string[] = []): Promise<TaskResult> {
  const { entry } = await line.brain.tasks.start(line.request(text, over, { principal: principal(tenant, roles) }));
  const result = await line.brain.tasks.result(tenant, entry.taskId, 20_000);
  if (result === undefined) throw new Error(`${text} did not finish`);
  return result;
}

describe('money', () => {
  test('a tenant without room - its task goes down to a rung that costs nothing, and the record says why', async () => {
    await line.publish(money({ poor: 999 }));
    const result = await finished('poor', 'no money');
    expect(result).toMatchObject({ state: 'done', rung: 'script', degraded: ['model:AIOS_BUDGET_EXCEEDED'], costMicroUsd: 0 });
    const records = (await line.brain.lineage('poor', result.taskId)).map(({ record }) => record);
    expect(records).toMatchObject([{ kind: 'decision', rung: 'script', degraded: ['model:AIOS_BUDGET_EXCEEDED'], reservedMicroUsd: 0 }]);
    expect(await line.brain.budgets.entries('poor', { since: 0, limit: 5 })).toMatchObject([{ kind: 'task', task: result.taskId, degraded: ['model:AIOS_BUDGET_EXCEEDED'] }]);
  });

  test('team and agent - are levels of the same step: the tightest refuses, the others keep their money', async () => {
    await line.publish(money({}, { levels: { teams: { blue: { microUsdMax: 999, period: 'day' } }, agents: { crowd: { microUsdMax: 50_000, period: 'month' } } } }));
    expect((await finished('levels', 'of blue', {}, ['team:blue'])).degraded).toEqual(['model:AIOS_BUDGET_EXCEEDED']);
    expect((await finished('levels', 'of nobody')).degraded).toEqual([]);
    const { levels } = await line.brain.budgets.show('levels');
    expect(levels.map(({ level, period, reservedMicroUsd }) => [level, period, reservedMicroUsd])).toEqual([['tenant', 'month', 0], ['agent/crowd', 'month', 0], ['team/blue', 'day', 0]]);
  });

  test('what an operator sets - is on record before it holds, and holds until it is unset', async () => {
    await line.publish(money({}));
    await line.brain.budgets.set('owned', { level: 'tenant', cap: { microUsdMax: 10, period: 'day' } }, 'ana');
    expect((await finished('owned', 'capped')).degraded).toEqual(['model:AIOS_BUDGET_EXCEEDED']);
    const after = await line.brain.budgets.set('owned', { level: 'tenant', unset: true }, 'ana');
    expect(after.levels[0]).toMatchObject({ level: 'tenant', microUsdMax: 1_000_000_000, period: 'month', set: false });
    expect((await finished('owned', 'free again')).degraded).toEqual([]);
    const entries = await line.brain.budgets.entries('owned', { since: 0, limit: 10 });
    expect(entries.filter(({ kind }) => kind === 'change').map(({ state, what, by }) => [state, what, by])).toEqual([['unset', 'tenant', 'ana'], ['set', 'tenant', 'ana']]);
    expect(await line.brain.budgets.report('owned', { since: 0, by: 'capability' })).toMatchObject({ tasks: 2, effectiveTasks: 2, rows: [{ key: 'line.work', tasks: 2 }] });
  });

  test('a lease - takes its slice at once, and gives back what was not spent', async () => {
    await line.publish(money({ edgy: 100_000 }));
    const lease = await line.brain.budgets.lease('edgy', { holder: 'box-1', microUsd: 99_500, forMs: 60_000 }, 'ana');
    expect((await finished('edgy', 'while the box is away')).degraded).toEqual(['model:AIOS_BUDGET_EXCEEDED']);
    expect(await codeOf(line.brain.budgets.lease('edgy', { holder: 'box-2', microUsd: 501, forMs: 60_000 }, 'ana'))).toEqual({ code: 'AIOS_BUDGET_EXCEEDED' });
    const after = await line.brain.budgets.giveBack('edgy', lease.lease, 4_000, 'ana');
    expect(after).toMatchObject({ leases: [], levels: [{ level: 'tenant', spentMicroUsd: 4_000, reservedMicroUsd: 0 }] });
    expect(await codeOf(line.brain.budgets.giveBack('edgy', lease.lease, 4_000, 'ana'))).toEqual({ code: 'AIOS_INPUT_INVALID' });
  });
});

describe('admission', () => {
  test('concurrency - the task past the limit is refused with a wait, the same key finds its task, and an ended one makes room', async () => {
    await line.publish(money({}, { busy: { capabilities: { 'line.work': { concurrentMax: 2 } } } }));
    const slow = (text: string, key: string): StartRequest => line.request(text, { ms: 2_500 }, { principal: principal('busy'), key });
    const [one, two] = await Promise.all([line.brain.tasks.start(slow('one', 'k1')), line.brain.tasks.start(slow('two', 'k2'))]);
    expect(await codeOf(line.brain.tasks.start(slow('three', 'k3')))).toEqual({ code: 'AIOS_RATE_LIMITED', retryAfterMs: 500 });
    expect(await line.brain.tasks.start(slow('one', 'k1'))).toMatchObject({ replayed: true, entry: { taskId: one.entry.taskId } });
    expect((await line.brain.budgets.show('busy')).limits).toMatchObject([{ level: 'capability/line.work', concurrentMax: 2, running: 2 }]);
    await line.brain.tasks.result('busy', one.entry.taskId, 20_000);
    await expect.poll(() => codeOf(line.brain.tasks.start(slow('three', 'k3'))), { timeout: 5_000 }).toEqual({});
    await line.brain.tasks.result('busy', two.entry.taskId, 20_000);
  });

  test('rate - an operator sets it, every brain holds it, and the wait that is told is enough', async () => {
    const second = await line.anotherBrain('brain-2');
    await line.brain.budgets.set('paced', { level: 'capability/line.work', limit: { perMinuteMax: 60, burstMax: 2 } }, 'ana');
    await expect.poll(async () => (await second.budgets.show('paced')).limits.length).toBe(1);
    await new Promise((resolve) => { setTimeout(resolve, 2_100); });
    const start = (brain: Line['brain'], text: string) => codeOf(brain.tasks.start(line.request(text, {}, { principal: principal('paced') })));
    expect([await start(line.brain, 'a'), await start(second, 'b')]).toEqual([{}, {}]);
    const refused = await start(second, 'c');
    expect(refused.code).toBe('AIOS_RATE_LIMITED');
    expect(refused.retryAfterMs).toBeGreaterThan(0);
    expect(refused.retryAfterMs).toBeLessThanOrEqual(1_000);
    await new Promise((resolve) => { setTimeout(resolve, refused.retryAfterMs); });
    expect(await start(line.brain, 'd')).toEqual({});
  });

  test('a workflow that a Temporal client starts itself - is held to the same limit, by name', async () => {
    await line.publish(money({}, { direct: { capabilities: { '*': { concurrentMax: 1 } } } }));
    const running = await line.brain.tasks.start(line.request('holds the place', { ms: 2_500 }, { principal: principal('direct') }));
    const handle = await line.brain.temporal.client.workflow.start('governedTask', {
      taskQueue: 'aios-governed', workflowId: 'line.work/by-hand', args: [{ v: 1, tenant: 'direct', capability: 'line.work', members: [{ principal: principal('direct'), input: { text: 'by hand' } }] }],
    });
    const { results } = (await handle.result()) as { readonly results: readonly TaskResult[] };
    expect(results[0]).toMatchObject({ state: 'failed', error: { code: 'AIOS_RATE_LIMITED' } });
    await line.brain.tasks.result('direct', running.entry.taskId, 20_000);
  });
});
