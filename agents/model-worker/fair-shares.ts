// Fair shares: who among those with work is served next, when each has a weight.
// Owns: one virtual counter a party, in device milliseconds divided by weight. Used twice: between classes, and between tenants of one class.
// Never lets idleness become credit: who comes back starts level with the least served of those at work.
// Others may assume: with all parties backlogged, service differs from the weighted share by at most one batch;
// nobody with work is passed over for ever; forgotten parties cost no memory.

export interface FairShares {
  /** The party has work now. */
  arrive(party: string): void;
  /** The party has no work left; its counter is kept for a while so that leaving and returning gains nothing. */
  leave(party: string): void;
  /** Adds used (or, with a negative number, gives back over-estimated) device time. */
  charge(party: string, ms: number): void;
  /** Parties with work, least served first. */
  order(): readonly string[];
}

/** Counters of idle parties kept; beyond it the longest idle are forgotten, which costs them at most one lift to the minimum. */
const IDLE_MAX = 1_024;

/** Virtual token counter (Sheng et al., "Fairness in Serving Large Language Models", arXiv 2401.00588), counted in device time instead of tokens. */
export function createFairShares(weightOf: (party: string) => number): FairShares {
  const active = new Map<string, number>();
  const idle = new Map<string, number>();

  /** Where the last to leave stood: who arrives at an empty queue starts there, so that a pause of everybody is no head start. */
  let floor = 0;

  const least = (): number => (active.size === 0 ? floor : Math.min(...active.values()));
  return {
    arrive(party) {
      if (active.has(party)) return;
      const counter = Math.max(idle.get(party) ?? 0, least());
      idle.delete(party);
      active.set(party, counter);
    },
    leave(party) {
      const counter = active.get(party);
      if (counter === undefined) return;
      active.delete(party);
      floor = Math.max(floor, counter);
      idle.set(party, counter);
      if (idle.size > IDLE_MAX) idle.delete(idle.keys().next().value as string);
    },
    charge(party, ms) {
      const counters = active.has(party) ? active : idle;
      const counter = counters.get(party);
      if (counter !== undefined) counters.set(party, counter + ms / weightOf(party));
    },
    order: () => [...active].toSorted((a, b) => a[1] - b[1]).map(([party]) => party),
  };
}
