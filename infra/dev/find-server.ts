// Where the server programs of development come from: explicit setting, PATH if new enough, the cache, a pinned build.
// Owns: the search order, the minimum versions, the cache layout and the build under a file lock.
// Never starts a server and never downloads an unpinned program. Others may assume: a returned path runs and is new enough,
// and that a build happens at most once per pinned go.mod and go.sum, whoever asks at the same time.

import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, constants, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { fail } from '../../contracts/errors.ts';
import type { Config } from '../config.ts';
import { isAlive } from './pid-file.ts';

export type ServerName = 'nats' | 'temporal';
export interface ServerProgram {
  readonly name: ServerName;
  readonly path: string;
  /** The version that decides: of nats-server, or of the Temporal server inside its CLI. */
  readonly version: string;
  readonly source: 'setting' | 'path' | 'cache' | 'build';
}
export interface FindOptions {
  readonly config: Pick<Config, 'cacheDir' | 'servers'>;
  readonly onProgress?: (line: string) => void;
}

/**
 * Finds a server program, building it when nothing else serves.
 * @throws AIOS_SERVER_TOO_OLD for an explicit setting below the minimum, AIOS_CONFIG_INVALID when nothing is found and nothing can be built
 */
export async function findServer(name: ServerName, options: FindOptions): Promise<ServerProgram> {
  return (await lookForServer(name, options)) ?? build(name, options);
}

/** The same search without the build. @throws AIOS_SERVER_TOO_OLD, AIOS_CONFIG_INVALID for a wrong explicit setting */
export async function lookForServer(name: ServerName, options: FindOptions): Promise<ServerProgram | undefined> {
  const explicit = options.config.servers[name];
  if (explicit !== undefined) return fromSetting(name, explicit);
  return (await fromPath(name)) ?? fromCache(name, options);
}

/** Server 1.31 is the first that stamps verified principals; NATS 2.12 the first with what our streams use. */
const PROGRAMS = {
  nats: { command: 'nats-server', target: 'github.com/nats-io/nats-server/v2', minimum: '2.12.0', pattern: /v(\d+\.\d+\.\d+)/, minutes: 'about a minute' },
  temporal: { command: 'temporal', target: 'github.com/temporalio/cli/cmd/temporal', minimum: '1.31.0', pattern: /Server (\d+\.\d+\.\d+)/, minutes: 'about six minutes on two cores' },
} as const satisfies Record<ServerName, unknown>;

const LOCK_WAIT_MS_MAX = 30 * 60_000;
const run = promisify(execFile);

