// The ports over a real nats-server: what each promises in contracts/ports.ts, and the traps of the client closed.
// Owns: behaviour that only a real server shows. Conformance suites shared with the in-memory ports run beside it.
// Never assumes a port number. Others may assume: every test uses subjects of its own.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { STREAMS, partitionOf, subjects } from '../../contracts/address.ts';
import { hasCode } from '../../contracts/errors.ts';
import { parseId, parseCapabilityId } from '../../contracts/ids.ts';
import type { Outcome } from '../../contracts/message.ts';
import type { MailboxDelivery } from '../../contracts/ports.ts';
import { taskIdOf } from '../../contracts/task.ts';
import { connectNats } from '../../infra/nats/connect.ts';
import { MAX_DELIVER, consumerConfig } from '../../infra/nats/mailboxes.ts';
import type { NatsPorts } from '../../infra/nats/index.ts';
import { ensureTopology } from '../../infra/nats/topology.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { createCounters, type Counters } from './counters.ts';
import { silent, startTestNats, type TestServer } from './nats-server.ts';

const tenant = parseId('tenant', 'demo');
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array): string => new TextDecoder().decode(data);
const mailbox = (id: string) => subjects.mailbox(tenant, parseId('agent-kind', 'echo'), parseId('agent-id', id));
const state = (id: string) => subjects.state(tenant, parseId('agent-kind', 'echo'), parseId('agent-id', id));
const codeOf = async (work: Promise<unknown>): Promise<string> => work.then(() => 'none', (error: { code?: string }) => error.code ?? 'unknown');
const done = (task: string, id: string, output: unknown = {}): Outcome => ({ v: 1, status: 'done', id, task, tenant, output, receipts: [], costMicroUsd: 0 });

let nats: TestServer;
let ports: NatsPorts & { readonly counters: Counters };
let other: NatsPorts & { readonly counters: Counters };
beforeAll(async () => {
  nats = await startTestNats();
  ports = await nats.connect('one');
  other = await nats.connect('two');
});
afterAll(() => nats[Symbol.asyncDispose]());

describe('connection', () => {
  test('a server older than asked for is refused with the version in the message', async () => {
    const refused = connectNats({ url: nats.server.url, name: 'old', logger: silent, metrics: createCounters(), clock: systemClock, random: systemRandom, versionMin: [99, 0] });
    await expect(refused).rejects.toSatisfy((error: Error) => hasCode(error, 'AIOS_SERVER_TOO_OLD') && error.message.includes('99.0'));
  });
  test('nobody at the address is AIOS_DISCONNECTED after the first wait, without the password', async () => {
    const refused = connectNats({ url: 'nats://user:hunter2@127.0.0.1:1', name: 'none', logger: silent, metrics: createCounters(), clock: systemClock, random: systemRandom, firstConnectMsMax: 300 });
    await expect(refused).rejects.toSatisfy((error: Error) => hasCode(error, 'AIOS_DISCONNECTED') && !error.message.includes('hunter2'));
  });
  test('a stream of topics that an earlier version made keeps events for its groups from now on', async () => {
    const { jsm } = ports.link;
    await jsm.streams.delete(STREAMS.topics.name);
    await jsm.streams.add({ name: STREAMS.topics.name, subjects: [...STREAMS.topics.subjects], retention: 'limits', discard: 'old', max_bytes: 1024 ** 3 });
    await ensureTopology(ports.link);
    expect((await jsm.streams.info(STREAMS.topics.name)).config).toMatchObject({ retention: 'interest', discard: 'new', discard_new_per_subject: true });
  });
  test('ensuring the topology again from many connections at once changes nothing', async () => {
    await Promise.all([nats.connect(), nats.connect(), nats.connect()]);
  });
});

