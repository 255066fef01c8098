// Calibration: the numbers that turn evidence into a probability of being right, and the bar an answer must pass.
// Owns: their shape and how a bar for a foreign corpus is set from the corpus itself. The numbers are data (calibration.json).
// Never reads a file. Others may assume: figures were set on the calibration half of the shipped tickets only,
// and nothing of the shipped help centre but the weights over corpus-free features is used on foreign documents.

import { z } from 'zod';
import numbers from './calibration.json' with { type: 'json' };

const logistic = z.strictObject({ bias: z.number(), weights: z.record(z.string(), z.number()) });
const schema = z.strictObject({
  v: z.literal(1),
  /** Over evidence and triage features; for the shipped help centre. */
  shipped: z.strictObject({ model: logistic, threshold: z.number() }),
  /** Over evidence features alone; `negativeQuantile` of the corpus's own unanswerable questions must fall below the bar. */
  foreign: z.strictObject({ model: logistic, thresholdMin: z.number(), thresholdMax: z.number(), negativeQuantile: z.number() }),
  /** Least confidence of an intent that may lead to an effect. */
  effectConfidenceMin: z.number(),
  trainedOn: z.string(),
});
export type Calibration = z.infer<typeof schema>;

export const calibration: Calibration = schema.parse(numbers);

/**
 * The bar of a foreign corpus: questions made of its own headings, asked with their own document left out, are
 * questions near the corpus that it does not answer. The bar is the score that only few of them pass.
 */
export function barOf(negatives: readonly number[], settings: Calibration['foreign']): number {
  if (negatives.length === 0) return settings.thresholdMax;
  const sorted = [...negatives].sort((a, b) => a - b);
  const quantile = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * settings.negativeQuantile))] ?? settings.thresholdMax;
  return Math.min(settings.thresholdMax, Math.max(settings.thresholdMin, quantile));
}
