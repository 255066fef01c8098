// Retrieval over Qdrant: one collection per tenant, space and epoch, an alias for the one in force.
// Owns: building and switching epochs there, the hybrid query, erasure in every epoch, receipts.
// Never queries without the compiled filter, never leaves term statistics to the server (they would mix tenants).
// Others may assume: the same ranking as the embedded engine up to float rounding, since both sides of BM25 and the
// fusion are computed here; a search reads one epoch; an erased document is gone when `erase` resolves.

import { QdrantClient, type Schemas } from '@qdrant/js-client-rest';
import type { BuildRequest } from '../../agents/retrieval/corpus.ts';
import { isSame, nextEpoch, readCorpus, toFragment } from '../../agents/retrieval/corpus.ts';
import { CHUNKER, indexedText } from '../../agents/retrieval/chunk.ts';
import { embedCorpus } from '../../agents/retrieval/embed-corpus.ts';
import type { EmbedderOptions } from '../../agents/retrieval/embedder.ts';
import { embedQuery, findEmbedder, NO_EMBEDDER } from '../../agents/retrieval/embedder.ts';
import { FRAGMENTS_MAX } from '../../agents/retrieval/engine.ts';
import { compileFilter, filterDigest } from '../../agents/retrieval/filter.ts';
import type { Fused, Fusion, Ranked } from '../../agents/retrieval/fuse.ts';
import { CANDIDATES_MAX, DEFAULT_FUSION, fuse } from '../../agents/retrieval/fuse.ts';
import { sampleHeadings } from '../../agents/retrieval/sample.ts';
import type { SparseVector, TermTable } from '../../agents/retrieval/sparse.ts';
import { queryVector, sparseCorpus, termWeights } from '../../agents/retrieval/sparse.ts';
import type { StoredChunk, VectorCache } from '../../agents/retrieval/store.ts';
import { TERMS_VERSION } from '../../agents/retrieval/terms.ts';
import type { QuantisedVector } from '../../agents/retrieval/vectors.ts';
import { dequantise } from '../../agents/retrieval/vectors.ts';
import { digestOf, digestOfText } from '../../contracts/canonical.ts';
import { fail } from '../../contracts/errors.ts';
import type { IndexManifest, Retrieval, SampleRequest, SearchAnswer, SearchRequest, SpaceSample } from '../../contracts/ports.ts';
import { convertQdrantError, isNotFound } from './errors.ts';
import { aliasOf, chunkOf, collectionOf, collectionSettings, DENSE, documentFilter, epochOf, INDEXES, MANIFEST_POINT, payloadOf, pointId, qdrantFilter, QUERY_LIMIT_MAX, SPARSE, termsPoint, TOMBSTONES, tombstoneFilter } from './layout.ts';

const UPSERT_POINTS = 128;
/** Terms in one point of the table: about 100 KB of payload. */
const TERMS_PER_POINT = 4_000;
const CALL_MS_MAX = 30_000;
const SPACES_MAX = 256;

export interface QdrantRetrievalOptions extends EmbedderOptions {
  readonly url: string;
  readonly key?: string | undefined;
  readonly cache: VectorCache;
  readonly fusion?: Fusion;
}

/** Checks that the server answers. @throws AIOS_UNAVAILABLE, AIOS_CONFIG_INVALID */
export async function connectQdrantRetrieval(options: QdrantRetrievalOptions): Promise<Retrieval> {
  const client = new QdrantClient({ url: options.url, ...(options.key === undefined ? {} : { apiKey: options.key }), timeout: CALL_MS_MAX, checkCompatibility: false });
  const engine: Engine = { options, client, epochs: new Map() };
  await guarded(() => client.getCollections());
  return {
    engine: 'qdrant',
    index: (tenant, space, documents, onProgress) => buildEpoch(engine, { tenant, space, documents, onProgress }),
    search: (request) => search(engine, request),
    sample: (request) => sample(engine, request),
    manifest: async (tenant, space) => (await current(engine, tenant, space))?.manifest,
    erase: (tenant, space, document) => erase(engine, tenant, space, document),
    async [Symbol.asyncDispose]() {
      engine.epochs.clear();
    },
  };
}

interface Engine {
  readonly options: QdrantRetrievalOptions;
  readonly client: QdrantClient;
  readonly epochs: Map<string, Epoch>;
}
/** What is read once of an epoch: everything in it but tombstones is immutable. */
interface Epoch {
  readonly manifest: IndexManifest;
  readonly manifestDigest: string;
  readonly collection: string;
  readonly table: TermTable;
}

