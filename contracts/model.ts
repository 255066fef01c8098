// Model workers on the wire, version 1: what a caller asks of a worker, what comes back, and the beacon workers send.
// Owns: the three schemas and how vectors are written (float32, little endian, all rows in one base64 text).
// Never carries a price: workers report what was used, who calls them knows what that costs.
// Others may assume: requests are bounded so that request and reply fit one message; counters are measured, not estimated.

import { z } from 'zod';
import { SLA_TIERS } from './capability.ts';
import { fail } from './errors.ts';
import { errorBodySchema, traceSchema } from './message.ts';

export const MODEL_TEXTS_MAX = 64;
export const MODEL_TEXT_CHARS_MAX = 16_384;
/** How often a worker says how it is doing; three missed ones and callers stop counting on it. */
export const BEACON_PERIOD_MS = 1_000;
export const BEACON_STALE_MS = 3_000;

const id = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);
const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const count = z.number().int().nonnegative().safe();
const texts = z.array(z.string().max(MODEL_TEXT_CHARS_MAX)).min(1).max(MODEL_TEXTS_MAX);
const asked = {
  v: z.literal(1),
  tenant: id,
  sla: z.enum(SLA_TIERS),
  /** ms since 1970 after which nobody wants the answer */
  deadline: z.number().int().positive().safe(),
  trace: traceSchema.optional(),
  texts,
};

export const modelRequestSchema = z.discriminatedUnion('op', [
  z.strictObject({ ...asked, op: z.literal('embed'), model: id }),
  /** A head is a small classifier over the vectors of its encoder. */
  z.strictObject({ ...asked, op: z.literal('classify'), head: id }),
]);
export type ModelRequest = z.infer<typeof modelRequestSchema>;

/** What one request used, from which artefacts. `deviceUs` is its share of the device time of its batches. */
export const modelUsedSchema = z.strictObject({
  worker: id,
  model: id,
  modelDigest: digest,
  tokens: count,
  deviceUs: count,
  /** Texts in the largest batch this request was part of. */
  batch: count,
  queueMs: z.number().nonnegative(),
  /** Times a batch of this request was run again because its slot died. */
  retried: count,
});
export type ModelUsed = z.infer<typeof modelUsedSchema>;

const label = z.string().min(1).max(64);
export const modelReplySchema = z.discriminatedUnion('status', [
  z.strictObject({ v: z.literal(1), status: z.literal('embedded'), dimensions: z.number().int().min(1).max(4_096), vectors: z.string().max(240_000), used: modelUsedSchema }),
  z.strictObject({
    v: z.literal(1), status: z.literal('classified'), used: modelUsedSchema,
    /** Labels once, then one row of calibrated probabilities a text, in the order of `labels`. */
    labels: z.array(label).min(2).max(512), scores: z.array(z.array(z.number().min(0).max(1)).max(512)).max(MODEL_TEXTS_MAX),
  }),
  z.strictObject({ v: z.literal(1), status: z.literal('failed'), error: errorBodySchema }),
]);
export type ModelReply = z.infer<typeof modelReplySchema>;

/** A learned cost curve: a batch of `tokens` padded tokens takes `fixedMs + perTokenMs * tokens`, in 95 of 100 cases at most `p95Ratio` times that. */
export const curveSchema = z.strictObject({ fixedMs: z.number().nonnegative(), perTokenMs: z.number().nonnegative(), p95Ratio: z.number().min(1).max(1_000), samples: count });
export type Curve = z.infer<typeof curveSchema>;

export const beaconSchema = z.strictObject({
  v: z.literal(1),
  worker: id,
  /** Changes when the process is started again: what the earlier one had in hand is lost. */
  incarnation: id,
  at: count,
  state: z.enum(['warm', 'warming', 'draining']),
  models: z.array(z.strictObject({ model: id, digest, dimensions: count, curve: curveSchema.optional() })).max(64),
  heads: z.array(z.strictObject({ head: id, digest, encoder: id })).max(64),
  /** Device time queued and running, over all slots. */
  queueMs: z.number().nonnegative(),
  /** Device time this worker would still accept. */
  creditMs: z.number().nonnegative(),
  slots: z.strictObject({ warm: count, all: count, restarts: count }),
  zone: id,
});
export type Beacon = z.infer<typeof beaconSchema>;

/** Rows of one width to text. */
export function encodeVectors(vectors: readonly Float32Array[]): string {
  const width = vectors[0]?.length ?? 0;
  const bytes = new Uint8Array(vectors.length * width * 4);
  const view = new DataView(bytes.buffer);
  vectors.forEach((vector, row) => vector.forEach((value, d) => view.setFloat32((row * width + d) * 4, value, true)));
  return toBase64(bytes);
}

/** @throws AIOS_MODEL_FAULT when the text does not hold whole rows of finite numbers */
export function decodeVectors(text: string, dimensions: number): Float32Array[] {
  const bytes = fromBase64(text);
  if (bytes.byteLength % (dimensions * 4) !== 0) throw fail('AIOS_MODEL_FAULT', 'the vectors are cut off');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const rows: Float32Array[] = [];
  for (let start = 0; start < bytes.byteLength; start += dimensions * 4) {
    const row = Float32Array.from({ length: dimensions }, (_, d) => view.getFloat32(start + d * 4, true));
    if (!row.every(Number.isFinite)) throw fail('AIOS_MODEL_FAULT', 'a vector holds a number that is not finite');
    rows.push(row);
  }
  return rows;
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const CODES = Uint8Array.from({ length: 128 }, (_, code) => Math.max(0, ALPHABET.indexOf(String.fromCharCode(code))));
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** Plain base 64 (RFC 4648 §4): this ring has no Buffer, and `btoa` wants a text of code points first. */
function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const bits = ((bytes[i] as number) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    text += ALPHABET.charAt(bits >> 18) + ALPHABET.charAt((bits >> 12) & 63);
    text += left > 2 ? ALPHABET.charAt((bits >> 6) & 63) + ALPHABET.charAt(bits & 63) : left > 1 ? `${ALPHABET.charAt((bits >> 6) & 63)}=` : '==';
  }
  return text;
}

function fromBase64(text: string): Uint8Array {
  if (text.length % 4 !== 0 || !BASE64.test(text)) throw fail('AIOS_MODEL_FAULT', 'the vectors are not base 64');
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding);
  const code = (i: number): number => CODES[text.charCodeAt(i)] as number;
  for (let i = 0, at = 0; i < text.length; i += 4, at += 3) {
    const bits = (code(i) << 18) | (code(i + 1) << 12) | (code(i + 2) << 6) | code(i + 3);
    bytes[at] = bits >> 16;
    bytes[at + 1] = bits >> 8;
    bytes[at + 2] = bits;
  }
  return bytes;
}
