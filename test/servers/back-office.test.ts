// The back office example on real servers: watch, topics, spawn, become and stash over two hosts, one of which is killed;
// then what an operator sees of it with the command line. Owns: the hosts as processes, and the kill.
// Others may assume: nothing is left running when the file ends.

import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createRegistry } from '../../agents/registry.ts';
import { subjects } from '../../contracts/address.ts';
import { parseId } from '../../contracts/ids.ts';
import type { Outcome } from '../../contracts/message.ts';
import { toBytes } from '../../contracts/parse.ts';
import type { Mandates } from '../../contracts/ports.ts';
import { agents, openCase, report, setHours, value } from '../../examples/back-office/office.ts';
import { registerAgents } from '../../infra/cli/agents.ts';
import { registerDeadLetters } from '../../infra/cli/dead-letters.ts';
import { loadOrCreateKeys } from '../../infra/crypto/keys.ts';
import { mandatesOf } from '../../infra/crypto/mandates.ts';
import { inspectHosts } from '../../infra/nats/inspection.ts';
import type { NatsPorts } from '../../infra/nats/index.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { startChildHost } from './child-host.ts';
import { envelopeFor } from './envelopes.ts';
import { startTestNats, type TestServer } from './nats-server.ts';

const HOST = new URL('./office-host.ts', import.meta.url).pathname;
let nats: TestServer;
let home: string;
let ports: NatsPorts;
let mandates: Mandates;
const hosts = new Map<string, ChildProcess>();
let sent = 0;

async function startHost(name: string): Promise<void> {
  hosts.set(name, await startChildHost(HOST, { home, url: nats.server.url, name }));
}

beforeAll(async () => {
  nats = await startTestNats();
  vi.stubEnv('AIOS_NATS_URL', nats.server.url);
  home = await mkdtemp(join(tmpdir(), 'aios-office-test-'));
  mandates = mandatesOf(await loadOrCreateKeys(join(home, 'keys')), { clock: systemClock, random: systemRandom });
  ports = await nats.connect('brain');
  await Promise.all(['office-1', 'office-2'].map(startHost));
});
afterAll(async () => {
  vi.unstubAllEnvs();
  process.exitCode = 0;
  for (const host of hosts.values()) host.kill('SIGKILL');
  await nats[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
});

async function ask(capability: { readonly id: string }, input: unknown): Promise<Outcome | undefined> {
  const envelope = envelopeFor(mandates, { capability: capability.id as never, task: `t-office-${++sent}`, actor: 'main', input, deadline: Date.now() + 60_000 }, { capabilities: ['*'], expiresAt: Date.now() + 300_000 });
  const outcome = ports.outcomes.wait(envelope.tenant, envelope.task, envelope.id, 50_000);
  await ports.dispatcher(createRegistry(agents)).publish(envelope);
  return outcome;
}
const outputOf = (outcome: Outcome | undefined): unknown => (outcome?.status === 'done' ? outcome.output : outcome);
const books = async () => outputOf(await ask(report, {})) as { open: string[]; closed: string[]; lost: string[] };

/** What the command prints with `--json`; its last line, since a view may print many. Run in this process: starting one takes longer than all the rest. */
async function aios(...words: readonly string[]): Promise<unknown> {
  const program = new Command().option('--json').option('--home <folder>').option('--url <url>');
  registerAgents(program);
  registerDeadLetters(program);
  const lines: string[] = [];
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => lines.push(String(text)) > 0);
  try {
    await program.parseAsync(['--json', '--home', home, '--url', 'http://127.0.0.1:9', ...words], { from: 'user' });
  } finally {
    write.mockRestore();
  }
  return JSON.parse(lines.at(-1) ?? 'null');
}
const until = async (done: () => Promise<boolean>, ms = 40_000): Promise<void> => {
  for (const end = Date.now() + ms; Date.now() < end && !(await done()); ) await new Promise((resolve) => { setTimeout(resolve, 100); });
};

test('topics - what a clerk publishes reaches the office, wherever both are', async () => {
  await Promise.all(['a1', 'a2', 'a3', 'a4'].map((name) => ask(openCase, { case: name, careful: false })));
  await until(async () => (await books()).closed.length === 4);
  expect(await books()).toMatchObject({ open: [], lost: [] });
  expect((await books()).closed.toSorted()).toEqual(['a1', 'a2', 'a3', 'a4']);
});

test('pool and quorum - three appraisers are asked in place, two are enough', async () => {
  const { cents, opinions } = outputOf(await ask(value, { case: 'a1' })) as { cents: number; opinions: number };
  expect(opinions).toBeGreaterThanOrEqual(2);
  expect(cents).toBeGreaterThanOrEqual(102);
});

