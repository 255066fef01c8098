// Building, switching and erasing epochs in Qdrant.
// Owns: the collections of a space, the alias that names the one in force, the tombstones.
// Never changes an epoch in place but to take an erased document out. Others may assume: readers see the epoch before
// or the new one, and a document erased during a build is not in it.

import type { QdrantClient, Schemas } from '@qdrant/js-client-rest';
import { CHUNKER, indexedText } from '../../agents/retrieval/chunk.ts';
import type { BuildRequest } from '../../agents/retrieval/corpus.ts';
import { isSame, nextEpoch, readCorpus } from '../../agents/retrieval/corpus.ts';
import { embedCorpus } from '../../agents/retrieval/embed-corpus.ts';
import { findEmbedder, NO_EMBEDDER } from '../../agents/retrieval/embedder.ts';
import type { SparseVector, TermTable } from '../../agents/retrieval/sparse.ts';
import { sparseCorpus } from '../../agents/retrieval/sparse.ts';
import type { StoredChunk } from '../../agents/retrieval/store.ts';
import { TERMS_VERSION } from '../../agents/retrieval/terms.ts';
import type { QuantisedVector } from '../../agents/retrieval/vectors.ts';
import { dequantise } from '../../agents/retrieval/vectors.ts';
import { digestOfText } from '../../contracts/canonical.ts';
import type { IndexManifest } from '../../contracts/ports.ts';
import type { Engine, TermsPayload } from './calls.ts';
import { guarded, ifFound, scrollAll } from './calls.ts';
import { aliasOf, collectionOf, collectionSettings, DENSE, documentFilter, epochOf, INDEXES, MANIFEST_POINT, payloadOf, pointId, SPARSE, termsPoint, TOMBSTONES, tombstoneFilter } from './layout.ts';

const UPSERT_POINTS = 128;
/** Terms in one point of the table: about 100 KB of payload. */
const TERMS_PER_POINT = 4_000;

/** `before` is the manifest in force, if there is one. */
export async function buildEpoch(engine: Engine, request: BuildRequest, before: IndexManifest | undefined): Promise<{ readonly manifest: IndexManifest; readonly rebuilt: boolean }> {
  const { options, client } = engine;
  const { tenant, space, onProgress } = request;
  const corpus = await readCorpus(request, await tombstones(engine, tenant, space));
  const embedder = await findEmbedder(options, tenant);
  if (before !== undefined && isSame(before, corpus.digest, embedder)) return { manifest: before, rebuilt: false };
  const vectors = embedder === NO_EMBEDDER || options.embed === undefined ? undefined : (await embedCorpus(corpus.chunks, embedder, { embed: options.embed, cache: options.cache, clock: options.clock, tenant, onProgress })).vectors;
  const manifest: IndexManifest = {
    v: 1, space, tenant, epoch: nextEpoch(before?.epoch), engine: 'qdrant', embedder, tokenizer: TERMS_VERSION, chunker: CHUNKER,
    documents: corpus.documents, chunks: corpus.chunks.length, corpusDigest: corpus.digest, builtAt: options.clock.now(),
  };
  await writeEpoch(client, manifest, corpus.chunks, vectors, onProgress);
  await switchTo(client, manifest);
  await dropErasedMeanwhile(engine, manifest);
  await dropOld(client, manifest, before?.epoch);
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
export async function erase(engine: Engine, tenant: string, space: string, document: string): Promise<void> {
  const { client } = engine;
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
