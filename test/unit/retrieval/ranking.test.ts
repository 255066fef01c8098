// The arithmetic of retrieval: stems, BM25, quantised cosine, fusion, access filters.
// Owns: the checks of agents/retrieval's pure parts against published values and stated properties. Opens nothing.
// Others may assume: a change of ranking shows here before it shows in answers.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { admits, compileFilter, filterDigest } from '../../../agents/retrieval/filter.ts';
import { fuse, topRows } from '../../../agents/retrieval/fuse.ts';
import { createLexicalIndex } from '../../../agents/retrieval/lexical.ts';
import { stem } from '../../../agents/retrieval/stem.ts';
import { termsOf } from '../../../agents/retrieval/terms.ts';
import { blockOf, cosines, dequantise, quantise } from '../../../agents/retrieval/vectors.ts';

describe('stems', () => {
  it('equal those of the Snowball reference for every word of the golden list', () => {
    const lines = readFileSync(new URL('../../golden/stems/english.txt', import.meta.url), 'utf8').trim().split('\n').map((line) => line.split(' '));
    expect(lines.length).toBeGreaterThan(1_000);
    expect(lines.filter(([word, wanted]) => stem(word ?? '') !== wanted)).toEqual([]);
  });
});

describe('terms', () => {
  it('fold case and diacritics, split identifiers, drop stop words', () => {
    expect(termsOf('The Café’s max_payload is 1MB; how do I refund it?')).toEqual(['cafe', 'max', 'payload', '1mb', 'refund']);
  });
  it('of scripts without spaces are overlapping pairs', () => {
    expect(termsOf('東京都')).toEqual(['東京', '京都']);
  });
});

describe('BM25', () => {
  it('gives the value of the formula', () => {
    const index = createLexicalIndex(['refund policy', 'invoice', 'invoice invoice address']);
    const idf = Math.log(1 + (3 - 2 + 0.5) / (2 + 0.5));
    const norm = (length: number) => 0.9 * (1 - 0.4 + (0.4 * length) / 2);
    const scores = index.scores('invoices');
    expect(scores[0]).toBe(0);
    expect(scores[1]).toBeCloseTo((idf * 1.9) / (1 + norm(1)), 5);
    expect(scores[2]).toBeCloseTo((idf * 1.9 * 2) / (2 + norm(3)), 5);
  });
  it('is 0 everywhere for words that no chunk holds', () => {
    expect([...createLexicalIndex(['a refund']).scores('zebra')]).toEqual([0]);
  });
});

describe('quantised vectors', () => {
  it('keep the cosine within 0.01 for random unit vectors', () => {
    const vector = fc.array(fc.float({ min: -1, max: 1, noNaN: true }), { minLength: 64, maxLength: 64 }).filter((values) => values.some((value) => Math.abs(value) > 0.1));
    fc.assert(
      fc.property(vector, vector, (a, b) => {
        const exact = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
        const [found] = cosines(blockOf([quantise(Float32Array.from(a))]), Float32Array.from(b));
        expect(Math.abs((found ?? 2) - exact)).toBeLessThan(0.01);
      }),
      { numRuns: 200 },
    );
  });
  it('answer 0 for a zero vector and nothing for another dimension', () => {
    expect(dequantise(quantise(new Float32Array(4)))).toEqual(new Float32Array(4));
    expect([...cosines(blockOf([quantise(Float32Array.of(1, 0))]), Float32Array.of(1, 0, 0))]).toEqual([0]);
  });
});

describe('fusion', () => {
  const lexical = [{ row: 1, score: 9 }, { row: 2, score: 5 }, { row: 3, score: 1 }];
  const dense = [{ row: 2, score: 0.8 }, { row: 4, score: 0.6 }, { row: 1, score: 0.2 }];
  it('convex weighs min-max scores and reports both raw signals', () => {
    const fused = fuse(lexical, dense, { kind: 'convex', lexicalWeight: 0.4 });
    expect(fused.map((hit) => [hit.row, Number(hit.score.toFixed(4))])).toEqual([[2, 0.8], [1, 0.4], [4, 0.4], [3, 0]]);
    expect(fused[0]).toMatchObject({ bm25: 5, cosine: 0.8, lexicalRank: 2, denseRank: 1 });
  });
  it('reciprocal ranks use the k that is given', () => {
    const fused = fuse(lexical, dense, { kind: 'reciprocal', k: 60 });
    expect(fused[0]).toMatchObject({ row: 2, score: 1 / 62 + 1 / 61 });
  });
  it('without a dense ranking keeps the lexical order', () => {
    expect(fuse(lexical, []).map((hit) => hit.row)).toEqual([1, 2, 3]);
  });
  it('never changes with a row that the mask hides', () => {
    expect(topRows(Float32Array.of(3, 2, 1), (row) => row !== 1, 0)).toEqual([{ row: 0, score: 3 }, { row: 2, score: 1 }]);
  });
});

describe('access filters', () => {
  const principal = { id: 'ada', type: 'user', tenant: 'acme', roles: ['support', 'billing'] } as const;
  it('refuse a principal of another tenant', () => {
    expect(() => compileFilter('other', principal)).toThrow(expect.objectContaining({ code: 'AIOS_TENANT_MISMATCH' }));
  });
  it('admit by role or owner, and everybody where nothing is said', () => {
    const filter = compileFilter('acme', principal);
    expect(admits(filter, undefined)).toBe(true);
    expect(admits(filter, { team: 'x' })).toBe(true);
    expect(admits(filter, { roles: 'legal, billing' })).toBe(true);
    expect(admits(filter, { roles: 'legal' })).toBe(false);
    expect(admits(filter, { owner: 'ada', roles: 'legal' })).toBe(true);
    expect(admits(filter, { owner: 'bob' })).toBe(false);
  });
  it('have one digest for equal rights, whatever the order of roles', () => {
    const swapped = { ...principal, roles: ['billing', 'support', 'billing'] };
    expect(filterDigest(compileFilter('acme', swapped))).toBe(filterDigest(compileFilter('acme', principal)));
    expect(filterDigest(compileFilter('acme', { ...principal, roles: [] }))).not.toBe(filterDigest(compileFilter('acme', principal)));
  });
});

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);
