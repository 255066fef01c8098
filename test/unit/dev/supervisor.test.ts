// The supervisor over small real children, and the helpers of the server search.
// Owns: restart, readiness, stop and deadline of infra/dev/supervisor. Needs no server.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { lockFile, versionAtLeast } from '../../../infra/dev/find-server.ts';
import { isAlive, readPidFile, writePidFile } from '../../../infra/dev/pid-file.ts';
import { startSupervisor } from '../../../infra/dev/supervisor.ts';

const READY = `console.log(JSON.stringify({ level: 'info', msg: 'ready' }));`;
const part = (name: string, script: string) => ({ name, command: process.execPath, parameters: ['-e', script] });

async function temporaryFolder(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'aios-sup-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

test('supervisor - is ready when every part said so, and keeps their words', async () => {
  await using folder = await temporaryFolder();
  await using supervisor = startSupervisor({ logDir: folder.path, parts: [part('a', `${READY} setInterval(() => {}, 1000)`), part('b', `${READY} setInterval(() => {}, 1000)`)] });
  await supervisor.ready(10_000);
  expect(supervisor.views().map((view) => view.state)).toEqual(['ready', 'ready']);
  expect(await readFile(join(folder.path, 'a.log'), 'utf8')).toContain('ready');
});

test('supervisor - starts a killed part again and counts it', async () => {
  await using folder = await temporaryFolder();
  await using supervisor = startSupervisor({ logDir: folder.path, parts: [part('a', `${READY} setInterval(() => {}, 1000)`)] });
  await supervisor.ready(10_000);
  const before = supervisor.views()[0]?.pid;
  supervisor.kill('a', 'SIGKILL');
  await expect.poll(() => supervisor.views()[0]?.restarts, { timeout: 10_000 }).toBe(1);
  await supervisor.ready(10_000);
  expect(supervisor.views()[0]?.pid).not.toBe(before);
});

test('supervisor - names the part that never gets ready, with its log', async () => {
  await using folder = await temporaryFolder();
  await using supervisor = startSupervisor({ logDir: folder.path, parts: [part('mute', `setInterval(() => {}, 1000)`)] });
  await expect(supervisor.ready(200)).rejects.toThrow(/mute \(starting, log .*mute\.log\)/);
});

test('supervisor - a part that ignores SIGTERM is killed at the end of its grace', async () => {
  await using folder = await temporaryFolder();
  const supervisor = startSupervisor({ logDir: folder.path, stopMsMax: 300, parts: [part('deaf', `process.on('SIGTERM', () => {}); ${READY} setInterval(() => {}, 1000)`)] });
  await supervisor.ready(10_000);
  const pid = supervisor.views()[0]?.pid ?? 0;
  const started = performance.now();
  await supervisor.stop();
  expect(performance.now() - started).toBeLessThan(3_000);
  expect(isAlive(pid)).toBe(false);
});

test('supervisor - a part that ends at once is tried again with growing pauses', async () => {
  await using folder = await temporaryFolder();
  await using supervisor = startSupervisor({ logDir: folder.path, restartMsMin: 300, parts: [part('brief', 'process.exit(3)')] });
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  expect(supervisor.views()[0]?.restarts).toBeGreaterThan(0);
  expect(supervisor.views()[0]?.restarts).toBeLessThan(4);
});

test('pid file - a pid that another program took is no holder', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'x.pid');
  await writePidFile(file, { pid: process.pid, owner: process.pid, command: 'a-program-of-another-name', startedAt: 0 });
  expect(await readPidFile(file)).toBeUndefined();
  await writePidFile(file, { pid: process.pid, owner: process.pid, command: 'node', startedAt: 0 });
  expect((await readPidFile(file))?.pid).toBe(process.pid);
  await writeFile(file, 'not json');
  expect(await readPidFile(file)).toBeUndefined();
});

test('lock file - a second holder waits, and a dead holder is not waited for', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'build.lock');
  const first = await lockFile(file, () => undefined);
  await expect(lockFile(file, () => undefined, 700)).rejects.toThrow('was held for too long');
  await first[Symbol.asyncDispose]();
  await writeFile(file, '999999999');
  await using second = new AsyncDisposableStack();
  second.use(await lockFile(file, () => undefined, 3_000));
  expect(await readFile(file, 'utf8')).toBe(String(process.pid));
});

test('server search - compares versions by number, not by text', () => {
  expect(versionAtLeast('2.12.0', '2.12.0')).toBe(true);
  expect(versionAtLeast('2.9.24', '2.12.0')).toBe(false);
  expect(versionAtLeast('3.0.0', '2.12.9')).toBe(true);
  expect(versionAtLeast('1.31', '1.31.0')).toBe(true);
});