describe('bus', () => {
  const subject = subjects.capability(tenant, parseCapabilityId('bus.echo'));
  test('a request reaches one of a queue group and comes back with headers', async () => {
    await using _a = await other.bus.subscribe(subject, { queue: 'q' }, (message) => message.respond?.(message.data, { seen: message.headers['x'] ?? '' }));
    const answer = await ports.bus.request(subject, bytes('hi'), { timeoutMs: 1_000, headers: { x: 'y' } });
    expect([text(answer.data), answer.headers['seen']]).toEqual(['hi', 'y']);
  });
  test('nobody listening is AIOS_UNAVAILABLE at once', async () => {
    const before = performance.now();
    expect(await codeOf(ports.bus.request('ai.v1.demo.cap.nobody', bytes(''), { timeoutMs: 5_000 }))).toBe('AIOS_UNAVAILABLE');
    expect(performance.now() - before).toBeLessThan(1_000);
  });
  test('a silent listener is AIOS_DEADLINE_EXCEEDED, an abort ends the wait', async () => {
    await using _a = await other.bus.subscribe('ai.v1.demo.cap.silent', {}, () => {});
    expect(await codeOf(ports.bus.request('ai.v1.demo.cap.silent', bytes(''), { timeoutMs: 50 }))).toBe('AIOS_DEADLINE_EXCEEDED');
    expect(await codeOf(ports.bus.request('ai.v1.demo.cap.silent', bytes(''), { timeoutMs: 5_000, signal: AbortSignal.timeout(20) }))).toBe('AIOS_TASK_CANCELLED');
    expect(ports.link.inFlight).toBe(0);
  });
  test('past concurrencyMax the sender is answered AIOS_OVERLOADED', async () => {
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => { release = resolve; });
    await using _a = await other.bus.subscribe('ai.v1.demo.cap.slow', { concurrencyMax: 2 }, async (message) => {
      await gate;
      message.respond?.(bytes('ok'));
    });
    const answers = [1, 2, 3].map(() => ports.bus.request('ai.v1.demo.cap.slow', bytes(''), { timeoutMs: 2_000 }));
    const third = await answers[2];
    expect(JSON.parse(text(third?.data ?? bytes('{}')))).toMatchObject({ status: 'failed', error: { code: 'AIOS_OVERLOADED', retryAfterMs: 50 } });
    release();
    expect(text((await answers[0])?.data ?? bytes(''))).toBe('ok');
  });
  test('a handler that throws answers with its typed error', async () => {
    await using _a = await other.bus.subscribe('ai.v1.demo.cap.broken', {}, async () => { throw new Error('secret detail'); });
    const answer = await ports.bus.request('ai.v1.demo.cap.broken', bytes(''), { timeoutMs: 1_000 });
    expect(JSON.parse(text(answer.data))).toMatchObject({ status: 'failed', error: { code: 'AIOS_INTERNAL' } });
    expect(text(answer.data)).not.toContain('secret');
  });
  test('a message above max_payload is AIOS_INPUT_TOO_LARGE, a subject with a line break AIOS_INPUT_INVALID', async () => {
    expect(await codeOf(ports.bus.request('ai.v1.demo.cap.big', new Uint8Array(300 * 1024), { timeoutMs: 500 }))).toBe('AIOS_INPUT_TOO_LARGE');
    expect(await codeOf(ports.bus.request('ai.v1.demo\r\nPUB evil 0', bytes(''), { timeoutMs: 500 }))).toBe('AIOS_INPUT_INVALID');
  });
});

describe('state log', () => {
  test('of two appends with one expectation one conflicts, and a read gives the last record', async () => {
    expect(await ports.stateLog.read(state('s1'))).toBeUndefined();
    const first = await ports.stateLog.append(state('s1'), 0, bytes('a'));
    const results = await Promise.allSettled([ports.stateLog.append(state('s1'), first, bytes('b')), other.stateLog.append(state('s1'), first, bytes('c'))]);
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    expect(results.some((result) => result.status === 'rejected' && hasCode(result.reason, 'AIOS_STATE_CONFLICT'))).toBe(true);
    const read = await other.stateLog.read(state('s1'));
    expect(['b', 'c']).toContain(text(read?.data ?? bytes('')));
    expect(read?.revision).toBeGreaterThan(first);
  });
});

