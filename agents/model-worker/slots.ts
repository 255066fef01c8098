// The supervisor of device slots: gives batches to child processes, and survives whatever those do.
// Owns: starting slots with back-off, running batches, retrying the members of a broken batch one by one (once), recycling and killing.
// Never runs a model itself, so its event loop stays free; killing the slot's process is the only real cancellation there is.
// Others may assume: every piece handed over ends in exactly one of `done` or `failed`, and logs hold one "batch started"
// and one "batch finished" line a batch, with the pid that ran it.

import { type AiosError, fail, hasCode } from '../../contracts/errors.ts';
import type { Clock, Logger, Metrics } from '../../contracts/ports.ts';
import type { Batch, Batcher, Job, Piece } from './batcher.ts';
import type { CostCurve } from './cost-curve.ts';

/** Rows of token ids, padded with 0 to `width`. */
export interface SlotRun {
  readonly model: string;
  readonly rows: number;
  readonly width: number;
  readonly ids: Int32Array;
  readonly lengths: Int32Array;
}
export interface SlotAnswer {
  /** `rows` vectors, one after the other. */
  readonly vectors: Float32Array;
  readonly deviceUs: number;
  readonly rssBytes: number;
}
/** One child process with warm sessions. */
export interface Slot {
  readonly pid: number;
  /** @throws AIOS_MODEL_UNAVAILABLE when the process is gone, AIOS_MODEL_FAULT when the engine refuses the batch */
  run(run: SlotRun): Promise<SlotAnswer>;
  /** Ends the process at once, whatever it is doing. */
  kill(): void;
  /** Resolves, with the reason in words, when the process has ended. */
  readonly gone: Promise<string>;
  /** Timings of the warm-up, to start the cost curves with. */
  readonly warmUp: readonly { readonly model: string; readonly tokens: number; readonly ms: number }[];
}
export interface SlotPort {
  /** Resolves when every model is loaded and warmed up. @throws AIOS_MODEL_UNAVAILABLE */
  spawn(index: number): Promise<Slot>;
}

export interface SlotLimits {
  /** A slot that grew beyond this is replaced after its batch. */
  readonly rssBytesMax: number;
  /** A batch running longer than this and 20 times its p95 is stuck: its slot is killed. */
  readonly stuckMsMin: number;
  /** Killing costs a start of about this long; shorter rests of a batch are let run out. */
  readonly killWorthMs: number;
  /** Starts that failed in a row before callers are told that nobody is there. */
  readonly startsFailedMax: number;
}
export const SLOT_LIMITS: SlotLimits = { rssBytesMax: 1_200 * 1024 * 1024, stuckMsMin: 5_000, killWorthMs: 500, startsFailedMax: 5 };
/** Runs of one piece: in its batch, and once more alone. */
const TRIES_MAX = 2;
const BACK_OFF_MS = [0, 100, 300, 1_000, 3_000] as const;
/** A slot that lived this long starts again without back-off. */
const SETTLED_MS = 10_000;

export interface SlotsOptions {
  readonly port: SlotPort;
  readonly count: number;
  readonly batcher: Batcher;
  readonly curveOf: (model: string) => CostCurve;
  readonly dimensionsOf: (model: string) => number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly limits?: Partial<SlotLimits>;
  done(piece: Piece, result: PieceResult): void;
  failed(job: Job, error: AiosError): void;
}
export interface PieceResult {
  readonly vector: Float32Array;
  /** This piece's share of the batch's device time. */
  readonly deviceUs: number;
  readonly batch: number;
  readonly startedAt: number;
}

export interface Slots {
  /** Something was queued: hand it out if a slot is free. */
  pump(): void;
  /** The job is not wanted any more; a running batch that nobody wants is killed where that pays. */
  cancel(job: Job): void;
  readonly warm: number;
  readonly restarts: number;
  /** True after several failed starts in a row, until one succeeds. */
  readonly broken: boolean;
  /** Resolves when the first slot is warm. */
  readonly ready: Promise<void>;
  /** Kills all slots and starts no more. */
  stop(): Promise<void>;
}

interface Place {
  readonly index: number;
  slot?: Slot | undefined;
  running?: { readonly batch: Batch; readonly since: number } | undefined;
  startedAt: number;
  failures: number;
}

