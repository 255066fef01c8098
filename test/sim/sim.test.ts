// A slice of the simulation on every push, and the proof that it bites.
// Owns: the invariants (nothing lost, nothing twice, no write under an old fence, rest at the end) over a few hundred seeds.
// Others may assume: `npm run sim` runs the same code over as many seeds as wanted.

import { describe, expect, it } from 'vitest';
import { SABOTAGES } from './sabotage.ts';
import { passed, simulate } from './simulate.ts';

Error.stackTraceLimit = 0;
const SEEDS = 200;
/** The issue allows 1,000 seeds to find a planted bug. */
const SABOTAGE_SEEDS_MAX = 1_000;
/** Between which steps of a turn a process must have died at least once in the slice. */
const STEPS = ['state.read', 'state.append', 'mailbox.publish', 'outcomes.publish', 'mailbox.ack'];

describe('simulation of the actor runtime', () => {
  it(`invariants - hold over ${SEEDS} seeds, with a crash before and after every step of a turn`, { timeout: 300_000 }, async () => {
    const points = new Set<string>();
    for (let seed = 1; seed <= SEEDS; seed++) {
      const result = await simulate(seed);
      expect(passed(result) ? 'passed' : `npm run sim -- --seed ${seed}: ${JSON.stringify(result)}`).toBe('passed');
      for (const point of result.crashes.keys()) points.add(point);
    }
    expect([...points]).toEqual(expect.arrayContaining(STEPS.flatMap((step) => [`before ${step}`, `after ${step}`])));
  });

  it('replay - the same seed gives the same trace, another seed another', { timeout: 60_000 }, async () => {
    const [once, again, other] = [await simulate(7), await simulate(7), await simulate(8)];
    expect(again.hash).toBe(once.hash);
    expect(again.steps).toBe(once.steps);
    expect(other.hash).not.toBe(once.hash);
  });

  for (const [name, sabotage] of Object.entries(SABOTAGES)) {
    it(`mutation - ${name}: found within ${SABOTAGE_SEEDS_MAX} seeds`, { timeout: 300_000 }, async () => {
      let found = 0;
      for (let seed = 1; seed <= SABOTAGE_SEEDS_MAX && found === 0; seed++) {
        if (!passed(await simulate(seed, { sabotage }))) found = seed;
      }
      expect(found).toBeGreaterThan(0);
    });
  }
});
