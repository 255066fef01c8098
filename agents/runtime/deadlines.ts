// Deadlines of many short calls on one timer: what nearly always ends early should not cost a timer of its own.
// Owns: the buckets of what is due, and the one timer over them. Never early; late by at most a bucket, plus what a timer is late.
// Never keeps a call that was cancelled. Others may assume: `run` is called once or, after `cancel`, never;
// with nothing to wait for there is no timer after `LOOK_MS_MAX`.

import type { Clock } from '../../contracts/ports.ts';

export interface Deadlines {
  /** Calls `run` once after `ms`; the returned entry cancels. */
  after(ms: number, run: () => void): Due;
  cancel(due: Due): void;
  readonly size: number;
}
/** What waits; opaque to whoever holds it. */
export interface Due {
  readonly bucket: number;
  readonly among: Set<Due>;
  readonly run: () => void;
}

const BUCKET_MS = 8;
/** The timer looks again at least this often while something waits, so that one for a far deadline does not outlive its calls for long. */
const LOOK_MS_MAX = 256;

export function createDeadlines(clock: Pick<Clock, 'monotonic' | 'after'>): Deadlines {
  const buckets = new Map<number, Set<Due>>();
  let size = 0;
  let lookAt = Number.POSITIVE_INFINITY;
  let cancelLook = nothing;

  function lookBy(at: number, now: number): void {
    const next = Math.min(at, now + LOOK_MS_MAX);
    if (next >= lookAt) return;
    cancelLook();
    lookAt = next;
    cancelLook = clock.after(Math.max(1, Math.ceil(next - now)), look);
  }
  function look(): void {
    const now = clock.monotonic();
    lookAt = Number.POSITIVE_INFINITY;
    let soonest = Number.POSITIVE_INFINITY;
    for (const [bucket, among] of buckets) {
      if (bucket * BUCKET_MS <= now) expire(among);
      else if (among.size > 0) soonest = Math.min(soonest, bucket);
    }
    if (size > 0) lookBy(soonest * BUCKET_MS, now);
  }
  function expire(among: Set<Due>): void {
    for (const due of among) {
      cancel(due);
      due.run();
    }
  }
  function cancel(due: Due): void {
    if (!due.among.delete(due)) return;
    size--;
    if (due.among.size === 0) buckets.delete(due.bucket);
  }

  return {
    after(ms, run) {
      const now = clock.monotonic();
      const bucket = Math.ceil((now + Math.max(0, ms)) / BUCKET_MS);
      const among = buckets.get(bucket) ?? new Set<Due>();
      if (among.size === 0) buckets.set(bucket, among);
      const due: Due = { bucket, among, run };
      among.add(due);
      size++;
      lookBy(bucket * BUCKET_MS, now);
      return due;
    },
    cancel,
    get size() {
      return size;
    },
  };
}

const nothing = (): void => undefined;
