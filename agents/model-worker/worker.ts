// The model worker: texts in, vectors or label scores out, with what it took.
// Owns: the table of models and heads it offers, one job's life (tokens, queue, pieces, answer), its deadline, the beacon's content.
// Never touches a process or a message itself: slots come through `SlotPort`, requests through the service beside it.
// Others may assume: every promise settles by the deadline at the latest, with an error of the table if it was not met,
// and a reply names the exact artefacts it came from.

import { type AiosError, fail } from '../../contracts/errors.ts';
import type { SlaTier } from '../../contracts/capability.ts';
import type { Beacon, ModelUsed } from '../../contracts/model.ts';
import type { Clock, Logger, Metrics } from '../../contracts/ports.ts';
import { type BatchLimits, createBatcher, type Job, type Piece } from './batcher.ts';
import { type CostCurve, createCostCurve } from './cost-curve.ts';
import type { Head } from './head.ts';
import { type PieceResult, type SlotLimits, type SlotPort, startSlots } from './slots.ts';
import type { WordPiece } from './wordpiece.ts';

/** One model on offer. With `inline` it is cheap enough to run in this process; otherwise it runs in the slots. */
export interface ModelEntry {
  readonly model: string;
  readonly digest: string;
  readonly dimensions: number;
  /** Longer texts are cut, special tokens included. */
  readonly tokensMax: number;
  readonly wordPiece: WordPiece;
  readonly inline?: (pieces: readonly number[]) => Float32Array;
}
export interface Ask {
  readonly texts: readonly string[];
  readonly tenant: string;
  readonly sla: SlaTier;
  readonly deadline: number;
}
export interface Embedded { readonly vectors: readonly Float32Array[]; readonly used: ModelUsed }
export interface Classified { readonly labels: readonly string[]; readonly scores: readonly (readonly number[])[]; readonly used: ModelUsed }

export interface ModelWorker extends AsyncDisposable {
  readonly models: readonly ModelEntry[];
  readonly heads: readonly Head[];
  /** @throws AIOS_MODEL_UNKNOWN, AIOS_OVERLOADED, AIOS_DEADLINE_INFEASIBLE, AIOS_DEADLINE_EXCEEDED, AIOS_MODEL_UNAVAILABLE, AIOS_MODEL_FAULT */
  embed(model: string, ask: Ask, signal?: AbortSignal): Promise<Embedded>;
  classify(head: string, ask: Ask, signal?: AbortSignal): Promise<Classified>;
  beacon(): Beacon;
  /** Resolves when the first slot is warm. */
  readonly ready: Promise<void>;
  /** Accepts nothing more; resolves when what was accepted is answered, or after `msMax`. */
  drain(msMax: number): Promise<void>;
}

export interface ModelWorkerOptions {
  readonly name: string;
  readonly incarnation: string;
  readonly zone: string;
  readonly models: readonly ModelEntry[];
  readonly heads: readonly Head[];
  readonly port: SlotPort;
  readonly slots: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly batchLimits?: Partial<BatchLimits>;
  readonly slotLimits?: Partial<SlotLimits>;
}

/** What a job has gathered so far. */
interface Pending {
  readonly vectors: Float32Array[];
  left: number;
  deviceUs: number;
  batch: number;
  startedAt: number;
  retried: number;
  settle(error?: AiosError): void;
}

