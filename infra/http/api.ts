// The HTTP API over the `Tasks` port: start, wait, watch, decide, cancel, lineage.
// Owns: routes, authentication, body limits, the mapping of errors to statuses. Never decides anything about a task.
// Others may assume: nothing is started before the caller is known and the body parsed; every refusal is an ErrorBody with
// the status of the error table; a tenant sees its own tasks only, because the tenant comes from the key and nowhere else.

import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import type { HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { streamSSE } from 'hono/streaming';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { z } from 'zod';
import { traitsOf } from '../../contracts/capability.ts';
import { ERRORS, fail, isAiosError, toErrorBody } from '../../contracts/errors.ts';
import { parseId } from '../../contracts/ids.ts';
import type { Trace } from '../../contracts/message.ts';
import { MESSAGE_BYTES_MAX, parseBytes, parseValue } from '../../contracts/parse.ts';
import type { CapabilityRegistry, Logger, Metrics, Tasks, Tracer } from '../../contracts/ports.ts';
import { isTerminal, TASK_STATES } from '../../contracts/task.ts';
import type { Principal } from '../../contracts/verdict.ts';
import type { BudgetDesk } from '../accounting/desk.ts';
import type { ApiKeys } from './api-keys.ts';
import { addBudgetRoutes } from './budget-routes.ts';
import { close, listen } from './listener.ts';
import { describeApi, jsonSchema } from './openapi.ts';
import { decideBodySchema, startBodySchema, WAIT_MS_MAX } from './schemas.ts';

export interface HttpApiOptions {
  readonly tasks: Tasks;
  readonly registry: CapabilityRegistry;
  readonly keys: ApiKeys;
  /** Port 0 = a free one. */
  readonly http: { readonly host: string; readonly port: number };
  readonly log: Logger;
  readonly metrics?: Metrics;
  /** A start continues the trace of its caller, or begins the one that the whole task goes by. */
  readonly tracer?: Tracer;
  readonly metricsText?: () => Promise<string>;
  readonly lineage?: (tenant: string, taskId: string) => Promise<unknown>;
  readonly budgets?: BudgetDesk;
  readonly now?: () => number;
  /** Requests in hand at once; past it callers get AIOS_OVERLOADED. */
  readonly inFlightMax?: number;
}
export interface HttpApi extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
}

/** @throws AIOS_CONFIG_INVALID when the port is taken */
export async function startHttpApi(options: HttpApiOptions): Promise<HttpApi> {
  const app = createHttpApp(options);
  const server = await listen(app, options.http, 'HTTP API', 'AIOS_HTTP_PORT');
  const { port } = server.address() as AddressInfo;
  return { port, url: `http://${options.http.host}:${port}`, [Symbol.asyncDispose]: () => close(server) };
}

type Known = { Variables: { principal: Principal } };
type Call = Context<Known>;

const IN_FLIGHT_MAX = 2_000;
const LIST_MAX = 500;
const HEARTBEAT_MS = 15_000;
const version = (JSON.parse(readFileSync(packageFile(), 'utf8')) as { version: string }).version;

/** The application without a socket, for tests. */
export function createHttpApp(options: HttpApiOptions): Hono<Known> {
  const app = new Hono<Known>();
  const description = describeApi(version);
  bound(app, options);
  app.get('/healthz', (c) => c.json({ status: 'ok' }));
  app.get('/metrics', async (c) => c.text((await options.metricsText?.()) ?? ''));
  app.get('/openapi.json', (c) => c.json(description));
  authenticate(app, options);
  addTaskRoutes(app, options);
  addBudgetRoutes(app, options.budgets, bodyOf);
  app.get('/v1/capabilities', (c) => c.json({ capabilities: options.registry.list().map((one) => ({ ...traitsOf(one), input: jsonSchema(one.input), output: jsonSchema(one.output) })) }));
  app.notFound((c) => c.json({ code: 'AIOS_INPUT_INVALID', message: 'There is no such route; see /openapi.json.' }, 404));
  app.onError((error, c) => answerError(error, c, options));
  return app;
}

