// Every check of the gateway, each shown to refuse by its own code, and what a served call returns and costs.
// Owns: the behaviour of agents/gateway on scripted providers. Opens nothing.
// Others may assume: a refusal here is a refusal on every bus, since `answer` is what the bus calls.

import { describe, expect, it } from 'vitest';
import { digestOf } from '../../../contracts/canonical.ts';
import { fail } from '../../../contracts/errors.ts';
import type { Reply } from '../../../contracts/message.ts';
import { decodeVectors } from '../../../contracts/model.ts';
import { createBreaker } from '../../../agents/gateway/breaker.ts';
import { createFixture, fakeProvider, START } from './fixture.ts';

const texts = { texts: ['hello', 'a'] };
const outside = () => fakeProvider({ name: 'hosted', inside: false, region: 'us' });
const codeOf = (reply: Reply): string => (reply.status === 'failed' ? reply.error.code : 'done');

describe('gateway - a served call', () => {
  it('returns vectors, a receipt and the price of what was measured', async () => {
    const { ask } = createFixture();
    const reply = await ask('text.embed', texts);
    if (reply.status !== 'done') throw new Error(reply.error.message);
    const output = reply.output as { vectors: string; dimensions: number; model: string };
    expect(decodeVectors(output.vectors, output.dimensions)).toEqual([Float32Array.of(5, 1), Float32Array.of(1, 1)]);
    expect(reply.costMicroUsd).toBe(2 + 100);
    expect(reply.receipts).toMatchObject([{ kind: 'model', provider: 'workers', costMicroUsd: 102 }]);
  });
  it('classifies and generates through the same door', async () => {
    const { ask } = createFixture();
    expect(await ask('text.classify', { texts: ['x'], head: 'intent' })).toMatchObject({ status: 'done', output: { results: [{ label: 'a' }] } });
    expect(await ask('text.generate', { system: '', prompt: 'hi', maxTokens: 5 })).toMatchObject({ status: 'done', output: { text: 'HI' } });
  });
  it('answers an equal question from the cache at no cost, but not across tenants, scopes or inputs', async () => {
    const provider = fakeProvider();
    const { ask, mint } = createFixture({ providers: [provider] });
    await ask('text.embed', texts);
    expect(await ask('text.embed', texts)).toMatchObject({ status: 'done', costMicroUsd: 0, receipts: [{ usage: { inputTokens: 0, cacheReadTokens: 2, deviceUs: 0 } }] });
    expect(provider.calls).toHaveLength(1);
    await ask('text.embed', texts, { mandate: mint({ dataClass: 'internal' }) });
    await ask('text.embed', texts, { mandate: mint({ models: ['workers'] }) });
    await ask('text.embed', { texts: ['other'] });
    await ask('text.embed', texts, { tenant: 'beta', principal: { id: 'bob', type: 'user', tenant: 'beta', roles: [] }, mandate: mint({ tenant: 'beta' }) }, 'ai.v1.beta.cap.text_embed');
    expect(provider.calls).toHaveLength(5);
  });
});