describe('mailboxes', () => {
  test('the same message id is stored once', async () => {
    const first = await ports.mailboxes.publish(mailbox('dup'), bytes('x'), { messageId: 'id-dup-1' });
    const second = await other.mailboxes.publish(mailbox('dup'), bytes('x'), { messageId: 'id-dup-1' });
    expect([first.duplicate, second.duplicate, second.sequence === first.sequence]).toEqual([false, true, true]);
  });
  test('a full mailbox refuses with AIOS_MAILBOX_FULL and leaves others alone', async () => {
    const fill = async (count: number, from: number) => Promise.allSettled(Array.from({ length: count }, (_, index) => ports.mailboxes.publish(mailbox('full'), bytes('x'), { messageId: `full-${from + index}` })));
    await fill(500, 0);
    await fill(500, 500);
    expect(await codeOf(ports.mailboxes.publish(mailbox('full'), bytes('x'), { messageId: 'full-more' }))).toBe('AIOS_MAILBOX_FULL');
    await ports.mailboxes.publish(mailbox('not-full'), bytes('x'), { messageId: 'not-full' });
  });
  test('an unanswered message of a dead host goes to the next one, acked ones do not', async () => {
    const kind = 'echo';
    const id = Array.from({ length: 500 }, (_, index) => `h${index}`).find((one) => partitionOf(kind, one) === 7) ?? '';
    const seen: string[] = [];
    const host = await nats.connect('dying');
    await host.mailboxes.consume(7, { inFlightMax: 4 }, async (delivery) => {
      seen.push(`${text(delivery.data)}:${delivery.attempt}`);
      if (text(delivery.data) === 'kept') return new Promise(() => {});
      return delivery.ack();
    });
    await ports.mailboxes.publish(mailbox(id), bytes('kept'), { messageId: 'dead-1' });
    await ports.mailboxes.publish(mailbox(id), bytes('acked'), { messageId: 'dead-2' });
    await expect.poll(() => seen.length).toBe(2);
    await host.link.nc.close();
    const taken: MailboxDelivery[] = [];
    await using _b = await other.mailboxes.consume(7, { inFlightMax: 4 }, async (delivery) => { taken.push(delivery); await delivery.ack(); });
    await expect.poll(() => taken.length, { timeout: 8_000 }).toBe(1);
    expect([text(taken[0]?.data ?? bytes('')), taken[0]?.attempt]).toEqual(['kept', 2]);
  });
  test('a slow handler is not given its message twice, a throwing one is', async () => {
    const id = Array.from({ length: 500 }, (_, index) => `s${index}`).find((one) => partitionOf('echo', one) === 9) ?? '';
    const seen: number[] = [];
    await using _a = await other.mailboxes.consume(9, { inFlightMax: 2 }, async (delivery) => {
      seen.push(delivery.attempt);
      if (text(delivery.data) === 'throws' && delivery.attempt === 1) throw new Error('no');
      if (text(delivery.data) === 'slow') await sleep(5_000);
      await delivery.ack();
    });
    await ports.mailboxes.publish(mailbox(id), bytes('slow'), { messageId: 'slow-1' });
    await sleep(5_500);
    expect(seen).toEqual([1]);
    await ports.mailboxes.publish(mailbox(id), bytes('throws'), { messageId: 'throws-1' });
    await expect.poll(() => seen, { timeout: 5_000 }).toEqual([1, 1, 2]);
  });
  test('a consumer that an earlier version left with other settings is changed, not refused', async () => {
    await ports.link.jsm.consumers.add(STREAMS.mailbox.name, { ...consumerConfig(17, 4), ack_wait: 30_000_000_000, backoff: [1_000_000_000], max_deliver: 7 });
    await using _a = await other.mailboxes.consume(17, { inFlightMax: 8 }, (delivery) => delivery.ack());
    expect((await ports.link.jsm.consumers.info(STREAMS.mailbox.name, 'mailboxes-p17')).config).toMatchObject({ max_ack_pending: 8, max_deliver: MAX_DELIVER });
  });
  test('a message above 64 KiB travels by claim check', async () => {
    const id = Array.from({ length: 500 }, (_, index) => `b${index}`).find((one) => partitionOf('echo', one) === 11) ?? '';
    const sizes: number[] = [];
    await using _a = await other.mailboxes.consume(11, { inFlightMax: 2 }, async (delivery) => { sizes.push(delivery.data.byteLength); await delivery.ack(); });
    await ports.mailboxes.publish(mailbox(id), new Uint8Array(700 * 1024).fill(65), { messageId: 'big-1' });
    await expect.poll(() => sizes, { timeout: 5_000 }).toEqual([700 * 1024]);
  });
});

