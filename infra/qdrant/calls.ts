// Calls to Qdrant as the other files of this folder make them: failures converted, pages followed, one engine's state.
// Owns: the shapes shared here. Never builds a filter and never decides what is read.
// Others may assume: whatever leaves here is a value or an error of the table.

import type { QdrantClient, Schemas } from '@qdrant/js-client-rest';
import type { EmbedderOptions } from '../../agents/retrieval/embedder.ts';
import type { Fusion } from '../../agents/retrieval/fuse.ts';
import type { TermTable } from '../../agents/retrieval/sparse.ts';
import type { VectorCache } from '../../agents/retrieval/store.ts';
import type { IndexManifest } from '../../contracts/ports.ts';
import { convertQdrantError, isNotFound } from './errors.ts';
import { QUERY_LIMIT_MAX } from './layout.ts';

export interface QdrantRetrievalOptions extends EmbedderOptions {
  readonly url: string;
  readonly key?: string | undefined;
  readonly cache: VectorCache;
  readonly fusion?: Fusion;
}

export interface Engine {
  readonly options: QdrantRetrievalOptions;
  readonly client: QdrantClient;
  readonly epochs: Map<string, Epoch>;
}
/** What is read once of an epoch: everything in it but tombstones is immutable. */
export interface Epoch {
  readonly manifest: IndexManifest;
  readonly manifestDigest: string;
  readonly collection: string;
  readonly table: TermTable;
}

/** Every call to the client goes through here: its failures leave as errors of the table. */
export async function guarded<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw convertQdrantError(error);
  }
}

/** `undefined` for what does not exist. */
export async function ifFound<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw convertQdrantError(error);
  }
}

/** Part of an epoch's term table: words with their numbers from `from` on. */
export interface TermsPayload {
  readonly kind: 'terms';
  readonly from: number;
  readonly words: string[];
  readonly holders: number[];
}

/** Every page of a filtered read. */
export async function scrollAll(client: QdrantClient, collection: string, filter: Schemas['Filter'], include: readonly string[], each: (payload: Readonly<Record<string, unknown>>) => void): Promise<void> {
  let offset: string | number | undefined;
  do {
    const from = offset === undefined ? {} : { offset };
    const page = await guarded(() => client.scroll(collection, { filter, limit: QUERY_LIMIT_MAX, with_payload: [...include], with_vector: false, ...from }));
    for (const { payload } of page.points) each(payload ?? {});
    const next = page.next_page_offset;
    offset = typeof next === 'string' || typeof next === 'number' ? next : undefined;
  } while (offset !== undefined);
}
