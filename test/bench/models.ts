// How fast the model worker is, beside the reference tokenizer and beside one text at a time, in one run.
// Owns: tokens a second, what batching gains, the worker's event-loop lag while a slot computes, cancel-to-free, what the queue adds, tokenizer throughput.
// Never judges: figures depend on the machine, ratios much less. Others may assume: the shipped encoder runs, in a real child process.

import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Tokenizer } from '@huggingface/tokenizers';
import { startWorker, type ModelWorker } from '../../agents/model-worker/worker.ts';
import type { Slot, SlotPort } from '../../agents/model-worker/slots.ts';
import { createOnnxSlots } from '../../infra/onnx/slot.ts';
import { openModelStore, type ModelStore } from '../../infra/onnx/store.ts';
import { systemClock } from '../../infra/telemetry/index.ts';
import { silentLogger, silentMetrics } from '../kit/silent.ts';

export interface ModelsBench {
  readonly cores: number;
  /** One text of 16 tokens, asked of the worker in process: tokenise, queue, slot, answer. */
  readonly singleMs: number;
  readonly singleP95Ms: number;
  /** Of it, not spent on the device. */
  readonly overheadMs: number;
  readonly tokensPerSecond: number;
  /** Device time of 16 texts of 16 tokens one by one over that of one batch of them. */
  readonly batchGain: number;
  /** What the worker's own curve says of the same: read off without trying. */
  readonly batchGainLearned: number;
  readonly curve: { readonly fixedMs: number; readonly perTokenMs: number };
  /** 99th percentile of the supervisor's event-loop delay while the slot was busy all the time. */
  readonly loopLagP99Ms: number;
  /** SIGKILL of a slot in the middle of a long batch until its process is gone, and until its successor is warm. */
  readonly cancelToFreeMs: number;
  readonly cancelToWarmMs: number;
  /** p95 of a light tenant's texts alone, and beside a tenant that floods the same worker. */
  readonly lightAloneP95Ms: number;
  readonly lightBesideFloodP95Ms: number;
  readonly staticTextsPerSecond: number;
  readonly tokenizerLinesPerSecond: number;
  readonly tokenizerRatio: number;
}

const MODEL = 'minilm-l6-int8';
const TEXT = 'How do I cancel my subscription before the next billing date please?';
const LONG = `${TEXT} `.repeat(18);

export async function run({ json }: { readonly json: boolean }): Promise<ModelsBench> {
  const store = await openModelStore();
  const tokenizer = tokenizerRates(store);
  const seen: Slot[] = [];
  const port = remembered(createOnnxSlots({ graphs: store.graphs, slots: 1 }), seen);
  await using worker = startWorker({ name: 'bench', incarnation: 'bench', zone: 'local', models: store.entries, heads: store.heads, port, slots: 1, clock: systemClock, log: silentLogger, metrics: silentMetrics });
  await worker.ready;
  const single = await singles(worker, 200);
  const throughput = await floodTokens(worker);
  const slot = seen.at(-1) as Slot;
  const gain = await batchGain(slot);
  const curve = worker.beacon().models.find((entry) => entry.model === MODEL)?.curve ?? { fixedMs: 0, perTokenMs: 0 };
  const light = await lightBesideFlood(worker);
  const cancel = await cancelToFree(slot, port);
  const result: ModelsBench = {
    cores: availableParallelism(), ...single, ...throughput, batchGain: round(gain),
    batchGainLearned: round((16 * (curve.fixedMs + 16 * curve.perTokenMs)) / (curve.fixedMs + 256 * curve.perTokenMs)),
    curve: { fixedMs: round(curve.fixedMs), perTokenMs: round(curve.perTokenMs) },
    ...cancel, ...light, staticTextsPerSecond: await staticRate(worker), ...tokenizer,
  };
  process.stdout.write(json ? `${JSON.stringify(result)}\n` : `${Object.entries(result).map(([name, value]) => `${name.padEnd(26)} ${typeof value === 'object' ? JSON.stringify(value) : value}`).join('\n')}\n`);
  return result;
}

const ask = (texts: readonly string[], tenant = 'bench') => ({ texts, tenant, sla: 'interactive' as const, deadline: Date.now() + 60_000 });

async function singles(worker: ModelWorker, count: number): Promise<Pick<ModelsBench, 'singleMs' | 'singleP95Ms' | 'overheadMs'>> {
  const times: number[] = [];
  const over: number[] = [];
  for (let i = 0; i < count; i++) {
    const since = performance.now();
    const { used } = await worker.embed(MODEL, ask([TEXT]));
    times.push(performance.now() - since);
    over.push(performance.now() - since - used.deviceUs / 1_000);
  }
  return { singleMs: round(at(times, 0.5)), singleP95Ms: round(at(times, 0.95)), overheadMs: round(at(over, 0.5)) };
}