describe('outcomes', () => {
  test('a waiter hears the outcome of its envelope id only', async () => {
    const waiting = ports.outcomes.wait('demo', 't-1', 'envelope-id-000001', 2_000);
    await other.outcomes.publish(done('t-1', 'envelope-id-000002', 'not you'));
    await other.outcomes.publish(done('t-1', 'envelope-id-000001', 'you'));
    expect(await waiting).toMatchObject({ output: 'you' });
    expect(await ports.outcomes.find('demo', 't-1', 'envelope-id-000002')).toMatchObject({ output: 'not you' });
    expect(await ports.outcomes.find('demo', 't-1', 'envelope-id-000009')).toBeUndefined();
  });
  test('a wait that heard nothing looks once more at the store', async () => {
    await other.outcomes.publish(done('t-2', 'envelope-id-000003'));
    expect(await ports.outcomes.wait('demo', 't-2', 'envelope-id-000003', 50)).toMatchObject({ status: 'done' });
    expect(await ports.outcomes.wait('demo', 't-2', 'envelope-id-000004', 50)).toBeUndefined();
  });
  test('a durable reader gets every outcome until its handler resolves', async () => {
    const seen: string[] = [];
    let failures = 0;
    await using _a = await other.outcomes.consume('bridge-test', async (outcome) => {
      if (outcome.id === 'envelope-id-000001' && failures++ < 2) throw new Error('later');
      seen.push(outcome.id);
    });
    await expect.poll(() => [...seen].sort(), { timeout: 10_000 }).toEqual(['envelope-id-000001', 'envelope-id-000002', 'envelope-id-000003']);
  });
});

describe('leases', () => {
  test('one of many acquires, and the fence grows with the next owner', async () => {
    const won = (await Promise.all([ports, other, ports, other].map((one, index) => one.leases.acquire('partition.1', `host-${index}`, 3_000)))).filter((lease) => lease !== undefined);
    expect(won).toHaveLength(1);
    expect((await other.leases.holders()).get('partition.1')?.fence).toBe(won[0]?.fence);
    await won[0]?.release();
    const next = await other.leases.acquire('partition.1', 'host-9', 3_000);
    expect(next?.fence).toBeGreaterThan(won[0]?.fence ?? Infinity);
    await next?.release();
  });
  test('a lease is kept by renewal past its life, and taken over within it when the owner dies', async () => {
    const host = await nats.connect('lease-owner');
    const lease = await host.leases.acquire('partition.2', 'host-a', 1_500);
    await sleep(3_500);
    expect(lease?.lost.aborted).toBe(false);
    expect(await other.leases.acquire('partition.2', 'host-b', 1_500)).toBeUndefined();
    expect((await other.leases.holders()).get('partition.2')).toEqual({ owner: 'host-a', fence: lease?.fence });
    await host.link.nc.close();
    const diedAt = performance.now();
    let next = await other.leases.acquire('partition.2', 'host-b', 1_500);
    while (next === undefined && performance.now() - diedAt < 10_000) {
      await sleep(50);
      next = await other.leases.acquire('partition.2', 'host-b', 1_500);
    }
    expect(performance.now() - diedAt).toBeLessThan(3_000);
    expect(next?.fence).toBeGreaterThan(lease?.fence ?? Infinity);
    expect(lease?.lost.aborted).toBe(true);
    await next?.release();
  });
});

