// The learned cost of a batch: time = fixed + perToken * paddedTokens, and how far off it tends to be.
// Owns: recursive least squares with forgetting, on relative errors, and the 95th percentile of actual over predicted.
// Never assumes that batching pays: whether it does is read off the curve, per model and device.
// Others may assume: predictions are positive and finite, and one stalled batch moves the curve by a bounded step only.

import type { Curve } from '../../contracts/model.ts';

export interface CostCurve {
  /** Expected ms of one batch of so many padded tokens. */
  predict(tokens: number): number;
  /** What 95 of 100 such batches stay under, ms. */
  high(tokens: number): number;
  learn(tokens: number, ms: number): void;
  view(): Curve;
}

/** Starting guess: a small encoder on one core; a few warm-up batches replace it. */
const FIXED_MS = 1;
const PER_TOKEN_MS = 0.2;
/** Weight of a sample falls to a third after 33 newer ones: follows a machine that gets busy within a second. */
const FORGET = 0.97;
/** A batch that took this many times its prediction was held up by something that is not the model; it counts as this much. */
const SURPRISE_MAX = 4;
const RATIOS_KEPT = 64;
/** Keeps the uncertainty from growing without bound while all batches have the same size (covariance wind-up). */
const VARIANCE_MAX = 100;
/** Tokens are counted in these, so that both coefficients are of one order of magnitude. */
const UNIT = 16;

/**
 * Recursive least squares with exponential forgetting (Haykin, Adaptive Filter Theory, ch. 10) in two unknowns. Each sample is
 * divided by its own prediction first, so that a batch of 16 tokens counts as much as one of 4,096 and the fixed part stays visible.
 */
export function createCostCurve(start: { readonly fixedMs?: number; readonly perTokenMs?: number } = {}): CostCurve {
  let fixed = start.fixedMs ?? FIXED_MS;
  let slope = (start.perTokenMs ?? PER_TOKEN_MS) * UNIT;
  let [p00, p01, p11] = [10, 0, 10];
  let samples = 0;
  const ratios: number[] = [];

  const predict = (tokens: number): number => Math.max(0.01, Math.max(0, fixed) + (Math.max(0, slope) * tokens) / UNIT);

  const learn = (tokens: number, ms: number): void => {
    if (!(tokens > 0) || !Number.isFinite(ms) || ms < 0) return;
    const expected = predict(tokens);
    remember(ratios, samples++, ms / expected);
    const target = samples > RATIOS_KEPT ? Math.min(ms / expected, SURPRISE_MAX) : ms / expected;
    const [x0, x1] = [1 / expected, tokens / UNIT / expected];
    const [g0, g1] = [p00 * x0 + p01 * x1, p01 * x0 + p11 * x1];
    const gain = 1 / (FORGET + x0 * g0 + x1 * g1);
    const error = target - (fixed * x0 + slope * x1);
    fixed = Math.max(0, fixed + g0 * gain * error);
    slope = Math.max(0, slope + g1 * gain * error);
    p00 = Math.min(VARIANCE_MAX, (p00 - g0 * g0 * gain) / FORGET);
    p11 = Math.min(VARIANCE_MAX, (p11 - g1 * g1 * gain) / FORGET);
    const bound = Math.sqrt(p00 * p11);
    p01 = Math.max(-bound, Math.min(bound, (p01 - g0 * g1 * gain) / FORGET));
  };

  const p95 = (): number => Math.max(1, percentile95(ratios));
  return {
    predict,
    high: (tokens) => predict(tokens) * p95(),
    learn,
    view: () => ({ fixedMs: fixed, perTokenMs: slope / UNIT, p95Ratio: Math.min(1_000, p95()), samples }),
  };
}

function remember(ratios: number[], count: number, ratio: number): void {
  ratios[count % RATIOS_KEPT] = ratio;
}

function percentile95(values: readonly number[]): number {
  if (values.length < 4) return 2;
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.95))] as number;
}
