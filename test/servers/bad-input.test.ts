// Bad input on every NATS subject we consume: each row is answered with its typed error, counted, and nothing falls over.
// Owns: the one table of borders and malformations. Never reaches into a process: it sends bytes and reads what comes back.
// Others may assume: after the whole table every process of the line still answers a good request.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { echoAsk } from '../../agents/catalog/echo.ts';
import { createGateway } from '../../agents/gateway/gateway.ts';
import { untyped } from '../../agents/gateway/handlers/handler.ts';
import { serveModelWorker } from '../../agents/model-worker/service.ts';
import type { ModelWorker } from '../../agents/model-worker/worker.ts';
import { z } from 'zod';
import { BUCKETS, STREAMS, subjects } from '../../contracts/address.ts';
import { defineCapability, traitsOf } from '../../contracts/capability.ts';
import type { ErrorCode } from '../../contracts/errors.ts';
import { parseCapabilityId, parseId } from '../../contracts/ids.ts';
import { toBytes } from '../../contracts/parse.ts';
import { readConfig } from '../../infra/config.ts';
import { createKeys } from '../../infra/crypto/keys.ts';
import { mandatesOf } from '../../infra/crypto/mandates.ts';
import { createVerifier } from '../../infra/crypto/signer.ts';
import type { NatsPorts } from '../../infra/nats/index.ts';
import { startAgentHost } from '../../infra/processes/agents.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { presentedCall } from '../../policies/mandate.ts';
import { createCounters } from './counters.ts';
import { envelopeFor } from './envelopes.ts';
import { silent, startTestNats, type TestServer } from './nats-server.ts';
import { silentTracer } from '../kit/silent.ts';

const keys = createKeys();
const strangers = createKeys();
const options = { clock: systemClock, random: systemRandom };
const mandates = mandatesOf(keys, options);
const forger = mandatesOf(strangers, options);
const demo = parseId('tenant', 'demo');
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

const stub = defineCapability('stub.embed', { input: z.strictObject({ text: z.string().max(100) }), output: z.strictObject({ ok: z.boolean() }), dataClass: 'public' });

let nats: TestServer;
let ports: NatsPorts;
const counters = createCounters();
const closing = new AsyncDisposableStack();
beforeAll(async () => {
  nats = closing.use(await startTestNats());
  const served = await nats.connect('served', counters);
  ports = await nats.connect('sender');
  const telemetry = { logger: silent, metrics: Object.assign(counters, { text: async () => '' }), tracer: { ...silentTracer, [Symbol.asyncDispose]: async () => {} }, clock: systemClock, random: systemRandom, [Symbol.asyncDispose]: async () => {} };
  closing.use(await startAgentHost(readConfig('agents', { AIOS_NAME: 'bad' }), { telemetry: telemetry as never, ports: served, keys, partitions: '*' }));
  const traits = traitsOf(stub);
  const slice = { bundle: `sha256:${'0'.repeat(64)}`, version: 1, capability: traits, policies: { all: { effect: 'permit', principal: { op: 'All' }, action: { op: 'All' }, resource: { op: 'All' }, conditions: [] } }, groups: {} };
  const gateway = closing.use(createGateway(
    { bus: served.bus, mandates, policies: { slice: async () => slice, current: () => Promise.reject(new Error('unused')), publish: () => Promise.reject(new Error('unused')) } as never, clock: systemClock, log: silent, metrics: counters, tracer: silentTracer },
    { handlers: [untyped({ capability: stub, cacheable: false, handle: async () => ({ output: { ok: true }, receipts: [] }) })] },
  ));
  await gateway.serve();
  const worker = { models: [{ model: 'stub-model' }], heads: [], beacon: () => ({}), embed: async () => ({ vectors: [], used: {} }) } as unknown as ModelWorker;
  closing.use(await serveModelWorker({ name: 'w1', worker, bus: served.bus, clock: systemClock, log: silent, metrics: counters, tracer: silentTracer }));
}, 60_000);
afterAll(() => closing.disposeAsync());

