// The model worker as a real process behind a real message server, asked through the provider the gateway uses.
// Owns: proof that vectors are right, that a killed slot or worker costs a retry and never a hang, that refusals are typed and at once.
// Never mocks the model. Logs of the victim prove where a kill fell.

import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Tokenizer } from '@huggingface/tokenizers';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectWorkerProvider, type WorkerProvider } from '../../agents/model-worker/client.ts';
import { subjects } from '../../contracts/address.ts';
import type { Price } from '../../contracts/bundle.ts';
import { MODEL_TEXTS_MAX } from '../../contracts/model.ts';
import { type Child, startChild } from '../../infra/dev/child.ts';
import type { NatsPorts } from '../../infra/nats/index.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { createCounters } from './counters.ts';
import { startTestNats, type TestServer } from './nats-server.ts';

const MODEL = 'minilm-l6-int8';
const PRICE: Price = { inputPerMillion: 20_000, cacheReadPerMillion: 0, cacheWritePerMillion: 0, outputPerMillion: 0, reasoningPerMillion: 0, devicePerSecond: 100 };
const root = fileURLToPath(new URL('../..', import.meta.url));

interface Line { readonly msg: string; readonly batch?: number; readonly slotPid?: number; readonly texts?: number }
interface Worker { readonly child: Child; readonly lines: Line[]; seen(msg: string, after?: number): Promise<Line> }

