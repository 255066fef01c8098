// The OpenAI-compatible provider against a local server that holds every request against the published description.
// Owns: proof of the wire form, of the bounded retries, of honest counting and of what never leaves the process.
// Never calls a real server. Others may assume: without the description (AIOS_DATA_DIR) only the one test that needs it is skipped.

import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { Price } from '../../../contracts/bundle.ts';
import type { ModelProvider } from '../../../contracts/ports.ts';
import { modelReceiptSchema } from '../../../contracts/receipt.ts';
import { createOpenAiProvider, type OpenAiOptions, retryAfterMs } from '../../../infra/openai/provider.ts';
import { systemClock } from '../../../infra/telemetry/index.ts';
import { type Schema, schemaProblems } from '../../kit/json-schema.ts';
import { type OpenAiMock, startOpenAiMock } from '../../kit/openai-mock.ts';
import { createSeededRandom } from '../../kit/random.ts';
import { recordingMetrics } from '../../kit/silent.ts';

const PRICE: Price = { inputPerMillion: 10_000_000, cacheReadPerMillion: 1_000_000, cacheWritePerMillion: 0, outputPerMillion: 20_000_000, reasoningPerMillion: 30_000_000, devicePerSecond: 0 };
let mock: OpenAiMock;
beforeEach(async () => { mock = await startOpenAiMock(); });
afterEach(() => mock[Symbol.asyncDispose]());

