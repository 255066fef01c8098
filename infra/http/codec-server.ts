// The codec server: what the Temporal UI asks to show a payload in the clear, for people who may read it, and nobody else.
// Owns: /encode and /decode in the form of Temporal's remote codecs, CORS for the UI, sign-in with an API key, who reads what.
// Never stores a payload, and never says why one stays sealed: what a person may not read comes back as it came.
// Others may assume: a caller is a bearer key or a session of one, has the role `payload-reader`, reads its own tenant only,
// and every reading is counted and logged with who read, never with what.

import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { type Context, Hono } from 'hono';
import { getCookie, setCookie } from 'hono/cookie';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { z } from 'zod';
import { ERRORS, fail, isAiosError, toErrorBody } from '../../contracts/errors.ts';
import { decodeText, parseJson, parseValue } from '../../contracts/parse.ts';
import type { Clock, Logger, Metrics } from '../../contracts/ports.ts';
import type { Principal } from '../../contracts/verdict.ts';
import type { ApiKeys } from './api-keys.ts';
import { signInPage } from './codec-page.ts';
import { close, listen } from './listener.ts';

/** The right to see payloads in the clear. */
export const READER_ROLE = 'payload-reader';
/** Also reads what belongs to no tenant, such as arguments of workflows of one's own. */
const SHARED_ROLE = 'operator';

interface WirePayload { readonly metadata?: Readonly<Record<string, string>> | undefined; readonly data?: string | undefined }
/** Payloads as they are in memory. */
export interface SealedPayload { metadata?: Record<string, Uint8Array> | null; data?: Uint8Array | null }
export interface ServedCodec {
  encodeFor(tenant: string, payloads: readonly SealedPayload[]): readonly SealedPayload[];
  decodeFor(may: (tenant: string) => boolean, payloads: readonly SealedPayload[]): Promise<readonly SealedPayload[]>;
}

export interface CodecServerOptions {
  readonly codec: ServedCodec;
  readonly keys: ApiKeys;
  /** The namespace whose payloads this key ring opens. */
  readonly namespace: string;
  /** Name that stands for "no tenant" in payloads. */
  readonly shared: string;
  /** Origins of the Temporal UIs, such as http://127.0.0.1:8233. */
  readonly origins: readonly string[];
  readonly http: { readonly host: string; readonly port: number };
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}
export interface CodecServer extends AsyncDisposable {
  readonly url: string;
}

const BODY_BYTES_MAX = 16 * 1024 * 1024;
const PAYLOADS_MAX = 5_000;
const COOKIE = 'aios_codec';
const SESSION_MS = 8 * 3_600_000;
const SESSIONS_MAX = 1_000;

const payloadSchema = z.object({ metadata: z.record(z.string().max(128), z.string().max(4_096)).optional(), data: z.string().optional() });
const bodySchema = z.object({ payloads: z.array(payloadSchema).max(PAYLOADS_MAX) });
const signInSchema = z.object({ key: z.string().max(256) });

/** @throws AIOS_CONFIG_INVALID when the port is taken */
export async function startCodecServer(options: CodecServerOptions): Promise<CodecServer> {
  const app = createCodecApp(options);
  const server = await listen(app, options.http, 'codec server', 'AIOS_CODEC_PORT');
  const { port } = server.address() as AddressInfo;
  return { url: `http://${options.http.host}:${port}`, [Symbol.asyncDispose]: () => close(server) };
}

type Known = { Variables: { reader: Principal } };
type Call = Context<Known>;
interface Session { readonly reader: Principal; readonly until: number }
type Sessions = Map<string, Session>;

/** The application without a socket, for tests. */
export function createCodecApp(options: CodecServerOptions): Hono<Known> {
  const sessions: Sessions = new Map();
  const app = new Hono<Known>();
  app.use(cors(options));
  app.get('/healthz', (c) => c.json({ status: 'ok' }));
  app.get('/', (c) => page(c, readerOf(c, options, sessions)?.id, options));
  app.post('/sign-in', (c) => signIn(c, options, sessions));
  app.post('/sign-out', (c) => {
    sessions.delete(getCookie(c, COOKIE) ?? '');
    return c.redirect('/', 303);
  });
  app.use('/decode', (c, next) => authorised(c, next, options, sessions));
  app.use('/encode', (c, next) => authorised(c, next, options, sessions));
  app.post('/decode', async (c) => answer(c, await options.codec.decodeFor(mayRead(c.get('reader'), options.shared), await payloadsOf(c)), options));
  app.post('/encode', async (c) => answer(c, options.codec.encodeFor(c.get('reader').tenant, await payloadsOf(c)), options));
  app.notFound((c) => c.json({ code: 'AIOS_INPUT_INVALID', message: 'There is no such route.' }, 404));
  app.onError((error, c) => refuse(error, c, options));
  return app;
}

const mayRead = (reader: Principal, shared: string) => (tenant: string): boolean => tenant === reader.tenant || (tenant === shared && reader.roles.includes(SHARED_ROLE));

