// `npm start`: set-up, then the demonstration run of infra/dev/start.ts on Node 24.
// Owns: nothing but that order. Works on Node 20.
// Others may assume: the exit code is that of the run.

import { join } from 'node:path';
import { root, run, setUp } from './setup.mjs';

setUp();
process.exitCode = await run(join(root, 'infra', 'dev', 'start.ts'), process.argv.slice(2));
