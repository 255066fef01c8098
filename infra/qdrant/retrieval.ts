// Retrieval over Qdrant: one collection per tenant, space and epoch, an alias for the one in force.
// Owns: what is read of an epoch, the hybrid query, receipts; building and erasing are in build.ts.
// Never queries without the compiled filter, never leaves term statistics to the server (they would mix tenants).
// Others may assume: the same ranking as the embedded engine up to float rounding, since both sides of BM25 and the
// fusion are computed here; a search reads one epoch; an erased document is gone when `erase` resolves.

import { QdrantClient, type Schemas } from '@qdrant/js-client-rest';
import { toFragment } from '../../agents/retrieval/corpus.ts';
import { embedQuery } from '../../agents/retrieval/embedder.ts';
import { FRAGMENTS_MAX } from '../../agents/retrieval/engine.ts';
import { compileFilter, filterDigest } from '../../agents/retrieval/filter.ts';
import type { Fused, Ranked } from '../../agents/retrieval/fuse.ts';
import { CANDIDATES_MAX, DEFAULT_FUSION, fuse } from '../../agents/retrieval/fuse.ts';
import { sampleHeadings } from '../../agents/retrieval/sample.ts';
import type { SparseVector, TermTable } from '../../agents/retrieval/sparse.ts';
import { queryVector, termWeights } from '../../agents/retrieval/sparse.ts';
import { digestOf } from '../../contracts/canonical.ts';
import { fail } from '../../contracts/errors.ts';
import type { IndexManifest, Retrieval, SampleRequest, SearchAnswer, SearchRequest, SpaceSample } from '../../contracts/ports.ts';
import { buildEpoch, erase } from './build.ts';
import type { Engine, Epoch, QdrantRetrievalOptions, TermsPayload } from './calls.ts';
import { guarded, ifFound, scrollAll } from './calls.ts';
import { aliasOf, chunkOf, collectionOf, DENSE, MANIFEST_POINT, qdrantFilter, SPARSE, termsPoint } from './layout.ts';

const CALL_MS_MAX = 30_000;
const SPACES_MAX = 256;

/** Checks that the server answers. @throws AIOS_UNAVAILABLE, AIOS_CONFIG_INVALID */
export async function connectQdrantRetrieval(options: QdrantRetrievalOptions): Promise<Retrieval> {
  const client = new QdrantClient({ url: options.url, ...(options.key === undefined ? {} : { apiKey: options.key }), timeout: CALL_MS_MAX, checkCompatibility: false });
  const engine: Engine = { options, client, epochs: new Map() };
  await guarded(() => client.getCollections());
  return {
    engine: 'qdrant',
    index: async (tenant, space, documents, onProgress) => buildEpoch(engine, { tenant, space, documents, onProgress }, (await current(engine, tenant, space))?.manifest),
    search: (request) => search(engine, request),
    sample: (request) => sample(engine, request),
    manifest: async (tenant, space) => (await current(engine, tenant, space))?.manifest,
    async erase(tenant, space, document) {
      if ((await current(engine, tenant, space)) === undefined) throw fail('AIOS_SPACE_UNKNOWN');
      await erase(engine, tenant, space, document);
    },
    async [Symbol.asyncDispose]() {
      engine.epochs.clear();
    },
  };
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
  const [bm25, cosine] = [scoresOf(lexical), scoresOf(near)];
  return hits.map((hit) => ({ bm25: hit.lexicalRank === 0 ? (bm25.get(hit.id) ?? 0) : hit.bm25, cosine: hit.denseRank === 0 ? (cosine.get(hit.id) ?? 0) : hit.cosine }));
}

const scoresOf = (points: readonly Scored[]): ReadonlyMap<string, number> => new Map(points.map(({ id, score }) => [String(id), score]));

async function sample(engine: Engine, { tenant, space, count, principal }: SampleRequest): Promise<SpaceSample> {
  const filter = qdrantFilter(compileFilter(tenant, principal));
  const epoch = await current(engine, tenant, space);
  if (epoch === undefined) throw fail('AIOS_SPACE_UNKNOWN');
  const found: { readonly row: number; readonly document: string; readonly heading: string }[] = [];
  await scrollAll(engine.client, epoch.collection, filter, ['row', 'document', 'heading'], (payload) => found.push({ row: Number(payload['row']), document: String(payload['document']), heading: String(payload['heading']) }));
  return { epoch: epoch.manifest.epoch, headings: sampleHeadings(found.sort((a, b) => a.row - b.row), count) };
}