/** Every call to the client goes through here: its failures leave as errors of the table. */
async function guarded<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw convertQdrantError(error);
  }
}

/** `undefined` for what does not exist. */
async function ifFound<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw convertQdrantError(error);
  }
}

// ---- the epoch in force

async function current(engine: Engine, tenant: string, space: string): Promise<Epoch | undefined> {
  const { client, epochs } = engine;
  const alias = aliasOf(tenant, space);
  const found = await ifFound(() => client.retrieve(alias, { ids: [MANIFEST_POINT], with_payload: true, with_vector: false }));
  const manifest = found?.[0]?.payload?.['manifest'] as IndexManifest | undefined;
  if (manifest === undefined || manifest.tenant !== tenant || manifest.space !== space) return undefined;
  const known = epochs.get(alias);
  if (known?.manifest.epoch === manifest.epoch) return known;
  const collection = collectionOf(tenant, space, manifest.epoch);
  const table = await readTerms(client, collection, manifest.chunks, Number(found?.[0]?.payload?.['termPoints'] ?? 0));
  const epoch: Epoch = { manifest, manifestDigest: digestOf(manifest), collection, table };
  epochs.delete(alias);
  epochs.set(alias, epoch);
  const oldest = epochs.keys().next().value;
  if (epochs.size > SPACES_MAX && oldest !== undefined) epochs.delete(oldest);
  return epoch;
}

async function readTerms(client: QdrantClient, collection: string, size: number, points: number): Promise<TermTable> {
  const ids = Array.from({ length: points }, (_, part) => termsPoint(part));
  const found = ids.length === 0 ? [] : await guarded(() => client.retrieve(collection, { ids, with_payload: true, with_vector: false }));
  if (found.length !== points) throw fail('AIOS_RETRIEVAL_FAULT', 'The term table of an epoch is incomplete; index again.');
  const terms = new Map<string, { readonly index: number; readonly holders: number }>();
  for (const { payload } of found) {
    const { from, words, holders } = payload as unknown as TermsPayload;
    words.forEach((word, at) => terms.set(word, { index: from + at, holders: holders[at] ?? 0 }));
  }
  return { size, terms };
}

interface TermsPayload {
  readonly kind: 'terms';
  readonly from: number;
  readonly words: string[];
  readonly holders: number[];
}

// ---- search

async function search(engine: Engine, request: SearchRequest): Promise<SearchAnswer> {
  const access = compileFilter(request.tenant, request.principal);
  const epoch = await current(engine, request.tenant, request.space);
  if (epoch === undefined) throw fail('AIOS_SPACE_UNKNOWN');
  const query = await embedQuery(engine.options, epoch.manifest, request);
  const filter = qdrantFilter(access);
  const sparse = queryVector(epoch.table, request.query);
  const dense = query?.vectors[0];
  const [lexical, near] = await candidates(engine, epoch, filter, sparse, dense, request.deadline);
  const rows = rowsOf(lexical, near);
  const fused = fuse(rows.lexical, rows.dense, engine.options.fusion ?? DEFAULT_FUSION).slice(0, Math.min(Math.max(1, request.limit), FRAGMENTS_MAX));
  const signals = await missingSignals(engine, epoch, filter, fused.map((hit) => ({ ...hit, id: rows.ids[hit.row] as string })), sparse, dense);
  const fragments = fused.flatMap((hit, index) => {
    const chunk = chunkOf(rows.payloads[hit.row]);
    return chunk === undefined ? [] : [toFragment(chunk, { ...hit, ...signals[index] })];
  });
  return {
    fragments,
    weights: termWeights(epoch.table, request.query),
    receipt: {
      kind: 'retrieval', space: request.space, engine: 'qdrant', epoch: epoch.manifest.epoch, manifestDigest: epoch.manifestDigest, filterDigest: filterDigest(access),
      fragments: fragments.map(({ document, chunk, digest, score }) => ({ document, chunk, digest, score })),
    },
    ...(query === undefined ? {} : { model: query.receipt }),
  };
}

type Scored = Schemas['ScoredPoint'];

