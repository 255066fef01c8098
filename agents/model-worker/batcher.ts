// The queue before a device: what runs next, with whom, and what is refused because it cannot be done in time.
// Owns: admission (deadline and bound in device time), the order (class share, then tenant share, then earliest deadline), batch forming.
// Never counts requests: bounds, shares and estimates are in predicted device milliseconds. Never waits on a timer of its own.
// Others may assume: no tenant starves another, a batch holds one model, and texts join a batch only where the learned curve
// says that running them together costs clearly less than running them one by one.

import type { SlaTier } from '../../contracts/capability.ts';
import { SLA_TIERS } from '../../contracts/capability.ts';
import { fail } from '../../contracts/errors.ts';
import type { CostCurve } from './cost-curve.ts';
import { createFairShares, type FairShares } from './fair-shares.ts';

/** One text of one job, as token ids. */
export interface Piece {
  readonly job: Job;
  readonly index: number;
  readonly ids: readonly number[];
  /** Its part of the predicted device time of its job, ms: batches counted where the curve says that they pay. */
  readonly ms: number;
  tries: number;
}
/** One request: its pieces may run in several batches. */
export interface Job {
  readonly tenant: string;
  readonly sla: SlaTier;
  readonly model: string;
  /** ms since 1970 */
  readonly deadline: number;
  readonly queuedAt: number;
  /** Longest first; taken from the end. */
  readonly pending: Piece[];
}
export interface JobRequest {
  readonly tenant: string;
  readonly sla: SlaTier;
  readonly model: string;
  readonly deadline: number;
  readonly texts: readonly (readonly number[])[];
}
export interface Batch {
  readonly model: string;
  readonly pieces: readonly Piece[];
  /** Tokens of the longest text: the others are padded to it. */
  readonly width: number;
  readonly expectedMs: number;
}
export interface Taken {
  readonly batch?: Batch;
  /** Jobs dropped because their deadline cannot be met any more. */
  readonly expired: readonly Job[];
}

export interface Batcher {
  /** @throws AIOS_OVERLOADED with retryAfterMs, AIOS_DEADLINE_INFEASIBLE */
  admit(request: JobRequest, now: number): Job;
  /** 0: take now. Positive: a fuller batch is worth this wait, ms. Infinity: nothing is queued. */
  waitMs(now: number): number;
  take(now: number): Taken;
  /** The batch ended; `ms` undefined when it was killed and taught nothing. */
  settle(batch: Batch, ms: number | undefined): void;
  /** Each of these runs next, alone, so that one bad text cannot take others down twice. */
  retry(pieces: readonly Piece[]): void;
  /** Forgets what is queued of a job. */
  remove(job: Job): void;
  /** Device time queued and still running, ms over all slots. */
  load(now: number): number;
  readonly creditMs: number;
}

export interface BatcherOptions {
  readonly curveOf: (model: string) => CostCurve;
  readonly slots: number;
  readonly limits?: Partial<BatchLimits>;
}
export interface BatchLimits {
  /** Device time that may be queued, ms over all slots. */
  readonly queueMsMax: number;
  /** Longer batches would make an interactive request wait behind them. */
  readonly batchMsMax: number;
  readonly batchTokensMax: number;
  readonly batchTextsMax: number;
  /** Part of a text's own cost that joining a batch must save. */
  readonly gainMin: number;
  /** Nobody waits longer than this for company. */
  readonly waitMsMax: number;
}
export const BATCH_LIMITS: BatchLimits = { queueMsMax: 20_000, batchMsMax: 60, batchTokensMax: 8_192, batchTextsMax: 64, gainMin: 0.05, waitMsMax: 10 };

/** Reserved shares when every class has work; an idle class's share goes to the others. */
const CLASS_WEIGHTS: Readonly<Record<SlaTier, number>> = { interactive: 8, standard: 4, bulk: 1 };
/** Jobs looked at for company in one batch. */
const CANDIDATES_MAX = 128;

interface ClassQueue {
  readonly sla: SlaTier;
  readonly shares: FairShares;
  /** Earliest deadline first. */
  readonly tenants: Map<string, Job[]>;
}

