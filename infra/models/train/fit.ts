// Fitting the desk's logistic scores: scaling folded into the weights, and scores of rows that a fit did not see.
// Owns: the penalty and the folds. Never draws a random number: folds go by position.
// Others may assume: the weights apply to raw features, so that the desk needs no scaling at run time.

import { probability, type Logistic } from '../../../agents/catalog/support/evidence.ts';
import { round } from '../../../agents/catalog/support/groundedness.ts';
import { fitLogistic } from './logistic.ts';

const FOLDS = 10;
const PENALTY = 0.02;

export interface Example {
  readonly features: Readonly<Record<string, number>>;
  readonly right: boolean;
}

export function fit(rows: readonly Example[], names: readonly string[]): Logistic {
  const columns = names.map((name) => rows.map((row) => row.features[name] ?? 0));
  const mean = columns.map((column) => column.reduce((sum, value) => sum + value, 0) / column.length);
  const spread = columns.map((column, j) => Math.sqrt(column.reduce((sum, value) => sum + (value - (mean[j] ?? 0)) ** 2, 0) / column.length) || 1);
  const x = rows.map((row) => Float32Array.from(names, (name, j) => ((row.features[name] ?? 0) - (mean[j] ?? 0)) / (spread[j] ?? 1)));
  const { rows: [no, yes] } = fitLogistic(x, rows.map(({ right }) => (right ? 1 : 0)), { classes: 2, l2: PENALTY });
  const slope = names.map((_, j) => (((yes?.[j] ?? 0) - (no?.[j] ?? 0)) / (spread[j] ?? 1)));
  const bias = (yes?.[names.length] ?? 0) - (no?.[names.length] ?? 0) - slope.reduce((sum, weight, j) => sum + weight * (mean[j] ?? 0), 0);
  return { bias: round(bias), weights: Object.fromEntries(names.map((name, j) => [name, round(slope[j] ?? 0)])) };
}

/** Each row scored by a fit over the other folds. */
export function heldOutScores(rows: readonly Example[], names: readonly string[]): number[] {
  const models = Array.from({ length: FOLDS }, (_, fold) => fit(rows.filter((__, i) => i % FOLDS !== fold), names));
  return rows.map((row, i) => probability(models[i % FOLDS] as Logistic, row.features));
}
