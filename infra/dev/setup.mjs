// Set-up for `npm start` and `npm test` on any Node from 20 on: installs what is missing, then goes on with the Node 24 of the package.
// Owns: deciding whether the installed packages are those of the lock file, `npm ci`, and running a source file.
// Never touches an installation that matches. Others may assume: after `setUp` every direct dependency is there in its exact version.

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
const nodeProgram = join(root, 'node_modules', 'node', 'bin', 'node');

export function setUp() {
  if (Number(process.versions.node.split('.')[0]) < 20) stop(`Node 20 or newer is needed to begin with; this is ${process.versions.node}.`);
  const missing = missingPackages();
  if (missing.length > 0) install(missing);
  if (!existsSync(nodeProgram)) installNode();
}

/** Runs a file of the source tree, or a program of node_modules/.bin, and resolves with its exit code. Signals reach it through us. */
export function run(file, parameters, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(nodeProgram, ['--conditions=aios-source', '--disable-warning=ExperimentalWarning', file, ...parameters], { cwd: root, stdio: 'inherit', env: { NODE_COMPILE_CACHE: join(cache, 'aios', 'compile'), ...process.env }, ...options });
    const forward = (signal) => child.kill(signal);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, forward);
    child.once('error', (error) => stop(`cannot run ${file}: ${error.message}`));
    child.once('exit', (code, signal) => {
      for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.off(name, forward);
      resolve(code ?? (signal === 'SIGINT' ? 130 : 143));
    });
  });
}

function missingPackages() {
  const wanted = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const all = { ...wanted.dependencies, ...wanted.devDependencies };
  return Object.keys(all).filter((name) => versionOf(name) !== all[name]);
}

function versionOf(name) {
  try {
    return JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')).version;
  } catch {
    return undefined;
  }
}

function install(missing) {
  process.stderr.write(`Installing packages (${missing.length} of them missing or in another version) …\n`);
  const how = existsSync(join(root, 'package-lock.json')) ? ['ci'] : ['install'];
  const { status } = spawnSync('npm', [...how, '--no-audit', '--no-fund', '--loglevel=error'], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], shell: process.platform === 'win32' });
  if (status !== 0) stop('npm could not install the packages; see its words above.');
}

/** Where npm was told to run no install scripts, the `node` package has not fetched its program yet. */
function installNode() {
  const script = join(root, 'node_modules', 'node', 'installArchSpecificPackage.js');
  if (existsSync(script)) spawnSync(process.execPath, [script], { cwd: join(root, 'node_modules', 'node'), stdio: 'ignore', env: { ...process.env, npm_package_version: versionOf('node') } });
  if (!existsSync(nodeProgram)) stop('the Node 24 program is not there; run "npm rebuild node" with install scripts allowed.');
}

function stop(words) {
  process.stderr.write(`aios: ${words}\n`);
  process.exit(2);
}
