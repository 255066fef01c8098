// The HTTP API and its client over a `Tasks` port in memory: who may what, bad input, idempotency, streams, retries.
// Owns: the behaviour of infra/http and infra/client. Needs no server but its own on a free port.

import { Validator } from '@seriousme/openapi-schema-validator';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { defineCapability } from '../../../contracts/capability.ts';
import { ERRORS } from '../../../contracts/errors.ts';
import type { CapabilityRegistry, Logger } from '../../../contracts/ports.ts';
import { connect } from '../../../infra/client/client.ts';
import { createHttpApp, startHttpApi, type HttpApiOptions } from '../../../infra/http/api.ts';
import { createApiKeys, hashKey } from '../../../infra/http/api-keys.ts';
import { describeApi, OPERATIONS } from '../../../infra/http/openapi.ts';
import { createFakeTasks, type FakeTasks } from './fake-tasks.ts';

const echo = defineCapability('demo.echo', { input: z.strictObject({ word: z.string() }), output: z.strictObject({ word: z.string() }) });
const registry: CapabilityRegistry = { get: () => echo as never, list: () => [echo as never], kindOf: () => 'echo' };
const quiet: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => quiet };
const keys = createApiKeys([
  { sha256: hashKey('key-a'), principal: 'desk', type: 'service', tenant: 'a', roles: [] },
  { sha256: hashKey('key-b'), principal: 'desk', type: 'service', tenant: 'b', roles: [] },
  { sha256: hashKey('key-o'), principal: 'watcher', type: 'user', tenant: 'a', roles: ['observer'] },
  { sha256: hashKey('key-g'), principal: 'robot', type: 'agent', tenant: 'a', roles: [] },
]);
const optionsFor = (tasks: FakeTasks): HttpApiOptions => ({ tasks, registry, keys, http: { host: '127.0.0.1', port: 0 }, log: quiet });
const app = (tasks = createFakeTasks({ instant: true }), more: Partial<HttpApiOptions> = {}) => createHttpApp({ ...optionsFor(tasks), ...more });
const post = (body: string, headers: Record<string, string> = {}) => ({ method: 'POST', body, headers: { authorization: 'Bearer key-a', ...headers } });

test.each([
  ['no key', {}, 401, 'AIOS_UNAUTHENTICATED'],
  ['an unknown key', { authorization: 'Bearer nobody' }, 401, 'AIOS_UNAUTHENTICATED'],
  ['another scheme', { authorization: 'Basic a2V5LWE6' }, 401, 'AIOS_UNAUTHENTICATED'],
  ['the key of an agent', { authorization: 'Bearer key-g' }, 403, 'AIOS_FORBIDDEN'],
  ['a reading key that starts', { authorization: 'Bearer key-o' }, 403, 'AIOS_FORBIDDEN'],
])('api - %s is refused before anything starts', async (_name, headers, status, code) => {
  const tasks = createFakeTasks();
  const response = await app(tasks).request('/v1/tasks', { method: 'POST', body: '{"capability":"demo.echo","input":{"word":"x"}}', headers });
  expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([status, code]);
  expect(tasks.started).toEqual([]);
});

test.each([
  ['not JSON', '{', 'AIOS_INPUT_NOT_JSON'],
  ['an unknown member', '{"capability":"demo.echo","input":1,"admin":true}', 'AIOS_INPUT_INVALID'],
  ['no capability', '{"input":1}', 'AIOS_INPUT_INVALID'],
  ['40 levels', '['.repeat(40) + ']'.repeat(40), 'AIOS_INPUT_TOO_DEEP'],
  ['300 KiB', JSON.stringify({ capability: 'demo.echo', input: 'x'.repeat(300 * 1024) }), 'AIOS_INPUT_TOO_LARGE'],
  ['an empty body', '', 'AIOS_INPUT_NOT_JSON'],
  ['an unknown capability', '{"capability":"demo.none","input":1}', 'AIOS_CAPABILITY_UNKNOWN'],
] as const)('api - %s is answered with its typed error and the status of the table', async (_name, body, code) => {
  const response = await app().request('/v1/tasks', post(body));
  expect(((await response.json()) as { code: string }).code).toBe(code);
  expect(response.status).toBe(ERRORS[code].http);
});