function addTaskRoutes(app: Hono<Known>, { tasks, lineage, now, tracer }: HttpApiOptions): void {
  const traced = <T>(parent: Trace | undefined, capability: string, work: (trace: Trace | undefined) => Promise<T>): Promise<T> =>
    tracer === undefined ? work(parent) : tracer.span('start task', { parent, attributes: { capability } }, work);
  app.post('/v1/tasks', async (c) => {
    const { waitMs, ...body } = await bodyOf(c, startBodySchema);
    const key = sameKey(body.key, c.req.header('idempotency-key'));
    const principal = c.get('principal');
    const { entry, replayed } = await traced(traceOf(c), body.capability, (trace) => tasks.start({ principal, capability: body.capability, input: body.input, ...(key === undefined ? {} : { key }), ...(body.deadlineMs === undefined ? {} : { deadlineMs: body.deadlineMs }), trace }));
    const result = waitMs === undefined || waitMs === 0 ? undefined : await tasks.result(principal.tenant, entry.taskId, waitMs);
    c.header('Location', `/v1/tasks/${entry.taskId}`);
    return c.json({ taskId: entry.taskId, workflowId: entry.workflowId, replayed, ...(result === undefined ? {} : { result }) }, result === undefined ? 202 : 200);
  });
  app.get('/v1/tasks', async (c) => {
    const { state, limit } = parseValue(listQuerySchema, c.req.query());
    return c.json({ tasks: await tasks.list(c.get('principal').tenant, state === undefined ? { limit } : { state, limit }) });
  });
  app.get('/v1/tasks/:id', async (c) => {
    const { waitMs } = parseValue(viewQuerySchema, c.req.query());
    const { tenant, taskId } = taskOf(c);
    if (waitMs > 0) await tasks.result(tenant, taskId, waitMs);
    return c.json(await tasks.view(tenant, taskId));
  });
  app.get('/v1/tasks/:id/events', (c) => watch(c, tasks));
  app.post('/v1/tasks/:id/cancel', async (c) => {
    const { tenant, taskId } = taskOf(c);
    await tasks.cancel(tenant, taskId, c.get('principal').id);
    return c.json({ asked: true, at: (now ?? Date.now)() }, 202);
  });
  app.post('/v1/tasks/:id/decide', async (c) => {
    const { tenant, taskId } = taskOf(c);
    const body = await bodyOf(c, decideBodySchema);
    const by = body.by ?? c.get('principal').id;
    if (by !== c.get('principal').id && body.token === undefined) throw fail('AIOS_INPUT_INVALID', '"by" names somebody else: that needs a "token" that proves it.');
    return c.json(await tasks.decide(tenant, taskId, { ...body, by }));
  });
  app.get('/v1/tasks/:id/lineage', async (c) => {
    if (lineage === undefined) throw fail('AIOS_UNAVAILABLE', 'This server keeps no lineage.');
    const { tenant, taskId } = taskOf(c);
    return c.json((await lineage(tenant, taskId)) as object);
  });
}

const listQuerySchema = z.strictObject({ state: z.enum(TASK_STATES).optional(), limit: z.coerce.number().int().min(1).max(LIST_MAX).default(50) });
const viewQuerySchema = z.strictObject({ waitMs: z.coerce.number().int().min(0).max(WAIT_MS_MAX).default(0) });

/** The unknown task is refused before the stream opens, so that the caller sees a status and not an empty stream. */
async function watch(c: Call, tasks: Tasks): Promise<Response> {
  const { tenant, taskId } = taskOf(c);
  await tasks.view(tenant, taskId);
  return streamSSE(c, async (stream) => {
    const gone = new AbortController();
    stream.onAbort(() => gone.abort());
    const heartbeat = setInterval(() => void stream.write(': still here\n\n'), HEARTBEAT_MS);
    try {
      for await (const view of tasks.watch(tenant, taskId, gone.signal)) {
        await stream.writeSSE({ event: 'state', data: JSON.stringify(view) });
        if (isTerminal(view.state)) return;
      }
    } catch (error) {
      await stream.writeSSE({ event: 'error', data: JSON.stringify(toErrorBody(error)) });
    } finally {
      clearInterval(heartbeat);
      gone.abort();
    }
  });
}

