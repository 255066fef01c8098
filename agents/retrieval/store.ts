// What the embedded engine needs from a disk: epochs that appear whole or not at all, tombstones, and a vector cache.
// Owns: the two interfaces and the stored shapes; members are in infra/files. Never opens anything itself.
// Others may assume: after `write` resolves the epoch survives a power cut and is the one that `current` names,
// and tombstones name documents by digest only, so an erased id is not kept in clear.

import type { IndexManifest } from '../../contracts/ports.ts';
import type { Chunk } from './chunk.ts';
import type { Labels } from './filter.ts';
import type { QuantisedVector, VectorBlock } from './vectors.ts';

export interface StoredChunk extends Chunk {
  readonly labels?: Labels;
}
export interface StoredEpoch {
  readonly manifest: IndexManifest;
  readonly chunks: readonly StoredChunk[];
  /** Rows in the order of `chunks`; empty when the epoch was built without an embedder. */
  readonly vectors: VectorBlock;
}

export interface IndexStore extends AsyncDisposable {
  /** Name of the epoch in force; cheap enough to ask before each search. */
  current(tenant: string, space: string): Promise<string | undefined>;
  /** @throws AIOS_RETRIEVAL_FAULT when a file is missing or its digest differs */
  read(tenant: string, space: string, epoch: string): Promise<StoredEpoch>;
  /** Writes, flushes, then switches; epochs but the new one and the one before it are removed. */
  write(epoch: StoredEpoch): Promise<void>;
  /** Removes every epoch but the one in force. */
  prune(tenant: string, space: string): Promise<void>;
  /** Digests of erased document ids. */
  tombstones(tenant: string, space: string): Promise<ReadonlySet<string>>;
  addTombstone(tenant: string, space: string, documentDigest: string): Promise<void>;
  /** One writer for each space. @throws AIOS_OVERLOADED while another process builds it */
  lock(tenant: string, space: string): Promise<AsyncDisposable>;
}

/** Vectors by embedder and chunk digest; content may be shared between spaces because a digest gives nothing away. */
export interface VectorCache {
  load(embedder: string, wanted: ReadonlySet<string>): Promise<ReadonlyMap<string, QuantisedVector>>;
  add(embedder: string, vectors: ReadonlyMap<string, QuantisedVector>): Promise<void>;
}