let nats: TestServer;
let ports: NatsPorts;
let provider: WorkerProvider;
let dir: string;
const children: Child[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'aios-model-test-'));
  nats = await startTestNats();
  ports = await nats.connect('asker');
  provider = await connectWorkerProvider({ bus: ports.bus, clock: systemClock, random: systemRandom, metrics: createCounters(), prices: (model) => (model === 'unpriced' ? undefined : PRICE), models: [MODEL] });
});
afterAll(async () => {
  await provider[Symbol.asyncDispose]();
  await Promise.all(children.map((child) => child.stop(1_000)));
  await nats[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

async function startWorkerProcess(name: string): Promise<Worker> {
  const lines: Line[] = [];
  const waiting = new Set<() => void>();
  const child = await startChild({
    command: process.execPath, parameters: [join(root, 'infra/processes/model-worker.ts')], logFile: join(dir, `${name}.log`), cwd: root,
    env: { AIOS_NAME: name, AIOS_NATS_URL: nats.server.url, AIOS_HOME: dir },
    onLine: (line) => {
      lines.push(JSON.parse(line) as Line);
      for (const wake of waiting) wake();
    },
  });
  children.push(child);
  const seen = (msg: string, after = 0): Promise<Line> => new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no line "${msg}" from ${name}`)), 20_000);
    const look = (): void => {
      const found = lines.slice(after).find((line) => line.msg === msg);
      if (found === undefined) return;
      waiting.delete(look);
      clearTimeout(late);
      resolve(found);
    };
    waiting.add(look);
    look();
  });
  await seen('ready');
  return { child, lines, seen };
}

const ask = (texts: readonly string[], ms = 15_000) => ({ texts, deadline: Date.now() + ms, tenant: 'acme' });
const LONG = Array.from({ length: 48 }, (_, i) => `Ticket ${i}: ${'I was charged twice for my subscription and would like the second payment back please. '.repeat(6)}`);
const cosine = (a: Float32Array, b: Float32Array): number => a.reduce((sum, value, d) => sum + value * (b[d] as number), 0);
const heardOf = async (name: string): Promise<void> => {
  for (let i = 0; i < 100 && !provider.workers().some((beacon) => beacon.worker === name); i++) await systemClock.sleep(50);
};

describe('model worker', () => {
  it('model worker - nobody there is AIOS_MODEL_UNAVAILABLE within the patience, never a hang', async () => {
    const since = performance.now();
    await expect(provider.embed(ask(['hello'], 4_000))).rejects.toMatchObject({ code: 'AIOS_MODEL_UNAVAILABLE' });
    expect(performance.now() - since).toBeLessThan(3_500);
  });

  it('model worker - gives the vectors of the encoder, with a receipt that names it and its price', async () => {
    await startWorkerProcess('worker-1');
    await heardOf('worker-1');
    const texts = ['How do I cancel my subscription?', 'Ich möchte mein Geld zurück', 'a'];
    const { vectors, receipt } = await provider.embed(ask(texts));
    const expected = await referenceVectors(texts);
    vectors.forEach((vector, i) => expect(cosine(vector, expected[i] as Float32Array)).toBeGreaterThan(0.98));
    expect(receipt).toMatchObject({ kind: 'model', model: MODEL, provider: 'workers', capability: 'text.embed', usage: { inputTokens: referenceTokens(texts), outputTokens: 0 } });
    expect(receipt.modelDigest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(receipt.usage.deviceUs).toBeGreaterThan(500);
    expect(receipt.costMicroUsd).toBeGreaterThanOrEqual(1);
  });

  it('model worker - splits a request of more texts than fit one message and keeps their order', async () => {
    const texts = Array.from({ length: MODEL_TEXTS_MAX + 6 }, (_, i) => (i === MODEL_TEXTS_MAX + 3 ? 'the needle in the stack' : `filler number ${i}`));
    const { vectors } = await provider.embed(ask(texts));
    const [needle] = (await provider.embed(ask(['the needle in the stack']))).vectors;
    expect(vectors).toHaveLength(texts.length);
    expect(cosine(vectors[MODEL_TEXTS_MAX + 3] as Float32Array, needle as Float32Array)).toBeGreaterThan(0.97);
  });

  it('model worker - refuses at once what cannot be done before its deadline', async () => {
    const since = performance.now();
    await expect(provider.embed(ask(LONG, 100))).rejects.toMatchObject({ code: 'AIOS_DEADLINE_INFEASIBLE' });
    expect(performance.now() - since).toBeLessThan(90);
  });

  it('model worker - refuses a model nobody offers and a model without a price', async () => {
    await expect(provider.embed({ ...ask(['x']), model: 'no-such-model' })).rejects.toMatchObject({ code: 'AIOS_MODEL_UNKNOWN' });
    await expect(provider.embed({ ...ask(['x']), model: 'unpriced' })).rejects.toMatchObject({ code: 'AIOS_PRICE_UNKNOWN' });
  });

  const good = { v: 1, op: 'embed', tenant: 'acme', sla: 'interactive', deadline: 9_000_000_000_000, model: MODEL, texts: ['x'] };
  it.each([
    ['not JSON', '{"v":1,', 'AIOS_INPUT_NOT_JSON'],
    ['not UTF-8', Uint8Array.of(0x22, 0xff, 0x22), 'AIOS_INPUT_NOT_UTF8'],
    ['too deep', `${'['.repeat(40)}${']'.repeat(40)}`, 'AIOS_INPUT_TOO_DEEP'],
    ['no texts', JSON.stringify({ ...good, texts: [] }), 'AIOS_INPUT_INVALID'],
    ['65 texts', JSON.stringify({ ...good, texts: Array.from({ length: 65 }, () => 'x') }), 'AIOS_INPUT_INVALID'],
    ['an unknown operation', JSON.stringify({ ...good, op: 'train' }), 'AIOS_INPUT_INVALID'],
    ['an unknown key', JSON.stringify({ ...good, path: '/etc/passwd' }), 'AIOS_INPUT_INVALID'],
    ['another model on this door', JSON.stringify({ ...good, model: 'other' }), 'AIOS_MODEL_UNKNOWN'],
    ['a deadline that passed', JSON.stringify({ ...good, deadline: 1 }), 'AIOS_DEADLINE_EXCEEDED'],
  ])('model worker - answers %s with its typed error and goes on', async (_, body, code) => {
    const data = typeof body === 'string' ? new TextEncoder().encode(body) : body;
    const reply = await ports.bus.request(subjects.model(MODEL), data, { timeoutMs: 3_000 });
    expect(JSON.parse(new TextDecoder().decode(reply.data))).toMatchObject({ v: 1, status: 'failed', error: { code } });
    await expect(provider.embed(ask(['still there']))).resolves.toBeDefined();
  });

  it('model worker - a slot killed in mid-batch costs a retry: the caller sees an answer, the log the break', async () => {
    const worker = await startWorkerProcess('worker-slot-kill');
    await heardOf('worker-slot-kill');
    const only = await onlyWorker('worker-slot-kill');
    const before = worker.lines.length;
    const answer = only.embed(ask(LONG));
    const started = await worker.seen('batch started', before);
    process.kill(started.slotPid as number, 'SIGKILL');
    expect((await answer).vectors).toHaveLength(LONG.length);
    const mine = worker.lines.filter((line) => line.batch === started.batch).map((line) => line.msg);
    expect(mine).toEqual(['batch started', 'batch broken']);
    expect(worker.lines.some((line) => line.msg === 'slot gone')).toBe(true);
    expect((await only.embed(ask(['and on']))).vectors).toHaveLength(1);
    await only[Symbol.asyncDispose]();
    await worker.child.stop();
  });

  it('model worker - a worker killed in mid-batch is replaced by another one within the call', async () => {
    const victim = await startWorkerProcess('worker-victim');
    await heardOf('worker-victim');
    await heardOf('worker-1');
    const only = await onlyWorker('worker-victim', 'worker-1');
    const before = victim.lines.length;
    const answer = only.embed(ask(LONG, 20_000));
    const started = await victim.seen('batch started', before);
    victim.child.kill('SIGKILL');
    expect((await answer).vectors).toHaveLength(LONG.length);
    expect(victim.lines.some((line) => line.msg === 'batch finished' && (line.batch ?? 0) > (started.batch ?? 0))).toBe(false);
    await only[Symbol.asyncDispose]();
  });

  it('model worker - with every worker killed in mid-batch the call ends typed, long before its deadline', async () => {
    const victim = await startWorkerProcess('worker-last');
    await heardOf('worker-last');
    const only = await onlyWorker('worker-last');
    for (const child of children) if (child !== victim.child) child.kill('SIGKILL');
    const before = victim.lines.length;
    const answer = only.embed(ask(LONG, 60_000)).catch((error: unknown) => error);
    await victim.seen('batch started', before);
    victim.child.kill('SIGKILL');
    const since = performance.now();
    expect(await answer).toMatchObject({ code: 'AIOS_MODEL_UNAVAILABLE' });
    expect(performance.now() - since).toBeLessThan(10_000);
    await only[Symbol.asyncDispose]();
  });

  it('model worker - SIGTERM in mid-batch answers what was accepted and exits 0', async () => {
    const worker = await startWorkerProcess('worker-drain');
    await heardOf('worker-drain');
    const only = await onlyWorker('worker-drain');
    const before = worker.lines.length;
    const few = LONG.slice(0, 8);
    const answer = only.embed(ask(few));
    await worker.seen('batch started', before);
    worker.child.kill('SIGTERM');
    expect((await answer).vectors).toHaveLength(few.length);
    expect(await worker.child.exited).toEqual({ code: 0, signal: null });
    await only[Symbol.asyncDispose]();
  });
});

/** A provider that hears only the beacons of some workers, the first of them first, so that a test knows who is asked. */
async function onlyWorker(first: string, ...others: string[]): Promise<WorkerProvider> {
  const names = [first, ...others];
  const bus: NatsPorts['bus'] = Object.assign(Object.create(ports.bus) as NatsPorts['bus'], {
    subscribe: (subject: string, options: object, handle: Parameters<NatsPorts['bus']['subscribe']>[2]) =>
      ports.bus.subscribe(subject, options, (message) => (names.some((name) => message.subject === subjects.beacon(name)) ? handle(preferred(message, first)) : undefined)),
  });
  const only = await connectWorkerProvider({ bus, clock: systemClock, random: systemRandom, metrics: createCounters(), prices: () => PRICE, models: [MODEL] });
  for (let i = 0; i < 100 && only.workers().length < names.length; i++) await systemClock.sleep(50);
  return only;
}

type Message = Parameters<Parameters<NatsPorts['bus']['subscribe']>[2]>[0];
/** Everybody but the first says it has a long queue, so the first is chosen. */
function preferred(message: Message, first: string): Message {
  if (message.subject === subjects.beacon(first)) return message;
  const beacon = JSON.parse(new TextDecoder().decode(message.data)) as object;
  return { ...message, subject: message.subject, headers: {}, data: new TextEncoder().encode(JSON.stringify({ ...beacon, queueMs: 60_000 })) };
}

const folder = join(root, 'infra/models/all-MiniLM-L6-v2-int8');
const tokenizer = new Tokenizer({ ...(JSON.parse(readFileSync(join(folder, 'tokenizer.json'), 'utf8')) as object), truncation: null, padding: null }, {});
const referenceTokens = (texts: readonly string[]): number => texts.reduce((sum, text) => sum + tokenizer.encode(text).ids.length, 0);

/** The same graph in this process, fed by the reference tokenizer, one text at a time. */
async function referenceVectors(texts: readonly string[]): Promise<Float32Array[]> {
  const session = await InferenceSession.create(join(folder, 'model.onnx'), { intraOpNumThreads: 1 });
  const vectors: Float32Array[] = [];
  for (const text of texts) {
    const ids = BigInt64Array.from(tokenizer.encode(text).ids, BigInt);
    const shape = [1, ids.length];
    const feeds = { input_ids: new Tensor('int64', ids, shape), attention_mask: new Tensor('int64', ids.map(() => 1n), shape), token_type_ids: new Tensor('int64', ids.map(() => 0n), shape) };
    vectors.push((await session.run(feeds))['sentence_embedding']?.data as Float32Array);
  }
  await session.release();
  return vectors;
}
