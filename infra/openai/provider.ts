// Any OpenAI-compatible server (vLLM, Ollama, TEI, hosted ones) as a model provider.
// Owns: the two requests, the one place where a call is tried again, the conversion of its failures and of its usage.
// Never follows a redirect (the key would travel with it), never logs what was said, never calls a model without a price.
// Others may assume: a call ends by its deadline; counters are disjoint; a server that reports no usage is counted at the
// most it can have used; `inside` is a trait given by settings, so the gateway decides what such a server may see.

import { z } from 'zod';
import type { Price } from '../../contracts/bundle.ts';
import { digestOf } from '../../contracts/canonical.ts';
import { type AiosError, fail, isAiosError } from '../../contracts/errors.ts';
import { parseJson, parseValue } from '../../contracts/parse.ts';
import type { Clock, EmbedAnswer, EmbedRequest, GenerateAnswer, GenerateRequest, Metrics, ModelProvider, Random } from '../../contracts/ports.ts';
import { type ModelReceipt, NO_USAGE, type Usage } from '../../contracts/receipt.ts';
import { costOf, priceDigest } from '../../policies/price.ts';

export interface OpenAiOptions {
  readonly name: string;
  /** Up to and with the version, such as `https://host/v1`. */
  readonly url: string;
  /** Models by what they are for; a missing one means that this provider does not do that. */
  readonly generateModel?: string;
  readonly embedModel?: string;
  readonly key?: string | undefined;
  /** Runs inside the boundary and may see confidential data. */
  readonly inside: boolean;
  readonly region: string;
  readonly prices: (model: string) => Price | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
  readonly triesMax?: number;
}

const TRIES_MAX = 3;
const BACK_OFF_MS = 200;
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;
const EMBED_TEXTS_MAX = 64;
/** What is not worth starting: the answer could not be read any more. */
const LEFT_MS_MIN = 20;

/** Servers add fields of their own, so these are not strict; what we read is checked. */
const count = z.number().int().nonnegative();
const usageSchema = z.object({
  prompt_tokens: count,
  completion_tokens: count.optional(),
  prompt_tokens_details: z.object({ cached_tokens: count.nullish() }).nullish(),
  completion_tokens_details: z.object({ reasoning_tokens: count.nullish() }).nullish(),
});
const completionSchema = z.object({
  model: z.string().max(256).optional(),
  system_fingerprint: z.string().max(256).nullish(),
  choices: z.array(z.object({ message: z.object({ content: z.string().nullish(), refusal: z.string().nullish() }) })).min(1),
  usage: usageSchema.nullish(),
});
const embeddingsSchema = z.object({
  model: z.string().max(256).optional(),
  data: z.array(z.object({ index: count, embedding: z.array(z.number()).min(1).max(8_192) })),
  usage: usageSchema.nullish(),
});

/** @throws AIOS_CONFIG_INVALID when the URL is none */
export function createOpenAiProvider(options: OpenAiOptions): ModelProvider {
  const { generateModel, embedModel } = options;
  const post = createPost(options);
  return {
    name: options.name,
    inside: options.inside,
    region: options.region,
    models: [generateModel, embedModel].filter((model) => model !== undefined),
    ...(generateModel === undefined ? {} : { generate: (request: GenerateRequest) => generate(options, post, generateModel, request) }),
    ...(embedModel === undefined ? {} : { embed: (request: EmbedRequest) => embed(options, post, embedModel, request) }),
  };
}

async function generate(options: OpenAiOptions, post: Post, model: string, request: GenerateRequest): Promise<GenerateAnswer> {
  const price = priceOf(options, model);
  const messages = [{ role: 'system', content: request.system }, { role: 'user', content: request.prompt }];
  /** `max_tokens` and not its successor: every compatible server knows it. */
  const answer = await post('/chat/completions', { model, messages, max_tokens: request.maxTokens, temperature: 0, stream: false }, completionSchema, request);
  const { content, refusal } = answer.choices[0]?.message ?? {};
  if (typeof content !== 'string' || (refusal !== null && refusal !== undefined)) throw fail('AIOS_MODEL_FAULT', 'The model gave no text.');
  const usage = answer.usage ? usageOf(answer.usage) : { ...NO_USAGE, inputTokens: mostTokensOf([request.system, request.prompt]), outputTokens: request.maxTokens };
  return { text: content, receipt: receiptOf(options, { capability: 'text.generate', model, usage, price, batch: 1, artefact: { model: answer.model, fingerprint: answer.system_fingerprint ?? undefined } }) };
}

