// Judging a classifier: folds, temperature, calibration error, and how well "none of these" is told apart.
// Owns: the arithmetic of the figures in the READMEs. Never trains.
// Others may assume: folds are stratified and depend on the seed only, and every figure is over predictions on rows the weights never saw.

import { softmax } from '../../../agents/model-worker/head.ts';

/** A fold number per row: rows of one class are dealt in a seeded order, so that each fold has its part of each class. */
export function foldsOf(y: readonly number[], folds: number, seed: number): number[] {
  const random = mulberry32(seed);
  const order = y.map((label, row) => ({ label, row, key: random() })).toSorted((a, b) => a.label - b.label || a.key - b.key);
  const fold: number[] = [];
  order.forEach(({ row }, i) => { fold[row] = i % folds; });
  return fold;
}

/** The temperature with the least negative log likelihood, by golden section on its logarithm. */
export function temperatureOf(logits: readonly (readonly number[])[], y: readonly number[]): number {
  const loss = (log: number): number => negativeLogLikelihood(logits, y, Math.exp(log));
  const ratio = (Math.sqrt(5) - 1) / 2;
  let [low, high] = [Math.log(0.02), Math.log(20)];
  for (let i = 0; i < 60; i++) {
    const [a, b] = [high - ratio * (high - low), low + ratio * (high - low)];
    if (loss(a) < loss(b)) high = b;
    else low = a;
  }
  return Math.exp((low + high) / 2);
}

export function negativeLogLikelihood(logits: readonly (readonly number[])[], y: readonly number[], temperature: number): number {
  return logits.reduce((sum, row, i) => sum - Math.log(Math.max(1e-12, softmax(row.map((logit) => logit / temperature))[y[i] as number] as number)), 0) / y.length;
}

export interface Scored { readonly right: boolean; readonly confidence: number }

export function scored(logits: readonly (readonly number[])[], y: readonly number[], temperature: number): Scored[] {
  return logits.map((row, i) => {
    const scores = softmax(row.map((logit) => logit / temperature));
    const top = scores.indexOf(Math.max(...scores));
    return { right: top === y[i], confidence: scores[top] as number };
  });
}

export const accuracyOf = (rows: readonly Scored[]): number => rows.filter((row) => row.right).length / rows.length;

/** Expected calibration error over bins of equal width: how far confidence is from being right, on average. */
export function calibrationErrorOf(rows: readonly Scored[], bins = 10): number {
  const parts = Array.from({ length: bins }, (_, bin) => rows.filter(({ confidence }) => Math.min(bins - 1, Math.floor(confidence * bins)) === bin));
  return parts.reduce((sum, part) => (part.length === 0 ? sum : sum + (part.length / rows.length) * Math.abs(accuracyOf(part) - part.reduce((total, row) => total + row.confidence, 0) / part.length)), 0);
}

/** The chance that a positive outranks a negative (Mann-Whitney), ties half. */
export function aurocOf(positives: readonly number[], negatives: readonly number[]): number {
  let wins = 0;
  for (const p of positives) for (const n of negatives) wins += p > n ? 1 : p === n ? 0.5 : 0;
  return wins / (positives.length * negatives.length);
}

/** Wilson score interval, 95 %. */
export function intervalOf(hits: number, total: number): readonly [number, number] {
  const z = 1.96;
  const p = hits / total;
  const middle = (p + (z * z) / (2 * total)) / (1 + (z * z) / total);
  const half = (z * Math.sqrt((p * (1 - p)) / total + (z * z) / (4 * total * total))) / (1 + (z * z) / total);
  return [middle - half, middle + half];
}

/** Small seeded generator (Bryc); good enough for dealing rows to folds. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
