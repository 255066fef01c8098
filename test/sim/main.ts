// `npm run sim -- [approvals] --seeds N [--seed S] [--json] [--from S]`: many simulated runs of the real actor runtime, or of approvals, or one again.
// Owns: the command line and the tally. Never retries a seed: a failing one is a bug and is printed with the command that replays it.
// Others may assume: the last line is JSON {seeds, lost, duplicated, staleWrites, secondsPer1000}; exit code 1 when any seed failed.

import { parseArgs } from 'node:util';
import { passed, simulate, type SimResult } from './simulate.ts';

const { values, positionals } = parseArgs({ allowPositionals: true, options: { seeds: { type: 'string', default: '1000' }, seed: { type: 'string' }, from: { type: 'string', default: '1' }, json: { type: 'boolean', default: false } } });
// Stacks of the errors that faults cause are thrown away by the hundred thousand; collecting them would be half the run.
Error.stackTraceLimit = 0;

if (positionals[0] === 'approvals') {
  const { runApprovals } = await import('./approvals-main.ts');
  const from = Number(values.seed ?? values.from);
  process.exit((await runApprovals({ seeds: values.seed === undefined ? Number(values.seeds) : 1, from, json: values.json })) ? 0 : 1);
}

const first = Number(values.seed ?? values.from);
const seeds = values.seed === undefined ? Number(values.seeds) : 1;
const tally = { lost: 0, duplicated: 0, staleWrites: 0, unrest: 0, steps: 0 };
const crashes = new Map<string, number>();
const failing: number[] = [];
const started = performance.now();

for (let seed = first; seed < first + seeds; seed++) {
  const result = await simulate(seed);
  add(result);
  if (!passed(result)) report(result);
  if (values.seed !== undefined && !values.json) console.log(`seed ${seed}: trace ${result.hash}, ${result.steps} steps, ${Math.round(result.simulatedMs)} simulated ms`);
  if (!values.json && seeds > 1 && (seed - first + 1) % 1_000 === 0) console.log(`${seed - first + 1} seeds, last trace ${result.hash}`);
}

const seconds = (performance.now() - started) / 1_000;
if (!values.json) {
  console.log(`seeds ${first} to ${first + seeds - 1}; ${Math.round(tally.steps / seeds)} steps each; crash points hit: ${[...crashes].sort().map(([point, count]) => `${point} ${count}`).join(', ')}`);
  if (failing.length > 0) console.log(`failing: ${failing.join(' ')}`);
}
console.log(JSON.stringify({ seeds, lost: tally.lost, duplicated: tally.duplicated, staleWrites: tally.staleWrites, notQuiescent: tally.unrest, secondsPer1000: Math.round((seconds / seeds) * 1_000 * 100) / 100 }));
process.exitCode = failing.length === 0 ? 0 : 1;

function add(result: SimResult): void {
  tally.lost += result.lost.length;
  tally.duplicated += result.duplicated.length;
  tally.staleWrites += result.staleWrites;
  tally.unrest += result.quiescent ? 0 : 1;
  tally.steps += result.steps;
  for (const [point, count] of result.crashes) crashes.set(point, (crashes.get(point) ?? 0) + count);
}

function report(result: SimResult): void {
  failing.push(result.seed);
  if (values.json || failing.length > 20) return;
  console.log(`seed ${result.seed} failed: lost [${result.lost.join(' ')}], duplicated [${result.duplicated.join(' ')}], stale writes ${result.staleWrites}, quiescent ${result.quiescent}; again with: npm run sim -- --seed ${result.seed}`);
}
