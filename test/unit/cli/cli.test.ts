// The command line against an API over tasks in memory: what it prints, and the exit code of each ending.
// Owns: the words people script against. Runs the real program in its own process, on a home of its own.

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { defineCapability } from '../../../contracts/capability.ts';
import type { CapabilityRegistry, Logger } from '../../../contracts/ports.ts';
import { startHttpApi } from '../../../infra/http/api.ts';
import { createApiKeys, hashKey } from '../../../infra/http/api-keys.ts';
import { createFakeTasks, type FakeTasks } from '../http/fake-tasks.ts';

const echo = defineCapability('demo.echo', { input: z.strictObject({ word: z.string() }), output: z.strictObject({ word: z.string() }) });
const registry: CapabilityRegistry = { get: () => echo as never, list: () => [echo as never], kindOf: () => 'echo' };
const quiet: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => quiet };
const keys = createApiKeys([{ sha256: hashKey('key-a'), principal: 'desk', type: 'service', tenant: 'a', roles: [] }]);
const bin = fileURLToPath(new URL('../../../infra/cli/bin.mjs', import.meta.url));

async function open(tasks: FakeTasks = createFakeTasks({ instant: true })) {
  const stack = new AsyncDisposableStack();
  const home = await mkdtemp(join(tmpdir(), 'aios-cli-'));
  stack.defer(() => rm(home, { recursive: true, force: true }));
  const api = stack.use(await startHttpApi({ tasks, registry, keys, http: { host: '127.0.0.1', port: 0 }, log: quiet }));
  const aios = (...parameters: string[]) => runAios(home, { AIOS_URL: api.url, AIOS_KEY: 'key-a' }, parameters);
  return { aios, home, tasks, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function runAios(home: string, env: Record<string, string>, parameters: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [bin, '--home', home, ...parameters], { env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env } }, (error, out, err) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err });
    });
  });
}

test('aios start - prints the result of a finished task and ends 0', async () => {
  await using at = await open();
  const { code, out } = await at.aios('start', 'demo.echo', '{"word":"hello"}', '--json');
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ state: 'done', output: { word: 'hello' } });
});

test('aios start - a task that is not finished in time ends 3 and shows where it stands', async () => {
  await using at = await open(createFakeTasks());
  const { code, out } = await at.aios('start', 'demo.echo', '{"word":"x"}', '--wait', '50');
  expect([code, out.split('  ')[1]?.trim()]).toEqual([3, 'running']);
});

test('aios start - bad JSON and unknown capabilities end with their typed error and what to do', async () => {
  await using at = await open();
  const json = await at.aios('start', 'demo.echo', '{', '--json');
  expect([json.code, (JSON.parse(json.out) as { error: { code: string; todo: string } }).error.code]).toEqual([2, 'AIOS_INPUT_NOT_JSON']);
  const unknown = await at.aios('start', 'demo.none', '{}');
  expect(unknown.code).toBe(1);
  expect(unknown.err).toContain('AIOS_CAPABILITY_UNKNOWN');
  expect(unknown.err).toContain('aios doctor');
});

test('aios tasks, approve, answer - work through the API', async () => {
  await using at = await open(createFakeTasks());
  await at.aios('start', 'demo.echo', '{"word":"x"}', '--wait', '0');
  expect((JSON.parse((await at.aios('tasks', '--json')).out) as unknown[]).length).toBe(1);
  expect((await at.aios('approve', 't-0000000000', '--reason', 'fine')).out).toBe('t-0000000000: Approved.\n');
  await at.aios('answer', 't-0000000000', '--text', 'By hand.');
  expect(at.tasks.decisions).toEqual([{ decision: 'approve', by: 'desk', reason: 'fine' }, { decision: 'answer', by: 'desk', text: 'By hand.' }]);
});

test('aios - a system that does not run ends 4, an unknown command 2, help 0', async () => {
  const home = await mkdtemp(join(tmpdir(), 'aios-cli-'));
  expect((await runAios(home, {}, ['tasks'])).code).toBe(4);
  expect((await runAios(home, { AIOS_URL: 'http://127.0.0.1:9', AIOS_KEY: 'k' }, ['tasks'])).code).toBe(4);
  expect((await runAios(home, {}, ['nonsense'])).code).toBe(2);
  expect((await runAios(home, {}, ['--help'])).code).toBe(0);
  expect((await runAios(home, {}, ['audit', 'verify'])).code).toBe(2);
  await rm(home, { recursive: true, force: true });
});

test('aios doctor - names what is there and says that nothing runs', async () => {
  const home = await mkdtemp(join(tmpdir(), 'aios-cli-'));
  const { code, out } = await runAios(home, {}, ['doctor', '--json']);
  const { findings } = JSON.parse(out) as { findings: { check: string; state: string }[] };
  expect(code).toBe(0);
  expect(findings.find(({ check }) => check === 'system')?.state).toBe('skip');
  expect(findings.find(({ check }) => check === 'nats server')?.state).toBe('ok');
  const broken = await runAios(home, { AIOS_NATS_SERVER: '/nowhere/nats-server' }, ['doctor', '--json']);
  expect(broken.code).toBe(1);
  await rm(home, { recursive: true, force: true });
});