describe('gateway - refuses', () => {
  const cases: readonly (readonly [string, string, (f: ReturnType<typeof createFixture>) => Promise<Reply>])[] = [
    ['bytes that are not JSON', 'AIOS_INPUT_NOT_JSON', (f) => f.gateway.answer('ai.v1.acme.cap.text_embed', new TextEncoder().encode('{'))],
    ['an envelope of another shape', 'AIOS_INPUT_INVALID', (f) => f.gateway.answer('ai.v1.acme.cap.text_embed', new TextEncoder().encode('{}'))],
    ['a subject of another tenant', 'AIOS_TENANT_MISMATCH', (f) => f.ask('text.embed', texts, {}, 'ai.v1.beta.cap.text_embed')],
    ['a subject of another capability', 'AIOS_INPUT_INVALID', (f) => f.ask('text.embed', texts, {}, 'ai.v1.acme.cap.text_generate')],
    ['a principal of another tenant', 'AIOS_TENANT_MISMATCH', (f) => f.ask('text.embed', texts, { principal: { id: 'x', type: 'user', tenant: 'beta', roles: [] } })],
    ['a mandate of another tenant', 'AIOS_TENANT_MISMATCH', (f) => f.ask('text.embed', texts, { mandate: f.mint({ tenant: 'beta' }) })],
    ['a mandate of another task', 'AIOS_MANDATE_INVALID', (f) => f.ask('text.embed', texts, { mandate: f.mint({ task: 't-2' }) })],
    ['a mandate of another principal', 'AIOS_MANDATE_EXCEEDED', (f) => f.ask('text.embed', texts, { mandate: f.mint({ principal: digestOf({ id: 'eve', type: 'user', tenant: 'acme', roles: ['finance'] }) }) })],
    ['a forged mandate', 'AIOS_MANDATE_INVALID', (f) => f.ask('text.embed', texts, { mandate: `${f.mint().slice(0, -4)}AAAA` })],
    ['an expired mandate', 'AIOS_MANDATE_INVALID', (f) => f.ask('text.embed', texts, { mandate: f.mint({ expiresAt: START - 500_000, notBefore: START - 900_000 }) })],
    ['a capability that is not granted', 'AIOS_MANDATE_EXCEEDED', (f) => f.ask('text.embed', texts, { mandate: f.mint({ capabilities: ['text.classify'] }) })],
    ['a model that is not granted', 'AIOS_MANDATE_EXCEEDED', (f) => f.ask('text.embed', texts, { mandate: f.mint({ models: ['other'] }) })],
    ['more depth than granted', 'AIOS_MANDATE_EXCEEDED', (f) => f.ask('text.embed', texts, { depth: 4 })],
    ['a passed deadline', 'AIOS_DEADLINE_EXCEEDED', (f) => f.ask('text.embed', texts, { deadline: START - 1 })],
    ['input of another shape', 'AIOS_INPUT_INVALID', (f) => f.ask('text.embed', { texts: [] })],
    ['an unknown capability', 'AIOS_CAPABILITY_UNKNOWN', (f) => f.ask('text.nothing', {})],
    ['a region where no provider runs', 'AIOS_CLASS_REFUSED', (f) => f.ask('text.embed', texts, { mandate: f.mint({ regions: ['eu'] }) })],
    ['a budget that is used up', 'AIOS_BUDGET_EXCEEDED', async (f) => {
      const mandate = f.mint({ budgetMicroUsd: 150 });
      await f.ask('text.embed', texts, { mandate });
      return f.ask('text.embed', { texts: ['more'] }, { mandate });
    }],
    ['more calls than granted', 'AIOS_MANDATE_EXCEEDED', async (f) => {
      const mandate = f.mint({ callsMax: 1 });
      await f.ask('text.embed', texts, { mandate });
      return f.ask('text.embed', texts, { mandate });
    }],
  ];
  for (const [what, code, run] of cases) {
    it(`${what} with ${code}`, async () => {
      const fixture = createFixture();
      expect(codeOf(await run(fixture))).toBe(code);
      expect(fixture.counted).toContain(`gateway_calls_total ${code}`);
    });
  }
  it('what policy forbids, and names the policy', async () => {
    const { ask } = createFixture({ policies: {} });
    const reply = await ask('text.embed', texts);
    expect(reply).toMatchObject({ status: 'failed', error: { code: 'AIOS_POLICY_DENIED', message: expect.stringContaining('no permit') } });
  });
  it('a model without a price, before and after the call', async () => {
    const known = fakeProvider({ models: ['small'] });
    expect(codeOf(await createFixture({ providers: [known], prices: {} }).ask('text.embed', texts))).toBe('AIOS_PRICE_UNKNOWN');
    expect(known.calls).toHaveLength(0);
    expect(codeOf(await createFixture({ prices: {} }).ask('text.embed', texts))).toBe('AIOS_PRICE_UNKNOWN');
  });
  it('more calls at once than it is built for', async () => {
    const { ask } = createFixture({ inFlightMax: 0 });
    expect(await ask('text.embed', texts)).toMatchObject({ error: { code: 'AIOS_OVERLOADED', retryAfterMs: 100 } });
  });
});

describe('gateway - data class against provider', () => {
  it('a provider outside the boundary never sees confidential data', async () => {
    const provider = outside();
    const { ask, mint } = createFixture({ providers: [provider] });
    expect(codeOf(await ask('text.embed', texts))).toBe('AIOS_CLASS_REFUSED');
    expect(provider.calls).toHaveLength(0);
    expect(codeOf(await ask('text.embed', texts, { mandate: mint({ dataClass: 'internal' }) }))).toBe('done');
  });
  it('a narrowed mandate does not make its data less confidential', async () => {
    const provider = outside();
    const { ask, mint, mandates } = createFixture({ providers: [provider] });
    expect(codeOf(await ask('text.embed', texts, { mandate: mandates.attenuate(mint(), { dataClass: 'public' }) }))).toBe('AIOS_CLASS_REFUSED');
    expect(provider.calls).toHaveLength(0);
  });
  it('is decided before preference: the allowed provider is asked, not the first', async () => {
    const [hosted, local] = [outside(), fakeProvider({ name: 'local' })];
    const { ask } = createFixture({ providers: [hosted, local] });
    expect(await ask('text.embed', texts)).toMatchObject({ status: 'done', receipts: [{ provider: 'local' }] });
    expect(hosted.calls).toHaveLength(0);
  });
  it('the bundle narrows what a provider says of itself and never widens it', async () => {
    const narrow = createFixture({ declared: { workers: { inside: true, region: 'local', dataClassMax: 'public' } } });
    expect(codeOf(await narrow.ask('text.embed', texts))).toBe('AIOS_CLASS_REFUSED');
    const wide = createFixture({ providers: [outside()], declared: { hosted: { inside: true, region: 'us', dataClassMax: 'restricted' } } });
    expect(codeOf(await wide.ask('text.embed', texts))).toBe('AIOS_CLASS_REFUSED');
  });
});

