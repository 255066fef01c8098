// The whole process tree as a person starts and stops it: `aios up`, a second start in the same home, Ctrl-C, kill -9.
// Owns: the proof that nothing is left behind. Every check is on real processes of a home of its own, on free ports.
// Reads /proc, so it runs on Linux.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const bin = fileURLToPath(new URL('../../infra/cli/bin.mjs', import.meta.url));
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
