// The embedded retrieval engine: BM25 and vectors of one tenant's space in memory, epochs in a store.
// Owns: building and switching epochs, the hybrid search, tombstones, receipts.
// Never lets a caller choose its filter, never mixes tenants in one statistic, never embeds a chunk twice.
// Others may assume: a search runs on one epoch from start to end, and an erased document is gone from the next read on.

import { digestOf, digestOfText } from '../../contracts/canonical.ts';
import { fail, hasCode } from '../../contracts/errors.ts';
import { parseId } from '../../contracts/ids.ts';
import type { IndexManifest, Retrieval, SampleRequest, SearchAnswer, SearchRequest, SpaceSample } from '../../contracts/ports.ts';
import { CHUNKER, indexedText } from './chunk.ts';
import type { BuildRequest } from './corpus.ts';
import { isSame, nextEpoch, readCorpus, toFragment } from './corpus.ts';
import { embedCorpus } from './embed-corpus.ts';
import type { EmbedderOptions } from './embedder.ts';
import { embedQuery, findEmbedder, NO_EMBEDDER } from './embedder.ts';
import { admits, compileFilter, filterDigest } from './filter.ts';
import type { Fusion } from './fuse.ts';
import { DEFAULT_FUSION, fuse, topRows } from './fuse.ts';
import type { LexicalIndex } from './lexical.ts';
import { createLexicalIndex } from './lexical.ts';
import { sampleHeadings } from './sample.ts';
import type { IndexStore, StoredChunk, StoredEpoch, VectorCache } from './store.ts';
import { TERMS_VERSION } from './terms.ts';
import { blockOf, cosines, NO_VECTORS, rowOf } from './vectors.ts';

export const FRAGMENTS_MAX = 64;
const SPACES_MAX = 256;

export interface EmbeddedRetrievalOptions extends EmbedderOptions {
  readonly store: IndexStore;
  readonly cache: VectorCache;
  readonly fusion?: Fusion;
}

export function createEmbeddedRetrieval(options: EmbeddedRetrievalOptions): Retrieval {
  const spaces = new Map<string, LoadedSpace>();
  return {
    engine: 'embedded',
    index: async (tenant, space, documents, onProgress) => {
      const lock = await options.store.lock(tenant, space);
      return buildEpoch(options, spaces, { tenant, space, documents, onProgress }).finally(() => lock[Symbol.asyncDispose]());
    },
    search: (request) => search(options, spaces, request),
    manifest: async (tenant, space) => (await loadSpace(options, spaces, tenant, space))?.epoch.manifest,
    sample: (request) => sample(options, spaces, request),
    erase: (tenant, space, document) => erase(options, spaces, tenant, space, document),
    async [Symbol.asyncDispose]() {
      spaces.clear();
      await options.store[Symbol.asyncDispose]();
    },
  };
}

interface LoadedSpace {
  readonly epoch: StoredEpoch;
  readonly manifestDigest: string;
  readonly lexical: LexicalIndex;
  /** Digest of the document id of each row, compared with tombstones. */
  readonly owners: readonly string[];
  readonly erased: Set<string>;
}
type Spaces = Map<string, LoadedSpace>;

// ---- search

