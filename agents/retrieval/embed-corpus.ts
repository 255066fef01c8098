// The vectors of a corpus: what the cache knows is not embedded again, the rest goes out in small batches.
// Owns: deduplication, order (by length, so that a batch pads little), batches in flight and progress.
// Never keeps text. Others may assume: vectors come back for every chunk or the call throws, and an interrupted
// build goes on from what was cached.

import type { ModelReceipt } from '../../contracts/receipt.ts';
import type { Clock, EmbedAnswer, EmbedRequest, IndexProgress } from '../../contracts/ports.ts';
import { fail, hasCode, isAiosError, ERRORS } from '../../contracts/errors.ts';
import type { Chunk } from './chunk.ts';
import { indexedText } from './chunk.ts';
import type { VectorCache } from './store.ts';
import type { QuantisedVector } from './vectors.ts';
import { quantise } from './vectors.ts';

export type Embed = (request: EmbedRequest) => Promise<EmbedAnswer>;

/** Sixteen chunks are about 3,000 tokens: half a second on one core, so a question waits no longer than that behind them. */
export const BATCH_TEXTS = 16;
const BATCHES_IN_FLIGHT = 2;
/** Doubled with every try that ran out of time: on a busy machine a build is slow, not impossible. */
const BATCH_DEADLINE_MS = 60_000;
const BATCH_DEADLINE_MS_MAX = 600_000;
const TRIES_MAX = 6;
/** Tries of a whole batch that is too much before it is halved. */
const WHOLE_TRIES_MAX = 3;
/** New vectors are put into the cache this often. */
const CACHE_EVERY = 256;

export interface CorpusEmbedding {
  readonly embedder: string;
  readonly vectors: ReadonlyMap<string, QuantisedVector>;
  readonly embedded: number;
}
export interface EmbedCorpusOptions {
  readonly embed: Embed;
  readonly cache: VectorCache;
  readonly clock: Clock;
  readonly tenant: string;
  readonly onProgress?: ((progress: IndexProgress) => void) | undefined;
}

/** @throws AIOS_MODEL_UNAVAILABLE and what else the provider answers after its retries are spent */
export async function embedCorpus(chunks: readonly Chunk[], embedder: string, options: EmbedCorpusOptions): Promise<CorpusEmbedding> {
  const wanted = new Map(chunks.map((chunk) => [chunk.digest as string, indexedText(chunk)]));
  const vectors = new Map(await options.cache.load(embedder, new Set(wanted.keys())));
  const missing = [...wanted].filter(([digest]) => !vectors.has(digest)).sort((a, b) => b[1].length - a[1].length);
  const report = () => options.onProgress?.({ stage: 'embed', done: vectors.size, total: wanted.size });
  report();
  const fresh = new Map<string, QuantisedVector>();
  const keep = async () => {
    const batch = new Map(fresh);
    fresh.clear();
    if (batch.size > 0) await options.cache.add(embedder, batch);
  };
  const batches = batchesOf(missing);
  const work = async () => {
    for (let batch = batches.shift(); batch !== undefined; batch = batches.shift()) {
      const answer = await embedBatch(batch.map(([, text]) => text), options);
      if (answer.receipt.modelDigest !== embedder) throw fail('AIOS_MODEL_FAULT', 'The embedding model changed while the index was built.');
      batch.forEach(([digest], index) => {
        const vector = quantise(answer.vectors[index] as Float32Array);
        vectors.set(digest, vector);
        fresh.set(digest, vector);
      });
      report();
      if (fresh.size >= CACHE_EVERY) await keep();
    }
  };
  try {
    await Promise.all(Array.from({ length: BATCHES_IN_FLIGHT }, work));
  } finally {
    batches.length = 0;
    await keep();
  }
  return { embedder, vectors, embedded: missing.length };
}

/** Which model answers: asked with a short text, since only an answer names the weights. */
export async function probeEmbedder(options: Pick<EmbedCorpusOptions, 'embed' | 'clock' | 'tenant'>): Promise<ModelReceipt> {
  const answer = await options.embed({ texts: ['probe'], deadline: options.clock.now() + 10_000, tenant: options.tenant });
  return answer.receipt;
}

function batchesOf(missing: readonly (readonly [string, string])[]): (readonly (readonly [string, string])[])[] {
  return Array.from({ length: Math.ceil(missing.length / BATCH_TEXTS) }, (_, index) => missing.slice(index * BATCH_TEXTS, (index + 1) * BATCH_TEXTS));
}

async function embedBatch(texts: readonly string[], options: EmbedCorpusOptions): Promise<EmbedAnswer> {
  const { embed, clock, tenant } = options;
  let allowedMs = BATCH_DEADLINE_MS;
  for (let attempt = 1; ; attempt++) {
    try {
      const answer = await embed({ texts, deadline: clock.now() + allowedMs, tenant, sla: 'bulk' });
      if (answer.vectors.length === texts.length) return answer;
      throw fail('AIOS_MODEL_FAULT', 'The embedder returned another number of vectors than it was given texts.');
    } catch (error) {
      if (attempt >= TRIES_MAX || !isPassing(error)) throw error;
      if (isTooMuch(error) && attempt >= WHOLE_TRIES_MAX && texts.length > 1) return await embedHalves(texts, options);
      if (isTooLate(error)) allowedMs = Math.min(BATCH_DEADLINE_MS_MAX, allowedMs * 2);
      await clock.sleep(Math.max(isAiosError(error) ? (error.retryAfterMs ?? 0) : 0, Math.min(8_000, 250 * 2 ** attempt)));
    }
  }
}

/** A worker that finds a batch too large for its queue or its time gets it in two. */
async function embedHalves(texts: readonly string[], options: EmbedCorpusOptions): Promise<EmbedAnswer> {
  const middle = Math.ceil(texts.length / 2);
  const first = await embedBatch(texts.slice(0, middle), options);
  const second = await embedBatch(texts.slice(middle), options);
  if (first.receipt.modelDigest !== second.receipt.modelDigest) throw fail('AIOS_MODEL_FAULT', 'The embedding model changed while the index was built.');
  return { vectors: [...first.vectors, ...second.vectors], receipt: second.receipt };
}

const isTooLate = (error: unknown): boolean => hasCode(error, 'AIOS_DEADLINE_INFEASIBLE') || hasCode(error, 'AIOS_DEADLINE_EXCEEDED');
const isTooMuch = (error: unknown): boolean => isTooLate(error) || hasCode(error, 'AIOS_OVERLOADED');
const isPassing = (error: unknown): boolean => isAiosError(error) && ERRORS[error.code].retry !== 'never' && !hasCode(error, 'AIOS_INTERNAL');