describe('gateway - a provider that fails', () => {
  it('is followed by the next one, once', async () => {
    const broken = fakeProvider({ name: 'first', fails: () => fail('AIOS_MODEL_UNAVAILABLE') });
    const { ask } = createFixture({ providers: [broken, fakeProvider({ name: 'second' })] });
    expect(await ask('text.embed', texts)).toMatchObject({ status: 'done', receipts: [{ provider: 'second' }] });
  });
  it('because nobody listens is AIOS_MODEL_UNAVAILABLE', async () => {
    const { ask } = createFixture({ providers: [fakeProvider({ fails: () => fail('AIOS_UNAVAILABLE') })] });
    expect(codeOf(await ask('text.embed', texts))).toBe('AIOS_MODEL_UNAVAILABLE');
  });
  it('five times in a row is left alone, then tried once', async () => {
    let down = true;
    const provider = fakeProvider({ fails: () => (down ? fail('AIOS_MODEL_UNAVAILABLE') : undefined) });
    const { ask, clock } = createFixture({ providers: [provider] });
    for (let i = 0; i < 7; i++) expect(codeOf(await ask('text.embed', { texts: [`t${i}`] }))).toBe('AIOS_MODEL_UNAVAILABLE');
    expect(provider.calls).toHaveLength(5);
    down = false;
    clock.advance(1_001);
    expect(codeOf(await ask('text.embed', texts))).toBe('done');
  });
  it('to answer in time costs the caller no more than its deadline', async () => {
    const { ask, clock } = createFixture({ providers: [fakeProvider({ embed: () => new Promise(() => {}) })] });
    const reply = ask('text.embed', texts);
    for (let i = 0; i < 50; i++) await Promise.resolve();
    clock.advance(10_001);
    expect(codeOf(await reply)).toBe('AIOS_DEADLINE_EXCEEDED');
  });
  it('releases what was held for it', async () => {
    let down = true;
    const { ask, mint } = createFixture({ providers: [fakeProvider({ fails: () => (down ? fail('AIOS_MODEL_FAULT') : undefined) })] });
    const mandate = mint({ budgetMicroUsd: 500 });
    const prompt = { texts: ['x'] };
    for (let i = 0; i < 4; i++) await ask('text.embed', prompt, { mandate });
    down = false;
    expect(codeOf(await ask('text.embed', prompt, { mandate }))).toBe('done');
  });
});

describe('breaker', () => {
  it('lets one call try after the pause and doubles the pause when that fails', () => {
    let now = 0;
    const breaker = createBreaker(() => now);
    for (let i = 0; i < 5; i++) breaker.failed();
    expect(breaker.enter()).toBe(1_000);
    now = 1_000;
    expect(breaker.enter()).toBe(0);
    expect(breaker.enter()).toBeGreaterThan(0);
    breaker.failed();
    expect(breaker.enter()).toBe(2_000);
    now = 3_000;
    expect(breaker.enter()).toBe(0);
    breaker.succeeded();
    expect([breaker.enter(), breaker.open]).toEqual([0, false]);
  });
});

describe('gateway - spaces and records', () => {
  it('searches only spaces that the mandate names', async () => {
    const retrieval = { engine: 'x', search: async () => ({ fragments: [], receipt: { kind: 'retrieval', space: 'help', engine: 'x', epoch: 'e1', manifestDigest: `sha256:${'0'.repeat(64)}`, filterDigest: `sha256:${'0'.repeat(64)}`, fragments: [] } }) } as never;
    const { ask, mint } = createFixture({ retrieval });
    const query = { space: 'help', query: 'refund', limit: 3 };
    expect(await ask('space.search', query)).toMatchObject({ status: 'done', receipts: [{ kind: 'retrieval' }] });
    expect(codeOf(await ask('space.search', query, { mandate: mint({ spaces: ['other'] }) }))).toBe('AIOS_MANDATE_EXCEEDED');
  });
  it('indexes only for an operator', async () => {
    const { ask } = createFixture({ retrieval: { engine: 'x' } as never });
    expect(codeOf(await ask('space.index', { space: 'help', path: '/x', waitMs: 0 }))).toBe('AIOS_FORBIDDEN');
  });
  it('looks records up for the tenant of the envelope, and only under a confidential mandate', async () => {
    const asked: string[] = [];
    const { ask, mint } = createFixture({ records: { kinds: ['customer'], find: async (tenant) => { asked.push(tenant); return [{ customer: 'c-1' }]; } } });
    const query = { kind: 'customer', where: { customer: 'c-1' }, limit: 1 };
    expect(await ask('records.find', query)).toMatchObject({ status: 'done', output: { records: [{ customer: 'c-1' }] } });
    expect(codeOf(await ask('records.find', query, { mandate: mint({ dataClass: 'internal' }) }))).toBe('AIOS_MANDATE_EXCEEDED');
    expect(asked).toEqual(['acme']);
  });
});