describe('keys and values', () => {
  test('create wins once, update compares, delete makes room', async () => {
    const kv = ports.keyValue;
    const made = await Promise.all([1, 2, 3, 4].map((one) => kv.create('aios_tokens', 'k1', bytes(String(one)))));
    expect(made.filter((one) => one !== undefined)).toHaveLength(1);
    const got = await kv.get('aios_tokens', 'k1');
    const revision = await kv.update('aios_tokens', 'k1', bytes('new'), got?.revision ?? 0);
    expect(await codeOf(kv.update('aios_tokens', 'k1', bytes('old'), revision - 1))).toBe('AIOS_STATE_CONFLICT');
    await kv.delete('aios_tokens', 'k1');
    expect(await kv.get('aios_tokens', 'k1')).toBeUndefined();
    expect(await kv.create('aios_tokens', 'k1', bytes('again'))).toBeGreaterThan(revision);
  });
  test('a key with a life goes away, others stay; keys lists what is there', async () => {
    const kv = ports.keyValue;
    await kv.create('aios_tokens', 'a.short', bytes('x'), 1_000);
    await kv.create('aios_tokens', 'a.long', bytes('x'));
    expect([...(await kv.keys('aios_tokens', 'a.>'))].sort()).toEqual(['a.long', 'a.short']);
    await expect.poll(() => kv.keys('aios_tokens', 'a.>'), { timeout: 5_000 }).toEqual(['a.long']);
  });
  test('a key that is no key is refused', async () => {
    expect(await codeOf(Promise.resolve().then(() => ports.keyValue.put('aios_tokens', 'a b', bytes(''))))).toBe('AIOS_INPUT_INVALID');
    expect(await codeOf(Promise.resolve().then(() => ports.keyValue.put('aios_tokens', 'a.*', bytes(''))))).toBe('AIOS_INPUT_INVALID');
  });
  test('a watch reports what is there, what changes and what goes', async () => {
    await ports.keyValue.put('aios_revoked', 'w.1', bytes('one'));
    const seen: string[] = [];
    await using _w = await other.keyValue.watch('aios_revoked', 'w.>', (key, value) => seen.push(`${key}=${value === undefined ? '-' : text(value)}`));
    expect(seen).toEqual(['w.1=one']);
    await ports.keyValue.put('aios_revoked', 'w.1', bytes('two'));
    await ports.keyValue.delete('aios_revoked', 'w.1');
    await expect.poll(() => seen).toEqual(['w.1=one', 'w.1=two', 'w.1=-']);
  });
});

