// The child process of one device slot: holds the sessions and runs batches, one at a time.
// Owns: onnxruntime. Its `run` blocks the event loop until it is done, which is why it lives here and not in the worker.
// Never decides anything and never talks to anybody but its parent; ends when the parent does.
// Others may assume: what it loads has the digest it was told, and that killing it is safe at any moment.

import { readFile } from 'node:fs/promises';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { FromSlot, ToSlot } from './protocol.ts';
import { sha256Of } from './digest.ts';
import type { GraphSpec } from './store.ts';

interface Loaded { readonly session: InferenceSession; readonly spec: GraphSpec }
const loaded = new Map<string, Loaded>();

/** Rows x width, from one short text to a full small batch: enough to place both coefficients of a cost curve. */
const WARM_UP: readonly (readonly [number, number])[] = [[1, 16], [1, 16], [8, 16], [1, 128], [1, 16], [4, 32], [2, 64], [1, 32]];

const send = (message: FromSlot): void => void process.send?.(message);

/** The terminal's Ctrl-C and the supervisor's SIGTERM reach the whole group; only the parent decides when a slot ends. */
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
process.on('disconnect', () => process.exit(0));
process.on('message', (message: ToSlot) => void (message.kind === 'open' ? open(message) : run(message)));

async function open({ graphs, threads }: Extract<ToSlot, { kind: 'open' }>): Promise<void> {
  try {
    for (const spec of graphs) loaded.set(spec.model, { spec, session: await load(spec, threads) });
    const warmUp = [];
    for (const { session, spec } of loaded.values()) warmUp.push(...(await warm(session, spec)));
    send({ kind: 'ready', warmUp });
  } catch (error) {
    send({ kind: 'refused', message: wordsOf(error) });
  }
}

async function load(spec: GraphSpec, threads: number): Promise<InferenceSession> {
  const bytes = await readFile(spec.path);
  if (sha256Of(bytes) !== spec.sha256) throw new Error(`the graph of ${spec.model} was changed`);
  return InferenceSession.create(bytes, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    /** With the arena on, memory grows with every new shape and is never returned. */
    enableCpuMemArena: false,
    logSeverityLevel: 3,
    /** Spinning between operators gains 3 % on an idle machine and doubles the time on a busy one: our cores are shared. */
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
}

async function warm(session: InferenceSession, spec: GraphSpec): Promise<{ model: string; tokens: number; ms: number }[]> {
  const times = [];
  await infer(session, spec, ...dummy(1, 16));
  for (const [rows, width] of WARM_UP) {
    const since = performance.now();
    await infer(session, spec, ...dummy(rows, width));
    times.push({ model: spec.model, tokens: rows * width, ms: performance.now() - since });
  }
  return times;
}

const dummy = (rows: number, width: number): [number, number, Int32Array, Int32Array] => [rows, width, new Int32Array(rows * width).fill(1_000), new Int32Array(rows).fill(width)];

async function run({ id, model, rows, width, ids, lengths }: Extract<ToSlot, { kind: 'run' }>): Promise<void> {
  try {
    const { session, spec } = loaded.get(model) ?? missing(model);
    const since = process.hrtime.bigint();
    const vectors = await infer(session, spec, rows, width, ids, lengths);
    const deviceUs = Number((process.hrtime.bigint() - since) / 1_000n);
    send({ kind: 'done', id, vectors, deviceUs, rssBytes: process.memoryUsage.rss() });
  } catch (error) {
    send({ kind: 'fault', id, message: wordsOf(error) });
  }
}

async function infer(session: InferenceSession, spec: GraphSpec, rows: number, width: number, ids: Int32Array, lengths: Int32Array): Promise<Float32Array> {
  const inputs = BigInt64Array.from(ids, BigInt);
  const mask = new BigInt64Array(rows * width);
  for (let row = 0; row < rows; row++) mask.fill(1n, row * width, row * width + (lengths[row] as number));
  const shape = [rows, width];
  const feeds = { input_ids: new Tensor('int64', inputs, shape), attention_mask: new Tensor('int64', mask, shape), token_type_ids: new Tensor('int64', new BigInt64Array(rows * width), shape) };
  const { [spec.output]: output } = await session.run(feeds, [spec.output]);
  if (output === undefined || !(output.data instanceof Float32Array)) throw new Error(`${spec.model} has no float32 output ${spec.output}`);
  return output.data;
}

function missing(model: string): never {
  throw new Error(`no session of ${model}`);
}

/** Words of the engine for the operator's log; they name shapes and operators, never content. */
const wordsOf = (error: unknown): string => (error instanceof Error ? error.message.slice(0, 500) : 'unknown');