async function search(options: EmbeddedRetrievalOptions, spaces: Spaces, request: SearchRequest): Promise<SearchAnswer> {
  const filter = compileFilter(request.tenant, request.principal);
  const loaded = await loadSpace(options, spaces, request.tenant, request.space);
  if (loaded === undefined) throw fail('AIOS_SPACE_UNKNOWN');
  const query = await embedQuery(options, loaded.epoch.manifest, request);
  const { chunks, vectors } = loaded.epoch;
  const visible = (row: number) => !loaded.erased.has(loaded.owners[row] ?? '') && admits(filter, chunks[row]?.labels);
  const bm25 = loaded.lexical.scores(request.query);
  const cosine = query === undefined ? new Float32Array(0) : cosines(vectors, query.vectors[0] as Float32Array);
  const fused = fuse(topRows(bm25, visible, 0), topRows(cosine, visible, -1), options.fusion ?? DEFAULT_FUSION);
  const fragments = fused.slice(0, Math.min(Math.max(1, request.limit), FRAGMENTS_MAX)).map((hit) => toFragment(chunks[hit.row] as StoredChunk, { ...hit, bm25: bm25[hit.row] ?? 0, cosine: cosine[hit.row] ?? 0 }));
  return {
    fragments,
    weights: loaded.lexical.weights(request.query),
    receipt: {
      kind: 'retrieval', space: request.space, engine: 'embedded', epoch: loaded.epoch.manifest.epoch,
      manifestDigest: loaded.manifestDigest, filterDigest: filterDigest(filter),
      fragments: fragments.map(({ document, chunk, digest, score }) => ({ document, chunk, digest, score })),
    },
    ...(query === undefined ? {} : { model: query.receipt }),
  };
}

async function sample(options: EmbeddedRetrievalOptions, spaces: Spaces, { tenant, space, count, principal }: SampleRequest): Promise<SpaceSample> {
  const filter = compileFilter(tenant, principal);
  const loaded = await loadSpace(options, spaces, tenant, space);
  if (loaded === undefined) throw fail('AIOS_SPACE_UNKNOWN');
  const visible = loaded.epoch.chunks.filter((chunk, row) => !loaded.erased.has(loaded.owners[row] ?? '') && admits(filter, chunk.labels));
  return { epoch: loaded.epoch.manifest.epoch, headings: sampleHeadings(visible, count) };
}

// ---- loading

async function loadSpace(options: EmbeddedRetrievalOptions, spaces: Spaces, tenant: string, space: string): Promise<LoadedSpace | undefined> {
  const key = `${parseId('tenant', tenant)}/${parseId('agent-id', space)}`;
  const known = spaces.get(key);
  const current = await options.store.current(tenant, space);
  if (current === undefined) return undefined;
  if (known?.epoch.manifest.epoch === current) {
    for (const digest of await options.store.tombstones(tenant, space)) known.erased.add(digest);
    return known;
  }
  return keep(spaces, key, toLoaded(await options.store.read(tenant, space, current), await options.store.tombstones(tenant, space)));
}

function toLoaded(epoch: StoredEpoch, erased: ReadonlySet<string>): LoadedSpace {
  return {
    epoch,
    manifestDigest: digestOf(epoch.manifest),
    lexical: createLexicalIndex(epoch.chunks.map(indexedText)),
    owners: epoch.chunks.map(({ document }) => digestOfText(document)),
    erased: new Set(erased),
  };
}

/** The space used least recently makes room. */
function keep(spaces: Spaces, key: string, loaded: LoadedSpace): LoadedSpace {
  spaces.delete(key);
  spaces.set(key, loaded);
  const oldest = spaces.keys().next().value;
  if (spaces.size > SPACES_MAX && oldest !== undefined) spaces.delete(oldest);
  return loaded;
}

// ---- building

/** The caller holds the lock of the space. */
async function buildEpoch(options: EmbeddedRetrievalOptions, spaces: Spaces, request: BuildRequest): Promise<{ readonly manifest: IndexManifest; readonly rebuilt: boolean }> {
  const { tenant, space, onProgress } = request;
  const key = `${parseId('tenant', tenant)}/${parseId('agent-id', space)}`;
  const erased = await options.store.tombstones(tenant, space);
  const corpus = await readCorpus(request, erased);
  const embedder = await findEmbedder(options, tenant);
  const before = (await readable(options, spaces, tenant, space))?.epoch.manifest;
  if (before !== undefined && isSame(before, corpus.digest, embedder)) return { manifest: before, rebuilt: false };
  const vectors = embedder === NO_EMBEDDER ? NO_VECTORS : await vectorsOf(options, corpus.chunks, embedder, request);
  const manifest: IndexManifest = {
    v: 1, space, tenant, epoch: nextEpoch(await options.store.current(tenant, space)), engine: 'embedded',
    embedder, tokenizer: TERMS_VERSION, chunker: CHUNKER, documents: corpus.documents, chunks: corpus.chunks.length,
    corpusDigest: corpus.digest, builtAt: options.clock.now(),
  };
  onProgress?.({ stage: 'write', done: 0, total: corpus.chunks.length });
  await options.store.write({ manifest, chunks: corpus.chunks, vectors });
  keep(spaces, key, toLoaded({ manifest, chunks: corpus.chunks, vectors }, await options.store.tombstones(tenant, space)));
  onProgress?.({ stage: 'write', done: corpus.chunks.length, total: corpus.chunks.length });
  return { manifest, rebuilt: true };
}