function bound(app: Hono<Known>, options: HttpApiOptions): void {
  let inFlight = 0;
  app.use(async (c, next) => {
    if (inFlight >= (options.inFlightMax ?? IN_FLIGHT_MAX)) throw fail('AIOS_OVERLOADED', undefined, { retryAfterMs: 500 });
    inFlight++;
    const started = performance.now();
    try {
      await next();
    } finally {
      inFlight--;
      options.metrics?.observe('aios_http_request_ms', performance.now() - started, { method: c.req.method, status: String(c.res.status) });
    }
  });
}

/** Observers read; agents work through their mandates and have no business here. */
function authenticate(app: Hono<Known>, { keys }: HttpApiOptions): void {
  app.use('/v1/*', async (c, next) => {
    const key = /^Bearer ([\x21-\x7e]{1,256})$/i.exec(c.req.header('authorization') ?? '')?.[1];
    const principal = key === undefined ? undefined : keys.principalOf(key);
    if (principal === undefined) throw fail('AIOS_UNAUTHENTICATED');
    if (principal.type === 'agent') throw fail('AIOS_FORBIDDEN', 'Agents reach capabilities through their mandate.');
    if (c.req.method !== 'GET' && principal.roles.includes('observer')) throw fail('AIOS_FORBIDDEN', 'This key may only read.');
    c.set('principal', principal);
    await next();
  });
}

function answerError(error: unknown, c: Context, { log, metrics }: HttpApiOptions): Response {
  const body = toErrorBody(error);
  if (!isAiosError(error)) log.error({ error: error instanceof Error ? error.message : 'unknown', path: c.req.routePath }, 'unexpected failure in the API');
  metrics?.count('aios_http_refused_total', { code: body.code });
  if (body.code === 'AIOS_UNAUTHENTICATED') c.header('WWW-Authenticate', 'Bearer');
  if (body.retryAfterMs !== undefined) c.header('Retry-After', String(Math.ceil(body.retryAfterMs / 1_000)));
  return c.json(body, ERRORS[body.code].http as ContentfulStatusCode);
}

async function bodyOf<T>(c: Call, schema: z.ZodType<T>): Promise<T> {
  if (Number(c.req.header('content-length') ?? 0) > MESSAGE_BYTES_MAX) throw fail('AIOS_INPUT_TOO_LARGE', `At most ${MESSAGE_BYTES_MAX} bytes.`);
  return parseBytes(schema, await readBounded(incomingOf(c) ?? c.req.raw.body ?? [], MESSAGE_BYTES_MAX));
}

/** Node's own request where there is a socket: going through a web stream costs as much as the rest of the route. */
const incomingOf = (c: Call): AsyncIterable<Uint8Array> | undefined => (c.env as Partial<HttpBindings> | undefined)?.incoming;

async function readBounded(body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, bytesMax: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of body) {
    size += part.byteLength;
    if (size > bytesMax) throw fail('AIOS_INPUT_TOO_LARGE', `At most ${bytesMax} bytes.`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function sameKey(inBody: string | undefined, inHeader: string | undefined): string | undefined {
  if (inBody !== undefined && inHeader !== undefined && inBody !== inHeader) throw fail('AIOS_INPUT_INVALID', 'the header Idempotency-Key and the member "key" differ.');
  const key = inBody ?? inHeader;
  if (key !== undefined && !/^[\x21-\x7e]{1,128}$/.test(key)) throw fail('AIOS_INPUT_INVALID', 'an idempotency key is 1 to 128 visible ASCII characters.');
  return key;
}

function taskOf(c: Call): { readonly tenant: string; readonly taskId: string } {
  return { tenant: c.get('principal').tenant, taskId: parseId('task', c.req.param('id')) };
}

function traceOf(c: Call): Trace | undefined {
  const traceparent = c.req.header('traceparent');
  return traceparent !== undefined && /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(traceparent) ? { traceparent } : undefined;
}

/** From the source tree and from the published build the package file is two or three folders up. */
function packageFile(): URL {
  const here = import.meta.url;
  return new URL(here.includes('/dist/infra/') ? '../../../package.json' : '../../package.json', here);
}