/** Both rankings in one round trip, each under the filter. */
async function candidates({ client, options }: Engine, { collection }: Epoch, filter: Schemas['Filter'], sparse: SparseVector, dense: Float32Array | undefined, deadline: number): Promise<readonly [readonly Scored[], readonly Scored[]]> {
  const searches: Schemas['QueryRequest'][] = [];
  if (sparse.indices.length > 0) searches.push({ query: { ...sparse }, using: SPARSE, filter, limit: CANDIDATES_MAX, with_payload: true });
  if (dense !== undefined) searches.push({ query: [...dense], using: DENSE, filter, limit: CANDIDATES_MAX, with_payload: true, params: { exact: true } });
  if (searches.length === 0) return [[], []];
  const seconds = Math.max(1, Math.ceil((deadline - options.clock.now()) / 1_000));
  const answers = await guarded(() => client.queryBatch(collection, { searches, timeout: seconds }));
  const first = answers[0]?.points ?? [];
  return sparse.indices.length === 0 ? [[], first] : [first, dense === undefined ? [] : (answers[1]?.points ?? [])];
}

interface Rows {
  readonly lexical: readonly Ranked[];
  readonly dense: readonly Ranked[];
  readonly payloads: Readonly<Record<number, unknown>>;
  readonly ids: Readonly<Record<number, string>>;
}

/** Points by their row in the epoch, equal scores in that order, so that ties break as in the embedded engine. */
function rowsOf(lexical: readonly Scored[], dense: readonly Scored[]): Rows {
  const payloads: Record<number, unknown> = {};
  const ids: Record<number, string> = {};
  const ranked = (points: readonly Scored[]): Ranked[] => points.map(({ id, score, payload }) => {
    const row = Number(payload?.['row']);
    payloads[row] = payload;
    ids[row] = String(id);
    return { row, score };
  }).sort((a, b) => b.score - a.score || a.row - b.row);
  return { lexical: ranked(lexical), dense: ranked(dense), payloads, ids };
}

interface BothSignals {
  readonly cosine: number;
  readonly bm25: number;
}

/** The raw score of a fragment in the ranking that did not hold it, so that calibration sees both for each. */
async function missingSignals({ client }: Engine, { collection }: Epoch, filter: Schemas['Filter'], hits: readonly (Fused & { readonly id: string })[], sparse: SparseVector, dense: Float32Array | undefined): Promise<readonly BothSignals[]> {
  const without = (rank: 'lexicalRank' | 'denseRank') => hits.filter((hit) => hit[rank] === 0).map((hit) => hit.id);
  const lookFor = (ids: readonly string[]): Schemas['Filter'] => ({ must: [filter, { has_id: [...ids] }] });
  const [lexicalIds, denseIds] = [without('lexicalRank'), dense === undefined ? [] : without('denseRank')];
  const lexical = lexicalIds.length === 0 || sparse.indices.length === 0 ? [] : (await guarded(() => client.query(collection, { query: { ...sparse }, using: SPARSE, filter: lookFor(lexicalIds), limit: lexicalIds.length }))).points;
  const near = denseIds.length === 0 || dense === undefined ? [] : (await guarded(() => client.query(collection, { query: [...dense], using: DENSE, filter: lookFor(denseIds), limit: denseIds.length, params: { exact: true } }))).points;
  const scores = (points: readonly Scored[]) => new Map(points.map(({ id, score }) => [String(id), score]));
  const [bm25, cosine] = [scores(lexical), scores(near)];
  return hits.map((hit) => ({ bm25: hit.lexicalRank === 0 ? (bm25.get(hit.id) ?? 0) : hit.bm25, cosine: hit.denseRank === 0 ? (cosine.get(hit.id) ?? 0) : hit.cosine }));
}

async function sample(engine: Engine, { tenant, space, count, principal }: SampleRequest): Promise<SpaceSample> {
  const filter = qdrantFilter(compileFilter(tenant, principal));
  const epoch = await current(engine, tenant, space);
  if (epoch === undefined) throw fail('AIOS_SPACE_UNKNOWN');
  const found: { readonly row: number; readonly document: string; readonly heading: string }[] = [];
  await scrollAll(engine.client, epoch.collection, filter, ['row', 'document', 'heading'], (payload) => found.push({ row: Number(payload['row']), document: String(payload['document']), heading: String(payload['heading']) }));
  return { epoch: epoch.manifest.epoch, headings: sampleHeadings(found.sort((a, b) => a.row - b.row), count) };
}

