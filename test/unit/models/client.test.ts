// The caller's side of the model wire, over a scripted bus.
// Owns: proof of the choice by beacons, of the single re-route, of loss detection and of the receipt's arithmetic.
// Never starts a worker: answers are written by hand, so that malformed ones can be too.
// Others may assume: test/servers runs the same client against real workers.

import { afterEach, describe, expect, it } from 'vitest';
import { connectWorkerProvider, type WorkerProvider } from '../../../agents/model-worker/client.ts';
import type { Price } from '../../../contracts/bundle.ts';
import { type ErrorCode, ERRORS, fail } from '../../../contracts/errors.ts';
import { type Beacon, decodeVectors, encodeVectors, type ModelReply, type ModelRequest } from '../../../contracts/model.ts';
import { toBytes } from '../../../contracts/parse.ts';
import type { Bus, BusMessage } from '../../../contracts/ports.ts';
import { modelReceiptSchema } from '../../../contracts/receipt.ts';
import { systemClock } from '../../../infra/telemetry/index.ts';
import { createSeededRandom } from '../../kit/random.ts';
import { silentMetrics } from '../../kit/silent.ts';

const DIGEST = `sha256:${'c'.repeat(64)}`;
const PRICE: Price = { inputPerMillion: 1_000_000, cacheReadPerMillion: 0, cacheWritePerMillion: 0, outputPerMillion: 0, reasoningPerMillion: 0, devicePerSecond: 500_000 };
const beacon = (worker: string, over: Partial<Beacon> = {}): Beacon => ({
  v: 1, worker, incarnation: `${worker}-1`, at: 1, state: 'warm', queueMs: 0, creditMs: 1_000, zone: 'z', slots: { warm: 1, all: 1, restarts: 0 },
  models: [{ model: 'm', digest: DIGEST, dimensions: 2, curve: { fixedMs: 1, perTokenMs: 0.1, p95Ratio: 1, samples: 9 } }], heads: [{ head: 'h', digest: DIGEST, encoder: 'm' }], ...over,
});
const used = (worker: string, tokens = 10) => ({ worker, model: 'm', modelDigest: DIGEST, tokens, deviceUs: 2_000, batch: 3, queueMs: 1.5, retried: 0 });
const failed = (code: ErrorCode): ModelReply => ({ v: 1, status: 'failed', error: { code, message: ERRORS[code].message } });
const embedded = (worker: string, request: ModelRequest): ModelReply => ({ v: 1, status: 'embedded', dimensions: 2, vectors: encodeVectors(request.texts.map((text) => Float32Array.of(text.length, 1))), used: used(worker) });

type Answer = (worker: string, request: ModelRequest, signal: AbortSignal | undefined) => ModelReply | Uint8Array | Promise<ModelReply | Uint8Array>;

