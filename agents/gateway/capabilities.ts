// The gateway's capabilities: what agents may ask of models, of retrieval and of systems of record.
// Owns: their names, schemas and bounds. Never holds behaviour: handlers are beside, in `handlers/`.
// Others may assume: all are ephemeral; the class of a call is its mandate's, so the traits here say only the least that is needed.

import { z } from 'zod';
import type { Capability, CapabilityOptions } from '../../contracts/capability.ts';
import { defineCapability } from '../../contracts/capability.ts';
import { fail } from '../../contracts/errors.ts';
import { decodeVectors, MODEL_TEXT_CHARS_MAX, MODEL_TEXTS_MAX } from '../../contracts/model.ts';
import type { Classification, Fragment, IndexManifest, RecordRow } from '../../contracts/ports.ts';

export const FRAGMENTS_MAX = 24;
export const RECORDS_MAX = 50;
/** A long poll is answered well before the caller's own deadline. */
export const INDEX_WAIT_MS_MAX = 10_000;

const name = z.string().regex(/^[A-Za-z0-9_.:-]{1,96}$/);
const space = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);
const texts = z.array(z.string().min(1).max(MODEL_TEXT_CHARS_MAX)).min(1).max(MODEL_TEXTS_MAX);
const scalar = z.union([z.string().max(512), z.number(), z.boolean()]);

const ephemeral = <I, O>(options: CapabilityOptions<I, O>): CapabilityOptions<I, O> => ({ dataClass: 'public', delivery: 'ephemeral', presented: true, ladder: ['model', 'human'], orchestration: 'distributed', budget: { latencyMsMax: 8_000, microUsdMax: 20_000 }, ...options });

/** `vectors`: all rows as one text, see `encodeVectors` and `decodeVectors` in contracts/model. */
export const textEmbed = defineCapability('text.embed', ephemeral({
  input: z.strictObject({ texts, model: name.optional() }),
  output: z.strictObject({ model: z.string(), dimensions: z.number().int().positive(), vectors: z.string() }),
}));

export const textClassify = defineCapability('text.classify', ephemeral({
  input: z.strictObject({ texts, head: name }),
  output: z.strictObject({ results: z.array(z.custom<Classification>()) }),
}));

export const textGenerate = defineCapability('text.generate', ephemeral({
  input: z.strictObject({ system: z.string().max(16_384), prompt: z.string().min(1).max(65_536), maxTokens: z.number().int().min(1).max(8_192) }),
  output: z.strictObject({ text: z.string(), model: z.string() }),
  budget: { latencyMsMax: 60_000, microUsdMax: 200_000 },
}));

export const spaceSearch = defineCapability('space.search', ephemeral({
  input: z.strictObject({ space, query: z.string().min(1).max(8_192), limit: z.number().int().min(1).max(FRAGMENTS_MAX), lexicalOnly: z.boolean().optional() }),
  output: z.strictObject({ fragments: z.array(z.custom<Fragment>()), weights: z.record(z.string(), z.number()).optional() }),
}));

/** What the pages of a space are about, to calibrate thresholds on a corpus nobody has seen before. */
export const spaceSample = defineCapability('space.sample', ephemeral({
  input: z.strictObject({ space, count: z.number().int().min(1).max(64) }),
  output: z.strictObject({ epoch: z.string(), headings: z.array(z.strictObject({ document: z.string(), question: z.string() })) }),
}));

/** Sent again until `state` is not `running`: it starts the work or joins it, so a repeat never indexes twice. */
export const spaceIndex = defineCapability('space.index', ephemeral({
  input: z.strictObject({ space, path: z.string().min(1).max(4_096), waitMs: z.number().int().min(0).max(INDEX_WAIT_MS_MAX) }),
  output: z.strictObject({
    state: z.enum(['running', 'done', 'failed']),
    stage: z.enum(['chunk', 'embed', 'write']), done: z.number().int(), total: z.number().int(),
    manifest: z.custom<IndexManifest>().optional(), rebuilt: z.boolean().optional(),
    error: z.strictObject({ code: z.string(), message: z.string() }).optional(),
    skipped: z.array(z.strictObject({ where: z.string(), why: z.string() })),
  }),
  dataClass: 'internal', sla: 'bulk',
}));

export const recordsFind = defineCapability('records.find', ephemeral({
  input: z.strictObject({ kind: name, where: z.record(z.string().max(64), scalar), limit: z.number().int().min(1).max(RECORDS_MAX) }),
  output: z.strictObject({ records: z.array(z.custom<RecordRow>()) }),
  dataClass: 'confidential',
}));

/** One row of a `text.embed` answer. @throws AIOS_MODEL_FAULT when there is no such row */
export function decodeVector(answer: { readonly dimensions: number; readonly vectors: string }, row = 0): Float32Array {
  const vector = decodeVectors(answer.vectors, answer.dimensions)[row];
  if (vector === undefined) throw fail('AIOS_MODEL_FAULT', 'fewer vectors than texts.');
  return vector;
}

/** For registries and for the policy bundle. */
export const gatewayCapabilities: readonly Capability[] = [textEmbed, textClassify, textGenerate, spaceSearch, spaceSample, spaceIndex, recordsFind] as readonly unknown[] as readonly Capability[];
