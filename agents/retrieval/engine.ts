// The embedded retrieval engine: BM25 and vectors of one tenant's space in memory, epochs in a store.
// Owns: building and switching epochs, the hybrid search, tombstones, receipts.
// Never lets a caller choose its filter, never mixes tenants in one statistic, never embeds a chunk twice.
// Others may assume: a search runs on one epoch from start to end, and an erased document is gone from the next read on.

import { digestOf, digestOfText } from '../../contracts/canonical.ts';
import { fail, hasCode, isAiosError } from '../../contracts/errors.ts';
import { parseId } from '../../contracts/ids.ts';
import type { Clock, EmbedAnswer, Fragment, IndexManifest, IndexProgress, Logger, Retrieval, SampleRequest, SearchAnswer, SearchRequest, SourceDocument, SpaceSample } from '../../contracts/ports.ts';
import { CHUNKER, chunkDocument, indexedText } from './chunk.ts';
import type { Embed } from './embed-corpus.ts';
import { embedCorpus, probeEmbedder } from './embed-corpus.ts';
import { admits, compileFilter, filterDigest } from './filter.ts';
import type { Fusion } from './fuse.ts';
import { DEFAULT_FUSION, fuse, topRows } from './fuse.ts';
import type { LexicalIndex } from './lexical.ts';
import { createLexicalIndex } from './lexical.ts';
import { sampleHeadings } from './sample.ts';
import type { IndexStore, StoredChunk, StoredEpoch, VectorCache } from './store.ts';
import { TERMS_VERSION } from './terms.ts';
import { blockOf, cosines, NO_VECTORS, rowOf } from './vectors.ts';

export const CHUNKS_MAX = 100_000;
export const FRAGMENTS_MAX = 64;
const SPACES_MAX = 256;
/** Named as embedder when an epoch was built without one. */
export const NO_EMBEDDER = 'none';
/** Unknown until the model worker is there; then the build waits this long for it before it goes without vectors. */
const EMBEDDER_WAIT_MS = 30_000;

export interface EmbeddedRetrievalOptions {
  /** Absent: every epoch and every search is lexical. */
  readonly embed?: Embed;
  readonly store: IndexStore;
  readonly cache: VectorCache;
  readonly clock: Clock;
  readonly log: Logger;
  readonly fusion?: Fusion;
  readonly embedderWaitMs?: number;
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
  const query = await embedQuery(options, loaded, request);
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

function toFragment(chunk: StoredChunk, hit: { readonly score: number; readonly bm25: number; readonly cosine: number; readonly denseRank: number; readonly lexicalRank: number }): Fragment {
  const { document, id, title, heading, text, digest } = chunk;
  const { score, cosine, bm25, denseRank, lexicalRank } = hit;
  return { document, chunk: id, title, heading, text, digest, score, signals: { cosine, bm25, denseRank, lexicalRank } };
}

/** `undefined` makes the answer lexical: asked for, no vectors, the embedder is away, or it is another model than built the epoch. */
async function embedQuery(options: EmbeddedRetrievalOptions, loaded: LoadedSpace, request: SearchRequest): Promise<EmbedAnswer | undefined> {
  const { embedder } = loaded.epoch.manifest;
  if (options.embed === undefined || request.lexicalOnly === true || embedder === NO_EMBEDDER) return undefined;
  try {
    const answer = await options.embed({ texts: [request.query], deadline: request.deadline, tenant: request.tenant, trace: request.trace });
    if (answer.receipt.modelDigest === embedder) return answer;
    options.log.warn({ space: request.space, epoch: loaded.epoch.manifest.epoch }, 'the epoch was built with another embedding model; answering without vectors');
  } catch (error) {
    if (!isAway(error)) throw error;
    options.log.warn({ space: request.space, code: isAiosError(error) ? error.code : undefined }, 'no embedder; answering without vectors');
  }
  return undefined;
}

const isAway = (error: unknown): boolean => (['AIOS_MODEL_UNAVAILABLE', 'AIOS_MODEL_UNKNOWN', 'AIOS_MODEL_FAULT', 'AIOS_UNAVAILABLE', 'AIOS_OVERLOADED', 'AIOS_DISCONNECTED'] as const).some((code) => hasCode(error, code));

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

interface BuildRequest {
  readonly tenant: string;
  readonly space: string;
  readonly documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>;
  readonly onProgress: ((progress: IndexProgress) => void) | undefined;
}

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

/** An epoch with vectors is not thrown away because the embedder happens to be down. */
const isSame = (manifest: IndexManifest, corpusDigest: string, embedder: string): boolean =>
  manifest.corpusDigest === corpusDigest && manifest.chunker === CHUNKER && manifest.tokenizer === TERMS_VERSION && (manifest.embedder === embedder || embedder === NO_EMBEDDER);

export const nextEpoch = (current: string | undefined): string => `e${Number(current?.slice(1) ?? 0) + 1}`;

interface Corpus {
  readonly documents: number;
  readonly chunks: readonly StoredChunk[];
  readonly digest: string;
}

/** Reads all documents but the erased ones. The digest is over (id, content) in the order given. */
export async function readCorpus({ documents, onProgress }: Pick<BuildRequest, 'documents' | 'onProgress'>, erased: ReadonlySet<string>): Promise<Corpus> {
  const chunks: StoredChunk[] = [];
  const contents: (readonly [string, string])[] = [];
  for await (const document of documents) {
    if (document.id.length === 0 || document.id.length > 220) throw fail('AIOS_INPUT_INVALID', 'a document id has 1 to 220 characters.');
    if (erased.has(digestOfText(document.id))) continue;
    const { id, title, text, labels } = document;
    contents.push([id, digestOf({ title, text, labels })]);
    chunks.push(...chunkDocument(document).map((chunk) => (labels === undefined ? chunk : { ...chunk, labels })));
    if (chunks.length > CHUNKS_MAX) throw fail('AIOS_INPUT_TOO_LARGE', `more than ${CHUNKS_MAX} chunks in one space.`);
    onProgress?.({ stage: 'chunk', done: contents.length, total: contents.length });
  }
  return { documents: contents.length, chunks, digest: digestOf(contents) };
}

/** Waits for a model worker that is still starting; gives up after a bound and builds a lexical epoch. */
async function findEmbedder({ embed, clock, log, embedderWaitMs = EMBEDDER_WAIT_MS }: EmbeddedRetrievalOptions, tenant: string): Promise<string> {
  if (embed === undefined) return NO_EMBEDDER;
  const until = clock.monotonic() + embedderWaitMs;
  for (;;) {
    try {
      return (await probeEmbedder({ embed, clock, tenant })).modelDigest;
    } catch (error) {
      if (!isAway(error) && !hasCode(error, 'AIOS_DEADLINE_EXCEEDED')) throw error;
      if (clock.monotonic() >= until) break;
      await clock.sleep(500);
    }
  }
  log.warn({}, 'no embedder within the wait; the epoch is built without vectors and is built again when one is there');
  return NO_EMBEDDER;
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