async function scrollAll(client: QdrantClient, collection: string, filter: Schemas['Filter'], include: readonly string[], each: (payload: Readonly<Record<string, unknown>>) => void): Promise<void> {
  let offset: string | number | undefined;
  do {
    const from = offset === undefined ? {} : { offset };
    const page = await guarded(() => client.scroll(collection, { filter, limit: QUERY_LIMIT_MAX, with_payload: [...include], with_vector: false, ...from }));
    for (const { payload } of page.points) each(payload ?? {});
    const next = page.next_page_offset;
    offset = typeof next === 'string' || typeof next === 'number' ? next : undefined;
  } while (offset !== undefined);
}

// ---- building

async function buildEpoch(engine: Engine, request: BuildRequest): Promise<{ readonly manifest: IndexManifest; readonly rebuilt: boolean }> {
  const { options, client } = engine;
  const { tenant, space, onProgress } = request;
  const corpus = await readCorpus(request, await tombstones(engine, tenant, space));
  const embedder = await findEmbedder(options, tenant);
  const before = await current(engine, tenant, space);
  if (before !== undefined && isSame(before.manifest, corpus.digest, embedder)) return { manifest: before.manifest, rebuilt: false };
  const vectors = embedder === NO_EMBEDDER || options.embed === undefined ? undefined : (await embedCorpus(corpus.chunks, embedder, { embed: options.embed, cache: options.cache, clock: options.clock, tenant, onProgress })).vectors;
  const manifest: IndexManifest = {
    v: 1, space, tenant, epoch: nextEpoch(before?.manifest.epoch), engine: 'qdrant', embedder, tokenizer: TERMS_VERSION, chunker: CHUNKER,
    documents: corpus.documents, chunks: corpus.chunks.length, corpusDigest: corpus.digest, builtAt: options.clock.now(),
  };
  await writeEpoch(client, manifest, corpus.chunks, vectors, onProgress);
  await switchTo(client, manifest);
  await dropErasedMeanwhile(engine, manifest);
  await dropOld(client, manifest, before?.manifest.epoch);
  return { manifest, rebuilt: true };
}

async function writeEpoch(client: QdrantClient, manifest: IndexManifest, chunks: readonly StoredChunk[], vectors: ReadonlyMap<string, QuantisedVector> | undefined, onProgress: BuildRequest['onProgress']): Promise<void> {
  const collection = collectionOf(manifest.tenant, manifest.space, manifest.epoch);
  const dimensions = vectors?.values().next().value?.values.length ?? 0;
  await ifFound(() => client.deleteCollection(collection));
  await guarded(() => client.createCollection(collection, collectionSettings(dimensions) as Parameters<QdrantClient['createCollection']>[1]));
  for (const [field, schema] of INDEXES) await guarded(() => client.createPayloadIndex(collection, { field_name: field, field_schema: schema, wait: true }));
  const { table, vectors: sparse } = sparseCorpus(chunks.map(indexedText));
  for (let from = 0; from < chunks.length; from += UPSERT_POINTS) {
    const points = chunks.slice(from, from + UPSERT_POINTS).map((chunk, at) => toPoint(chunk, manifest.tenant, from + at, sparse[from + at] as SparseVector, vectors?.get(chunk.digest)));
    await guarded(() => client.upsert(collection, { wait: true, points }));
    onProgress?.({ stage: 'write', done: Math.min(chunks.length, from + points.length), total: chunks.length });
  }
  const terms = termPoints(table);
  const head: Schemas['PointStruct'] = { id: MANIFEST_POINT, vector: {}, payload: { kind: 'manifest', tenant: manifest.tenant, manifest, termPoints: terms.length } };
  for (const point of [...terms, head]) await guarded(() => client.upsert(collection, { wait: true, points: [point] }));
}

function toPoint(chunk: StoredChunk, tenant: string, row: number, sparse: SparseVector, dense: QuantisedVector | undefined): Schemas['PointStruct'] {
  const vector = { [SPARSE]: { ...sparse }, ...(dense === undefined || dense.scale === 0 ? {} : { [DENSE]: [...dequantise(dense)] }) };
  return { id: pointId(chunk.id), vector, payload: { ...payloadOf(chunk, tenant, row) } };
}

