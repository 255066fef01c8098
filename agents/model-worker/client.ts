// Model workers as a provider: the caller's side of the wire, used by the gateway.
// Owns: choosing a worker by its beacon, the deadline of a call, one re-route when a worker refuses or is lost, the receipt with its price.
// Never waits past the deadline and never calls a model whose price is unknown.
// Others may assume: embedding is repeatable, so a lost call is asked again elsewhere; when nobody is there the error is
// AIOS_MODEL_UNAVAILABLE, at once if that has been so for a while.

import { subjects } from '../../contracts/address.ts';
import type { Price } from '../../contracts/bundle.ts';
import { type AiosError, type ErrorBody, fail, fromErrorBody, isAiosError } from '../../contracts/errors.ts';
import { type Beacon, BEACON_STALE_MS, beaconSchema, decodeVectors, MODEL_TEXT_CHARS_MAX, MODEL_TEXTS_MAX, type ModelReply, modelReplySchema, type ModelRequest, type ModelUsed } from '../../contracts/model.ts';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import { replySchema } from '../../contracts/message.ts';
import type { Bus, ClassifyAnswer, ClassifyRequest, Clock, EmbedAnswer, EmbedRequest, Metrics, ModelProvider, Random } from '../../contracts/ports.ts';
import { type ModelReceipt, NO_USAGE, type Usage } from '../../contracts/receipt.ts';
import { costOf, priceDigest } from '../../policies/price.ts';

export interface WorkerProviderOptions {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
  /** The price in force for a model; `undefined` refuses the call. */
  readonly prices: (model: string) => Price | undefined;
  /** The first is the default of `embed`. */
  readonly models: readonly string[];
  readonly name?: string;
  readonly region?: string;
  readonly limits?: Partial<ClientLimits>;
}
export interface ClientLimits {
  /** How long a call waits for a worker to come (back) when nobody is there, ms; never more than half of what is left. */
  readonly patienceMs: number;
  /** Nobody was there for this long: calls are refused without waiting. */
  readonly downMs: number;
  /** A call to whoever answers (no beacon heard) is taken for lost after this, ms, if it can be asked again. */
  readonly blindMs: number;
}
export const CLIENT_LIMITS: ClientLimits = { patienceMs: 2_500, downMs: 6_000, blindMs: 3_000 };

/** Messages stay well under the server's 256 KiB, vectors of a full reply included. */
const REQUEST_BYTES_MAX = 160 * 1024;
const REPLY_BYTES_MAX = 256 * 1024;
/** The worker's own typed answer should arrive before we give up on it. */
const GRACE_MS = 50;
/** Tries of one call: the first choice and one re-route. */
const TRIES_MAX = 2;

export interface WorkerProvider extends ModelProvider, AsyncDisposable {
  embed(request: EmbedRequest): Promise<EmbedAnswer>;
  classify(request: ClassifyRequest): Promise<ClassifyAnswer>;
  /** Workers heard of within the last three seconds. */
  workers(): readonly Beacon[];
}

interface Heard { readonly beacon: Beacon; readonly at: number }
interface InFlight { readonly worker: string; readonly incarnation: string; readonly lost: AbortController }