/** Only UIs that are named here may ask from a browser; others get no permission from it and, where they ask all the same, no answer. */
function cors({ origins }: CodecServerOptions): (c: Call, next: () => Promise<void>) => Promise<Response | void> {
  return async (c, next) => {
    const origin = c.req.header('origin');
    if (origin !== undefined && origins.includes(origin)) {
      c.header('Access-Control-Allow-Origin', origin);
      c.header('Access-Control-Allow-Credentials', 'true');
      c.header('Vary', 'Origin');
    } else if (origin !== undefined && origin !== new URL(c.req.url).origin) throw fail('AIOS_FORBIDDEN', 'This page may not ask the codec server.');
    if (c.req.method !== 'OPTIONS') return next();
    c.header('Access-Control-Allow-Methods', 'POST, OPTIONS');
    c.header('Access-Control-Allow-Headers', 'Content-Type, X-Namespace, Authorization, Authorization-Extras');
    c.header('Access-Control-Max-Age', '600');
    return c.body(null, 204);
  };
}

async function authorised(c: Call, next: () => Promise<void>, options: CodecServerOptions, sessions: Sessions): Promise<void> {
  const reader = readerOf(c, options, sessions);
  if (reader === undefined) throw fail('AIOS_UNAUTHENTICATED', 'Sign in at the address of the codec server first.');
  if (!reader.roles.includes(READER_ROLE)) throw fail('AIOS_FORBIDDEN', `Needed is the role ${READER_ROLE}.`);
  const namespace = c.req.header('x-namespace');
  if (namespace !== undefined && namespace !== options.namespace) throw fail('AIOS_FORBIDDEN', 'Another namespace is served elsewhere.');
  c.set('reader', reader);
  return next();
}

/** A bearer key, as tools and a UI behind a login send it, or the session that a person signed in to. */
function readerOf(c: Call, { keys, clock }: CodecServerOptions, sessions: Sessions): Principal | undefined {
  const key = /^Bearer ([\x21-\x7e]{1,256})$/i.exec(c.req.header('authorization') ?? '')?.[1];
  if (key !== undefined) return keys.principalOf(key);
  const session = sessions.get(getCookie(c, COOKIE) ?? '');
  return session !== undefined && clock.now() < session.until ? session.reader : undefined;
}

async function signIn(c: Call, options: CodecServerOptions, sessions: Sessions): Promise<Response> {
  const form = await c.req.parseBody();
  const { key } = parseValue(signInSchema, form);
  const reader = options.keys.principalOf(key);
  options.metrics.count('aios_codec_sign_ins_total', { accepted: String(reader !== undefined) });
  if (reader === undefined) return page(c, undefined, options, 'This key is not known.', 401);
  if (!reader.roles.includes(READER_ROLE)) return page(c, undefined, options, `This key is not for reading payloads: it lacks the role ${READER_ROLE}.`, 403);
  if (sessions.size >= SESSIONS_MAX) sessions.delete(sessions.keys().next().value ?? '');
  const id = randomBytes(24).toString('base64url');
  sessions.set(id, { reader, until: options.clock.now() + SESSION_MS });
  setCookie(c, COOKIE, id, { httpOnly: true, sameSite: 'Strict', path: '/', maxAge: SESSION_MS / 1_000, secure: new URL(c.req.url).protocol === 'https:' });
  options.log.info({ principal: reader.id, tenant: reader.tenant }, 'a payload reader signed in');
  return c.redirect('/', 303);
}

function page(c: Call, reader: string | undefined, { origins }: CodecServerOptions, problem?: string, status: ContentfulStatusCode = 200): Response {
  c.header('Content-Security-Policy', "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'");
  c.header('Cache-Control', 'no-store');
  return c.html(signInPage({ reader, endpoint: new URL(c.req.url).origin, ui: origins[0], problem }), status);
}

async function payloadsOf(c: Call): Promise<readonly SealedPayload[]> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of c.req.raw.body ?? []) {
    size += part.byteLength;
    if (size > BODY_BYTES_MAX) throw fail('AIOS_INPUT_TOO_LARGE', `At most ${BODY_BYTES_MAX} bytes.`);
    parts.push(part);
  }
  const { payloads } = parseValue(bodySchema, parseJson(decodeText(Buffer.concat(parts), BODY_BYTES_MAX)));
  return payloads.map(fromWire);
}

const fromWire = ({ metadata, data }: WirePayload): SealedPayload => ({
  metadata: Object.fromEntries(Object.entries(metadata ?? {}).map(([name, value]) => [name, Buffer.from(value, 'base64')])),
  data: Buffer.from(data ?? '', 'base64'),
});
const toWire = ({ metadata, data }: SealedPayload): WirePayload => ({
  metadata: Object.fromEntries(Object.entries(metadata ?? {}).map(([name, value]) => [name, Buffer.from(value).toString('base64')])),
  data: Buffer.from(data ?? []).toString('base64'),
});

function answer(c: Call, payloads: readonly SealedPayload[], { log, metrics }: CodecServerOptions): Response {
  const { id, tenant } = c.get('reader');
  metrics.count('aios_codec_payloads_total', { route: c.req.path.slice(1) }, payloads.length);
  log.info({ principal: id, tenant, route: c.req.path, payloads: payloads.length }, 'payloads read or written by a person');
  return c.json({ payloads: payloads.map(toWire) });
}

function refuse(error: unknown, c: Context, { log, metrics }: CodecServerOptions): Response {
  const body = toErrorBody(error);
  if (!isAiosError(error)) log.error({ error: error instanceof Error ? error.message : 'unknown' }, 'unexpected failure in the codec server');
  metrics.count('aios_codec_refused_total', { code: body.code });
  if (body.code === 'AIOS_UNAUTHENTICATED') c.header('WWW-Authenticate', 'Bearer');
  return c.json(body, ERRORS[body.code].http as ContentfulStatusCode);
}