const counted = recordingMetrics();
function provider(over: Partial<OpenAiOptions> = {}): Required<Pick<ModelProvider, 'generate' | 'embed'>> & ModelProvider {
  return createOpenAiProvider({
    name: 'hosted', url: mock.url, generateModel: 'gpt', embedModel: 'emb', key: 'sk-test', inside: false, region: 'elsewhere',
    prices: (model) => (model === 'unpriced' ? undefined : PRICE), clock: systemClock, random: createSeededRandom(1), metrics: counted.metrics, ...over,
  }) as ReturnType<typeof provider>;
}
const ask = (ms = 3_000) => ({ system: 'Answer from the passage.', prompt: 'How long?', maxTokens: 50, deadline: Date.now() + ms, tenant: 't', trace: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' } });

describe('openai provider', () => {
  it('openai provider - answers with disjoint counters, their cost, and the trace passed on', async () => {
    const { text, receipt } = await provider().generate(ask());
    expect(text).toBe('How long?');
    expect(modelReceiptSchema.parse(receipt)).toMatchObject({ provider: 'hosted', model: 'gpt', usage: { inputTokens: 60, cacheReadTokens: 40, outputTokens: 20, reasoningTokens: 10 }, costMicroUsd: 600 + 40 + 400 + 300 });
    expect(mock.requests[0]?.headers).toMatchObject({ authorization: 'Bearer sk-test', traceparent: ask().trace.traceparent });
    expect(mock.requests[0]?.body).toMatchObject({ model: 'gpt', max_tokens: 50, stream: false });
  });

  it('openai provider - puts vectors in the order of the texts, whatever order they came in, over several requests', async () => {
    const texts = Array.from({ length: 70 }, (_, i) => 'x'.repeat(i + 1));
    const { vectors, receipt } = await provider().embed({ texts, deadline: Date.now() + 3_000, tenant: 't' });
    expect(vectors.map((vector) => vector[0])).toEqual(texts.map((text) => text.length));
    expect(receipt.usage.inputTokens).toBe(350);
    expect(mock.requests).toHaveLength(2);
  });

  it('openai provider - tries again after 429 and 5xx, waits as long as the server asks, and counts every try', async () => {
    mock.script({ status: 503 }, { status: 429, headers: { 'retry-after': '1' } });
    const since = performance.now();
    await expect(provider().generate(ask())).resolves.toBeDefined();
    expect(performance.now() - since).toBeGreaterThan(1_000);
    expect(mock.requests).toHaveLength(3);
    expect(counted.total('provider_calls_total', { result: 'AIOS_OVERLOADED' })).toBe(1);
  });

  it('openai provider - does not wait past the deadline: it hands the throttling on at once', async () => {
    mock.script({ status: 429, headers: { 'retry-after': '60' } });
    const since = performance.now();
    await expect(provider().generate(ask(1_000))).rejects.toMatchObject({ code: 'AIOS_OVERLOADED', retryAfterMs: 60_000 });
    expect(performance.now() - since).toBeLessThan(500);
  });

  it('openai provider - gives up after three tries', async () => {
    mock.script({ status: 500 }, { cut: true }, { status: 502 }, { status: 200 });
    await expect(provider().generate(ask(10_000))).rejects.toMatchObject({ code: 'AIOS_MODEL_UNAVAILABLE' });
    expect(mock.requests).toHaveLength(3);
  });

  it('openai provider - ends at the deadline when the server is silent', async () => {
    mock.script({ delayMs: 5_000 });
    const since = performance.now();
    await expect(provider().generate(ask(200))).rejects.toMatchObject({ code: 'AIOS_DEADLINE_EXCEEDED' });
    expect(performance.now() - since).toBeLessThan(1_000);
  });

  it.each([
    [401, 'AIOS_CONFIG_INVALID'], [404, 'AIOS_MODEL_UNKNOWN'], [400, 'AIOS_MODEL_FAULT'],
  ])('openai provider - %i is not tried again', async (status, code) => {
    mock.script({ status });
    await expect(provider().generate(ask())).rejects.toMatchObject({ code });
    expect(mock.requests).toHaveLength(1);
  });

  it.each([
    ['not JSON', '<html>'], ['no choices', { choices: [] }], ['a refusal', { choices: [{ message: { content: null, refusal: 'no' } }] }],
    ['negative usage', { choices: [{ message: { content: 'x' } }], usage: { prompt_tokens: -1 } }],
  ])('openai provider - an answer with %s is AIOS_MODEL_FAULT', async (_, body) => {
    mock.script({ body });
    await expect(provider().generate(ask())).rejects.toMatchObject({ code: 'AIOS_MODEL_FAULT' });
  });

  it('openai provider - a server that reports no usage is counted at the most it can have used', async () => {
    mock.script({ body: { choices: [{ message: { content: 'x' } }] } });
    const { receipt } = await provider().generate(ask());
    expect(receipt.usage.outputTokens).toBe(50);
    expect(receipt.usage.inputTokens).toBeGreaterThanOrEqual('Answer from the passage.How long?'.length);
  });

  it('openai provider - never follows a redirect: the key stays here', async () => {
    await using other = await startOpenAiMock();
    mock.script(...[1, 2, 3].map(() => ({ status: 307, headers: { location: `${other.url}/chat/completions` } })));
    await expect(provider().generate(ask())).rejects.toMatchObject({ code: 'AIOS_MODEL_UNAVAILABLE' });
    expect(other.requests).toEqual([]);
  });

  it('openai provider - calls nothing without a price, and offers only what it has a model for', async () => {
    await expect(provider({ generateModel: 'unpriced' }).generate(ask())).rejects.toMatchObject({ code: 'AIOS_PRICE_UNKNOWN' });
    expect(mock.requests).toEqual([]);
    const { key: _, embedModel: __, ...rest } = { key: 'x', embedModel: 'y', name: 'n', url: mock.url, generateModel: 'gpt', inside: true, region: 'r', prices: () => PRICE, clock: systemClock, random: createSeededRandom(1), metrics: counted.metrics };
    const only = createOpenAiProvider(rest);
    expect([typeof only.generate, typeof only.embed, only.inside, only.models]).toEqual(['function', 'undefined', true, ['gpt']]);
    expect(() => createOpenAiProvider({ ...rest, url: 'file:///etc/passwd' })).toThrow(expect.objectContaining({ code: 'AIOS_CONFIG_INVALID' }));
  });

  it('openai provider - reads Retry-After as seconds and as a date', () => {
    expect(retryAfterMs('17')).toBe(17_000);
    expect(retryAfterMs('Thu, 01 Jan 2026 00:00:30 GMT', Date.UTC(2026, 0, 1))).toBe(30_000);
    expect([retryAfterMs(null), retryAfterMs('soon')]).toEqual([undefined, undefined]);
  });

  const description = join(resolve(process.env['AIOS_DATA_DIR'] ?? '../shared/data'), 'spec-vectors/openai-openapi.yaml.gz');
  it.skipIf(!existsSync(description))('openai provider - every request fits the published OpenAI description, and so do the mock’s answers', async () => {
    const document = parse(gunzipSync(readFileSync(description)).toString('utf8'), { maxAliasCount: -1 }) as Schema;
    await using strict = await startOpenAiMock({ description: document });
    const asking = provider({ url: strict.url });
    await asking.generate(ask());
    await asking.embed({ texts: ['a', 'b'], deadline: Date.now() + 3_000, tenant: 't' });
    expect(strict.problems).toEqual([]);
    const bad = await fetch(`${strict.url}/chat/completions`, { method: 'POST', body: JSON.stringify({ model: 'gpt', messages: [], max_tokens: 'many' }) });
    expect(bad.status).toBe(400);
    expect(strict.problems.join()).toMatch(/messages: under 1.*max_tokens: not integer/);
  });
});

describe('json schema checker', () => {
  const root: Schema = { defs: { name: { type: 'string', minLength: 2 } } };
  it.each<[string, Schema, unknown, RegExp | undefined]>([
    ['a missing member', { type: 'object', required: ['a'] }, {}, /\.a: missing/],
    ['an unknown member', { type: 'object', properties: {}, additionalProperties: false }, { a: 1 }, /\.a: not known/],
    ['a reference', { $ref: '#/defs/name' }, 'x', /under 2/],
    ['a nullable null', { type: 'string', nullable: true }, null, undefined],
    ['no alternative', { anyOf: [{ type: 'string' }, { type: 'integer' }] }, 1.5, /none of 2/],
    ['an item', { type: 'array', items: { enum: ['a'] } }, ['a', 'b'], /\[1\]: not one of a/],
    ['a number too large', { type: 'number', maximum: 2 }, 3, /over 2/],
  ])('json schema - judges %s', (_, schema, value, expected) => {
    const found = schemaProblems(schema, value, root).join();
    if (expected === undefined) expect(found).toBe('');
    else expect(found).toMatch(expected);
  });
});