test('api - bytes that are not UTF-8 are refused by name', async () => {
  const response = await app().request('/v1/tasks', { method: 'POST', body: new Uint8Array([0xff, 0xfe, 0x7b]), headers: { authorization: 'Bearer key-a' } });
  expect(await response.json()).toMatchObject({ code: 'AIOS_INPUT_NOT_UTF8' });
});

test('api - the same key with the same input is the same task, with another input a conflict', async () => {
  const one = app(createFakeTasks());
  const start = async (word: string) => (await one.request('/v1/tasks', post(JSON.stringify({ capability: 'demo.echo', input: { word } }), { 'idempotency-key': 'k1' }))).json() as Promise<{ taskId: string; replayed: boolean; code?: string }>;
  const [first, second, third] = [await start('a'), await start('a'), await start('b')];
  expect(first.replayed).toBe(false);
  expect(second).toEqual({ ...first, replayed: true });
  expect(third.code).toBe('AIOS_KEY_CONFLICT');
});

test('api - keys in header and body that differ are refused', async () => {
  const response = await app().request('/v1/tasks', post('{"capability":"demo.echo","input":1,"key":"x"}', { 'idempotency-key': 'y' }));
  expect(response.status).toBe(400);
});

test('api - a tenant does not see the tasks of another', async () => {
  const one = app();
  const { taskId } = (await (await one.request('/v1/tasks', post('{"capability":"demo.echo","input":{"word":"x"}}'))).json()) as { taskId: string };
  for (const path of [`/v1/tasks/${taskId}`, `/v1/tasks/${taskId}/events`]) expect((await one.request(path, { headers: { authorization: 'Bearer key-b' } })).status).toBe(404);
  expect(await (await one.request('/v1/tasks', { headers: { authorization: 'Bearer key-b' } })).json()).toEqual({ tasks: [] });
});

test('api - a decision is made as the principal of the key, whatever the body says', async () => {
  const tasks = createFakeTasks();
  const one = app(tasks);
  await one.request('/v1/tasks', post('{"capability":"demo.echo","input":{"word":"x"}}'));
  const forged = await one.request('/v1/tasks/t-0000000000/decide', post('{"decision":"approve","by":"the-boss"}'));
  expect(forged.status).toBe(400);
  await one.request('/v1/tasks/t-0000000000/decide', post('{"decision":"approve"}'));
  expect(tasks.decisions).toEqual([{ decision: 'approve', by: 'desk' }]);
});

test('api - an unexpected failure says nothing of its inside', async () => {
  const tasks = { ...createFakeTasks(), list: () => Promise.reject(new Error('secret path /var/lib')) };
  const response = await app(tasks as FakeTasks).request('/v1/tasks', { headers: { authorization: 'Bearer key-a' } });
  expect([response.status, await response.text()]).toEqual([500, JSON.stringify({ code: 'AIOS_INTERNAL', message: ERRORS.AIOS_INTERNAL.message })]);
});

test('api - past its bound of requests in hand it asks to come back later', async () => {
  const one = app(createFakeTasks(), { inFlightMax: 1 });
  const slow = one.request('/v1/tasks', post('{"capability":"demo.echo","input":{"word":"x"},"waitMs":300}'));
  const refused = await one.request('/healthz');
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '1']);
  expect((await slow).status).toBe(202);
});

test('openapi - describes every route and nothing else', () => {
  const routes = app().routes.filter((route) => route.method !== 'ALL').map((route) => `${route.method.toLowerCase()} ${route.path.replaceAll(/:(\w+)/g, '{$1}')}`);
  expect(OPERATIONS.map((operation) => `${operation.method} ${operation.path}`).sort()).toEqual([...new Set(routes)].sort());
});

test('openapi - the document is valid by the OpenAPI 3.1 schema, and the check notices a broken one', async () => {
  const document = describeApi('0.0.0');
  expect(await new Validator().validate(document as never)).toMatchObject({ valid: true });
  expect(await new Validator().validate({ ...document, paths: { '/x': { get: { parameters: 'none' } } } } as never)).toMatchObject({ valid: false });
});

