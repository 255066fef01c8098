// Receipts: what one model call, retrieval or turn returned, and from exactly which artefacts.
// Owns: the shapes that go into outcomes and decision records. Never holds content: digests, ids, scores, counters.
// Others may assume: token counters are disjoint, money is integer micro-USD, durations are milliseconds.

import { z } from 'zod';

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const count = z.number().int().nonnegative().safe();

/** Disjoint counters: a cached token is never also an uncached one. `deviceUs` is measured device time of local models. */
export const usageSchema = z.strictObject({
  inputTokens: count,
  cacheReadTokens: count,
  cacheWriteTokens: count,
  outputTokens: count,
  reasoningTokens: count,
  deviceUs: count,
});
export type Usage = z.infer<typeof usageSchema>;
export const NO_USAGE: Usage = Object.freeze({ inputTokens: 0, cacheReadTokens: 0, cacheWriteTokens: 0, outputTokens: 0, reasoningTokens: 0, deviceUs: 0 });

export const modelReceiptSchema = z.strictObject({
  kind: z.literal('model'),
  capability: z.string().max(64),
  provider: z.string().max(64),
  model: z.string().max(96),
  modelDigest: digest,
  usage: usageSchema,
  costMicroUsd: count,
  priceDigest: digest,
  /** Digest of the whole price table the price was read from: the version of prices in force at the call. */
  priceTable: digest.optional(),
  /** The retrieval space this call was made for, when it was. */
  space: z.string().max(64).optional(),
  batch: count,
  queueMs: z.number().nonnegative(),
  /** What was taken out of the input before the model saw it: kind to count. */
  redacted: z.record(z.string().max(24), count).optional(),
});
export type ModelReceipt = z.infer<typeof modelReceiptSchema>;

export const retrievalReceiptSchema = z.strictObject({
  kind: z.literal('retrieval'),
  space: z.string().max(64),
  engine: z.string().max(32),
  epoch: z.string().max(64),
  manifestDigest: digest,
  filterDigest: digest,
  fragments: z.array(z.strictObject({ document: z.string().max(256), chunk: z.string().max(256), digest, score: z.number() })).max(64),
});
export type RetrievalReceipt = z.infer<typeof retrievalReceiptSchema>;

/** One agent turn: who handled what, under which fence, asked by whom. */
export const turnReceiptSchema = z.strictObject({
  kind: z.literal('turn'),
  agent: z.string().max(64),
  capability: z.string().max(64),
  rung: z.string().max(16),
  fence: count,
  ms: z.number().nonnegative(),
  local: z.array(z.string().max(96)).max(32),
});
export type TurnReceipt = z.infer<typeof turnReceiptSchema>;

export const receiptSchema = z.discriminatedUnion('kind', [modelReceiptSchema, retrievalReceiptSchema, turnReceiptSchema]);
export type Receipt = z.infer<typeof receiptSchema>;
