// `npm run sim -- approvals --seeds N [--from S] [--seed S] [--json]`: many simulated approvals, or one again.
// Owns: the tally. Never retries a seed: a failing one is a bug and is printed with the command that replays it.
// Others may assume: the last line is JSON {schedules, violations, effects, refusedAtEffect, …, seconds}; exit code 1 on any violation.

import { broken } from './approvals-oracle.ts';
import { simulateApproval } from './approvals.ts';

export async function runApprovals(options: { readonly seeds: number; readonly from: number; readonly json: boolean }): Promise<boolean> {
  const tally = { schedules: 0, violations: 0, approved: 0, answered: 0, rejected: 0, expired: 0, effects: 0, refusedAtEffect: 0, attempts: 0 };
  // Stacks of the refusals would be a third of the run.
  Error.stackTraceLimit = 0;
  const started = performance.now();
  for (let seed = options.from; seed < options.from + options.seeds; seed++) {
    const run = await simulateApproval(seed);
    const wrong = broken(run);
    tally.schedules += 1;
    tally.attempts += run.heard.length;
    tally.effects += run.effects.length;
    tally.refusedAtEffect += run.state.outcome === 'approved' && run.effects.length === 0 ? 1 : 0;
    for (const outcome of run.outcomes) if (outcome in tally) tally[outcome as 'approved'] += 1;
    if (wrong.length === 0) continue;
    tally.violations += 1;
    if (tally.violations <= 20 && !options.json) console.log(`seed ${seed}: ${wrong.join('; ')}; again with: npm run sim -- approvals --seed ${seed}`);
    if (options.seeds === 1 && !options.json) console.log(JSON.stringify(run, undefined, 1));
  }
  console.log(JSON.stringify({ ...tally, seconds: Math.round((performance.now() - started) / 10) / 100 }));
  return tally.violations === 0;
}