/** An epoch that cannot be read counts as none, so that indexing again repairs it. */
async function readable(options: EmbeddedRetrievalOptions, spaces: Spaces, tenant: string, space: string): Promise<LoadedSpace | undefined> {
  try {
    return await loadSpace(options, spaces, tenant, space);
  } catch (error) {
    if (!hasCode(error, 'AIOS_RETRIEVAL_FAULT')) throw error;
    options.log.warn({ space }, 'the epoch in force cannot be read; it is built again');
    return undefined;
  }
}

async function vectorsOf(options: EmbeddedRetrievalOptions, chunks: readonly StoredChunk[], embedder: string, request: BuildRequest): Promise<StoredEpoch['vectors']> {
  const { embed, cache, clock } = options;
  if (embed === undefined) return NO_VECTORS;
  const { vectors } = await embedCorpus(chunks, embedder, { embed, cache, clock, tenant: request.tenant, onProgress: request.onProgress });
  return blockOf(chunks.map((chunk) => vectors.get(chunk.digest) ?? missing()));
}

function missing(): never {
  throw fail('AIOS_RETRIEVAL_FAULT', 'a chunk has no vector.');
}

// ---- erasure

/** Tombstone first, so that reads stop at once; then an epoch without the document, and the old epochs are removed. */
async function erase(options: EmbeddedRetrievalOptions, spaces: Spaces, tenant: string, space: string, document: string): Promise<void> {
  const loaded = await loadSpace(options, spaces, tenant, space);
  if (loaded === undefined) throw fail('AIOS_SPACE_UNKNOWN');
  const digest = digestOfText(document);
  await options.store.addTombstone(tenant, space, digest);
  loaded.erased.add(digest);
  await using lock = await options.store.lock(tenant, space).catch(whenBusy);
  if (lock === undefined) return;
  const next = without((await loadSpace(options, spaces, tenant, space) ?? loaded).epoch, document, digest, options.clock.now());
  if (next !== undefined) {
    await options.store.write(next);
    keep(spaces, `${tenant}/${space}`, toLoaded(next, await options.store.tombstones(tenant, space)));
  }
  await options.store.prune(tenant, space);
}

/** A build is under way: the tombstone hides the document from it too, and the next build leaves it out. */
function whenBusy(error: unknown): undefined {
  if (!hasCode(error, 'AIOS_OVERLOADED')) throw error;
  return undefined;
}

function without({ manifest, chunks, vectors }: StoredEpoch, document: string, digest: string, now: number): StoredEpoch | undefined {
  const rows = chunks.flatMap((chunk, row) => (chunk.document === document ? [] : [row]));
  if (rows.length === chunks.length) return undefined;
  return {
    chunks: rows.map((row) => chunks[row] as StoredChunk),
    vectors: vectors.dimensions === 0 ? NO_VECTORS : blockOf(rows.map((row) => rowOf(vectors, row))),
    manifest: { ...manifest, epoch: nextEpoch(manifest.epoch), documents: manifest.documents - 1, chunks: rows.length, corpusDigest: digestOf({ without: digest, of: manifest.corpusDigest }), builtAt: now },
  };
}
