// How long the fast lane waits in place, learned per capability from what dispatches took.
// Owns: a bounded window of durations per capability and the rule that turns it into a patience.
// Never consulted by workflow code: the number is recorded as an activity's result, so replay needs no memory.
// Others may assume: between PATIENCE_MS_MIN and PATIENCE_MS_MAX, or 0 for a capability that is always slow.

export interface Patience {
  /** ms to wait for outcomes of this capability */
  of(capability: string): number;
  /** One dispatch: how long it took, or that it was not there in time. */
  saw(capability: string, ms: number | undefined): void;
}

export const PATIENCE_MS_MIN = 200;
/** Well under half of the workflow task timeout (3 s), so that opening and settling fit into the same workflow task. */
export const PATIENCE_MS_MAX = 1_500;
export const PATIENCE_MS_START = 800;
const WINDOW = 64;
const CAPABILITIES_MAX = 1_024;
/** Every so many starts an always-slow capability is given patience again, to notice that it became fast. */
const PROBE_EVERY = 16;

export function createPatience(): Patience {
  const seen = new Map<string, { window: number[]; asked: number }>();
  const entryOf = (capability: string) => {
    const found = seen.get(capability);
    if (found !== undefined) return found;
    if (seen.size >= CAPABILITIES_MAX) seen.delete(seen.keys().next().value ?? '');
    const fresh = { window: [], asked: 0 };
    seen.set(capability, fresh);
    return fresh;
  };
  return {
    of(capability) {
      const entry = entryOf(capability);
      entry.asked += 1;
      return patienceFrom(entry.window, entry.asked % PROBE_EVERY === 0);
    },
    saw(capability, ms) {
      const { window } = entryOf(capability);
      window.push(ms ?? Number.POSITIVE_INFINITY);
      if (window.length > WINDOW) window.shift();
    },
  };
}

/** Twice the 95th percentile of what came in time; nothing at all when four of five lately did not. */
export function patienceFrom(window: readonly number[], probe: boolean): number {
  const recent = window.slice(-20);
  const missed = recent.filter((ms) => !Number.isFinite(ms)).length;
  if (recent.length >= 10 && missed >= recent.length * 0.8) return probe ? PATIENCE_MS_START : 0;
  const came = window.filter(Number.isFinite).sort((a, b) => a - b);
  if (came.length < 8) return PATIENCE_MS_START;
  const p95 = came[Math.min(came.length - 1, Math.floor(came.length * 0.95))] ?? PATIENCE_MS_START;
  return Math.min(PATIENCE_MS_MAX, Math.max(PATIENCE_MS_MIN, Math.ceil(p95 * 2)));
}