/** Bytes that no border may accept, whatever it expects. */
const MALFORMED: readonly (readonly [string, () => Uint8Array, ErrorCode])[] = [
  ['no JSON', () => utf8('{"v":1,'), 'AIOS_INPUT_NOT_JSON'],
  ['nothing', () => utf8(''), 'AIOS_INPUT_NOT_JSON'],
  ['trailing content', () => utf8('{} {}'), 'AIOS_INPUT_NOT_JSON'],
  ['no UTF-8', () => new Uint8Array([0x7b, 0xff, 0xfe, 0x7d]), 'AIOS_INPUT_NOT_UTF8'],
  ['a million brackets deep', () => utf8(`${'['.repeat(100_000)}${']'.repeat(100_000)}`), 'AIOS_INPUT_TOO_DEEP'],
  ['deep inside a field', () => utf8(`{"v":1,"input":${'{"a":'.repeat(40)}1${'}'.repeat(40)}}`), 'AIOS_INPUT_TOO_DEEP'],
  ['a list', () => utf8('[]'), 'AIOS_INPUT_INVALID'],
  ['null', () => utf8('null'), 'AIOS_INPUT_INVALID'],
  ['another schema', () => utf8('{"hello":"world"}'), 'AIOS_INPUT_INVALID'],
];

const ask = (fields: Record<string, unknown> = {}, from = mandates) => ({ ...envelopeFor(from, { capability: 'echo.ask', task: 't-bad', input: { text: 'x' } }), ...fields });
const say = (task: string, fields: Record<string, unknown> = {}, from = mandates, narrowed = {}) => ({ ...envelopeFor(from, { capability: 'echo.say', task, input: { text: 'x' } }, narrowed), ...fields });

/** Envelopes that parse as JSON and must still be refused: field changes, and the code that says why. */
const WRONG: readonly (readonly [string, (task: string) => Record<string, unknown>, ErrorCode])[] = [
  ['an unknown key', (task) => say(task, { extra: 1 }), 'AIOS_INPUT_INVALID'],
  ['a fractional deadline', (task) => say(task, { deadline: 1.5 }), 'AIOS_INPUT_INVALID'],
  ['an id with a wildcard', (task) => say(task, { task: 'a.*' }), 'AIOS_INPUT_INVALID'],
  ['a huge number', (task) => say(task, { deadline: 1e300 }), 'AIOS_INPUT_INVALID'],
  ['an unknown version', (task) => say(task, { v: 2 }), 'AIOS_VERSION_UNKNOWN'],
  ['another tenant', (task) => say(task, { tenant: 'evil' }), 'AIOS_TENANT_MISMATCH'],
];

async function letterFor(subject: string): Promise<{ readonly code: string; readonly reason: string } | undefined> {
  for (let tries = 0; tries < 60; tries++) {
    const found = (await ports.deadLetters.list({ limit: 500 })).find((letter) => letter.subject === subject);
    if (found !== undefined) return found;
    await sleep(50);
  }
  return undefined;
}
const mailboxOf = (actor: string, kind = 'echo') => subjects.mailbox(demo, parseId('agent-kind', kind), parseId('agent-id', actor));
let serial = 0;
async function intoMailbox(data: Uint8Array, actor: string, kind?: string): Promise<string> {
  const subject = mailboxOf(actor, kind);
  await ports.mailboxes.publish(subject, data, { messageId: `bad-${++serial}` });
  return subject;
}
async function replyTo(subject: string, data: Uint8Array): Promise<{ status: string; error?: { code: string; message: string } }> {
  const answer = await ports.bus.request(subject, data, { timeoutMs: 5_000 });
  return JSON.parse(new TextDecoder().decode(answer.data));
}

