// BM25 as sparse vectors, for engines that only know dot products: the same scores as the embedded index gives.
// Owns: the split of the formula into a chunk's side and a query's side, and the term table that joins them.
// Never asks the engine for statistics: they would be those of all tenants. Others may assume: the dot product of
// `queryVector` and a chunk's vector equals `createLexicalIndex(texts).scores(query)` for that chunk, up to float32.

import { B, countTerms, inverseFrequency, K1 } from './lexical.ts';

export interface SparseVector {
  readonly indices: number[];
  readonly values: number[];
}
/** Terms by their number: how many chunks hold each. Plain data, kept beside the epoch. */
export interface TermTable {
  readonly size: number;
  readonly terms: ReadonlyMap<string, { readonly index: number; readonly holders: number }>;
}

export function sparseCorpus(texts: readonly string[]): { readonly table: TermTable; readonly vectors: readonly SparseVector[] } {
  const counts = texts.map(countTerms);
  const lengths = counts.map((terms) => [...terms.values()].reduce((sum, count) => sum + count, 0));
  const average = lengths.reduce((sum, length) => sum + length, 0) / Math.max(1, lengths.length) || 1;
  const terms = new Map<string, { index: number; holders: number }>();
  const vectors = counts.map((counted, row) => {
    const norm = K1 * (1 - B + (B * (lengths[row] as number)) / average);
    const entries = [...counted].map(([term, count]) => [hold(terms, term), (count * (K1 + 1)) / (count + norm)] as const).sort((a, b) => a[0] - b[0]);
    return { indices: entries.map(([index]) => index), values: entries.map(([, value]) => value) };
  });
  return { table: { size: texts.length, terms }, vectors };
}

/** Terms that no chunk holds are left out; an empty vector finds nothing. */
export function queryVector(table: TermTable, query: string): SparseVector {
  const entries = [...countTerms(query)].flatMap(([term, repeats]) => {
    const known = table.terms.get(term);
    return known === undefined ? [] : [[known.index, inverseFrequency(table.size, known.holders) * repeats] as const];
  });
  entries.sort((a, b) => a[0] - b[0]);
  return { indices: entries.map(([index]) => index), values: entries.map(([, value]) => value) };
}

export const termWeights = (table: TermTable, query: string): Readonly<Record<string, number>> =>
  Object.fromEntries([...countTerms(query).keys()].map((term) => [term, inverseFrequency(table.size, table.terms.get(term)?.holders ?? 0)]));

function hold(terms: Map<string, { index: number; holders: number }>, term: string): number {
  const known = terms.get(term) ?? { index: terms.size, holders: 0 };
  terms.set(term, known);
  known.holders++;
  return known.index;
}
