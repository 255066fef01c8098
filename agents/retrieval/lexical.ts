// BM25 over one epoch of one tenant's space: statistics never mix tenants, so no term frequency leaks between them.
// Owns: postings, document lengths, the score. Never knows what a chunk says or who asks; a mask says what may be seen.
// Others may assume: an index is immutable, scores are at least 0, and equal scores keep document order.
// Robertson and Zaragoza, The Probabilistic Relevance Framework (2009); k1 and b are Anserini's for BEIR.

import { termsOf } from './terms.ts';

export const K1 = 0.9;
export const B = 0.4;

export interface LexicalIndex {
  readonly size: number;
  /** One score for each chunk, 0 where no term matches. */
  scores(query: string): Float32Array;
  /** Inverse document frequency of each distinct term of the query; a term that no chunk holds has the highest. */
  weights(query: string): Readonly<Record<string, number>>;
}

interface Posting {
  readonly chunks: number[];
  readonly counts: number[];
}

export function createLexicalIndex(texts: Iterable<string>): LexicalIndex {
  const postings = new Map<string, Posting>();
  const lengths: number[] = [];
  for (const text of texts) {
    const counts = countTerms(text);
    let length = 0;
    for (const [term, count] of counts) {
      addPosting(postings, term, lengths.length, count);
      length += count;
    }
    lengths.push(length);
  }
  const norms = lengthNorms(lengths);
  const idf = (holders: number) => inverseFrequency(lengths.length, holders);
  return {
    size: lengths.length,
    scores: (query) => scoreAll(postings, norms, idf, query),
    weights: (query) => Object.fromEntries([...new Set(termsOf(query))].map((term) => [term, idf(postings.get(term)?.chunks.length ?? 0)])),
  };
}

/** Never negative: the form of Lucene. */
export const inverseFrequency = (size: number, holders: number): number => Math.log(1 + (size - holders + 0.5) / (holders + 0.5));

export function countTerms(text: string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const term of termsOf(text)) counts.set(term, (counts.get(term) ?? 0) + 1);
  return counts;
}

function addPosting(postings: Map<string, Posting>, term: string, chunk: number, count: number): void {
  const posting = postings.get(term) ?? { chunks: [], counts: [] };
  if (posting.chunks.length === 0) postings.set(term, posting);
  posting.chunks.push(chunk);
  posting.counts.push(count);
}

/** The denominator's constant part: k1 * (1 - b + b * length / average length). */
function lengthNorms(lengths: readonly number[]): Float32Array {
  const average = lengths.reduce((sum, length) => sum + length, 0) / Math.max(1, lengths.length) || 1;
  return Float32Array.from(lengths, (length) => K1 * (1 - B + (B * length) / average));
}

function scoreAll(postings: ReadonlyMap<string, Posting>, norms: Float32Array, idf: (holders: number) => number, query: string): Float32Array {
  const scores = new Float32Array(norms.length);
  for (const [term, repeats] of countTerms(query)) {
    const posting = postings.get(term);
    if (posting === undefined) continue;
    const weight = idf(posting.chunks.length) * repeats * (K1 + 1);
    for (let i = 0; i < posting.chunks.length; i++) {
      const chunk = posting.chunks[i] as number;
      const count = posting.counts[i] as number;
      scores[chunk] = (scores[chunk] as number) + (weight * count) / (count + (norms[chunk] as number));
    }
  }
  return scores;
}
