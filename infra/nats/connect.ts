// The one connection of a process to NATS, with the client's traps closed.
// Owns: connecting (bounded first wait, endless reconnect), the connection's state, requests, stored publishes and direct reads.
// Never knows a port of ours: the files beside it build those on a `NatsLink`.
// Others may assume: while disconnected nothing is silently dropped (AIOS_DISCONNECTED instead), requests in flight fail
// when the connection breaks, a server below 2.12 is refused, and every error has a code of the table.

import { headers as createHeaders, PermissionViolationError, type Msg, type MsgHdrs, type NatsConnection } from '@nats-io/nats-core';
import { jetstream, jetstreamManager, type JetStreamClient, type JetStreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { fail } from '../../contracts/errors.ts';
import type { Clock, Logger, Metrics, Random } from '../../contracts/ports.ts';
import { openCredentials, type Credentials } from './credentials.ts';
import { convertApiFailure, convertNatsError, type ApiFailure } from './errors.ts';
import { planRenewal, type LinkState } from './renewal.ts';
import { createRequests, type RequestCall, type Requests } from './requests.ts';

export interface ConnectOptions {
  readonly url: string;
  /** Of this process: shows in the server's connection list and in the private reply subject. */
  readonly name: string;
  /** Path of a key file (`SU…`, for an auth callout) or of a .creds file. */
  readonly credentials?: string | undefined;
  /** How long the server lets a connection of a key file live; the connection is made anew before that, at a quiet moment. */
  readonly lifeMs?: number;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly random: Random;
  /** How long the first connection may take before AIOS_DISCONNECTED; 30 s unless told. */
  readonly firstConnectMsMax?: number;
  /** Refuses servers below 2.12 unless a test says otherwise. */
  readonly versionMin?: readonly [number, number];
}

export interface StoreOptions {
  /** Dedups within the stream's window. */
  readonly messageId?: string;
  /** The subject's last sequence must be this; 0 = none. */
  readonly expectedLast?: number;
  /** The message removes itself; at least one second. */
  readonly ttlMs?: number;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}
export interface StoredMessage {
  readonly subject: string;
  readonly sequence: number;
  readonly data: Uint8Array;
  header(name: string): string;
}

/** What the files of this folder share. */
export interface NatsLink extends AsyncDisposable {
  readonly nc: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly connected: boolean;
  readonly inFlight: number;
  /** Core publish. @throws AIOS_DISCONNECTED, AIOS_INPUT_TOO_LARGE */
  send(subject: string, data: Uint8Array, headers?: Readonly<Record<string, string>>): void;
  /** Core request. @throws AIOS_UNAVAILABLE, AIOS_DEADLINE_EXCEEDED, AIOS_DISCONNECTED */
  request(subject: string, data: Uint8Array, call: RequestCall): Promise<Msg>;
  /** JetStream publish. @throws AIOS_STATE_CONFLICT, AIOS_MAILBOX_FULL, AIOS_OVERLOADED, AIOS_UNAVAILABLE, AIOS_DISCONNECTED */
  store(subject: string, data: Uint8Array, options: StoreOptions): Promise<{ readonly sequence: number; readonly duplicate: boolean }>;
  /** Last message of a subject by direct get. */
  last(stream: string, subject: string): Promise<StoredMessage | undefined>;
  /** First message at or after a sequence, optionally of a subject. */
  at(stream: string, sequence: number, subject?: string): Promise<StoredMessage | undefined>;
  /**
   * Runs `write` with everything else that wants to write in this turn of the event loop, so that all of it leaves in one system call.
   * The client alone flushes after each promise step, which costs a call for every message of a burst.
   */
  together(write: () => void): void;
  /** Runs after every reconnect; returns the way to stop. */
  onReconnect(run: () => void): () => void;
}

/** More than the message server waits for the service that knows hosts. */
const CONNECT_MS = 10_000;
const PING_MS = 5_000;
const PINGS_OUT_MAX = 2;
const ACK_MS = 5_000;
const DRAIN_MS = 3_000;
const VERSION_MIN: readonly [number, number] = [2, 12];
/** A store that found nobody was certainly not done: it is tried again while a restarted server loads its streams. */
const STORE_RETRIES_MS = [50, 150, 400] as const;

/** @throws AIOS_DISCONNECTED, AIOS_SERVER_TOO_OLD, AIOS_UNAUTHENTICATED, AIOS_CONFIG_INVALID (no JetStream) */
export async function connectNats(options: ConnectOptions): Promise<NatsLink> {
  const credentials = openCredentials(options.credentials);
  const inbox = `${credentials.inbox ?? `_INBOX.${options.name}`}.${Buffer.from(options.random.bytes(9)).toString('base64url').replaceAll(/[^A-Za-z0-9]/g, '0')}`;
  const nc = await firstConnect(options, inbox, credentials);
  try {
    refuseOldServer(nc, options.versionMin ?? VERSION_MIN);
    return await openLink(options, nc, inbox, credentials);
  } catch (error) {
    await nc.close();
    throw error;
  }
}

async function firstConnect(options: ConnectOptions, inboxPrefix: string, { authenticator, inbox }: Credentials): Promise<NatsConnection> {
  const { clock, logger, random } = options;
  const giveUpAt = clock.monotonic() + (options.firstConnectMsMax ?? 30_000);
  const settings = {
    servers: options.url.split(',').map((server) => server.trim()),
    name: options.name,
    inboxPrefix,
    noAsyncTraces: true,
    pingInterval: PING_MS,
    maxPingOut: PINGS_OUT_MAX,
    maxReconnectAttempts: -1,
    ignoreAuthErrorAbort: true,
    reconnectDelayHandler: () => 100 + Math.floor(random.next() * 400),
    timeout: CONNECT_MS,
    ...(authenticator === undefined ? {} : { authenticator }),
  };
  for (let attempt = 1; ; attempt++) {
    try {
      return await connect(settings);
    } catch (error) {
      const converted = convertFirst(error, options.url);
      // A callout that is not there yet refuses like one that does not know the key; only its own log tells which.
      const mayChange = converted.code === 'AIOS_DISCONNECTED' || inbox !== undefined;
      if (!mayChange || clock.monotonic() >= giveUpAt) throw converted;
      if (attempt === 1) logger.warn({ name: options.name, code: converted.code }, 'the message server does not let this host in yet; waiting for it');
      await clock.sleep(Math.min(200 * attempt, 1_000) + random.next() * 100);
    }
  }
}

function convertFirst(error: unknown, url: string): ReturnType<typeof fail> {
  const converted = convertNatsError(error, 'connecting');
  return converted.code === 'AIOS_UNAUTHENTICATED' ? converted : fail('AIOS_DISCONNECTED', `No message server answers at ${withoutSecrets(url)}.`, { cause: error });
}

const withoutSecrets = (url: string): string => url.replaceAll(/\/\/[^@/]*@/g, '//');

function refuseOldServer(nc: NatsConnection, [major, minor]: readonly [number, number]): void {
  const version = nc.info?.version ?? '0.0.0';
  const [haveMajor = 0, haveMinor = 0] = version.split('.').map(Number);
  if (haveMajor > major || (haveMajor === major && haveMinor >= minor)) return;
  throw fail('AIOS_SERVER_TOO_OLD', `The NATS server is ${version}; this engine needs ${major}.${minor} or newer (message TTL, schedules and per-subject limits). Install a newer nats-server, or unset AIOS_NATS_URL and let "aios up" start one.`);
}

async function openLink(options: ConnectOptions, nc: NatsConnection, inbox: string, credentials: Credentials): Promise<NatsLink> {
  const { logger, metrics, clock } = options;
  const reconnects = new Set<() => void>();
  const together = createBatch();
  const requests = createRequests(nc, `${inbox}_R`, together, clock);
  const state: LinkState = { connected: true, renewing: undefined };
  void followStatus(nc, options, state, requests, reconnects);
  const js = jetstream(nc, { timeout: ACK_MS });
  const jsm = await openJetStream(nc);
  const stopRenewal = credentials.inbox === undefined || options.lifeMs === undefined ? () => undefined : planRenewal({ nc, state, requests, reconnects, clock, random: options.random, logger }, options.lifeMs);

  const call: Call = (subject, data, how) => {
    if (state.renewing !== undefined) return state.renewing.then(() => call(subject, data, how));
    return state.connected ? requests.request(subject, data, how) : Promise.reject(fail('AIOS_DISCONNECTED', `${how.what} was not sent.`));
  };
  return {
    nc, js, jsm, name: options.name, clock, random: options.random, logger, metrics,
    get connected() {
      return state.connected;
    },
    get inFlight() {
      return requests.inFlight;
    },
    send(subject, data, extra) {
      if (!state.connected) {
        metrics.count('aios_nats_publish_refused_total');
        throw fail('AIOS_DISCONNECTED', 'The message was not sent.');
      }
      try {
        const hdrs = toHeaders(extra);
        nc.publish(subject, data, hdrs === undefined ? undefined : { headers: hdrs });
      } catch (error) {
        throw convertNatsError(error, 'publishing');
      }
    },
    request: call,
    together,
    store: (subject, data, how) => store(call, clock, subject, data, how),
    last: (stream, subject) => direct(call, `$JS.API.DIRECT.GET.${stream}.${subject}`, EMPTY),
    at: (stream, sequence, subject) => direct(call, `$JS.API.DIRECT.GET.${stream}`, encode(subject === undefined ? { seq: sequence } : { seq: sequence, next_by_subj: subject })),
    onReconnect(run) {
      reconnects.add(run);
      return () => reconnects.delete(run);
    },
    async [Symbol.asyncDispose]() {
      stopRenewal();
      state.connected = false;
      await Promise.race([nc.drain().catch(() => undefined), clock.sleep(DRAIN_MS)]);
      requests.failAll();
      await nc.close();
    },
  };
}

/** `nextTick` comes after all promise steps that are ready: whatever a burst of messages leads to at once is written at once. */
function createBatch(): (write: () => void) => void {
  let waiting: (() => void)[] = [];
  const flush = (): void => {
    const batch = waiting;
    waiting = [];
    for (const write of batch) write();
  };
  return (write) => {
    if (waiting.push(write) === 1) process.nextTick(flush);
  };
}

async function openJetStream(nc: NatsConnection): Promise<JetStreamManager> {
  try {
    return await jetstreamManager(nc, { timeout: ACK_MS });
  } catch (error) {
    const converted = convertNatsError(error, 'asking for JetStream');
    throw converted.code === 'AIOS_UNAVAILABLE' ? fail('AIOS_CONFIG_INVALID', 'The message server runs without JetStream; enable it with a store directory.', { cause: error }) : converted;
  }
}

async function followStatus(nc: NatsConnection, { logger, metrics, name }: ConnectOptions, state: LinkState, requests: Requests, reconnects: ReadonlySet<() => void>): Promise<void> {
  for await (const status of nc.status()) {
    metrics.count('aios_nats_status_total', { type: status.type });
    if (status.type === 'disconnect') {
      requests.failAll();
      if (state.renewing !== undefined) continue;
      state.connected = false;
      logger.warn({ name }, 'the message server is gone; reconnecting');
    } else if (status.type === 'reconnect') {
      if (!state.connected) logger.info({ name }, 'the message server is back');
      state.connected = true;
      for (const run of reconnects) run();
    } else if (status.type === 'error' && status.error instanceof PermissionViolationError) {
      const { operation, subject } = status.error;
      metrics.count('aios_nats_forbidden_total', { operation });
      logger.error({ name, operation, subject }, 'the message server forbids this host a subject');
      if (operation === 'publish') requests.forbid(subject);
    } else if (status.type === 'error') {
      logger.error({ name, error: status.error.message }, 'the message server refused something');
    } else if (status.type === 'slowConsumer') {
      logger.warn({ name, pending: status.pending }, 'a subscription falls behind');
    }
  }
  state.connected = false;
  requests.failAll();
}

type Call = (subject: string, data: Uint8Array, how: RequestCall) => Promise<Msg>;
interface PubAck { readonly stream?: string; readonly seq?: number; readonly duplicate?: boolean; readonly error?: ApiFailure }

async function store(call: Call, clock: Clock, subject: string, data: Uint8Array, options: StoreOptions): Promise<{ sequence: number; duplicate: boolean }> {
  const headers = storeHeaders(options);
  for (let attempt = 0; ; attempt++) {
    try {
      const answer = await call(subject, data, { timeoutMs: ACK_MS, headers, what: 'storing a message' });
      const ack = JSON.parse(decoder.decode(answer.data)) as PubAck;
      if (ack.error !== undefined) throw convertApiFailure(ack.error, 'storing a message');
      if (ack.seq === undefined) throw fail('AIOS_UNAVAILABLE', 'The message server answered a store without a sequence.');
      return { sequence: ack.seq, duplicate: ack.duplicate === true };
    } catch (error) {
      const converted = convertNatsError(error, 'storing a message');
      const pause = STORE_RETRIES_MS[attempt];
      if (converted.code === 'AIOS_DEADLINE_EXCEEDED') throw fail('AIOS_UNAVAILABLE', 'A store was not acknowledged; its result is unknown.', { cause: error });
      if (converted.code !== 'AIOS_UNAVAILABLE' || pause === undefined) throw converted;
      await clock.sleep(pause);
    }
  }
}

async function direct(call: Call, subject: string, body: Uint8Array): Promise<StoredMessage | undefined> {
  const answer = await call(subject, body, { timeoutMs: ACK_MS, what: 'reading a stored message' });
  const { headers } = answer;
  if (headers === undefined || headers.code === 404) return undefined;
  if (headers.code !== 0) throw fail('AIOS_UNAVAILABLE', `Reading a stored message: ${headers.description}.`);
  return { subject: headers.last('Nats-Subject'), sequence: Number(headers.last('Nats-Sequence')), data: plain(answer.data), header: (name) => headers.get(name) };
}

function storeHeaders({ messageId, expectedLast, ttlMs, headers }: StoreOptions): MsgHdrs | undefined {
  if (messageId === undefined && expectedLast === undefined && ttlMs === undefined && headers === undefined) return undefined;
  const out = createHeaders();
  if (headers !== undefined) for (const [name, value] of Object.entries(headers)) out.set(name, value);
  if (messageId !== undefined) out.set('Nats-Msg-Id', messageId);
  if (expectedLast !== undefined) out.set('Nats-Expected-Last-Subject-Sequence', String(expectedLast));
  if (ttlMs !== undefined) out.set('Nats-TTL', `${Math.max(1_000, Math.ceil(ttlMs))}ms`);
  return out;
}

export function toHeaders(record: Readonly<Record<string, string>> | undefined): MsgHdrs | undefined {
  if (record === undefined) return undefined;
  const out = createHeaders();
  for (const [name, value] of Object.entries(record)) out.set(name, value);
  return out;
}

export function fromHeaders(headers: MsgHdrs | undefined): Readonly<Record<string, string>> {
  if (headers === undefined) return NO_HEADERS;
  const record: Record<string, string> = {};
  for (const [name, values] of headers) record[name] = values[0] ?? '';
  return record;
}

/** A Buffer as the Uint8Array it says it is: equality and JSON of the two differ. */
const plain = (data: Uint8Array): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({});
const EMPTY = new Uint8Array(0);
const decoder = new TextDecoder();
const encoder = new TextEncoder();
const encode = (value: unknown): Uint8Array => encoder.encode(JSON.stringify(value));