/** Thirty requests in hand at once for a few seconds: how much the device does, and whether this loop notices. */
async function floodTokens(worker: ModelWorker): Promise<Pick<ModelsBench, 'tokensPerSecond' | 'loopLagP99Ms'>> {
  const lag = monitorEventLoopDelay({ resolution: 1 });
  const until = performance.now() + 3_000;
  const since = performance.now();
  let tokens = 0;
  lag.enable();
  await Promise.all(Array.from({ length: 30 }, async () => {
    while (performance.now() < until) {
      const { used } = await worker.embed(MODEL, ask([TEXT, LONG]));
      tokens += used.tokens;
    }
  }));
  lag.disable();
  return { tokensPerSecond: Math.round((tokens / (performance.now() - since)) * 1_000), loopLagP99Ms: round(lag.percentile(99) / 1e6 - 1) };
}

async function batchGain(slot: Slot): Promise<number> {
  const device = async (rows: number): Promise<number> => (await slot.run({ model: MODEL, rows, width: 16, ids: new Int32Array(rows * 16).fill(2_003), lengths: new Int32Array(rows).fill(16) })).deviceUs;
  const ratios: number[] = [];
  for (let i = 0; i < 9; i++) {
    let alone = 0;
    for (let row = 0; row < 16; row++) alone += await device(1);
    ratios.push(alone / (await device(16)));
  }
  return at(ratios, 0.5);
}

async function lightBesideFlood(worker: ModelWorker): Promise<Pick<ModelsBench, 'lightAloneP95Ms' | 'lightBesideFloodP95Ms'>> {
  const light = async (): Promise<number> => {
    const times: number[] = [];
    for (let i = 0; i < 40; i++) {
      const since = performance.now();
      await worker.embed(MODEL, ask([TEXT], 'light'));
      times.push(performance.now() - since);
      await systemClock.sleep(20);
    }
    return at(times, 0.95);
  };
  const alone = await light();
  let flooding = true;
  const flood = Promise.all(Array.from({ length: 40 }, async () => {
    while (flooding) await worker.embed(MODEL, ask(Array.from({ length: 8 }, () => TEXT), 'flood'));
  }));
  const beside = await light();
  flooding = false;
  await flood;
  return { lightAloneP95Ms: round(alone), lightBesideFloodP95Ms: round(beside) };
}

async function cancelToFree(slot: Slot, port: SlotPort): Promise<Pick<ModelsBench, 'cancelToFreeMs' | 'cancelToWarmMs'>> {
  const running = slot.run({ model: MODEL, rows: 64, width: 256, ids: new Int32Array(64 * 256).fill(2_003), lengths: new Int32Array(64).fill(256) }).catch(() => undefined);
  await systemClock.sleep(100);
  const since = performance.now();
  slot.kill();
  await slot.gone;
  const freeMs = performance.now() - since;
  const next = await port.spawn(0);
  const warmMs = performance.now() - since;
  next.kill();
  await running;
  return { cancelToFreeMs: round(freeMs), cancelToWarmMs: round(warmMs) };
}

async function staticRate(worker: ModelWorker): Promise<number> {
  const since = performance.now();
  for (let i = 0; i < 200; i++) await worker.embed('minilm-static-256', ask(Array.from({ length: 64 }, () => TEXT)));
  return Math.round((200 * 64) / ((performance.now() - since) / 1_000));
}

function tokenizerRates(store: ModelStore): Pick<ModelsBench, 'tokenizerLinesPerSecond' | 'tokenizerRatio'> {
  const folder = new URL('../../infra/models/all-MiniLM-L6-v2-int8/', import.meta.url);
  const reference = new Tokenizer({ ...(JSON.parse(readFileSync(new URL('tokenizer.json', folder), 'utf8')) as object), truncation: null, padding: null }, {});
  const ours = store.entries.find((entry) => entry.model === MODEL)?.wordPiece;
  const tickets = readFileSync(new URL('../../data/support/tickets.jsonl', import.meta.url), 'utf8').trim().split('\n').map((line) => (JSON.parse(line) as { text: string }).text);
  const rate = (encode: (text: string) => unknown, rounds: number): number => {
    for (const text of tickets) encode(text);
    const since = process.cpuUsage();
    for (let i = 0; i < rounds; i++) for (const text of tickets) encode(text);
    const { user, system } = process.cpuUsage(since);
    return (rounds * tickets.length) / ((user + system) / 1e6);
  };
  const mine = rate((text) => ours?.encode(text, 256), 60);
  return { tokenizerLinesPerSecond: Math.round(mine), tokenizerRatio: round(mine / rate((text) => reference.encode(text), 5)) };
}

const remembered = (port: SlotPort, seen: Slot[]): SlotPort => ({
  async spawn(index) {
    const slot = await port.spawn(index);
    seen.push(slot);
    return slot;
  },
});

const at = (values: readonly number[], part: number): number => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))] as number;
const round = (value: number): number => Math.round(value * 100) / 100;
