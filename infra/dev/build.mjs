// The published build: compiled JavaScript with types in dist/, and beside it every file that the code reads at run time.
// Owns: what is in the package. Runs as `prepack`, so what is packed is what the sources say.
// Never leaves an older file behind. Others may assume: dist/ has the folders of the source tree, so relative paths hold.

import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root, run, setUp } from './setup.mjs';

const FOLDERS = ['contracts', 'policies', 'workflows', 'activities', 'agents', 'infra', 'data'];
/** Training code and its inputs are for the repository only; plain scripts start source files. */
const LEFT_OUT = [/\.m?ts$/, /infra\/models\/train/, /infra\/dev\/[a-z-]+\.mjs$/, /infra\/cli\/bin\.mjs$/];

setUp();
rmSync(join(root, 'dist'), { recursive: true, force: true });
const code = await run(join(root, 'node_modules', 'typescript', 'bin', 'tsc'), ['-p', join(root, 'tsconfig.build.json')], { stdio: ['ignore', 2, 2] });
if (code !== 0) process.exit(code);
for (const folder of FOLDERS) cpSync(join(root, folder), join(root, 'dist', folder), { recursive: true, filter: (file) => !LEFT_OUT.some((pattern) => pattern.test(file)) });