export async function connectWorkerProvider(options: WorkerProviderOptions): Promise<WorkerProvider> {
  const { bus, clock, random, metrics } = options;
  const limits = { ...CLIENT_LIMITS, ...options.limits };
  const name = options.name ?? 'workers';
  const heard = new Map<string, Heard>();
  const inFlight = new Set<InFlight>();
  const arrivals = new Set<() => void>();
  let nobodySince: number | undefined;

  const subscription = await bus.subscribe(subjects.beacon('*'), {}, (message) => {
    const beacon = readBeacon(message.data);
    if (beacon === undefined) return metrics.count('model_beacon_malformed_total');
    for (const call of inFlight) if (call.worker === beacon.worker && call.incarnation !== beacon.incarnation) call.lost.abort();
    heard.set(beacon.worker, { beacon, at: clock.monotonic() });
    for (const wake of arrivals) wake();
  });

  /** Forgets workers that fell silent, and frees the calls that wait for them. */
  const sweep = (): void => {
    const oldest = clock.monotonic() - BEACON_STALE_MS;
    for (const [worker, { at }] of heard) if (at < oldest) heard.delete(worker);
    for (const call of inFlight) if (!heard.has(call.worker)) call.lost.abort();
  };

  /** The better of two by expected finish; `undefined` when no beacon names the model. */
  const choose = (model: string, tokens: number, not: string | undefined): Beacon | undefined => {
    sweep();
    const fit = [...heard.values()].map(({ beacon }) => beacon).filter((beacon) => beacon.state !== 'draining' && offers(beacon, model) && beacon.worker !== not && beacon.creditMs > 0);
    if (fit.length <= 1) return fit[0];
    const first = Math.floor(random.next() * fit.length);
    const second = (first + 1 + Math.floor(random.next() * (fit.length - 1))) % fit.length;
    const [a, b] = [fit[first] as Beacon, fit[second] as Beacon];
    return expectedMs(a, model, tokens) <= expectedMs(b, model, tokens) ? a : b;
  };

  /** One try, to the bytes of an answer. Rejects with AIOS_MODEL_UNAVAILABLE when the worker is lost while it has the request. */
  const attempt = async (model: string, request: ModelRequest, worker: Beacon | undefined, last: boolean): Promise<Uint8Array> => {
    const left = request.deadline - clock.now() + GRACE_MS;
    const timeoutMs = worker === undefined && !last ? Math.min(left, limits.blindMs) : left;
    const call: InFlight = { worker: worker?.worker ?? '', incarnation: worker?.incarnation ?? '', lost: new AbortController() };
    if (worker !== undefined) inFlight.add(call);
    const stopWatch = worker === undefined ? () => undefined : every(clock, 500, sweep);
    try {
      const subject = worker === undefined ? subjects.model(model) : subjects.modelAt(model, worker.worker);
      return (await bus.request(subject, toBytes(request), { timeoutMs, signal: call.lost.signal })).data;
    } catch (thrown) {
      if (heard.get(call.worker)?.beacon.incarnation === call.incarnation) heard.delete(call.worker);
      throw call.lost.signal.aborted ? fail('AIOS_MODEL_UNAVAILABLE', 'The worker was lost while it had the request.', { cause: thrown }) : thrown;
    } finally {
      stopWatch();
      inFlight.delete(call);
    }
  };

  /** Waits for any worker to be heard; false when none came in time or none has been there for long. */
  const someoneComes = async (deadline: number): Promise<boolean> => {
    const now = clock.monotonic();
    nobodySince ??= now;
    const patience = Math.min(limits.patienceMs, (deadline - clock.now()) / 2);
    if (now - nobodySince > limits.downMs || patience <= 0) return false;
    const come = new AbortController();
    const wake = (): void => { if ([...heard.values()].some((one) => one.beacon.state !== 'draining' && one.at >= now)) come.abort(); };
    arrivals.add(wake);
    await clock.sleep(patience, come.signal);
    arrivals.delete(wake);
    return come.signal.aborted;
  };

  const call = async (model: string, request: ModelRequest): Promise<ModelReply> => {
    const tokens = request.texts.reduce((sum, text) => sum + text.length / 4 + 2, 0);
    let not: string | undefined;
    let waited = false;
    for (let tries = 1; ; tries++) {
      if (clock.now() >= request.deadline) throw fail('AIOS_DEADLINE_EXCEEDED');
      const worker = choose(model, tokens, not) ?? choose(model, tokens, undefined);
      if (worker === undefined && heard.size > 0 && ![...heard.values()].some(({ beacon }) => offers(beacon, model))) throw fail('AIOS_MODEL_UNKNOWN', model);
      try {
        const reply = readReply(await attempt(model, request, worker, tries >= TRIES_MAX));
        nobodySince = undefined;
        return reply;
      } catch (thrown) {
        const error = known(thrown);
        metrics.count('model_call_failed_total', { code: error.code });
        if (NOBODY.has(error.code) && !waited && choose(model, tokens, worker?.worker) === undefined) {
          waited = true;
          if (!(await someoneComes(request.deadline))) throw unavailable(error);
          tries--;
        } else if (tries >= TRIES_MAX || !ELSEWHERE.has(error.code)) throw NOBODY.has(error.code) ? unavailable(error) : error;
        not = worker?.worker;
      }
    }
  };

  const ask = async (capability: string, model: string, requests: readonly ModelRequest[]): Promise<{ readonly replies: readonly ModelReply[]; readonly receipt: ModelReceipt }> => {
    const price = options.prices(model);
    if (price === undefined) throw fail('AIOS_PRICE_UNKNOWN', `No price for ${model}.`);
    const replies: ModelReply[] = [];
    for (const request of requests) replies.push(await call(model, request));
    return { replies, receipt: receiptOf(replies.map(usedOf), { capability, provider: name, price }) };
  };

  return {
    name,
    inside: true,
    region: options.region ?? 'local',
    models: options.models,
    async embed(request) {
      const model = request.model ?? (options.models[0] as string);
      const requests = split(request.texts).map((texts): ModelRequest => ({ ...base(request), op: 'embed', model, texts }));
      const { replies, receipt } = await ask('text.embed', model, requests);
      const vectors = replies.flatMap((reply, i) => vectorsOf(reply, (requests[i] as ModelRequest).texts.length));
      return { vectors, receipt };
    },
    async classify(request) {
      const requests = split(request.texts).map((texts): ModelRequest => ({ ...base(request), op: 'classify', head: request.head, texts }));
      const { replies, receipt } = await ask('text.classify', request.head, requests);
      return { results: replies.flatMap(classificationsOf), receipt };
    },
    workers() {
      sweep();
      return [...heard.values()].map(({ beacon }) => beacon);
    },
    [Symbol.asyncDispose]: () => subscription[Symbol.asyncDispose](),
  };
}