export function createBatcher(options: BatcherOptions): Batcher {
  const { curveOf, slots } = options;
  const limits = { ...BATCH_LIMITS, ...options.limits };
  const classShares = createFairShares((sla) => CLASS_WEIGHTS[sla as SlaTier]);
  const classes = new Map(SLA_TIERS.map((sla) => [sla, { sla, shares: createFairShares(() => 1), tenants: new Map() } satisfies ClassQueue] as const));
  const retries: Piece[] = [];
  const running = new Map<Batch, number>();
  const arrivals = createArrivals();
  let queuedMs = 0;

  const queueOf = (sla: SlaTier): ClassQueue => classes.get(sla) as ClassQueue;

  const runningMs = (now: number): number => {
    let sum = 0;
    for (const [batch, since] of running) sum += Math.max(0, batch.expectedMs - (now - since));
    return sum;
  };

  /** When a job of `ownMs` would be done if admitted now: behind its own tenant's earlier deadlines, at its share of the device. */
  const finishMs = (request: JobRequest, ownMs: number, now: number): number => {
    const queue = queueOf(request.sla);
    const ahead = msOf((queue.tenants.get(request.tenant) ?? []).filter((job) => job.deadline <= request.deadline));
    const share = classShare(request.sla, classShares.order()) / Math.max(1, new Set(queue.tenants.keys()).add(request.tenant).size);
    const work = Math.min(queuedMs + ownMs, (ahead + ownMs) / share);
    return (runningMs(now) + work) / slots + ownMs * (curveOf(request.model).view().p95Ratio - 1);
  };

  const admit = (request: JobRequest, now: number): Job => {
    const curve = curveOf(request.model);
    const parts = estimate(curve, request.texts, limits);
    const ownMs = parts.reduce((sum, ms) => sum + ms, 0);
    if (queuedMs >= 1 && queuedMs + ownMs > limits.queueMsMax) throw fail('AIOS_OVERLOADED', `${Math.round(queuedMs)} ms of device time are queued.`, { retryAfterMs: Math.ceil(queuedMs / slots / 2) });
    const finish = finishMs(request, ownMs, now);
    if (now + finish > request.deadline) throw fail('AIOS_DEADLINE_INFEASIBLE', `It would take ${Math.ceil(finish)} ms, ${Math.max(0, request.deadline - now)} are left.`, { retryAfterMs: Math.ceil(runningMs(now) + queuedMs / slots) });
    const job: Job = { tenant: request.tenant, sla: request.sla, model: request.model, deadline: request.deadline, queuedAt: now, pending: [] };
    request.texts.forEach((ids, index) => job.pending.push({ job, index, ids, ms: parts[index] as number, tries: 0 }));
    job.pending.sort((a, b) => b.ids.length - a.ids.length);
    enqueue(job);
    arrivals.note(request.model, now, request.texts.length);
    return job;
  };

  const enqueue = (job: Job): void => {
    const queue = queueOf(job.sla);
    const jobs = queue.tenants.get(job.tenant) ?? [];
    const at = jobs.findIndex((other) => other.deadline > job.deadline);
    jobs.splice(at < 0 ? jobs.length : at, 0, job);
    queue.tenants.set(job.tenant, jobs);
    classShares.arrive(job.sla);
    queue.shares.arrive(job.tenant);
    queuedMs += msOf([job]);
  };

  /** Takes an emptied or dropped job out; keeps shares and sums in step. */
  const drop = (job: Job): void => {
    const queue = queueOf(job.sla);
    const jobs = queue.tenants.get(job.tenant) ?? [];
    const at = jobs.indexOf(job);
    if (at < 0) return;
    jobs.splice(at, 1);
    queuedMs = Math.max(0, queuedMs - msOf([job]));
    job.pending.length = 0;
    if (jobs.length > 0) return;
    queue.tenants.delete(job.tenant);
    queue.shares.leave(job.tenant);
    if (queue.tenants.size === 0) classShares.leave(job.sla);
  };

  /** Jobs in the order they deserve service. */
  function* inOrder(): Generator<Job> {
    for (const sla of classShares.order()) {
      const queue = queueOf(sla as SlaTier);
      for (const tenant of queue.shares.order()) yield* (queue.tenants.get(tenant) ?? []).slice();
    }
  }

  const dropExpired = (now: number): Job[] => {
    const late: Job[] = [];
    for (const job of inOrder()) if (now + (job.pending.at(-1)?.ms ?? 0) > job.deadline) late.push(job);
    late.forEach(drop);
    return late;
  };

  const pull = (job: Job): Piece => {
    const piece = job.pending.pop() as Piece;
    queuedMs = Math.max(0, queuedMs - piece.ms);
    if (job.pending.length === 0) drop(job);
    return piece;
  };

  const form = (head: Job, now: number): Piece[] => {
    const curve = curveOf(head.model);
    const pieces = [pull(head)];
    let looked = 0;
    for (const job of [head, ...inOrder()]) {
      if (++looked > CANDIDATES_MAX) break;
      if (job.model !== head.model) continue;
      for (let next = job.pending.at(-1); next !== undefined && pays(curve, pieces, next, now, limits); next = job.pending.at(-1)) pieces.push(pull(job));
    }
    return pieces;
  };

  const start = (model: string, pieces: readonly Piece[], now: number): Batch => {
    const width = widest(pieces);
    const batch = { model, pieces, width, expectedMs: curveOf(model).predict(width * pieces.length) };
    running.set(batch, now);
    charge(batch, batch.expectedMs);
    return batch;
  };

  const charge = (batch: Batch, ms: number): void => {
    const tokens = batch.pieces.reduce((sum, piece) => sum + piece.ids.length, 0);
    for (const { job, ids } of batch.pieces) {
      const part = (ms * ids.length) / tokens;
      classShares.charge(job.sla, part);
      queueOf(job.sla).shares.charge(job.tenant, part);
    }
  };

  const take = (now: number): Taken => {
    const again = retries.shift();
    if (again !== undefined) return { batch: start(again.job.model, [again], now), expired: [] };
    const expired = dropExpired(now);
    const [head] = inOrder();
    return head === undefined ? { expired } : { batch: start(head.model, form(head, now), now), expired };
  };

  /** Waiting pays while those who wait lose less than the fixed cost that the next arrival would save by joining them. */
  const waitMs = (now: number): number => {
    if (retries.length > 0) return 0;
    const [head] = inOrder();
    if (head === undefined) return Infinity;
    const curve = curveOf(head.model);
    const piece = head.pending.at(-1) as Piece;
    const saved = curve.view().fixedMs;
    const queued = countQueued(classes.values(), head.model, limits.batchTextsMax);
    if (saved / curve.predict(piece.ids.length) < limits.gainMin || queued >= limits.batchTextsMax || queued * arrivals.gapMs(head.model) >= saved) return 0;
    const patience = Math.min(limits.waitMsMax, saved, head.deadline - now - curve.high(piece.ids.length * queued));
    return Math.max(0, head.queuedAt + patience - now);
  };

  return {
    admit,
    waitMs,
    take,
    settle(batch, ms) {
      running.delete(batch);
      if (ms !== undefined) charge(batch, ms - batch.expectedMs);
    },
    retry: (pieces) => void retries.push(...pieces),
    remove: (job) => {
      drop(job);
      for (let i = retries.length - 1; i >= 0; i--) if (retries[i]?.job === job) retries.splice(i, 1);
    },
    load: (now) => queuedMs + runningMs(now) + retries.reduce((sum, piece) => sum + piece.ms, 0),
    get creditMs() { return Math.max(0, limits.queueMsMax - queuedMs); },
  };
}

