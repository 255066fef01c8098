// How long the fast lane waits in place, learned per capability from what dispatches took.
// Owns: bounded windows of durations per capability and the rule that turns them into a patience.
// Never consulted by workflow code: the number is recorded as an activity's result, so replay needs no memory.
// Others may assume: between PATIENCE_MS_MIN and PATIENCE_MS_MAX, or 0 for a capability that is always slow.

export interface Patience {
  /** ms to wait for the outcomes of a group of this many members */
  of(capability: string, members: number): number;
  /** One dispatch: how long it took, or that it was not there in time. */
  saw(capability: string, ms: number | undefined): void;
  /** How long the agent itself worked, by its receipt: what tells a slow capability from a busy machine. */
  worked(capability: string, ms: number): void;
}

export const PATIENCE_MS_MIN = 200;
/** Half of the workflow task timeout (3 s), so that opening and settling fit into the same workflow task. */
export const PATIENCE_MS_MAX = 1_500;
export const PATIENCE_MS_START = 800;
/** A group's members are worked on side by side, but not all at once. */
const MEMBER_MS = 10;
const WINDOW = 64;
const CAPABILITIES_MAX = 1_024;
/** Turns seen before a capability counts as always slow. */
const SLOW_TURNS_MIN = 10;
/** Every so many starts an always-slow capability is given patience again, to notice that it became fast. */
const PROBE_EVERY = 16;

export function createPatience(): Patience {
  const seen = new Map<string, Seen>();
  const entryOf = (capability: string): Seen => {
    const found = seen.get(capability);
    if (found !== undefined) return found;
    if (seen.size >= CAPABILITIES_MAX) seen.delete(seen.keys().next().value ?? '');
    const fresh: Seen = { waits: [], turns: [], asked: 0 };
    seen.set(capability, fresh);
    return fresh;
  };
  return {
    of(capability, members) {
      const entry = entryOf(capability);
      entry.asked += 1;
      if (isAlwaysSlow(entry.turns)) return entry.asked % PROBE_EVERY === 0 ? PATIENCE_MS_START : 0;
      return patienceFrom(entry.waits, members);
    },
    saw: (capability, ms) => keep(entryOf(capability).waits, ms ?? PATIENCE_MS_MAX),
    worked: (capability, ms) => keep(entryOf(capability).turns, ms),
  };
}

/** Twice the 95th percentile; a wait that ended without an outcome counts as the longest, so misses make the next wait longer. */
export function patienceFrom(waits: readonly number[], members: number): number {
  const learned = waits.length < 8 ? PATIENCE_MS_START : 2 * percentile(waits, 0.95);
  return Math.round(Math.min(PATIENCE_MS_MAX, Math.max(PATIENCE_MS_MIN + MEMBER_MS * members, learned)));
}

/** Half of the latest turns alone took longer than anybody would wait. */
export function isAlwaysSlow(turns: readonly number[]): boolean {
  return turns.length >= SLOW_TURNS_MIN && percentile(turns.slice(-SLOW_TURNS_MIN), 0.5) > PATIENCE_MS_MAX;
}

interface Seen { readonly waits: number[]; readonly turns: number[]; asked: number }

function keep(window: number[], value: number): void {
  window.push(value);
  if (window.length > WINDOW) window.shift();
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}
