// Embedding a corpus: what is sent, how it is tried again, and that nothing computed is lost.
// Owns: the behaviour of agents/retrieval/embed-corpus on a scripted embedder. Opens nothing.
// Others may assume: a slow or restarting model worker makes a build slow, never wrong.

import { describe, expect, it } from 'vitest';
import { chunkDocument } from '../../../agents/retrieval/chunk.ts';
import { BATCH_TEXTS, type Embed, embedCorpus } from '../../../agents/retrieval/embed-corpus.ts';
import type { VectorCache } from '../../../agents/retrieval/store.ts';
import type { QuantisedVector } from '../../../agents/retrieval/vectors.ts';
import { digestOf } from '../../../contracts/canonical.ts';
import { type ErrorCode, fail } from '../../../contracts/errors.ts';
import { createTestEmbed } from '../../conformance/retrieval.ts';
import { createTestClock } from '../gateway/fixture.ts';

const embedder = digestOf('test-1');
const chunks = Array.from({ length: 40 }, (_, i) => chunkDocument({ id: `d${i}`, title: `T${i}`, text: `${'word '.repeat(i + 1)}end.` })).flat();

function memoryCache(): VectorCache & { readonly kept: Map<string, QuantisedVector> } {
  const kept = new Map<string, QuantisedVector>();
  return { kept, load: async (_embedder, wanted) => new Map([...kept].filter(([digest]) => wanted.has(digest))), add: async (_embedder, vectors) => { for (const [digest, vector] of vectors) kept.set(digest, vector); } };
}
const build = (embed: Embed, cache = memoryCache()) => embedCorpus(chunks, embedder, { embed, cache, clock: createTestClock(), tenant: 'acme' });

describe('embedding a corpus', () => {
  it('sends each text once, in batches, longest first', async () => {
    const sizes: number[] = [];
    const { embed } = createTestEmbed();
    const { vectors, embedded } = await build((request) => {
      sizes.push(request.texts.length);
      expect(request.sla).toBe('bulk');
      return embed(request);
    });
    expect([vectors.size, embedded, Math.max(...sizes), sizes.reduce((a, b) => a + b)]).toEqual([40, 40, BATCH_TEXTS, 40]);
  });
  it('does not send what the cache knows', async () => {
    const cache = memoryCache();
    await build(createTestEmbed().embed, cache);
    const again = createTestEmbed();
    expect((await build(again.embed, cache)).embedded).toBe(0);
    expect(again.texts).toEqual([]);
  });
  it('allows a batch more time after each try that had too little', async () => {
    const { embed } = createTestEmbed();
    const clock = createTestClock();
    const allowed: number[] = [];
    await embedCorpus(chunks.slice(0, 4), embedder, { clock, tenant: 'acme', cache: memoryCache(), embed: (request) => {
      allowed.push(request.deadline - clock.now());
      return allowed.length < 3 ? Promise.reject(fail('AIOS_DEADLINE_INFEASIBLE')) : embed(request);
    } });
    expect(allowed).toEqual([60_000, 120_000, 240_000]);
  });
  it('halves a batch that stays too much for the worker', async () => {
    const { embed } = createTestEmbed();
    const sizes: number[] = [];
    const { vectors } = await build((request) => (request.texts.length > 4 ? Promise.reject(fail('AIOS_OVERLOADED', undefined, { retryAfterMs: 1 })) : (sizes.push(request.texts.length), embed(request))));
    expect([vectors.size, Math.max(...sizes)]).toEqual([40, 4]);
  });
  it.each<[ErrorCode, boolean]>([['AIOS_MODEL_UNAVAILABLE', true], ['AIOS_OVERLOADED', true], ['AIOS_PRICE_UNKNOWN', false], ['AIOS_CLASS_REFUSED', false]])('after %s is tried again: %s', async (code, again) => {
    const { embed } = createTestEmbed();
    let left = 2;
    const work = build((request) => (left-- > 0 ? Promise.reject(fail(code)) : embed(request)));
    if (again) expect((await work).vectors.size).toBe(40);
    else await expect(work).rejects.toMatchObject({ code });
  });
  it('keeps what was computed when it fails, so that the next build goes on from there', async () => {
    const { embed } = createTestEmbed();
    const cache = memoryCache();
    let calls = 0;
    await expect(build((request) => (++calls > 2 ? Promise.reject(fail('AIOS_CLASS_REFUSED')) : embed(request)), cache)).rejects.toMatchObject({ code: 'AIOS_CLASS_REFUSED' });
    const kept = cache.kept.size;
    expect(kept).toBeGreaterThanOrEqual(BATCH_TEXTS);
    expect((await build(embed, cache)).embedded).toBe(40 - kept);
  });
  it('refuses vectors of another model than it began with, and too few of them', async () => {
    const other = createTestEmbed();
    other.model = 'test-2';
    await expect(build(other.embed)).rejects.toMatchObject({ code: 'AIOS_MODEL_FAULT' });
    const { embed } = createTestEmbed();
    await expect(build(async (request) => ({ ...(await embed(request)), vectors: [] }))).rejects.toMatchObject({ code: 'AIOS_MODEL_FAULT' });
  });
});
