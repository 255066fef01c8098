// A circuit breaker for one provider: after failures in a row it answers at once instead of waiting for another one.
// Owns: the three states and their timing. Never calls anything itself.
// Others may assume: while open nobody waits; after the pause exactly one call tries, and its result decides.

export interface Breaker {
  /** 0 when a call may go out now (in the half-open state this admits the one that tries), otherwise ms to wait. */
  enter(): number;
  succeeded(): void;
  failed(): void;
  readonly open: boolean;
}

const FAILURES_MAX = 5;
const PAUSE_MS = 1_000;
const PAUSE_MS_MAX = 30_000;

export function createBreaker(monotonic: () => number): Breaker {
  let failures = 0;
  let openUntil = 0;
  let trying = false;
  const pause = () => Math.min(PAUSE_MS_MAX, PAUSE_MS * 2 ** Math.min(5, failures - FAILURES_MAX));
  return {
    enter() {
      if (failures < FAILURES_MAX) return 0;
      const left = openUntil - monotonic();
      if (left > 0) return Math.ceil(left);
      if (trying) return PAUSE_MS;
      trying = true;
      return 0;
    },
    succeeded() {
      failures = 0;
      trying = false;
    },
    failed() {
      failures++;
      trying = false;
      if (failures >= FAILURES_MAX) openUntil = monotonic() + pause();
    },
    get open() {
      return failures >= FAILURES_MAX;
    },
  };
}