/** A bus on which workers are functions; `say` lets one of them send its beacon. */
function scriptedBus(answer: Answer): { readonly bus: Bus; readonly asked: string[]; say(...beacons: readonly unknown[]): void } {
  let heard: (message: BusMessage) => void | Promise<void> = () => undefined;
  const asked: string[] = [];
  const bus: Bus = {
    connected: true,
    async request(subject, data, options) {
      const worker = subject.split('.')[5] ?? 'anyone';
      asked.push(worker);
      const aborted = new Promise<never>((_, reject) => options.signal?.addEventListener('abort', () => reject(fail('AIOS_TASK_CANCELLED'))));
      const late = systemClock.sleep(options.timeoutMs).then(() => { throw fail('AIOS_DEADLINE_EXCEEDED'); });
      late.catch(() => undefined);
      const reply = await Promise.race([Promise.resolve(answer(worker, JSON.parse(new TextDecoder().decode(data)) as ModelRequest, options.signal)), aborted, late]);
      return { subject, headers: {}, data: reply instanceof Uint8Array ? reply : toBytes(reply) };
    },
    publish: () => undefined,
    async subscribe(_subject, _options, handle) {
      heard = handle;
      return { [Symbol.asyncDispose]: () => Promise.resolve() };
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  return { bus, asked, say: (...beacons) => { for (const each of beacons) void heard({ subject: 's', headers: {}, data: toBytes(each) }); } };
}

const open: WorkerProvider[] = [];
afterEach(async () => { for (const each of open.splice(0)) await each[Symbol.asyncDispose](); });
async function connect(bus: Bus): Promise<WorkerProvider> {
  const provider = await connectWorkerProvider({ bus, clock: systemClock, random: createSeededRandom(1), metrics: silentMetrics, prices: (model) => (model === 'free' ? undefined : PRICE), models: ['m'], limits: { patienceMs: 100, downMs: 300, blindMs: 200 } });
  open.push(provider);
  return provider;
}
const ask = (texts: readonly string[], ms = 2_000) => ({ texts, tenant: 't', deadline: Date.now() + ms });

describe('model client', () => {
  it('client - asks the worker that would finish first, and the queue group when it has heard of nobody', async () => {
    const { bus, asked, say } = scriptedBus(embedded);
    const provider = await connect(bus);
    await provider.embed(ask(['x']));
    say(beacon('busy', { queueMs: 5_000 }), beacon('free'));
    await provider.embed(ask(['x']));
    say(beacon('free', { slots: { warm: 0, all: 1, restarts: 0 } }), beacon('busy', { queueMs: 10 }));
    await provider.embed(ask(['x']));
    expect(asked).toEqual(['anyone', 'free', 'busy']);
  });

  it.each(['AIOS_OVERLOADED', 'AIOS_DEADLINE_INFEASIBLE', 'AIOS_MODEL_FAULT', 'AIOS_MODEL_UNAVAILABLE', 'AIOS_UNAVAILABLE'] as const)('client - %s of one worker is asked once elsewhere', async (code) => {
    const { bus, asked, say } = scriptedBus((worker, request) => (worker === 'first' ? failed(code) : embedded(worker, request)));
    const provider = await connect(bus);
    say(beacon('first'), beacon('second', { queueMs: 50 }));
    await expect(provider.embed(ask(['x']))).resolves.toBeDefined();
    expect(asked).toEqual(['first', 'second']);
  });

  it('client - re-routes once only, and what is the caller’s fault not at all', async () => {
    const { bus, asked, say } = scriptedBus((_, request) => failed(request.texts[0] === 'mine' ? 'AIOS_INPUT_INVALID' : 'AIOS_OVERLOADED'));
    const provider = await connect(bus);
    say(beacon('a'), beacon('b'), beacon('c'));
    await expect(provider.embed(ask(['x']))).rejects.toMatchObject({ code: 'AIOS_OVERLOADED' });
    expect(asked).toHaveLength(2);
    await expect(provider.embed(ask(['mine']))).rejects.toMatchObject({ code: 'AIOS_INPUT_INVALID' });
    expect(asked).toHaveLength(3);
  });

  it('client - a worker that was started again has lost the call: it is asked once more at once', async () => {
    let calls = 0;
    const { bus, say } = scriptedBus((worker, request) => (++calls === 1 ? new Promise<ModelReply>(() => undefined) : embedded(worker, request)));
    const provider = await connect(bus);
    say(beacon('w'));
    const since = performance.now();
    const answer = provider.embed(ask(['x'], 10_000));
    setTimeout(() => say(beacon('w', { incarnation: 'w-2' })), 50);
    await expect(answer).resolves.toBeDefined();
    expect(performance.now() - since).toBeLessThan(1_000);
  });

  it('client - a draining worker keeps what it has and gets nothing new', async () => {
    const { bus, asked, say } = scriptedBus(async (worker, request) => {
      await systemClock.sleep(100);
      return embedded(worker, request);
    });
    const provider = await connect(bus);
    say(beacon('w'));
    const answer = provider.embed(ask(['x']));
    say(beacon('w', { state: 'draining' }), beacon('next'));
    await expect(answer).resolves.toBeDefined();
    await provider.embed(ask(['x']));
    expect(asked).toEqual(['w', 'next']);
  });

  it('client - nobody there is AIOS_MODEL_UNAVAILABLE after the patience, at once when that lasts, and over when a worker comes', async () => {
    let there = false;
    const { bus, say } = scriptedBus((worker, request) => {
      if (!there) throw fail('AIOS_UNAVAILABLE');
      return embedded(worker, request);
    });
    const provider = await connect(bus);
    const timed = async (): Promise<number> => {
      const since = performance.now();
      await expect(provider.embed(ask(['x']))).rejects.toMatchObject({ code: 'AIOS_MODEL_UNAVAILABLE' });
      return performance.now() - since;
    };
    expect(await timed()).toBeGreaterThan(90);
    await systemClock.sleep(300);
    expect(await timed()).toBeLessThan(50);
    there = true;
    say(beacon('w'));
    await expect(provider.embed(ask(['x']))).resolves.toBeDefined();
  });

  it('client - a worker that comes within the patience is asked', async () => {
    let there = false;
    const { bus, say } = scriptedBus((worker, request) => {
      if (!there) throw fail('AIOS_UNAVAILABLE');
      return embedded(worker, request);
    });
    const provider = await connect(bus);
    setTimeout(() => {
      there = true;
      say(beacon('w'));
    }, 40);
    await expect(provider.embed(ask(['x']))).resolves.toBeDefined();
  });

  it.each([
    ['garbage', toBytes('?')],
    ['vectors cut off', toBytes({ v: 1, status: 'embedded', dimensions: 2, vectors: 'AAAA', used: used('w') })],
    ['a number that is not finite', toBytes({ v: 1, status: 'embedded', dimensions: 2, vectors: encodeVectors([Float32Array.of(1, NaN)]), used: used('w') })],
    ['too few vectors', toBytes({ v: 1, status: 'embedded', dimensions: 2, vectors: '', used: used('w') })],
  ])('client - %s is AIOS_MODEL_FAULT, never a vector', async (_, bytes) => {
    const provider = await connect(scriptedBus(() => bytes).bus);
    await expect(provider.embed(ask(['x']))).rejects.toMatchObject({ code: 'AIOS_MODEL_FAULT' });
  });

  it('client - a malformed beacon is ignored', async () => {
    const { bus, say } = scriptedBus(embedded);
    const provider = await connect(bus);
    say({ v: 1 }, { ...beacon('w'), secret: 1 }, 'x');
    expect(provider.workers()).toEqual([]);
  });

  it('client - adds up the messages of one call in one receipt, priced from tokens and device time', async () => {
    const { bus, asked, say } = scriptedBus(embedded);
    const provider = await connect(bus);
    say(beacon('w'));
    const { vectors, receipt } = await provider.embed(ask(Array.from({ length: 130 }, (_, i) => 'x'.repeat(i))));
    expect(asked).toHaveLength(3);
    expect(vectors.map((vector) => vector[0])).toEqual(Array.from({ length: 130 }, (_, i) => i));
    expect(modelReceiptSchema.parse(receipt)).toMatchObject({ usage: { inputTokens: 30, deviceUs: 6_000 }, costMicroUsd: 30 + 3_000, batch: 3, queueMs: 4.5 });
    await expect(provider.embed({ ...ask(['x']), model: 'free' })).rejects.toMatchObject({ code: 'AIOS_PRICE_UNKNOWN' });
  });

  it('client - sorts the scores of a classification, the likeliest first', async () => {
    const { bus } = scriptedBus(() => ({ v: 1, status: 'classified', labels: ['a', 'b', 'c'], scores: [[0.2, 0.7, 0.1]], used: { ...used('w'), model: 'h' } }));
    const provider = await connect(bus);
    const { results, receipt } = await provider.classify({ ...ask(['x']), head: 'h' });
    expect(results).toEqual([{ label: 'b', confidence: 0.7, scores: [{ label: 'b', score: 0.7 }, { label: 'a', score: 0.2 }, { label: 'c', score: 0.1 }] }]);
    expect(receipt).toMatchObject({ capability: 'text.classify', model: 'h' });
  });
});

describe('vectors on the wire', () => {
  it('vectors - come back bit by bit, and equal what Buffer makes of them', () => {
    for (const width of [1, 2, 3, 5]) {
      const rows = Array.from({ length: 4 }, (_, row) => Float32Array.from({ length: width }, (__, d) => Math.fround(Math.sin(row * 7 + d) * 10 ** (d - 2))));
      const text = encodeVectors(rows);
      expect(text).toBe(Buffer.concat(rows.map((row) => Buffer.from(row.buffer))).toString('base64'));
      expect(decodeVectors(text, width)).toEqual(rows);
    }
  });
});
