// The guide's example on real servers: a conversation goes on although the host that held it is killed in the middle.
// Owns: two agent hosts as processes, and the kill. Others may assume: nothing is left running when the file ends.

import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createRegistry } from '../../agents/registry.ts';
import { partitionOf } from '../../contracts/address.ts';
import type { Capability } from '../../contracts/capability.ts';
import type { Envelope, Outcome } from '../../contracts/message.ts';
import type { Mandates } from '../../contracts/ports.ts';
import { memory, recall, remember } from '../../examples/conversation-memory/memory.ts';
import { loadOrCreateKeys } from '../../infra/crypto/keys.ts';
import { mandatesOf } from '../../infra/crypto/mandates.ts';
import type { NatsPorts } from '../../infra/nats/index.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { startChildHost } from './child-host.ts';
import { envelopeFor } from './envelopes.ts';
import { startTestNats, type TestServer } from './nats-server.ts';

const HOST = new URL('./conversation-host.ts', import.meta.url).pathname;
let nats: TestServer;
let home: string;
let ports: NatsPorts;
let mandates: Mandates;
const hosts = new Map<string, ChildProcess>();
let said = 0;

async function startHost(name: string): Promise<void> {
  hosts.set(name, await startChildHost(HOST, { home, url: nats.server.url, name }));
}

beforeAll(async () => {
  nats = await startTestNats();
  home = await mkdtemp(join(tmpdir(), 'aios-memory-test-'));
  mandates = mandatesOf(await loadOrCreateKeys(join(home, 'keys')), { clock: systemClock, random: systemRandom });
  ports = await nats.connect('brain');
  await Promise.all(['memory-1', 'memory-2'].map(startHost));
});
afterAll(async () => {
  for (const host of hosts.values()) host.kill('SIGKILL');
  await nats[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
});

function envelope(capability: Capability<never, never>, input: { readonly person: string }): Envelope {
  return envelopeFor(mandates, { capability: capability.id, task: `t-memory-${++said}`, actor: input.person, input });
}
async function ask(sent: Envelope): Promise<Outcome | undefined> {
  const outcome = ports.outcomes.wait(sent.tenant, sent.task, sent.id, 25_000);
  await ports.dispatcher(createRegistry([memory])).publish(sent);
  return outcome;
}

test('conversation memory - survives the kill of its host in the middle, nothing forgotten and nothing twice', async () => {
  const say = (text: string): Promise<Outcome | undefined> => ask(envelope(remember as never, { person: 'ana', text } as never));
  expect(await say('I am Ana.')).toMatchObject({ status: 'done', output: { lines: 1 } });
  expect(await say('I like trains.')).toMatchObject({ status: 'done', output: { lines: 2 } });

  // Five lines are on their way when one host dies, and five more come while nobody has noticed.
  const texts = Array.from({ length: 10 }, (_, n) => `Line ${n}.`);
  const first = texts.slice(0, 5).map(say);
  const owner = await ownerOfAna();
  hosts.get(owner)?.kill('SIGKILL');
  const later = texts.slice(5).map(say);
  const outcomes = await Promise.all([...first, ...later]);
  expect(outcomes.map((outcome) => outcome?.status)).toEqual(texts.map(() => 'done'));

  const recalled = await ask(envelope(recall as never, { person: 'ana' }));
  const lines = recalled?.status === 'done' ? (recalled.output as { lines: string[] }).lines : [];
  expect(lines.slice(0, 2)).toEqual(['I am Ana.', 'I like trains.']);
  expect([...lines].sort()).toEqual(['I am Ana.', 'I like trains.', ...texts].sort());
});

/** The host that holds the lease of Ana's partition. */
async function ownerOfAna(): Promise<string> {
  const owner = (await ports.leases.holders()).get(`partition.${partitionOf('conversation-memory', 'ana')}`)?.owner ?? '';
  return owner.startsWith('memory-1') ? 'memory-1' : 'memory-2';
}
