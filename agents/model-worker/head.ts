// Heads: small calibrated classifiers over the vectors of an encoder.
// Owns: the file format of a trained head and its arithmetic (multinomial logistic, one temperature).
// Never trains: that is infra/models/train. Never answers outside its labels: a head that should be able to say "none of these" has such a label.
// Others may assume: scores are probabilities that sum to 1, in the order of `labels`, and were calibrated on data the weights never saw.

import { z } from 'zod';
import { digestOfBytes } from '../../contracts/canonical.ts';
import { fail } from '../../contracts/errors.ts';
import { parseBytes } from '../../contracts/parse.ts';
import type { Digest } from '../../contracts/ids.ts';
import { dot } from '../retrieval/vectors.ts';

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const HEAD_BYTES_MAX = 16 * 1024 * 1024;

export const headSchema = z.strictObject({
  v: z.literal(1),
  head: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/),
  /** Name and digest of the encoder whose vectors it was trained on; with another one it is refused. */
  encoder: z.string().max(64),
  encoderDigest: digest,
  trainingDigest: digest,
  /** What the recipe depends on besides the data. */
  recipe: z.strictObject({ l2: z.number(), seed: z.number(), iterations: z.number(), texts: z.number() }),
  dimensions: z.number().int().positive().max(4_096),
  /** Scores are divided by it before the softmax. */
  temperature: z.number().positive(),
  labels: z.array(z.string().min(1).max(64)).min(2).max(512),
  /** The label that says "none of these", where there is one. */
  none: z.string().optional(),
  /** One row a label: `dimensions` weights; int8 steps times the row's scale. */
  weights: z.array(z.array(z.number().int().min(-127).max(127))),
  scales: z.array(z.number().positive()),
  bias: z.array(z.number()),
});
export type HeadFile = z.infer<typeof headSchema>;

export interface Head {
  readonly name: string;
  readonly digest: Digest;
  readonly encoder: string;
  readonly encoderDigest: string;
  readonly labels: readonly string[];
  readonly none: string | undefined;
  /** Probabilities in the order of `labels`. */
  score(vector: Float32Array): number[];
}

/** @throws AIOS_INPUT_INVALID and its like for a file that is not a head, AIOS_CONFIG_INVALID when its parts do not fit together */
export function parseHead(bytes: Uint8Array): Head {
  const file = parseBytes(headSchema, bytes, HEAD_BYTES_MAX);
  const sizes = [file.weights.length, file.scales.length, file.bias.length];
  if (sizes.some((size) => size !== file.labels.length) || file.weights.some((row) => row.length !== file.dimensions)) throw fail('AIOS_CONFIG_INVALID', `the head ${file.head} has parts of different sizes`);
  const rows = file.weights.map((row, label) => Float32Array.from(row, (step) => step * (file.scales[label] as number)));
  return {
    name: file.head,
    digest: digestOfBytes(bytes),
    encoder: file.encoder,
    encoderDigest: file.encoderDigest,
    labels: file.labels,
    none: file.none,
    score: (vector) => softmax(rows.map((row, label) => (dot(row, vector) + (file.bias[label] as number)) / file.temperature)),
  };
}

export function softmax(logits: readonly number[]): number[] {
  const top = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - top));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