describe('mailbox of an agent', () => {
  test.each(MALFORMED)('%s becomes a dead letter with its code', async (name, bytes, code) => {
    const subject = await intoMailbox(bytes(), `m${++serial}`);
    expect(await letterFor(subject), name).toMatchObject({ code, reason: 'malformed' });
    expect(counters.total('aios_dead_letters_total', { code })).toBeGreaterThan(0);
  });
  test.each(WRONG)('an envelope with %s becomes a dead letter with its code', async (_name, make, code) => {
    const actor = `w${++serial}`;
    const subject = await intoMailbox(toBytes(make(actor)), actor);
    expect(await letterFor(subject)).toMatchObject({ code, reason: code === 'AIOS_TENANT_MISMATCH' ? 'policy' : 'malformed' });
  });
  test('oversized: 300 KiB become a dead letter, 9 MiB are refused at the sender', async () => {
    const subject = await intoMailbox(toBytes(say('t-large', { input: { text: 'x'.repeat(300 * 1024) } })), 'large');
    expect(await letterFor(subject)).toMatchObject({ code: 'AIOS_INPUT_TOO_LARGE', reason: 'malformed' });
    await expect(intoMailbox(new Uint8Array(9 * 1024 * 1024), 'larger')).rejects.toMatchObject({ code: 'AIOS_INPUT_TOO_LARGE' });
  });

  const refusals: readonly (readonly [string, (task: string) => Record<string, unknown>, ErrorCode, string | undefined])[] = [
    ['an expired deadline', (task) => say(task, { deadline: Date.now() - 1_000 }), 'AIOS_DEADLINE_EXCEEDED', 'expired'],
    ['an unknown capability', (task) => say(task, { capability: 'no.such' }), 'AIOS_CAPABILITY_UNKNOWN', 'unknown-kind'],
    ['a forged mandate', (task) => say(task, {}, forger), 'AIOS_MANDATE_INVALID', 'policy'],
    ['a mandate that is no mandate', (task) => say(task, { mandate: 'k.abc~x' }), 'AIOS_MANDATE_INVALID', 'policy'],
    ['an expired mandate', (task) => say(task, {}, mandates, { expiresAt: Date.now() - 120_000 }), 'AIOS_MANDATE_INVALID', 'policy'],
    ['a mandate of another task', (task) => say(task, { mandate: say('t-other').mandate }), 'AIOS_MANDATE_INVALID', 'policy'],
    ['a mandate of another tenant', (task) => say(task, { mandate: say(task, {}, mandates, { tenant: 'evil' }).mandate }), 'AIOS_TENANT_MISMATCH', 'policy'],
    ['a mandate for another capability', (task) => say(task, {}, mandates, { capabilities: ['text.embed'] }), 'AIOS_MANDATE_EXCEEDED', 'policy'],
    ['a deeper delegation than granted', (task) => say(task, { depth: 9 }), 'AIOS_MANDATE_EXCEEDED', 'policy'],
    ['input of another schema', (task) => say(task, { input: { wrong: true } }), 'AIOS_INPUT_INVALID', undefined],
  ];
  test.each(refusals)('%s ends its task with the typed error', async (_name, make, code, reason) => {
    const task = `r${++serial}`;
    const envelope = make(task);
    const waiting = ports.outcomes.wait('demo', task, String(envelope['id']), 5_000);
    const subject = await intoMailbox(toBytes(envelope), task);
    expect(await waiting).toMatchObject({ status: 'failed', error: { code } });
    if (reason !== undefined) expect(await letterFor(subject)).toMatchObject({ code, reason });
  });
  test('an agent kind that nobody runs ends its task with AIOS_AGENT_UNKNOWN', async () => {
    const envelope = say('t-nobody');
    const waiting = ports.outcomes.wait('demo', 't-nobody', envelope.id, 5_000);
    const subject = await intoMailbox(toBytes(envelope), 't-nobody', 'nobody');
    expect(await waiting).toMatchObject({ status: 'failed', error: { code: 'AIOS_AGENT_UNKNOWN' } });
    expect(await letterFor(subject)).toMatchObject({ reason: 'unknown-kind' });
  });
  test('a mailbox subject with a partition that is not its own becomes a dead letter', async () => {
    const subject = `ai.v1.demo.mbx.63.echo.misplaced-${mailboxOf('misplaced').split('.')[4] === '63' ? 'x' : ''}1`;
    await ports.link.store(subject, toBytes(say('misplaced')), { messageId: 'misplaced' });
    expect(await letterFor(subject)).toMatchObject({ code: 'AIOS_INPUT_INVALID', reason: 'malformed' });
  });
});

