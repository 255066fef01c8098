// The wire-level fake against Qdrant's own engine: the same points, filters and queries give the same ids and scores.
// Owns: the comparison with test/golden/qdrant-edge/expected.json, which make.py wrote by `qdrant-edge-py`.
// Others may assume: what the conformance suite shows on the fake holds for Qdrant as far as these cases reach.

import { readFileSync } from 'node:fs';
import { QdrantClient, type Schemas } from '@qdrant/js-client-rest';
import { describe, expect, it } from 'vitest';
import { collectionSettings, DENSE, INDEXES, SPARSE } from '../../infra/qdrant/layout.ts';
import { startFakeQdrant } from '../kit/fake-qdrant.ts';

interface Hit { readonly id: string; readonly score: number }
interface Cases {
  readonly dimensions: number;
  readonly points: readonly Schemas['PointStruct'][];
  readonly queries: readonly { readonly text: string; readonly principal: string; readonly filter: Schemas['Filter']; readonly dense: readonly number[]; readonly bm25: Schemas['SparseVector']; readonly limit: number }[];
  readonly erase: Schemas['Filter'];
}
type Answers = readonly { readonly dense: readonly Hit[]; readonly bm25: readonly Hit[] }[];
const read = <T>(name: string): T => JSON.parse(readFileSync(new URL(`qdrant-edge/${name}`, import.meta.url), 'utf8')) as T;
const cases = read<Cases>('cases.json');
const expected = read<{ readonly before: Answers; readonly after: Answers }>('expected.json');

describe('the fake Qdrant', () => {
  it('ranks, filters and deletes as qdrant-edge does', async () => {
    await using server = await startFakeQdrant();
    const client = new QdrantClient({ url: server.url, checkCompatibility: false });
    await client.createCollection('c', collectionSettings(cases.dimensions) as Parameters<QdrantClient['createCollection']>[1]);
    for (const [field_name, field_schema] of INDEXES) await client.createPayloadIndex('c', { field_name, field_schema });
    await client.upsert('c', { points: [...cases.points] });
    await compare(client, expected.before);
    await client.delete('c', { filter: cases.erase });
    await compare(client, expected.after);
  });
  it('is compared on filters that let some through, none twice, and never another tenant', () => {
    const tenants = new Map(cases.points.map(({ id, payload }) => [String(id), (payload as { tenant: string }).tenant]));
    for (const [index, { principal }] of cases.queries.entries()) {
      const ids = (expected.before[index]?.dense ?? []).map(({ id }) => id);
      expect(ids.length).toBeGreaterThan(3);
      expect(ids.every((id) => tenants.get(id) === (principal === 'zoe' ? 'beta' : 'acme'))).toBe(true);
    }
    const seen = new Set(cases.queries.map((_, index) => JSON.stringify(expected.before[index]?.dense.map(({ id }) => id))));
    expect(seen.size).toBeGreaterThan(10);
    expect(expected.after).not.toEqual(expected.before);
  });
});

async function compare(client: QdrantClient, answers: Answers): Promise<void> {
  for (const [index, query] of cases.queries.entries()) {
    const dense = await client.query('c', { query: [...query.dense], using: DENSE, filter: query.filter, limit: query.limit, params: { exact: true } });
    const sparse = query.bm25.indices.length === 0 ? [] : (await client.query('c', { query: query.bm25, using: SPARSE, filter: query.filter, limit: query.limit })).points;
    expectSame(dense.points, answers[index]?.dense ?? []);
    expectSame(sparse, answers[index]?.bm25 ?? []);
  }
}

/** Scores in order to four digits; ids too, except that equal scores may swap and the last group of them may be cut elsewhere. */
function expectSame(found: readonly { readonly id: string | number; readonly score: number }[], wanted: readonly Hit[]): void {
  expect(found.map(({ score }) => score.toFixed(3))).toEqual(wanted.map(({ score }) => score.toFixed(3)));
  const last = wanted.at(-1)?.score ?? 0;
  const clear = (hits: readonly { readonly id: string | number; readonly score: number }[]) => hits.filter(({ score }) => score > last + 1e-4).map(({ id }) => String(id)).sort();
  expect(clear(found)).toEqual(clear(wanted));
}