/** Codes that say that nobody could be asked; waiting for a restart helps. */
const NOBODY: ReadonlySet<string> = new Set(['AIOS_UNAVAILABLE', 'AIOS_DISCONNECTED']);
/** Codes another worker, or the same one started again, may answer differently. */
const ELSEWHERE: ReadonlySet<string> = new Set(['AIOS_UNAVAILABLE', 'AIOS_DISCONNECTED', 'AIOS_MODEL_UNAVAILABLE', 'AIOS_MODEL_FAULT', 'AIOS_OVERLOADED', 'AIOS_DEADLINE_INFEASIBLE', 'AIOS_DEADLINE_EXCEEDED']);

const unavailable = (cause: AiosError): AiosError => fail('AIOS_MODEL_UNAVAILABLE', 'No model worker answers.', { cause, retryAfterMs: 1_000 });
const known = (thrown: unknown): AiosError => (isAiosError(thrown) ? thrown : fail('AIOS_INTERNAL', undefined, { cause: thrown }));

function base({ tenant, deadline, trace, sla }: EmbedRequest | ClassifyRequest): Pick<ModelRequest, 'v' | 'tenant' | 'deadline' | 'sla'> & { trace?: ModelRequest['trace'] } {
  return { v: 1, tenant, deadline, sla: sla ?? 'interactive', ...(trace === undefined ? {} : { trace }) };
}

/** Cuts texts to what a model could read anyway, and a long list to messages of bounded size. */
function split(texts: readonly string[]): string[][] {
  if (texts.length === 0) throw fail('AIOS_INPUT_INVALID', 'texts: at least one is needed.');
  const parts: string[][] = [];
  let bytes = Infinity;
  for (const text of texts) {
    const cut = text.slice(0, MODEL_TEXT_CHARS_MAX);
    /** Three bytes a character is the worst that UTF-8 does to JavaScript's characters; quotes and escapes are rarer. */
    const size = cut.length * 3 + 8;
    const part = parts.at(-1);
    if (part === undefined || part.length >= MODEL_TEXTS_MAX || bytes + size > REQUEST_BYTES_MAX) {
      parts.push([cut]);
      bytes = size;
    } else {
      part.push(cut);
      bytes += size;
    }
  }
  return parts;
}