const askSubject = subjects.capability(demo, echoAsk.id);
const stubSubject = subjects.capability(demo, parseCapabilityId('stub.embed'));
const borders: readonly (readonly [string, string, string])[] = [
  ['ephemeral capability', askSubject, 'aios_asks_refused_total'],
  ['gateway capability', stubSubject, 'gateway_calls_total'],
  ['model worker', subjects.model('stub-model'), 'model_refused_total'],
  ['one model worker', subjects.modelAt('stub-model', 'w1'), 'model_refused_total'],
  ['control plane', subjects.control(parseId('tenant', 'sys'), 'hosts'), 'aios_bus_handler_failed_total'],
  ['drain', subjects.control(parseId('tenant', 'sys'), 'drain'), 'aios_bus_handler_failed_total'],
];
describe.each(borders)('%s', (name, subject, metric) => {
  test.each(MALFORMED)('%s is answered with its code', async (_what, bytes, code) => {
    // The control plane takes one kilobyte at most, so what is deep is first of all too large there.
    const data = bytes();
    const expected = metric === 'aios_bus_handler_failed_total' && data.byteLength > 1_024 ? 'AIOS_INPUT_TOO_LARGE' : code;
    expect(await replyTo(subject, data), name).toMatchObject({ status: 'failed', error: { code: expected } });
    if (!metric.startsWith('aios_bus')) expect(counters.total(metric, { code: expected })).toBeGreaterThan(0);
  });
});

describe('ephemeral asks', () => {
  const rows: readonly (readonly [string, () => Record<string, unknown>, ErrorCode])[] = [
    ['another tenant', () => ask({ tenant: 'evil' }), 'AIOS_TENANT_MISMATCH'],
    ['a principal of another tenant', () => ask({ principal: { id: 'x', type: 'user', tenant: 'evil', roles: [] } }), 'AIOS_TENANT_MISMATCH'],
    ['another capability', () => ask({ capability: 'echo.say' }), 'AIOS_INPUT_INVALID'],
    ['an expired deadline', () => ask({ deadline: Date.now() - 1 }), 'AIOS_DEADLINE_EXCEEDED'],
    ['a forged mandate', () => ask({}, forger), 'AIOS_MANDATE_INVALID'],
    ['an unknown version', () => ask({ v: 7 }), 'AIOS_VERSION_UNKNOWN'],
    ['input of another schema', () => ask({ input: { text: 5 } }), 'AIOS_INPUT_INVALID'],
    ['prototype keys', () => ({ ...ask(), input: JSON.parse('{"text":"x","__proto__":{"admin":true}}') as unknown }), 'AIOS_INPUT_INVALID'],
  ];
  test.each(rows)('%s is answered with its code', async (_name, make, code) => {
    expect(await replyTo(askSubject, toBytes(make()))).toMatchObject({ status: 'failed', error: { code } });
  });
  test('no refusal tells anything of the message or of the code', async () => {
    const reply = await replyTo(askSubject, utf8('{"secret":"hunter2"'));
    expect(JSON.stringify(reply)).not.toMatch(/hunter2|at .*\.ts/);
  });
});