test('openapi - operation ids are unique and every schema names a type or a union', () => {
  const { paths } = describeApi('0.0.0') as { paths: Record<string, Record<string, { operationId: string; responses: Record<string, unknown> }>> };
  const operations = Object.values(paths).flatMap((path) => Object.values(path));
  expect(new Set(operations.map((operation) => operation.operationId)).size).toBe(OPERATIONS.length);
  expect(operations.every((operation) => Object.keys(operation.responses).length > 0)).toBe(true);
});

test('client - runs a capability and returns its checked output', async () => {
  await using api = await startHttpApi(optionsFor(createFakeTasks({ instant: true })));
  const client = connect({ url: api.url, key: 'key-a' });
  expect((await client.run(echo, { word: 'hello' })).word).toBe('hello');
  expect((await client.capabilities())[0]?.id).toBe('demo.echo');
});

test('client - throws the error of the task when it was refused', async () => {
  const tasks = createFakeTasks();
  await using api = await startHttpApi(optionsFor(tasks));
  const client = connect({ url: api.url, key: 'key-a' });
  const { taskId } = await client.start(echo, { word: 'x' });
  setTimeout(() => tasks.move(taskId, 'refused', { state: 'refused', error: { code: 'AIOS_POLICY_DENIED', message: 'no' } }), 20);
  expect((await client.wait(taskId)).state).toBe('refused');
  await expect(client.run(echo, { word: 'x' }, { timeoutMs: 50 })).rejects.toMatchObject({ code: 'AIOS_DEADLINE_EXCEEDED' });
});

test('client - watches every state until the task ends', async () => {
  const tasks = createFakeTasks();
  await using api = await startHttpApi(optionsFor(tasks));
  const client = connect({ url: api.url, key: 'key-a' });
  const { taskId } = await client.start(echo, { word: 'x' });
  const seen: string[] = [];
  for await (const view of client.watch(taskId)) {
    seen.push(view.state);
    if (view.state === 'running') tasks.move(taskId, 'waiting');
    if (view.state === 'waiting') tasks.move(taskId, 'done', { output: { word: 'x' } });
  }
  expect(seen).toEqual(['running', 'waiting', 'done']);
});

test('client - repeats a start whose answer was lost under one key, so that one task starts', async () => {
  const tasks = createFakeTasks({ instant: true });
  await using api = await startHttpApi(optionsFor(tasks));
  let lost = 0;
  const flaky: typeof fetch = async (input, init) => {
    const answer = await fetch(input, init);
    if (lost++ === 0) throw new TypeError('socket closed');
    return answer;
  };
  const started = await connect({ url: api.url, key: 'key-a', fetch: flaky, sleep: async () => undefined }).start(echo, { word: 'x' });
  expect(tasks.started.length).toBe(2);
  expect(tasks.started[0]?.key).toBe(tasks.started[1]?.key);
  expect(started.replayed).toBe(true);
});

test('client - does not repeat a decision whose answer was lost, nor anything the table says is hopeless', async () => {
  let calls = 0;
  const dead: typeof fetch = () => { calls++; return Promise.reject(new TypeError('socket closed')); };
  await expect(connect({ url: 'http://127.0.0.1:1', key: 'k', fetch: dead, sleep: async () => undefined }).decide('t-1', { decision: 'approve' })).rejects.toMatchObject({ code: 'AIOS_DISCONNECTED' });
  expect(calls).toBe(1);
  const refused: typeof fetch = async () => { calls++; return Response.json({ code: 'AIOS_UNAUTHENTICATED', message: 'no' }, { status: 401 }); };
  await expect(connect({ url: 'http://127.0.0.1:1', key: 'k', fetch: refused, sleep: async () => undefined }).list()).rejects.toMatchObject({ code: 'AIOS_UNAUTHENTICATED' });
  expect(calls).toBe(2);
});

const busy: typeof fetch = async () => Response.json({ code: 'AIOS_OVERLOADED', message: 'busy', retryAfterMs: 321 }, { status: 429 });

test('client - waits as long as an overloaded server asks it to, a bounded number of times', async () => {
  const pauses: number[] = [];
  await expect(connect({ url: 'http://127.0.0.1:1', key: 'k', fetch: busy, sleep: async (ms) => void pauses.push(ms) }).list()).rejects.toMatchObject({ code: 'AIOS_OVERLOADED' });
  expect(pauses).toEqual([321, 321, 321]);
});
