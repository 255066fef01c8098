// Clocks for tests: a simulated one that only moves when told, and a real one.
// Owns: the order of simulated events (time, then order of scheduling). Never reads the system's time in simulation.
// Others may assume: two runs that schedule the same events fire them in the same order, and `advance` lets promises settle in between.

import type { Clock } from '../../contracts/ports.ts';

export interface SimulatedClock extends Clock {
  /** Fires what is due within `ms`, in order, letting promises settle after each. */
  advance(ms: number): Promise<void>;
  /** Fires the next event, however far away. False when there is none. */
  step(): boolean;
  /** When the next event is due. */
  readonly next: number | undefined;
  readonly pending: number;
}

interface Timed {
  readonly at: number;
  readonly order: number;
  run: (() => void) | undefined;
}

/** Starts at 2026-01-01T00:00:00Z unless told otherwise. */
export function createSimulatedClock(start = 1_767_225_600_000): SimulatedClock {
  const heap: Timed[] = [];
  let now = start;
  let order = 0;
  let live = 0;

  function after(ms: number, run: () => void): () => void {
    const timed: Timed = { at: now + Math.max(0, ms), order: order++, run };
    push(heap, timed);
    live++;
    return () => {
      if (timed.run === undefined) return;
      timed.run = undefined;
      live--;
    };
  }
  function peek(): Timed | undefined {
    while (heap[0] !== undefined && heap[0].run === undefined) pop(heap);
    return heap[0];
  }
  function step(): boolean {
    const timed = peek();
    if (timed === undefined) return false;
    pop(heap);
    live--;
    now = Math.max(now, timed.at);
    const { run } = timed;
    timed.run = undefined;
    run?.();
    return true;
  }

  return {
    now: () => Math.floor(now),
    monotonic: () => now - start,
    after,
    sleep: (ms, signal) => sleepWith(after, ms, signal),
    step,
    async advance(ms) {
      const until = now + ms;
      await settle();
      for (let timed = peek(); timed !== undefined && timed.at <= until; timed = peek()) {
        step();
        await settle();
      }
      now = until;
    },
    get next() {
      return peek()?.at;
    },
    get pending() {
      return live;
    },
  };
}

/** Lets every promise that can settle do so: a macrotask runs after all microtasks. */
export const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export const realClock: Clock = Object.freeze({
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (ms: number, run: () => void) => {
    const timer = setTimeout(run, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
  sleep: (ms: number, signal?: AbortSignal) => sleepWith((delay, run) => {
    const timer = setTimeout(run, delay);
    return () => clearTimeout(timer);
  }, ms, signal),
});

/** Shared by every clock built on `after`. */
export function sleepWith(after: Clock['after'], ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted === true) return Promise.resolve();
  return new Promise((resolve) => {
    const cancel = after(ms, () => {
      signal?.removeEventListener('abort', stop);
      resolve();
    });
    function stop(): void {
      cancel();
      resolve();
    }
    signal?.addEventListener('abort', stop, { once: true });
  });
}

const before = (a: Timed, b: Timed): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** A binary heap: simulations fire millions of timers. */
function push(heap: Timed[], timed: Timed): void {
  heap.push(timed);
  for (let i = heap.length - 1; i > 0; ) {
    const parent = (i - 1) >> 1;
    if (!before(timed, heap[parent] as Timed)) return;
    heap[i] = heap[parent] as Timed;
    heap[parent] = timed;
    i = parent;
  }
}

function pop(heap: Timed[]): void {
  const last = heap.pop() as Timed;
  if (heap.length === 0) return;
  heap[0] = last;
  for (let i = 0; ; ) {
    let child = 2 * i + 1;
    if (child >= heap.length) return;
    if (child + 1 < heap.length && before(heap[child + 1] as Timed, heap[child] as Timed)) child++;
    if (!before(heap[child] as Timed, last)) return;
    heap[i] = heap[child] as Timed;
    heap[child] = last;
    i = child;
  }
}
