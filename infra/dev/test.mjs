// `npm test`: set-up, servers, types, lint, then the tests; one step after the other, the first failure ends it.
// Owns: the order and the exit code. Works on Node 20. Never needs a network once packages and servers are there.
// Others may assume: the last lines are those of vitest; parameters are passed on to it.

import { join } from 'node:path';
import { root, run, setUp } from './setup.mjs';

const bin = (name) => join(root, 'node_modules', ...name);

const steps = [
  ['servers', join(root, 'infra', 'dev', 'ensure-servers.ts'), []],
  ['types', bin(['typescript', 'bin', 'tsc']), ['--noEmit', '-p', root]],
  ['lint', bin(['oxlint', 'bin', 'oxlint']), ['--quiet']],
  ['tests', bin(['vitest', 'vitest.mjs']), ['run', ...process.argv.slice(2)]],
];

setUp();
for (const [name, file, parameters] of steps) {
  process.stderr.write(`\n== ${name}\n`);
  const code = await run(file, parameters);
  if (code !== 0) {
    process.stderr.write(`\n${name}: failed (exit ${code})\n`);
    process.exit(code);
  }
}
