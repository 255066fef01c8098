// Two rankings into one: a convex sum of min-max normalised scores, or reciprocal ranks.
// Owns: both formulas and the candidate depth. Never sees text. Others may assume: pure, stable for equal scores.
// Convex fusion: Bruch, Gai, Ingber, An Analysis of Fusion Functions for Hybrid Retrieval (2023).
// Reciprocal rank fusion: Cormack, Clarke, Buettcher (2009).

export const CANDIDATES_MAX = 100;

export type Fusion =
  | { readonly kind: 'convex'; readonly lexicalWeight: number }
  /** `k` is always explicit: engines differ in their default, from 2 to 60. */
  | { readonly kind: 'reciprocal'; readonly k: number };

/** Weights found on questions over product documentation; on scientific claims 0.3 is a little better. */
export const DEFAULT_FUSION: Fusion = Object.freeze({ kind: 'convex', lexicalWeight: 0.4 });

export interface Ranked {
  readonly row: number;
  readonly score: number;
}
export interface Fused {
  readonly row: number;
  readonly score: number;
  readonly bm25: number;
  readonly cosine: number;
  /** 1-based, 0 when the ranking does not hold it. */
  readonly lexicalRank: number;
  readonly denseRank: number;
}

/** The best rows of a score array, largest first, rows not admitted and scores not above `floor` left out. */
export function topRows(scores: Float32Array, admits: (row: number) => boolean, floor: number, max = CANDIDATES_MAX): Ranked[] {
  const rows: Ranked[] = [];
  for (let row = 0; row < scores.length; row++) {
    const score = scores[row] as number;
    if (score > floor && admits(row)) rows.push({ row, score });
  }
  return rows.sort((a, b) => b.score - a.score || a.row - b.row).slice(0, max);
}

/** `dense` empty means a lexical answer: its order and scores then stand alone, normalised the same way. */
export function fuse(lexical: readonly Ranked[], dense: readonly Ranked[], fusion: Fusion = DEFAULT_FUSION): Fused[] {
  const places = new Map<number, { bm25: number; cosine: number; lexicalRank: number; denseRank: number }>();
  const place = (row: number) => {
    const known = places.get(row) ?? { bm25: 0, cosine: 0, lexicalRank: 0, denseRank: 0 };
    places.set(row, known);
    return known;
  };
  lexical.forEach(({ row, score }, index) => Object.assign(place(row), { bm25: score, lexicalRank: index + 1 }));
  dense.forEach(({ row, score }, index) => Object.assign(place(row), { cosine: score, denseRank: index + 1 }));
  const score = scorer(lexical, dense, fusion);
  return [...places].map(([row, signals]) => ({ row, ...signals, score: score(signals) })).sort((a, b) => b.score - a.score || a.row - b.row);
}

type Signals = Omit<Fused, 'row' | 'score'>;

function scorer(lexical: readonly Ranked[], dense: readonly Ranked[], fusion: Fusion): (signals: Signals) => number {
  if (fusion.kind === 'reciprocal') return ({ lexicalRank, denseRank }) => reciprocal(lexicalRank, fusion.k) + reciprocal(denseRank, fusion.k);
  const bm25 = minMax(lexical);
  const cosine = minMax(dense);
  const weight = dense.length === 0 ? 1 : fusion.lexicalWeight;
  return (signals) => weight * (signals.lexicalRank === 0 ? 0 : bm25(signals.bm25)) + (1 - weight) * (signals.denseRank === 0 ? 0 : cosine(signals.cosine));
}

const reciprocal = (rank: number, k: number): number => (rank === 0 ? 0 : 1 / (k + rank));

/** A ranking whose scores are all equal counts as 1 throughout. */
function minMax(ranked: readonly Ranked[]): (score: number) => number {
  const high = ranked[0]?.score ?? 0;
  const low = ranked.at(-1)?.score ?? 0;
  return high === low ? () => 1 : (score) => (score - low) / (high - low);
}
