// The whole process tree as a person starts and stops it: `aios up`, a second start in the same home, Ctrl-C, kill -9.
// Owns: the proof that nothing is left behind. Every check is on real processes of a home of its own, on free ports.
// Reads /proc, so it runs on Linux.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const bin = fileURLToPath(new URL('../../infra/cli/bin.mjs', import.meta.url));
const shipped = fileURLToPath(new URL('../../policies/', import.meta.url));
const run = promisify(execFile);
const UP_MS_MAX = 90_000;

/** Processes that were started for this home: it is in their environment or in their command line. */
async function processesOf(home: string): Promise<readonly string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  const found = await Promise.all(pids.map(async (pid) => {
    const [command, environment, stat] = await Promise.all(['cmdline', 'environ', 'stat'].map((file) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')));
    const zombie = stat?.slice(stat.lastIndexOf(')') + 2).startsWith('Z') === true;
    return !zombie && `${command ?? ''}${environment ?? ''}`.includes(home) ? [(command ?? '').replaceAll('\0', ' ')] : [];
  }));
  return found.flat();
}

async function up(home: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [bin, 'up', '--any-ports', '--home', home], { env: { ...process.env, NODE_OPTIONS: '', AIOS_HOME: home }, stdio: ['ignore', 'pipe', 'pipe'] });
  let words = '';
  child.stdout?.on('data', (data: Buffer) => { words += data.toString(); });
  child.stderr?.on('data', (data: Buffer) => { words += data.toString(); });
  await expect.poll(() => words, { timeout: UP_MS_MAX, interval: 200 }).toContain('AIOS is up');
  return child;
}

const endOf = (child: ChildProcess): Promise<number | null> => new Promise((resolve) => { child.once('exit', resolve); });

async function aios(home: string, ...parameters: string[]): Promise<{ code: number; out: string; err: string }> {
  return run(process.execPath, [bin, ...parameters, '--home', home], { env: { ...process.env, NODE_OPTIONS: '' } }).then(({ stdout, stderr }) => ({ code: 0, out: stdout, err: stderr }), (error: { code: number; stdout: string; stderr: string }) => ({ code: error.code, out: error.stdout, err: error.stderr }));
}

/** A bundle that comes into force at its time, decides from then on, and gives way to the digest before it. */
async function activatesAndRollsBack(home: string): Promise<void> {
  const folder = join(home, 'policies');
  await cp(shipped, folder, { recursive: true });
  await writeFile(join(folder, 'freeze.cedar'), '@id("freeze") forbid (principal, action == Action::"commit", resource == Capability::"echo.say");\n');
  await writeFile(join(folder, 'freeze.cases.yaml'), 'cases:\n  - { name: frozen, action: commit, capability: echo.say, facts: { effectKind: none }, expect: { kind: deny, deciding: [freeze] } }\n');
  const say = async (): Promise<{ state: string; bundle: string }> => {
    const { out } = await aios(home, 'start', 'echo.say', '{"text":"hello"}', '--json');
    const { state, verdicts } = JSON.parse(out) as { state: string; verdicts: readonly { bundle: string }[] };
    return { state, bundle: verdicts[0]?.bundle ?? '' };
  };
  const first = await say();
  expect(JSON.parse((await aios(home, 'policy', 'diff', '--dir', folder, '--json')).out)).toEqual([{ what: 'policies', name: 'freeze', how: 'added' }]);
  const published = JSON.parse((await aios(home, 'policy', 'publish', '--dir', folder, '--at', '4s', '--json')).out) as { published: boolean; version: number; digest: string; notBefore: number };
  expect(published).toMatchObject({ published: true, version: 2 });
  if (Date.now() < published.notBefore - 1_500) expect(await say()).toEqual(first);
  await sleep(Math.max(0, published.notBefore - Date.now()));
  expect(await say()).toEqual({ state: 'refused', bundle: published.digest });
  expect(JSON.parse((await aios(home, 'policy', 'rollback', '1', '--json')).out)).toEqual({ version: 1, digest: first.bundle });
  expect(await say()).toEqual(first);
  const versions = JSON.parse((await aios(home, 'policy', 'versions', '--json')).out) as readonly { version: number; state: string }[];
  expect(versions.map(({ version, state }) => [version, state])).toEqual([[2, 'earlier'], [1, 'in force']]);
  // What the ledger holds of it, asked again under the other folder: the two that went through would not have.
  const again = await aios(home, 'policy', 'what-if', '--dir', folder, '--since', '1h', '--fail-on-change', '--json');
  const { replayed, approximate, by, changed } = JSON.parse(again.out) as { replayed: number; approximate: number; by: Record<string, number>; changed: readonly { principal: string }[] };
  expect(again.code).toBe(1);
  expect(by).toEqual({ 'commit allow->deny': replayed - 1 });
  expect({ approximate, principals: [...new Set(changed.map(({ principal }) => principal))] }).toEqual({ approximate: 0, principals: ['helpdesk'] });
}

test('aios up - a second start in the same home is refused by name, a task runs, SIGTERM leaves nothing within 10 s', { timeout: 240_000 }, async () => {
  const home = await mkdtemp(join(tmpdir(), 'aios-up-'));
  const child = await up(home);
  try {
    const second = await aios(home, 'up', '--any-ports');
    expect(second.code).toBe(2);
    expect(second.err).toMatch(/is held by process \d+, which runs since/);
    expect((await aios(home, 'doctor')).code).toBe(0);
    const task = await aios(home, 'start', 'echo.say', '{"text":"hello"}', '--json');
    expect(JSON.parse(task.out)).toMatchObject({ state: 'done', output: { text: 'hello' } });

    await activatesAndRollsBack(home);

    // Every process lives within what the message server lets its role do.
    expect(await readFile(join(home, 'nats', 'nats.log'), 'utf8')).not.toContain('Violation');

    const asked = performance.now();
    child.kill('SIGTERM');
    expect(await endOf(child)).toBe(0);
    expect(performance.now() - asked).toBeLessThan(10_000);
    expect(await processesOf(home)).toEqual([]);
    const audit = await aios(home, 'audit', 'verify', '--json');
    expect(JSON.parse(audit.out)).toMatchObject({ ok: true });
  } finally {
    child.kill('SIGKILL');
    await rm(home, { recursive: true, force: true, maxRetries: 5 });
  }
});

test('aios up - a kill -9 of the supervisor takes servers and processes along, and the home starts again', { timeout: 240_000 }, async () => {
  const home = await mkdtemp(join(tmpdir(), 'aios-up-'));
  const child = await up(home);
  const supervisor = Number((JSON.parse(await readFile(join(home, 'run', 'supervisor.pid'), 'utf8')) as { pid: number }).pid);
  const ended = endOf(child);
  process.kill(supervisor, 'SIGKILL');
  await ended;
  await expect.poll(() => processesOf(home), { timeout: 15_000, interval: 500 }).toEqual([]);
  const again = await up(home);
  const stopped = endOf(again);
  again.kill('SIGINT');
  expect(await stopped).toBe(0);
  await expect.poll(() => processesOf(home), { timeout: 5_000, interval: 500 }).toEqual([]);
  await rm(home, { recursive: true, force: true, maxRetries: 5 });
});