export function startSlots(options: SlotsOptions): Slots {
  const { port, count, batcher, curveOf, clock, log, metrics } = options;
  const limits = { ...SLOT_LIMITS, ...options.limits };
  const places: Place[] = Array.from({ length: count }, (_, index) => ({ index, startedAt: 0, failures: 0 }));
  const wanted = { stop: false, restarts: 0, batches: 0 };
  const stopped = new AbortController();
  const unwanted = new WeakSet<Job>();
  let timer: (() => void) | undefined;
  const { promise: ready, resolve: firstWarm } = Promise.withResolvers<void>();

  /** One place: start, live, die, start again, until told to stop. */
  const keepAlive = async (place: Place): Promise<void> => {
    while (!wanted.stop) {
      await clock.sleep(BACK_OFF_MS[Math.min(place.failures, BACK_OFF_MS.length - 1)] as number, stopped.signal);
      const slot = wanted.stop ? undefined : await open(place);
      if (slot === undefined) continue;
      const reason = await slot.gone;
      place.slot = undefined;
      if (wanted.stop) return;
      wanted.restarts++;
      place.failures = clock.monotonic() - place.startedAt > SETTLED_MS ? 0 : place.failures + 1;
      metrics.count('model_slot_restarts_total');
      log.warn({ slot: place.index, pid: slot.pid, reason }, 'slot gone');
    }
  };

  const open = async (place: Place): Promise<Slot | undefined> => {
    try {
      const slot = await port.spawn(place.index);
      if (wanted.stop) return void slot.kill();
      for (const { model, tokens, ms } of slot.warmUp) curveOf(model).learn(tokens, ms);
      place.slot = slot;
      place.startedAt = clock.monotonic();
      log.info({ slot: place.index, pid: slot.pid }, 'slot warm');
      firstWarm();
      pump();
      return slot;
    } catch (error) {
      place.failures++;
      log.error({ slot: place.index, failures: place.failures, error }, 'slot did not start');
      if (isBroken()) refuseAll();
      return undefined;
    }
  };

  const isBroken = (): boolean => places.every((place) => place.slot === undefined && place.failures >= limits.startsFailedMax);

  /** Nobody will run what is queued: say so now instead of letting deadlines pass. */
  const refuseAll = (): void => {
    for (let taken = batcher.take(clock.now()); taken.batch !== undefined || taken.expired.length > 0; taken = batcher.take(clock.now())) {
      taken.expired.forEach(late);
      if (taken.batch === undefined) continue;
      batcher.settle(taken.batch, undefined);
      for (const piece of taken.batch.pieces) options.failed(piece.job, fail('AIOS_MODEL_UNAVAILABLE', 'No slot starts.'));
    }
  };

  const late = (job: Job): void => options.failed(job, fail('AIOS_DEADLINE_EXCEEDED', 'It waited in the queue of the model worker.'));

  const pump = (): void => {
    timer?.();
    timer = undefined;
    for (const place of places) {
      if (place.slot === undefined || place.running !== undefined) continue;
      const wait = batcher.waitMs(clock.now());
      if (wait === Infinity) return;
      if (wait > 0) return void (timer = clock.after(wait, pump));
      const { batch, expired } = batcher.take(clock.now());
      expired.forEach(late);
      if (batch !== undefined) void runBatch(place, place.slot, batch);
    }
  };

  const runBatch = async (place: Place, slot: Slot, batch: Batch): Promise<void> => {
    const name = ++wanted.batches;
    const since = clock.monotonic();
    const startedAt = clock.now();
    place.running = { batch, since };
    const fields = { batch: name, slot: place.index, slotPid: slot.pid, model: batch.model, texts: batch.pieces.length, width: batch.width };
    log.info({ ...fields, expectedMs: round(batch.expectedMs) }, 'batch started');
    const release = clock.after(Math.max(limits.stuckMsMin, 20 * curveOf(batch.model).high(batch.width * batch.pieces.length)), () => slot.kill());
    try {
      const answer = await slot.run(toRun(batch));
      const ms = clock.monotonic() - since;
      batcher.settle(batch, ms);
      curveOf(batch.model).learn(batch.width * batch.pieces.length, ms);
      deliver(slot, batch, answer, startedAt);
      metrics.observe('model_batch_ms', ms, { model: batch.model });
      metrics.observe('model_batch_texts', batch.pieces.length, { model: batch.model });
      log.info({ ...fields, ms: round(ms), deviceUs: answer.deviceUs }, 'batch finished');
      if (answer.rssBytes > limits.rssBytesMax) recycle(place, slot, answer.rssBytes);
    } catch (error) {
      batcher.settle(batch, undefined);
      metrics.count('model_batch_failed_total', { model: batch.model });
      log.warn({ ...fields, ms: round(clock.monotonic() - since), error }, 'batch broken');
      again(batch.pieces, hasCode(error, 'AIOS_MODEL_FAULT') ? 'AIOS_MODEL_FAULT' : 'AIOS_MODEL_UNAVAILABLE');
    } finally {
      release();
      place.running = undefined;
      if (place.slot === slot && (await isGone(slot))) place.slot = undefined;
      pump();
    }
  };

  const deliver = (slot: Slot, batch: Batch, answer: SlotAnswer, startedAt: number): void => {
    const width = options.dimensionsOf(batch.model);
    if (answer.vectors.length !== width * batch.pieces.length) {
      slot.kill();
      throw fail('AIOS_MODEL_FAULT', `${answer.vectors.length} numbers came back, ${width * batch.pieces.length} were expected.`);
    }
    const tokens = batch.pieces.reduce((sum, piece) => sum + piece.ids.length, 0);
    const bad: Piece[] = [];
    batch.pieces.forEach((piece, row) => {
      const vector = answer.vectors.slice(row * width, (row + 1) * width);
      if (!vector.every(Number.isFinite)) return void bad.push(piece);
      options.done(piece, { vector, deviceUs: Math.round((answer.deviceUs * piece.ids.length) / tokens), batch: batch.pieces.length, startedAt });
    });
    again(bad, 'AIOS_MODEL_FAULT');
  };

  /** Once more, each alone: a text that breaks the model then breaks only itself. */
  const again = (pieces: readonly Piece[], code: 'AIOS_MODEL_FAULT' | 'AIOS_MODEL_UNAVAILABLE'): void => {
    for (const piece of pieces) piece.tries++;
    const alive = pieces.filter((piece) => !unwanted.has(piece.job));
    batcher.retry(alive.filter((piece) => piece.tries < TRIES_MAX));
    for (const piece of alive) if (piece.tries >= TRIES_MAX) options.failed(piece.job, fail(code, 'It failed in its batch and once more alone.'));
  };

  const recycle = (place: Place, slot: Slot, rssBytes: number): void => {
    log.info({ slot: place.index, pid: slot.pid, rssBytes }, 'slot recycled');
    place.slot = undefined;
    slot.kill();
  };

  const cancel = (job: Job): void => {
    unwanted.add(job);
    batcher.remove(job);
    for (const { slot, running } of places) {
      if (slot === undefined || running === undefined || !running.batch.pieces.every((piece) => unwanted.has(piece.job))) continue;
      const left = running.batch.expectedMs - (clock.monotonic() - running.since);
      if (left > limits.killWorthMs) slot.kill();
    }
  };

  const lives = places.map(keepAlive);
  return {
    pump,
    cancel,
    ready,
    get warm() { return places.filter((place) => place.slot !== undefined).length; },
    get restarts() { return wanted.restarts; },
    get broken() { return isBroken(); },
    async stop() {
      wanted.stop = true;
      stopped.abort();
      timer?.();
      for (const place of places) place.slot?.kill();
      await Promise.all(lives);
    },
  };
}

function toRun(batch: Batch): SlotRun {
  const ids = new Int32Array(batch.pieces.length * batch.width);
  batch.pieces.forEach((piece, row) => ids.set(piece.ids, row * batch.width));
  return { model: batch.model, rows: batch.pieces.length, width: batch.width, ids, lengths: Int32Array.from(batch.pieces, (piece) => piece.ids.length) };
}

/** Whether the process has already ended, without waiting for it. */
const isGone = (slot: Slot): Promise<boolean> => Promise.race([slot.gone.then(() => true), Promise.resolve().then(() => false)]);
const round = (ms: number): number => Math.round(ms * 100) / 100;
