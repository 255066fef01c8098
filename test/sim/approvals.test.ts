// A slice of the simulated approvals on every push, and the proof that they bite.
// Owns: the invariants over a thousand schedules. Others may assume: `npm run sim -- approvals` runs the same code over as many as wanted.

import { beforeAll, describe, expect, it } from 'vitest';
import { broken } from './approvals-oracle.ts';
import { APPROVAL_SABOTAGES } from './approvals-sabotage.ts';
import { RULES, simulateApproval } from './approvals.ts';

const SEEDS = 1_000;
const SABOTAGE_SEEDS_MAX = 3_000;

beforeAll(() => {
  Error.stackTraceLimit = 0;
});

describe('simulation of approvals', () => {
  it(`invariants - hold over ${SEEDS} schedules, in which every end is reached and many effects are refused late`, { timeout: 120_000 }, async () => {
    const seen = { approved: 0, answered: 0, rejected: 0, expired: 0, effects: 0, refusedAtEffect: 0 };
    for (let seed = 1; seed <= SEEDS; seed++) {
      const run = await simulateApproval(seed);
      expect({ seed, broken: broken(run) }).toEqual({ seed, broken: [] });
      seen[run.state.outcome ?? 'expired'] += 1;
      seen.effects += run.effects.length;
      if (run.state.outcome === 'approved' && run.effects.length === 0) seen.refusedAtEffect += 1;
    }
    expect(Object.entries(seen).filter(([, count]) => count < SEEDS / 100)).toEqual([]);
  });

  it('replay - the same seed gives the same run', async () => {
    const [once, again, other] = [await simulateApproval(7), await simulateApproval(7), await simulateApproval(8)];
    expect(JSON.stringify(again)).toBe(JSON.stringify(once));
    expect(JSON.stringify(other)).not.toBe(JSON.stringify(once));
  });

  for (const [name, sabotage] of Object.entries(APPROVAL_SABOTAGES)) {
    it(`mutation - ${name}: found`, { timeout: 120_000 }, async () => {
      let found = 0;
      for (let seed = 1; seed <= SABOTAGE_SEEDS_MAX && found === 0; seed++) if (broken(await simulateApproval(seed, { ...RULES, ...sabotage })).length > 0) found = seed;
      expect(found).toBeGreaterThan(0);
    });
  }
});