describe('task directory and wait tokens', () => {
  const entry = (taskId: string, key: string) => ({ taskId, tenant: 'demo', capability: 'echo.say', principal: 'p', key, inputDigest: 'd', workflowId: `w/${taskId}`, acceptedAt: 1, summary: 's' });
  test('a key claimed by many is ours for one, and the others get the entry that moved on', async () => {
    const claims = await Promise.all(['t-a', 't-b', 't-c'].map((taskId, index) => (index % 2 === 0 ? ports : other).taskDirectory.claim(entry(taskId, 'weird key ✓ > *'))));
    expect(claims.filter((claim) => claim.ours)).toHaveLength(1);
    const winner = claims.find((claim) => claim.ours)?.entry.taskId ?? '';
    expect(new Set(claims.map((claim) => claim.entry.taskId))).toEqual(new Set([winner]));
    await ports.taskDirectory.moved('demo', winner, 'w/elsewhere');
    expect(await other.taskDirectory.claim(entry('t-d', 'weird key ✓ > *'))).toMatchObject({ ours: false, entry: { taskId: winner, workflowId: 'w/elsewhere' } });
    expect(await other.taskDirectory.find('demo', winner)).toMatchObject({ workflowId: 'w/elsewhere' });
    expect(await other.taskDirectory.find('demo', 't-d')).toBeUndefined();
    expect(await codeOf(ports.taskDirectory.moved('demo', 't-none', 'w'))).toBe('AIOS_TASK_UNKNOWN');
  });
  test('a task whose id follows from its key is claimed by its entry, whoever comes first, a direct start under another id among them', async () => {
    const derived = entry(taskIdOf('demo', 'echo.say', 'order-17'), 'order-17');
    const claims = await Promise.all([ports, other, ports].map((one, index) => one.taskDirectory.claim({ ...derived, workflowId: `w/${index}` })));
    expect(claims.filter((claim) => claim.ours)).toHaveLength(1);
    expect(new Set(claims.map((claim) => claim.entry.workflowId)).size).toBe(1);
    expect(await other.taskDirectory.claim(entry('t-direct', 'order-17'))).toMatchObject({ ours: false, entry: { taskId: derived.taskId } });
    expect(await other.taskDirectory.find('demo', 't-direct')).toBeUndefined();
    expect((await ports.taskDirectory.claim(entry('t-direct2', 'order-18'))).ours).toBe(true);
    expect(await other.taskDirectory.claim(entry(taskIdOf('demo', 'echo.say', 'order-18'), 'order-18'))).toMatchObject({ ours: false, entry: { taskId: 't-direct2' } });
    expect(await other.taskDirectory.claimed?.('demo', 'echo.say', 'order-18')).toMatchObject({ taskId: 't-direct2' });
    expect(await other.taskDirectory.claimed?.('demo', 'echo.say', 'order-19')).toBeUndefined();
    expect(await codeOf(ports.taskDirectory.claim({ ...derived, key: derived.taskId, capability: 'other.one' }))).toBe('AIOS_KEY_CONFLICT');
  });
  test('list gives the newest of one tenant', async () => {
    for (const index of [1, 2, 3, 4]) await ports.taskDirectory.claim({ ...entry(`t-l${index}`, `l${index}`), tenant: 'lister' });
    expect((await ports.taskDirectory.list('lister', 3)).map((one) => one.taskId)).toEqual(['t-l4', 't-l3', 't-l2']);
    expect(await ports.taskDirectory.list('nobody', 3)).toEqual([]);
  });
  test('a wait token is kept under any envelope id until deleted', async () => {
    const token = new Uint8Array([0, 255, 7]);
    await ports.waitTokens.put('demo', 't-1', 'any/id +=*>', token);
    expect([...((await other.waitTokens.get('demo', 't-1', 'any/id +=*>')) ?? [])]).toEqual([...token]);
    await ports.waitTokens.delete('demo', 't-1', 'any/id +=*>');
    expect(await other.waitTokens.get('demo', 't-1', 'any/id +=*>')).toBeUndefined();
  });
});