describe('streams and buckets', () => {
  test('outcomes that are none, or of another tenant, are dead-lettered and counted; the good one behind them arrives', async () => {
    const seen: string[] = [];
    await using _reader = await ports.outcomes.consume('bad-input-bridge', async (outcome) => { seen.push(outcome.id); });
    const waiting = ports.outcomes.wait('demo', 't-out', 'envelope-id-outcome', 5_000);
    for (const [index, [, bytes]] of MALFORMED.entries()) await ports.link.store(`ai.v1.demo.out.t-bad${index}`, bytes(), { messageId: index === 0 ? 'out-envelope-id-outcome' : `o-${index}` });
    await ports.link.store('ai.v1.demo.out.t-out', toBytes({ v: 1, status: 'done', id: 'envelope-id-outcome', task: 't-out', tenant: 'evil', output: {}, receipts: [], costMicroUsd: 0 }), { messageId: 'out-other' });
    await ports.link.store('ai.v1.demo.out.t-out', toBytes({ v: 1, status: 'done', id: 'envelope-id-outcome', task: 't-out', tenant: 'demo', output: 'good', receipts: [], costMicroUsd: 0 }), { headers: { 'Nats-Msg-Id': 'out-envelope-id-outcome2' } });
    await ports.outcomes.publish({ v: 1, status: 'done', id: 'envelope-id-behind', task: 't-behind', tenant: 'demo', output: {}, receipts: [], costMicroUsd: 0 });
    await expect.poll(() => seen.includes('envelope-id-behind'), { timeout: 10_000 }).toBe(true);
    const ofOutcomes = async () => (await ports.deadLetters.list({ tenant: 'demo', limit: 500 })).filter((letter) => letter.subject.startsWith('ai.v1.demo.out.'));
    await expect.poll(async () => (await ofOutcomes()).length, { timeout: 10_000 }).toBe(MALFORMED.length + 1);
    const letters = await ofOutcomes();
    expect(new Set(letters.map((letter) => letter.code))).toEqual(new Set(['AIOS_INPUT_NOT_JSON', 'AIOS_INPUT_NOT_UTF8', 'AIOS_INPUT_TOO_DEEP', 'AIOS_INPUT_INVALID', 'AIOS_TENANT_MISMATCH']));
    expect(await waiting).toBeUndefined();
  });
  test('a policy bundle that is none is refused, counted, and the one before stays', async () => {
    await using store = ports.policyStore(createVerifier(keys.keyring));
    await expect(store.slice('echo.say')).rejects.toMatchObject({ code: 'AIOS_POLICY_MISSING' });
    for (const [, bytes] of MALFORMED) await ports.keyValue.put(BUCKETS.policy, 'current', bytes());
    await sleep(300);
    await expect(store.slice('echo.say')).rejects.toMatchObject({ code: 'AIOS_POLICY_MISSING' });
    expect((ports as unknown as { counters: ReturnType<typeof createCounters> }).counters.total('aios_policy_bundle_refused_total')).toBeGreaterThanOrEqual(1);
    await ports.keyValue.delete(BUCKETS.policy, 'current');
  });
  test('a lease, a task entry and a dead letter that are none are typed errors to their readers', async () => {
    await ports.keyValue.put(BUCKETS.tasks, 'demo.t-junk', utf8('{"junk":'));
    await expect(ports.taskDirectory.find('demo', 't-junk')).rejects.toMatchObject({ code: 'AIOS_INPUT_NOT_JSON' });
    await ports.keyValue.put(BUCKETS.leases, 'junk', utf8('[]'));
    await expect(ports.leases.holders()).rejects.toMatchObject({ code: 'AIOS_INPUT_INVALID' });
    await ports.keyValue.delete(BUCKETS.leases, 'junk');
    const { sequence } = await ports.link.store('ai.v1.demo.dlq.poison', utf8('{}'), {});
    await expect(ports.deadLetters.get(String(sequence))).rejects.toMatchObject({ code: 'AIOS_INPUT_INVALID' });
    await ports.deadLetters.discard(String(sequence));
    await expect(ports.deadLetters.get('1; rm')).rejects.toMatchObject({ code: 'AIOS_INPUT_INVALID' });
  });
  test('junk in the timer and advisory streams is thrown away', async () => {
    await ports.link.store('ai.v1.sys.tmr.due.junk', utf8('junk'), {});
    await ports.link.store(`$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.${STREAMS.mailbox.name}.junk`, utf8('junk'), {});
    await sleep(500);
    expect(await ports.link.jsm.consumers.info(STREAMS.timers.name, 'timers')).toMatchObject({ num_pending: 0, num_ack_pending: 0 });
    expect(await ports.link.jsm.consumers.info('AIOS_ADVISORIES', 'dead-letters')).toMatchObject({ num_pending: 0, num_ack_pending: 0 });
  });
});

test('after all of it a good task, a good ask and a good gateway call are answered', async () => {
  const envelope = envelopeFor(mandates, { capability: 'echo.say', task: 't-good', input: { text: 'still here' } });
  const waiting = ports.outcomes.wait('demo', 't-good', envelope.id, 5_000);
  await intoMailbox(toBytes(envelope), 't-good');
  expect(await waiting).toMatchObject({ status: 'done', output: { text: 'still here' } });
  expect(await replyTo(askSubject, toBytes(ask()))).toMatchObject({ status: 'done' });
  const call = envelopeFor(mandates, { capability: 'stub.embed', task: 't-good', input: { text: 'x' } });
  expect(await replyTo(stubSubject, toBytes({ ...call, mandate: mandates.present(call.mandate, presentedCall(call)) }))).toMatchObject({ status: 'done' });
});
