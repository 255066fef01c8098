#!/usr/bin/env node
// The command `aios` on any Node from 20 on: finds the Node 24 that came with the package and runs the program with it.
// Owns: that choice, and source against published build. Never parses a parameter.
// Others may assume: exit code and signals of the program are those of this process.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const source = join(root, 'infra', 'cli', 'main.ts');
const built = join(root, 'dist', 'infra', 'cli', 'main.js');
const fromSource = existsSync(source);
const program = fromSource ? source : built;
const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
const flags = [...(fromSource ? ['--conditions=aios-source'] : []), '--disable-warning=ExperimentalWarning'];

const child = spawn(nodeProgram(), [...flags, program, ...process.argv.slice(2)], { stdio: 'inherit', env: { NODE_COMPILE_CACHE: join(cache, 'aios', 'compile'), ...process.env } });
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('error', (error) => {
  process.stderr.write(`aios: cannot run Node 24: ${error.message}. Run "npm install" again.\n`);
  process.exit(1);
});
child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 143)));

function nodeProgram() {
  if (Number(process.versions.node.split('.')[0]) >= 24) return process.execPath;
  try {
    return join(dirname(createRequire(import.meta.url).resolve('node/package.json')), 'bin', 'node');
  } catch {
    return process.execPath;
  }
}