/** Compares dotted numbers; missing parts count as zero. */
export function versionAtLeast(version: string, minimum: string): boolean {
  const [have, need] = [version, minimum].map((text) => text.split('.').map(Number));
  for (let i = 0; i < 3; i++) {
    const difference = (have?.[i] ?? 0) - (need?.[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

async function fromSetting(name: ServerName, path: string): Promise<ServerProgram> {
  const { minimum } = PROGRAMS[name];
  const version = await versionOf(name, path);
  if (version === undefined) throw fail('AIOS_CONFIG_INVALID', `AIOS_${name.toUpperCase()}_SERVER names "${path}", which does not run or does not say its version.`);
  if (!versionAtLeast(version, minimum)) throw fail('AIOS_SERVER_TOO_OLD', `"${path}" is ${version}; ${name} ${minimum} or newer is needed.`);
  return { name, path, version, source: 'setting' };
}

async function fromPath(name: ServerName): Promise<ServerProgram | undefined> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter).filter((part) => part !== '')) {
    const path = join(folder, PROGRAMS[name].command);
    const version = await versionOf(name, path);
    if (version !== undefined && versionAtLeast(version, PROGRAMS[name].minimum)) return { name, path, version, source: 'path' };
  }
  return undefined;
}

async function fromCache(name: ServerName, options: FindOptions): Promise<ServerProgram | undefined> {
  const path = await cachePath(name, options.config.cacheDir);
  const version = await versionOf(name, path);
  return version === undefined ? undefined : { name, path, version, source: 'cache' };
}

async function versionOf(name: ServerName, path: string): Promise<string | undefined> {
  try {
    await access(path, constants.X_OK);
    const { stdout, stderr } = await run(path, ['--version'], { timeout: 20_000 });
    return PROGRAMS[name].pattern.exec(stdout + stderr)?.[1];
  } catch {
    return undefined;
  }
}

const moduleFolder = (name: ServerName): string => join(dirname(fileURLToPath(import.meta.url)), 'servers', name);

async function cachePath(name: ServerName, cacheDir: string): Promise<string> {
  const digest = createHash('sha256');
  for (const file of ['go.mod', 'go.sum']) digest.update(await readFile(join(moduleFolder(name), file)));
  return join(cacheDir, 'servers', `${name}-${digest.digest('hex').slice(0, 16)}`);
}

async function build(name: ServerName, options: FindOptions): Promise<ServerProgram> {
  const path = await cachePath(name, options.config.cacheDir);
  await mkdir(dirname(path), { recursive: true });
  await using held = new AsyncDisposableStack();
  held.use(await lockFile(`${path}.lock`, () => options.onProgress?.(`${name}: another process is building it, waiting`)));
  const built = await fromCache(name, options);
  if (built !== undefined) return built;
  await goBuild(name, path, options.onProgress ?? (() => undefined));
  const version = await versionOf(name, path);
  if (version === undefined) throw fail('AIOS_CONFIG_INVALID', `The ${name} server was built but does not run: ${path}`);
  return { name, path, version, source: 'build' };
}

async function goBuild(name: ServerName, path: string, onProgress: (line: string) => void): Promise<void> {
  const { target, minutes } = PROGRAMS[name];
  const draft = `${path}.${process.pid}.part`;
  const started = performance.now();
  const seconds = (): number => Math.round((performance.now() - started) / 1_000);
  onProgress(`${name}: building ${target} with Go, once; ${minutes}`);
  const ticker = setInterval(() => onProgress(`${name}: still building, ${seconds()} s`), 10_000);
  try {
    await go(['build', '-trimpath', '-ldflags', '-s -w', '-o', draft, target], moduleFolder(name), (line) => onProgress(`${name}: ${line}`));
    await rename(draft, path);
    onProgress(`${name}: built in ${seconds()} s`);
  } finally {
    clearInterval(ticker);
    await rm(draft, { force: true });
  }
}

function go(parameters: readonly string[], cwd: string, onLine: (line: string) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('go', parameters, { cwd, stdio: ['ignore', 'ignore', 'pipe'] });
    let last = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      for (const line of text.split('\n')) if (line.trim() !== '') onLine((last = line.trim()));
    });
    child.once('error', (cause) => reject(fail('AIOS_CONFIG_INVALID', 'Go is needed to build the servers: install Go 1.26 or newer, or set AIOS_NATS_SERVER and AIOS_TEMPORAL_SERVER.', { cause })));
    child.once('exit', (code) => (code === 0 ? resolve() : reject(fail('AIOS_CONFIG_INVALID', `go build ended with ${code}: ${last}`))));
  });
}

/** An exclusive lock that a dead holder does not keep: the file holds the pid of who has it. */
export async function lockFile(path: string, onWait: () => void, waitMsMax = LOCK_WAIT_MS_MAX): Promise<AsyncDisposable> {
  const until = performance.now() + waitMsMax;
  for (let tries = 0; performance.now() < until; tries++) {
    if (await tryLock(path)) return { [Symbol.asyncDispose]: () => rm(path, { force: true }) };
    if (tries === 0) onWait();
    await sleep(500);
  }
  throw fail('AIOS_CONFIG_INVALID', `the lock ${path} was held for too long; remove it if no build runs.`);
}

async function tryLock(path: string): Promise<boolean> {
  try {
    await using file = await open(path, 'wx');
    await file.writeFile(String(process.pid));
    return true;
  } catch {
    const holder = Number(await readFile(path, 'utf8').catch(() => '0'));
    if (holder > 0 && !isAlive(holder)) await rm(path, { force: true });
    return false;
  }
}