/** @throws AIOS_CONFIG_INVALID when a head was trained on another encoder than the one on offer */
export function startWorker(options: ModelWorkerOptions): ModelWorker {
  const { clock, log, metrics } = options;
  refuseForeignHeads(options);
  const models = new Map(options.models.map((entry) => [entry.model, entry] as const));
  const heads = new Map(options.heads.map((head) => [head.name, head] as const));
  const curves = new Map(options.models.map((entry) => [entry.model, createCostCurve()] as const));
  const pending = new Map<Job, Pending>();
  let draining = false;

  const entryOf = (model: string): ModelEntry => models.get(model) ?? refuseUnknown(model);
  const curveOf = (model: string): CostCurve => curves.get(model) as CostCurve;
  const batcher = createBatcher({ curveOf, slots: options.slots, ...(options.batchLimits === undefined ? {} : { limits: options.batchLimits }) });
  const slots = startSlots({
    port: options.port, count: options.models.some((entry) => entry.inline === undefined) ? options.slots : 0, batcher, curveOf,
    dimensionsOf: (model) => entryOf(model).dimensions, clock, log, metrics,
    ...(options.slotLimits === undefined ? {} : { limits: options.slotLimits }),
    done: (piece, result) => collect(piece, result),
    failed: (job, error) => pending.get(job)?.settle(error),
  });

  const collect = (piece: Piece, result: PieceResult): void => {
    const waiting = pending.get(piece.job);
    if (waiting === undefined) return;
    waiting.vectors[piece.index] = result.vector;
    waiting.deviceUs += result.deviceUs;
    waiting.batch = Math.max(waiting.batch, result.batch);
    waiting.startedAt = Math.min(waiting.startedAt, result.startedAt);
    waiting.retried = Math.max(waiting.retried, piece.tries);
    if (--waiting.left === 0) waiting.settle();
  };

  const used = (entry: ModelEntry, tokens: number, rest: Partial<ModelUsed>): ModelUsed =>
    ({ worker: options.name, model: entry.model, modelDigest: entry.digest, tokens, deviceUs: 0, batch: 1, queueMs: 0, retried: 0, ...rest });

  const embedInline = (entry: ModelEntry, inline: (pieces: readonly number[]) => Float32Array, ask: Ask): Embedded => {
    const since = clock.monotonic();
    const pieces = ask.texts.map((text) => entry.wordPiece.pieces(text, entry.tokensMax));
    const vectors = pieces.map(inline);
    const tokens = pieces.reduce((sum, ids) => sum + ids.length, 0);
    return { vectors, used: used(entry, tokens, { deviceUs: Math.ceil((clock.monotonic() - since) * 1_000), batch: ask.texts.length }) };
  };

  const embedInSlots = (entry: ModelEntry, ask: Ask, signal: AbortSignal | undefined): Promise<Embedded> => {
    if (slots.broken) throw fail('AIOS_MODEL_UNAVAILABLE', 'No slot starts.');
    const texts = ask.texts.map((text) => entry.wordPiece.encode(text, entry.tokensMax));
    const tokens = texts.reduce((sum, ids) => sum + ids.length, 0);
    const job = batcher.admit({ tenant: ask.tenant, sla: ask.sla, model: entry.model, deadline: ask.deadline, texts }, clock.now());
    return new Promise((resolve, reject) => {
      const stop = (error: AiosError): void => {
        slots.cancel(job);
        waiting.settle(error);
      };
      const aborted = (): void => stop(fail('AIOS_TASK_CANCELLED'));
      const late = clock.after(Math.max(0, ask.deadline - clock.now()), () => stop(fail('AIOS_DEADLINE_EXCEEDED')));
      const waiting: Pending = {
        vectors: [], left: texts.length, deviceUs: 0, batch: 0, startedAt: Infinity, retried: 0,
        settle(error) {
          if (!pending.delete(job)) return;
          late();
          signal?.removeEventListener('abort', aborted);
          const { deviceUs, batch, retried } = waiting;
          if (error === undefined) resolve({ vectors: waiting.vectors, used: used(entry, tokens, { deviceUs, batch, retried, queueMs: Math.max(0, waiting.startedAt - job.queuedAt) }) });
          else reject(error);
        },
      };
      pending.set(job, waiting);
      signal?.addEventListener('abort', aborted);
      slots.pump();
    });
  };

  const embed = async (model: string, ask: Ask, signal?: AbortSignal): Promise<Embedded> => {
    const entry = entryOf(model);
    if (draining) throw fail('AIOS_UNAVAILABLE', 'This worker is shutting down.');
    if (clock.now() >= ask.deadline) throw fail('AIOS_DEADLINE_EXCEEDED');
    if (signal?.aborted === true) throw fail('AIOS_TASK_CANCELLED');
    const answer = entry.inline === undefined ? await embedInSlots(entry, ask, signal) : embedInline(entry, entry.inline, ask);
    metrics.count('model_texts_total', { model }, ask.texts.length);
    metrics.count('model_tokens_total', { model }, answer.used.tokens);
    metrics.count('model_device_us_total', { model }, answer.used.deviceUs);
    metrics.observe('model_queue_ms', answer.used.queueMs, { model });
    return answer;
  };

  return {
    models: options.models,
    heads: options.heads,
    embed,
    async classify(name, ask, signal) {
      const head = heads.get(name) ?? refuseUnknown(name);
      const answer = await embed(head.encoder, ask, signal);
      return { labels: head.labels, scores: answer.vectors.map((vector) => head.score(vector)), used: { ...answer.used, model: head.name, modelDigest: head.digest } };
    },
    beacon: () => ({
      v: 1,
      worker: options.name,
      incarnation: options.incarnation,
      at: clock.now(),
      state: draining ? 'draining' : slots.warm > 0 || options.models.every((entry) => entry.inline !== undefined) ? 'warm' : 'warming',
      models: options.models.map(({ model, digest, dimensions, inline }) => ({ model, digest, dimensions, ...(inline === undefined ? { curve: curveOf(model).view() } : {}) })),
      heads: options.heads.map((head) => ({ head: head.name, digest: head.digest, encoder: head.encoder })),
      queueMs: batcher.load(clock.now()),
      creditMs: batcher.creditMs,
      slots: { warm: slots.warm, all: options.slots, restarts: slots.restarts },
      zone: options.zone,
    }),
    ready: slots.ready,
    async drain(msMax) {
      draining = true;
      const until = clock.monotonic() + msMax;
      while (pending.size > 0 && clock.monotonic() < until) await clock.sleep(10);
    },
    async [Symbol.asyncDispose]() {
      draining = true;
      for (const waiting of pending.values()) waiting.settle(fail('AIOS_MODEL_UNAVAILABLE', 'The worker stopped.'));
      await slots.stop();
    },
  };
}

function refuseUnknown(name: string): never {
  throw fail('AIOS_MODEL_UNKNOWN', name);
}

/** A head reads the vectors of exactly one encoder; with another build of it the scores would look fine and mean nothing. */
function refuseForeignHeads({ models, heads }: ModelWorkerOptions): void {
  for (const head of heads) {
    const encoder = models.find((entry) => entry.model === head.encoder);
    if (encoder?.digest !== head.encoderDigest) throw fail('AIOS_CONFIG_INVALID', `the head ${head.name} was trained on another build of ${head.encoder}`);
  }
}