test('watch - the office is told when the host of a clerk is killed, once, and its case is closed elsewhere', async () => {
  const { clerk } = outputOf(await ask(openCase, { case: 'slow', careful: true })) as { clerk: string };
  const hostOf = async () => (await inspectHosts(ports.link, 500)).find((report_) => report_.agents.some(({ id }) => id === clerk))?.host.name;
  await until(async () => (await hostOf()) !== undefined);
  const doomed = [...hosts.keys()].find((name) => hosts.get(name)?.connected === true && name !== '') as string;
  const owner = (await hostOf()) ?? '';
  const victim = [...hosts.keys()].find((name) => owner.startsWith(name)) ?? doomed;
  hosts.get(victim)?.kill('SIGKILL');
  await until(async () => (await books()).closed.includes('slow'));
  const { open, closed, lost } = await books();
  expect({ open, lost, closed: closed.filter((one) => one === 'slow') }).toEqual({ open: [], lost: ['slow'], closed: ['slow'] });
  hosts.delete(victim);
  await startHost(victim);
});

test('become and stash - a case opened while the office is closed waits in it and is answered when it opens', async () => {
  await ask(setHours, { open: false });
  let answered: Outcome | undefined;
  const waiting = ask(openCase, { case: 'late', careful: true }).then((outcome) => (answered = outcome));
  await until(async () => ((await inspectHosts(ports.link, 500)).flatMap((one) => one.agents).find(({ kind }) => kind === 'office')?.stashed ?? 0) === 1);
  expect(answered).toBeUndefined();
  await ask(setHours, { open: true });
  expect(await waiting).toMatchObject({ status: 'done', output: { clerk: expect.stringMatching(/^late-/) as string } });
});

test('aios agents - list, show and tree tell what the hosts hold, tail what they do; a drained host leaves its agents to the others', async () => {
  const listed = (await aios('agents', 'list')) as { host: { name: string; partitions: number[] }; agents: { kind: string }[] }[];
  expect(listed.flatMap(({ host }) => host.partitions).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 64 }, (_, partition) => partition));
  expect(await aios('agents', 'show', 'office/main')).toMatchObject([{ kind: 'office', id: 'main', tenant: 'demo', children: expect.arrayContaining([expect.stringMatching(/^clerk\/late-/)]) as string[] }]);
  const tree = (await aios('agents', 'tree', '--for', '1')) as { agents: { name: string; children: { name: string }[] }[] };
  expect(tree.agents.find(({ name }) => name === 'demo/office/main')?.children.map(({ name }) => name)).toEqual([expect.stringMatching(/^demo\/clerk\/late-/)]);
  let tailing = true;
  const tailed = aios('agents', 'tail', '--for', '2').finally(() => (tailing = false));
  while (tailing) {
    await ask(report, {});
    await new Promise((resolve) => { setTimeout(resolve, 200); });
  }
  expect(await tailed).toMatchObject({ status: 'done', tenant: 'demo', turn: { agent: 'office', capability: 'office.report' } });
  const leaving = listed[0]?.host.name ?? '';
  expect(await aios('agents', 'drain', leaving)).toMatchObject({ name: leaving });
  await until(async () => (await inspectHosts(ports.link, 0)).some(({ host }) => host.name !== leaving && host.partitions.length === 64));
  expect(await books()).toMatchObject({ open: ['late'] });
  expect(await aios('agents', 'show', 'nobody')).toMatchObject({ error: { code: 'AIOS_AGENT_UNKNOWN' } });
});

test('aios dead-letters - a message nobody can handle is listed, shown without its mandate, replayed and discarded', async () => {
  const subject = subjects.mailbox(parseId('tenant', 'demo'), parseId('agent-kind', 'archivist'), parseId('agent-id', 'x'));
  const envelope = envelopeFor(mandates, { capability: 'office.file' as never, task: 't-lost', actor: 'x', input: { note: 'for nobody' } });
  await ports.mailboxes.publish(subject, toBytes(envelope), { messageId: 'lost-1' });
  const list = async () => (await aios('dead-letters', 'list', '--tenant', 'demo')) as { id: string; reason: string; task?: string; replayOf?: string }[];
  await until(async () => (await ports.deadLetters.list({ tenant: 'demo', limit: 5 })).length === 1);
  const [letter] = await list();
  expect(letter).toMatchObject({ reason: 'unknown-kind', task: 't-lost' });
  expect(await aios('dead-letters', 'show', letter?.id ?? '')).toMatchObject({ message: { mandate: 'not shown', input: { note: 'for nobody' } } });
  expect(await aios('dead-letters', 'replay', letter?.id ?? '')).toEqual({ id: letter?.id, done: 'replay' });
  await until(async () => { const [again] = await ports.deadLetters.list({ tenant: 'demo', limit: 5 }); return again !== undefined && again.id !== letter?.id; });
  const [again] = await list();
  expect(again).toMatchObject({ reason: 'unknown-kind', replayOf: letter?.id });
  expect(await aios('dead-letters', 'discard', again?.id ?? '')).toEqual({ id: again?.id, done: 'discard' });
  expect(await list()).toEqual([]);
});
