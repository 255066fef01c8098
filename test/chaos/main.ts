// `npm run chaos -- <what> [--rounds N] [--seed S] [--json]`: faults on real processes, then a check that nothing was lost.
// Owns: the list of runs and the parsing of their options. Never part of `npm test`: a run takes minutes.
// Others may assume: the exit code is 0 only when the invariants held, and the last line is one JSON object with `--json`.

import { parseArgs } from 'node:util';

export interface ChaosArguments {
  readonly rounds: number;
  readonly seed: number;
  readonly json: boolean;
  readonly say: (line: string) => void;
}
/** Resolves with what `--json` prints; `ok` decides the exit code. */
export type ChaosRun = (options: ChaosArguments) => Promise<{ readonly ok: boolean } & Readonly<Record<string, unknown>>>;

const RUNS: Readonly<Record<string, () => Promise<ChaosRun>>> = {
  agents: async () => (await import('./agents.ts')).runAgents,
  budgets: async () => (await import('./budgets.ts')).runBudgets,
};

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { rounds: { type: 'string', default: '10' }, seed: { type: 'string', default: '1' }, json: { type: 'boolean', default: false } } });
  const load = RUNS[positionals[0] ?? ''];
  if (load === undefined) {
    process.stderr.write(`usage: npm run chaos -- <${Object.keys(RUNS).join('|')}> [--rounds N] [--seed S] [--json]\n`);
    return 2;
  }
  const run = await load();
  const { ok, ...figures } = await run({ rounds: Number(values.rounds), seed: Number(values.seed), json: values.json, say: (line) => void process.stderr.write(`${line}\n`) });
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  return ok ? 0 : 1;
}

process.exit(await main());