async function embed(options: OpenAiOptions, post: Post, embedModel: string, request: EmbedRequest): Promise<EmbedAnswer> {
  const model = request.model ?? embedModel;
  const price = priceOf(options, model);
  const vectors: Float32Array[] = [];
  let usage: Usage = NO_USAGE;
  let served: string | undefined;
  for (let start = 0; start < request.texts.length; start += EMBED_TEXTS_MAX) {
    const input = request.texts.slice(start, start + EMBED_TEXTS_MAX);
    const answer = await post('/embeddings', { model, input, encoding_format: 'float' }, embeddingsSchema, request);
    vectors.push(...rowsOf(answer.data, input.length));
    usage = plus(usage, answer.usage ? usageOf(answer.usage) : { ...NO_USAGE, inputTokens: mostTokensOf(input) });
    served = answer.model;
  }
  return { vectors, receipt: receiptOf(options, { capability: 'text.embed', model, usage, price, batch: Math.min(EMBED_TEXTS_MAX, request.texts.length), artefact: { model: served } }) };
}

// ---- the one place that asks and asks again

type Post = <T>(path: string, body: object, schema: z.ZodType<T>, limits: { readonly deadline: number; readonly trace?: { readonly traceparent: string } | undefined }) => Promise<T>;

/** A failure and whether asking again can help; `waitMs` is what the server asked for. */
interface Failure { readonly error: AiosError; readonly again: boolean; readonly waitMs?: number | undefined }

function createPost(options: OpenAiOptions): Post {
  const { clock, random, metrics, name, key } = options;
  const base = baseOf(options.url);
  const headersOf = (traceparent: string | undefined): Record<string, string> => ({
    'content-type': 'application/json', accept: 'application/json',
    ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
    ...(traceparent === undefined ? {} : { traceparent }),
  });
  return async (path, body, schema, { deadline, trace }) => {
    const text = JSON.stringify(body);
    for (let tries = 1; ; tries++) {
      const left = deadline - clock.now();
      if (left < LEFT_MS_MIN) throw fail('AIOS_DEADLINE_EXCEEDED', `${name} was not asked any more.`);
      const outcome = await once(`${base}${path}`, { method: 'POST', body: text, headers: headersOf(trace?.traceparent), redirect: 'error', signal: AbortSignal.timeout(Math.ceil(left)) }, schema, name);
      metrics.count('provider_calls_total', { provider: name, result: outcome.ok ? 'ok' : outcome.failure.error.code });
      if (outcome.ok) return outcome.value;
      const { failure } = outcome;
      const waitMs = failure.waitMs ?? BACK_OFF_MS * 2 ** (tries - 1) * (0.5 + random.next());
      if (!failure.again || tries >= (options.triesMax ?? TRIES_MAX) || clock.now() + waitMs + LEFT_MS_MIN > deadline) throw failure.error;
      await clock.sleep(waitMs);
    }
  };
}

type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly failure: Failure };

async function once<T>(url: string, init: RequestInit, schema: z.ZodType<T>, name: string): Promise<Outcome<T>> {
  try {
    const response = await fetch(url, init);
    if (!response.ok) {
      await response.body?.cancel();
      return { ok: false, failure: failureOfStatus(response, name) };
    }
    return { ok: true, value: parseValue(schema, parseJson(await readText(response))) };
  } catch (thrown) {
    return { ok: false, failure: failureOfThrown(thrown, name) };
  }
}

/** What the status says. The body is not passed on: it may quote the prompt. */
function failureOfStatus(response: Response, name: string): Failure {
  const { status } = response;
  const waitMs = retryAfterMs(response.headers.get('retry-after'));
  if (status === 429) return { error: fail('AIOS_OVERLOADED', `${name} is throttling.`, { retryAfterMs: waitMs ?? 1_000 }), again: true, waitMs };
  if (status === 408 || status >= 500) return { error: fail('AIOS_MODEL_UNAVAILABLE', `${name} answered ${status}.`), again: true, waitMs };
  if (status === 401 || status === 403) return { error: fail('AIOS_CONFIG_INVALID', `${name} refuses the key.`), again: false };
  if (status === 404) return { error: fail('AIOS_MODEL_UNKNOWN', `${name} does not know it.`), again: false };
  return { error: fail('AIOS_MODEL_FAULT', `${name} answered ${status}.`), again: false };
}