/** Joining must save at least `gainMin` of what the text costs alone, and must make nobody late nor the batch long. */
function pays(curve: CostCurve, pieces: readonly Piece[], next: Piece, now: number, limits: BatchLimits): boolean {
  const width = widest(pieces);
  const tokens = Math.max(width, next.ids.length) * (pieces.length + 1);
  if (pieces.length >= limits.batchTextsMax || tokens > limits.batchTokensMax) return false;
  const together = curve.predict(tokens);
  const extra = together - curve.predict(width * pieces.length);
  const alone = curve.predict(next.ids.length);
  if ((alone - extra) / alone < limits.gainMin || together > limits.batchMsMax) return false;
  return now + together <= Math.min(next.job.deadline, ...pieces.map((piece) => piece.job.deadline));
}

/** Device time of each text of a job: alone, or with its part of the fixed cost of as few batches as the bounds allow. */
function estimate(curve: CostCurve, texts: readonly (readonly number[])[], limits: BatchLimits): number[] {
  const { fixedMs, perTokenMs } = curve.view();
  const alone = texts.map((ids) => curve.predict(ids.length));
  const varying = texts.reduce((sum, ids) => sum + ids.length * perTokenMs, 0);
  const batches = Math.max(1, Math.ceil(texts.length / limits.batchTextsMax), Math.ceil(varying / Math.max(1, limits.batchMsMax - fixedMs)));
  return alone.map((ms) => (fixedMs / ms < limits.gainMin ? ms : ms - fixedMs + (fixedMs * Math.min(batches, texts.length)) / texts.length));
}

const widest = (pieces: readonly Piece[]): number => pieces.reduce((max, piece) => Math.max(max, piece.ids.length), 0);
const msOf = (jobs: readonly Job[]): number => jobs.reduce((sum, job) => sum + job.pending.reduce((part, piece) => part + piece.ms, 0), 0);

function classShare(sla: SlaTier, active: readonly string[]): number {
  const all = new Set([...active, sla]);
  let sum = 0;
  for (const each of all) sum += CLASS_WEIGHTS[each as SlaTier];
  return CLASS_WEIGHTS[sla] / sum;
}

function countQueued(classes: Iterable<ClassQueue>, model: string, enough: number): number {
  let count = 0;
  for (const { tenants } of classes) {
    for (const jobs of tenants.values()) {
      for (const job of jobs) {
        if (job.model === model) count += job.pending.length;
        if (count >= enough) return count;
      }
    }
  }
  return count;
}

interface Arrivals {
  note(model: string, now: number, texts: number): void;
  /** Mean time between texts of late, ms; Infinity before the second. */
  gapMs(model: string): number;
}

/** Exponential mean over about ten arrivals; a pause counts once, so a burst after it is seen as a burst. */
function createArrivals(): Arrivals {
  const seen = new Map<string, { at: number; gap: number }>();
  return {
    note(model, now, texts) {
      const last = seen.get(model);
      if (last === undefined) return void seen.set(model, { at: now, gap: Infinity });
      const gap = (now - last.at) / texts;
      seen.set(model, { at: now, gap: Number.isFinite(last.gap) ? last.gap * 0.9 + gap * 0.1 : gap });
    },
    gapMs: (model) => seen.get(model)?.gap ?? Infinity,
  };
}