function termPoints(table: TermTable): Schemas['PointStruct'][] {
  const entries = [...table.terms].sort((a, b) => a[1].index - b[1].index);
  return Array.from({ length: Math.ceil(entries.length / TERMS_PER_POINT) }, (_, part) => {
    const slice = entries.slice(part * TERMS_PER_POINT, (part + 1) * TERMS_PER_POINT);
    const payload: TermsPayload = { kind: 'terms', from: part * TERMS_PER_POINT, words: slice.map(([word]) => word), holders: slice.map(([, { holders }]) => holders) };
    return { id: termsPoint(part), vector: {}, payload: { ...payload } };
  });
}

/** The alias moves in one atomic call; readers see the old epoch or the new one. */
async function switchTo(client: QdrantClient, { tenant, space, epoch }: IndexManifest): Promise<void> {
  const alias_name = aliasOf(tenant, space);
  const { aliases } = await guarded(() => client.getAliases());
  const remove = aliases.some((known) => known.alias_name === alias_name) ? [{ delete_alias: { alias_name } }] : [];
  await guarded(() => client.updateCollectionAliases({ actions: [...remove, { create_alias: { alias_name, collection_name: collectionOf(tenant, space, epoch) } }] }));
}

/** All epochs of the space but the new one and the one before it. */
async function dropOld(client: QdrantClient, { tenant, space, epoch }: IndexManifest, before: string | undefined): Promise<void> {
  for (const name of await epochsOf(client, tenant, space)) if (epochOf(name) !== epoch && epochOf(name) !== before) await ifFound(() => client.deleteCollection(name));
}

async function epochsOf(client: QdrantClient, tenant: string, space: string): Promise<readonly string[]> {
  const { collections } = await guarded(() => client.getCollections());
  return collections.map(({ name }) => name).filter((name) => name.startsWith(`${aliasOf(tenant, space)}__`) && epochOf(name) !== undefined && collectionOf(tenant, space, epochOf(name) ?? '') === name);
}

// ---- erasure

/** The tombstone is written first, so that a build under way leaves the document out too; then its points go, in every epoch. */
async function erase(engine: Engine, tenant: string, space: string, document: string): Promise<void> {
  const { client } = engine;
  if ((await current(engine, tenant, space)) === undefined) throw fail('AIOS_SPACE_UNKNOWN');
  await ensureTombstones(client);
  const digest = digestOfText(document);
  await guarded(() => client.upsert(TOMBSTONES, { wait: true, ordering: 'strong', points: [{ id: pointId(`${tenant}/${space}/${digest}`), vector: {}, payload: { tenant, space, document: digest } }] }));
  await deletePoints(client, tenant, space, document);
}

async function deletePoints(client: QdrantClient, tenant: string, space: string, document: string): Promise<void> {
  for (const collection of await epochsOf(client, tenant, space)) await ifFound(() => client.delete(collection, { wait: true, ordering: 'strong', filter: documentFilter(tenant, document) }));
}

async function ensureTombstones(client: QdrantClient): Promise<void> {
  if ((await guarded(() => client.collectionExists(TOMBSTONES))).exists) return;
  await guarded(() => client.createCollection(TOMBSTONES, { vectors: {} }));
  for (const field of ['tenant', 'space']) await guarded(() => client.createPayloadIndex(TOMBSTONES, { field_name: field, field_schema: 'keyword', wait: true }));
}

async function tombstones({ client }: Engine, tenant: string, space: string): Promise<ReadonlySet<string>> {
  const digests = new Set<string>();
  if (!(await guarded(() => client.collectionExists(TOMBSTONES))).exists) return digests;
  await scrollAll(client, TOMBSTONES, tombstoneFilter(tenant, space), ['document'], (payload) => digests.add(String(payload['document'])));
  return digests;
}

/** A document erased while the epoch was written: found by its tombstone, taken out after the switch. */
async function dropErasedMeanwhile(engine: Engine, { tenant, space, epoch }: IndexManifest): Promise<void> {
  const erased = await tombstones(engine, tenant, space);
  if (erased.size === 0) return;
  const documents = new Set<string>();
  const collection = collectionOf(tenant, space, epoch);
  await scrollAll(engine.client, collection, { must: [{ key: 'tenant', match: { value: tenant } }, { key: 'kind', match: { value: 'chunk' } }] }, ['document'], (payload) => documents.add(String(payload['document'])));
  for (const document of documents) if (erased.has(digestOfText(document))) await deletePoints(engine.client, tenant, space, document);
}