/** What `fetch` or the parsers threw. */
function failureOfThrown(cause: unknown, name: string): Failure {
  const kind = cause instanceof Error ? cause.name : '';
  if (kind === 'TimeoutError' || kind === 'AbortError') return { error: fail('AIOS_DEADLINE_EXCEEDED', `${name} did not answer in time.`, { cause }), again: false };
  if (isAiosError(cause)) return { error: fail('AIOS_MODEL_FAULT', `${name} answered in a form we do not know.`, { cause }), again: false };
  return { error: fail('AIOS_MODEL_UNAVAILABLE', `${name} cannot be reached.`, { cause }), again: true };
}

/** RFC 9110 §10.2.3: seconds, or a date. */
export function retryAfterMs(value: string | null, now: number = Date.now()): number | undefined {
  if (value === null) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1_000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let text = '';
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += (chunk as Uint8Array).byteLength;
    if (bytes > ANSWER_BYTES_MAX) throw fail('AIOS_INPUT_TOO_LARGE', `more than ${ANSWER_BYTES_MAX} bytes.`);
    text += decoder.decode(chunk as Uint8Array, { stream: true });
  }
  return text + decoder.decode();
}

function baseOf(url: string): string {
  try {
    const { origin, pathname, protocol } = new URL(url);
    if (protocol === 'http:' || protocol === 'https:') return origin + pathname.replace(/\/+$/, '');
  } catch {
    // falls through to the refusal
  }
  throw fail('AIOS_CONFIG_INVALID', 'the URL of the model server is not an http(s) URL');
}

// ---- counting

/** Cached tokens are part of `prompt_tokens`, reasoning tokens part of `completion_tokens`: ours are disjoint. */
export function usageOf(usage: z.infer<typeof usageSchema>): Usage {
  const cached = Math.min(usage.prompt_tokens, usage.prompt_tokens_details?.cached_tokens ?? 0);
  const spoken = usage.completion_tokens ?? 0;
  const reasoning = Math.min(spoken, usage.completion_tokens_details?.reasoning_tokens ?? 0);
  return { ...NO_USAGE, inputTokens: usage.prompt_tokens - cached, cacheReadTokens: cached, outputTokens: spoken - reasoning, reasoningTokens: reasoning };
}

/** A token is at least one byte, so this is never too little; a few are added for the chat template. */
const mostTokensOf = (texts: readonly string[]): number => texts.reduce((sum, text) => sum + new TextEncoder().encode(text).byteLength + 16, 0);

function plus(a: Usage, b: Usage): Usage {
  return { inputTokens: a.inputTokens + b.inputTokens, cacheReadTokens: a.cacheReadTokens + b.cacheReadTokens, cacheWriteTokens: a.cacheWriteTokens + b.cacheWriteTokens, outputTokens: a.outputTokens + b.outputTokens, reasoningTokens: a.reasoningTokens + b.reasoningTokens, deviceUs: a.deviceUs + b.deviceUs };
}

function priceOf({ prices }: OpenAiOptions, model: string): Price {
  const price = prices(model);
  if (price === undefined) throw fail('AIOS_PRICE_UNKNOWN', `No price for ${model}.`);
  return price;
}

interface ReceiptParts { readonly capability: string; readonly model: string; readonly usage: Usage; readonly price: Price; readonly batch: number; readonly artefact: { readonly model?: string | undefined; readonly fingerprint?: string | undefined } }

/** The weights are not ours to hash: the digest names the server, the model it says it ran, and its build. */
function receiptOf(options: OpenAiOptions, { capability, model, usage, price, batch, artefact }: ReceiptParts): ModelReceipt {
  return {
    kind: 'model', capability, provider: options.name, model,
    modelDigest: digestOf({ server: new URL(options.url).origin, model: artefact.model ?? model, fingerprint: artefact.fingerprint }),
    usage, costMicroUsd: costOf(usage, price, model), priceDigest: priceDigest(price), batch, queueMs: 0,
  };
}

function rowsOf(data: readonly { readonly index: number; readonly embedding: readonly number[] }[], expected: number): Float32Array[] {
  const rows: Float32Array[] = [];
  for (const { index, embedding } of data) rows[index] = Float32Array.from(embedding);
  const width = rows[0]?.length ?? 0;
  const whole = rows.length === expected && data.length === expected && rows.every((row) => row.length === width && row.every(Number.isFinite));
  if (!whole) throw fail('AIOS_MODEL_FAULT', 'The vectors are not one finite row a text.');
  return rows;
}
