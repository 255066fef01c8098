// The agent host as a process of its own: ready line, one durable task and one ephemeral ask through it, drain on SIGTERM.
// Owns: what only the whole process shows. Never measures speed. Others may assume: the process is gone when the file ends.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { shippedAgents } from '../../agents/index.ts';
import { createRegistry } from '../../agents/registry.ts';
import { subjects } from '../../contracts/address.ts';
import { parseCapabilityId, parseId } from '../../contracts/ids.ts';
import { toBytes } from '../../contracts/parse.ts';
import { loadOrCreateKeys } from '../../infra/crypto/keys.ts';
import { mandatesOf } from '../../infra/crypto/mandates.ts';
import { inspectHosts } from '../../infra/nats/inspection.ts';
import type { NatsPorts } from '../../infra/nats/index.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { envelopeFor } from './envelopes.ts';
import { startTestNats, type TestServer } from './nats-server.ts';

let nats: TestServer;
let home: string;
let host: ChildProcess;
let ports: NatsPorts;
beforeAll(async () => {
  nats = await startTestNats();
  home = await mkdtemp(join(tmpdir(), 'aios-agents-test-'));
  await loadOrCreateKeys(join(home, 'keys'));
  ports = await nats.connect('brain');
  host = spawn(process.execPath, ['--conditions=aios-source', 'infra/processes/agents.ts'], { env: { ...process.env, AIOS_HOME: home, AIOS_NATS_URL: nats.server.url, AIOS_NAME: 'agents-1' }, stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: host.stdout as NodeJS.ReadableStream })) if (line.includes('"msg":"ready"')) break;
});
afterAll(async () => {
  host.kill('SIGKILL');
  await nats[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
});

test('agents process - a dispatched envelope becomes an outcome, a second delivery of it the same one', async () => {
  const mandates = mandatesOf(await loadOrCreateKeys(join(home, 'keys')), { clock: systemClock, random: systemRandom });
  const envelope = envelopeFor(mandates, { capability: 'echo.say', task: 't-hello', input: { text: 'hello' } });
  const dispatcher = ports.dispatcher(createRegistry(shippedAgents));
  const waiting = ports.outcomes.wait('demo', 't-hello', envelope.id, 10_000);
  expect(await dispatcher.publish(envelope)).toEqual({ duplicate: false });
  expect(await waiting).toMatchObject({ status: 'done', output: { text: 'hello' }, id: envelope.id });
  expect(await dispatcher.publish(envelope)).toEqual({ duplicate: true });
  expect(await ports.outcomes.find('demo', 't-hello', envelope.id)).toMatchObject({ status: 'done' });
});

test('agents process - an ephemeral ask is answered in place', async () => {
  const mandates = mandatesOf(await loadOrCreateKeys(join(home, 'keys')), { clock: systemClock, random: systemRandom });
  const envelope = envelopeFor(mandates, { capability: 'echo.ask', task: 't-ask', input: { text: 'hi' } });
  const answer = await ports.bus.request(subjects.capability(parseId('tenant', 'demo'), parseCapabilityId('echo.ask')), toBytes(envelope), { timeoutMs: 3_000 });
  expect(JSON.parse(new TextDecoder().decode(answer.data))).toMatchObject({ status: 'done', output: { text: 'hi' } });
});

test('agents process - hosts report themselves, and SIGTERM ends the process within five seconds', async () => {
  const [report] = await inspectHosts(ports.link, 10);
  expect(report?.host.name).toMatch(/^agents-1-/);
  const exited = once(host, 'exit');
  const askedAt = performance.now();
  host.kill('SIGTERM');
  expect((await exited)[0]).toBe(0);
  expect(performance.now() - askedAt).toBeLessThan(5_500);
  expect((await ports.leases.holders()).size).toBe(0);
});