describe('dead letters and timers', () => {
  test('no letters yet is an empty list', async () => {
    expect(await ports.deadLetters.list({ limit: 10 })).toEqual([]);
  });
  test('a letter is listed, shown, replayed into its mailbox and gone', async () => {
    const id = Array.from({ length: 500 }, (_, index) => `d${index}`).find((one) => partitionOf('echo', one) === 13) ?? '';
    const letter = { tenant: 'demo', reason: 'poison' as const, code: 'AIOS_AGENT_FAULT', subject: mailbox(id), task: 't-1', attempts: 5, data: Buffer.from('again').toString('base64') };
    const letterId = await ports.deadLetters.add(letter);
    expect(await ports.deadLetters.add(letter)).toBe(letterId);
    expect(await other.deadLetters.list({ tenant: 'demo', limit: 10 })).toEqual([expect.objectContaining({ ...letter, id: letterId })]);
    expect(await other.deadLetters.list({ tenant: 'nobody', limit: 10 })).toEqual([]);
    const seen: string[] = [];
    await using _a = await other.mailboxes.consume(13, { inFlightMax: 2 }, async (delivery) => { seen.push(text(delivery.data)); await delivery.ack(); });
    await other.deadLetters.replay(letterId);
    await expect.poll(() => seen).toEqual(['again']);
    expect(await ports.deadLetters.get(letterId)).toBeUndefined();
    await ports.deadLetters.discard(letterId);
    expect(ports.counters.total('aios_dead_letters_total', { reason: 'poison' })).toBe(2);
  });
  test('a timer fires once into its mailbox, the same key replaces, a cancelled one does not', async () => {
    const id = Array.from({ length: 500 }, (_, index) => `t${index}`).find((one) => partitionOf('echo', one) === 15) ?? '';
    await using _k = await other.startKeepers();
    const seen: string[] = [];
    await using _a = await other.mailboxes.consume(15, { inFlightMax: 2 }, async (delivery) => { seen.push(text(delivery.data)); await delivery.ack(); });
    const at = Date.now() + 1_500;
    await ports.timers.schedule({ key: 'demo/echo/1 one', subject: mailbox(id), at: Date.now() + 60_000, data: bytes('late'), messageId: 'tm-0' });
    await ports.timers.schedule({ key: 'demo/echo/1 one', subject: mailbox(id), at, data: bytes('fired'), messageId: 'tm-1' });
    await ports.timers.schedule({ key: 'demo/echo/1 two', subject: mailbox(id), at, data: bytes('cancelled'), messageId: 'tm-2' });
    await ports.timers.cancel('demo/echo/1 two');
    await ports.timers.cancel('never was');
    await expect.poll(() => seen, { timeout: 8_000 }).toEqual(['fired']);
    await sleep(1_500);
    expect(seen).toEqual(['fired']);
  });
});

describe('a server that dies', () => {
  test('requests in flight fail, publishes meanwhile are refused, and everything goes on after the restart', async () => {
    const seen: string[] = [];
    const id = Array.from({ length: 500 }, (_, index) => `r${index}`).find((one) => partitionOf('echo', one) === 21) ?? '';
    await using _a = await other.mailboxes.consume(21, { inFlightMax: 4 }, async (delivery) => { seen.push(text(delivery.data)); await delivery.ack(); });
    await using _b = await other.bus.subscribe('ai.v1.demo.cap.hang', {}, () => {});
    await using _w = await other.keyValue.watch('aios_revoked', 'r.>', (key, value) => seen.push(`${key}=${text(value ?? bytes('-'))}`));
    const hanging = codeOf(ports.bus.request('ai.v1.demo.cap.hang', bytes(''), { timeoutMs: 60_000 }));
    const waiting = ports.outcomes.wait('demo', 't-r', 'envelope-id-restart', 30_000);
    nats.server.kill('SIGKILL');
    expect(await hanging).toBe('AIOS_DISCONNECTED');
    await expect.poll(() => ports.bus.connected).toBe(false);
    expect(await codeOf(Promise.resolve().then(() => ports.bus.publish('ai.v1.demo.evt.x', bytes(''))))).toBe('AIOS_DISCONNECTED');
    expect(await codeOf(ports.stateLog.append(state('s9'), 0, bytes('a')))).toBe('AIOS_DISCONNECTED');
    expect(ports.counters.total('aios_nats_publish_refused_total')).toBe(1);
    await nats.restart();
    await expect.poll(() => ports.bus.connected && other.bus.connected, { timeout: 10_000 }).toBe(true);
    await ports.mailboxes.publish(mailbox(id), bytes('after'), { messageId: 'after-1' });
    await ports.keyValue.put('aios_revoked', 'r.1', bytes('back'));
    await expect.poll(() => [...seen].sort(), { timeout: 10_000 }).toEqual(['after', 'r.1=back']);
    await other.outcomes.publish(done('t-r', 'envelope-id-restart'));
    expect(await waiting).toMatchObject({ status: 'done' });
  });
});