function readBeacon(data: Uint8Array): Beacon | undefined {
  try {
    return parseBytes(beaconSchema, data);
  } catch {
    return undefined;
  }
}

/** Workers answer with a `ModelReply`; the bus itself (overload, a broken handler) with a failed `Reply`. */
function readReply(data: Uint8Array): ModelReply {
  const reply = parseReply(data);
  if (reply.status === 'failed') throw fromErrorBody(reply.error as ErrorBody);
  return reply;
}

function parseReply(data: Uint8Array): ModelReply {
  try {
    return parseBytes(modelReplySchema, data, REPLY_BYTES_MAX);
  } catch (cause) {
    const general = replySchema.safeParse(readJson(data));
    if (general.success && general.data.status === 'failed') return { v: 1, status: 'failed', error: general.data.error };
    throw fail('AIOS_MODEL_FAULT', 'The worker answered in a form we do not know.', { cause });
  }
}

function readJson(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(data)) as unknown;
  } catch {
    return undefined;
  }
}

const offers = (beacon: Beacon, model: string): boolean => beacon.models.some((entry) => entry.model === model) || beacon.heads.some((entry) => entry.head === model);

function expectedMs(beacon: Beacon, model: string, tokens: number): number {
  const encoder = beacon.heads.find((entry) => entry.head === model)?.encoder ?? model;
  const curve = beacon.models.find((entry) => entry.model === encoder)?.curve;
  const service = curve === undefined ? 0 : curve.fixedMs + curve.perTokenMs * tokens;
  const cold = beacon.slots.warm === 0 && curve !== undefined ? 1_000 : 0;
  return beacon.queueMs / Math.max(1, beacon.slots.warm) + cold + service;
}

function usedOf(reply: ModelReply): ModelUsed {
  if (reply.status === 'failed') throw fromErrorBody(reply.error as ErrorBody);
  return reply.used;
}

function receiptOf(parts: readonly ModelUsed[], { capability, provider, price }: { readonly capability: string; readonly provider: string; readonly price: Price }): ModelReceipt {
  const { model, modelDigest } = parts[0] as ModelUsed;
  const usage: Usage = { ...NO_USAGE, inputTokens: sum(parts, (part) => part.tokens), deviceUs: sum(parts, (part) => part.deviceUs) };
  return {
    kind: 'model', capability, provider, model, modelDigest, usage,
    costMicroUsd: costOf(usage, price, model), priceDigest: priceDigest(price),
    batch: Math.max(...parts.map((part) => part.batch)), queueMs: sum(parts, (part) => part.queueMs),
  };
}

const sum = (parts: readonly ModelUsed[], of: (part: ModelUsed) => number): number => parts.reduce((total, part) => total + of(part), 0);

function vectorsOf(reply: ModelReply, expected: number): Float32Array[] {
  if (reply.status !== 'embedded') throw fail('AIOS_MODEL_FAULT', 'Vectors were asked for.');
  const vectors = decodeVectors(reply.vectors, reply.dimensions);
  if (vectors.length !== expected) throw fail('AIOS_MODEL_FAULT', `${vectors.length} vectors for ${expected} texts.`);
  return vectors;
}

function classificationsOf(reply: ModelReply): ClassifyAnswer['results'] {
  if (reply.status !== 'classified') throw fail('AIOS_MODEL_FAULT', 'Scores were asked for.');
  return reply.scores.map((row) => {
    const scores = reply.labels.map((label, i) => ({ label, score: row[i] ?? 0 })).toSorted((a, b) => b.score - a.score);
    const [top] = scores as [{ label: string; score: number }];
    return { label: top.label, confidence: top.score, scores };
  });
}

/** Repeats until stopped. */
function every(clock: Clock, ms: number, run: () => void): () => void {
  let cancel = clock.after(ms, function tick() {
    run();
    cancel = clock.after(ms, tick);
  });
  return () => cancel();
}
