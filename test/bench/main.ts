// `npm run bench -- <name> [--json]`: runs one measurement of this folder, or names them.
// Owns: the choice. Never measures anything itself; absolute figures are never tests.
// Others may assume: a bench is a file here that exports `run({json})`, prints its own result and ends with a table of what it saw.

import { readdir } from 'node:fs/promises';

const HELPERS = new Set(['main.ts']);

const names = (await readdir(new URL('.', import.meta.url))).filter((name) => name.endsWith('.ts') && !HELPERS.has(name) && !name.includes('.part.')).map((name) => name.slice(0, -3)).sort();
const [name = '', ...flags] = process.argv.slice(2);
if (!names.includes(name)) {
  process.stderr.write(`usage: npm run bench -- <${names.join('|')}> [--json]\n`);
  process.exit(2);
}
const bench = (await import(`./${name}.ts`)) as { run(options: { readonly json: boolean }): Promise<unknown> };
await bench.run({ json: flags.includes('--json') });
process.exit(0);
