// A Qdrant server that speaks just the REST calls the engine uses, on a free port, with everything in memory.
// Owns: the wire behaviour (envelope of answers, status codes, filters, strict mode, aliases), typed by the client's own OpenAPI types.
// Never approximates: every search is exact. What it returns is compared with Qdrant's own engine in test/golden/qdrant-edge.
// Others may assume: a request with an unknown member or an unindexed filter under strict mode is refused with 400.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Schemas } from '@qdrant/js-client-rest';

type Sparse = { readonly indices: readonly number[]; readonly values: readonly number[] };
interface Point {
  readonly id: string | number;
  readonly vectors: ReadonlyMap<string, readonly number[] | Sparse>;
  readonly payload: Readonly<Record<string, unknown>>;
}
interface Collection {
  readonly settings: Schemas['CreateCollection'];
  readonly points: Map<string, Point>;
  readonly indexes: Set<string>;
}
interface State {
  readonly collections: Map<string, Collection>;
  readonly aliases: Map<string, string>;
}
export interface FakeQdrant extends AsyncDisposable {
  readonly url: string;
  /** `METHOD path` of every request, oldest first. */
  readonly requests: readonly string[];
  /** The next requests are answered with this status until it is cleared. */
  failWith(status: number | undefined, headers?: Readonly<Record<string, string>>): void;
}

class Refusal extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}
const refuse = (status: number, message: string): never => {
  throw new Refusal(status, message);
};

export async function startFakeQdrant(): Promise<FakeQdrant> {
  const state: State = { collections: new Map(), aliases: new Map() };
  const requests: string[] = [];
  let failing: { readonly status: number; readonly headers: Readonly<Record<string, string>> } | undefined;
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    if (failing !== undefined) return send(response, failing.status, { status: { error: 'told to fail' }, time: 0 }, failing.headers);
    void answer(state, request).then(
      (result) => send(response, 200, { result, status: 'ok', time: 0 }),
      (error: unknown) => send(response, error instanceof Refusal ? error.status : 500, { status: { error: (error as Error).message }, time: 0 }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    failWith: (status, headers = {}) => (failing = status === undefined ? undefined : { status, headers }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function send(response: ServerResponse, status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

async function answer(state: State, request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString('utf8');
  const body: unknown = text === '' ? {} : JSON.parse(text);
  const path = new URL(request.url ?? '/', 'http://x').pathname.split('/').filter((part) => part !== '').map(decodeURIComponent);
  const route = `${request.method} ${path.map((part, index) => (index === 1 && part !== 'aliases' ? '*' : part)).join('/')}`;
  const handler = ROUTES[route];
  if (handler === undefined) return refuse(404, `no route ${route}`);
  return handler(state, path[1] ?? '', body);
}

type Route = (state: State, name: string, body: unknown) => unknown;
const ROUTES: Readonly<Record<string, Route>> = {
  'GET collections': ({ collections }): Schemas['CollectionsResponse'] => ({ collections: [...collections.keys()].map((name) => ({ name })) }),
  'GET collections/*/exists': (state, name): Schemas['CollectionExistence'] => ({ exists: state.collections.has(state.aliases.get(name) ?? name) }),
  'PUT collections/*': create,
  'DELETE collections/*': (state, name) => {
    for (const [alias, target] of state.aliases) if (target === name) state.aliases.delete(alias);
    return state.collections.delete(name) ? true : refuse(404, `Collection \`${name}\` doesn't exist!`);
  },
  'PUT collections/*/index': (state, name, body) => {
    const { field_name: field } = known<Schemas['CreateFieldIndex']>(body, ['field_name', 'field_schema']);
    collectionOf(state, name).indexes.add(field);
    return updated;
  },
  'GET aliases': ({ aliases }): Schemas['CollectionsAliasesResponse'] => ({ aliases: [...aliases].map(([alias_name, collection_name]) => ({ alias_name, collection_name })) }),
  'POST collections/aliases': (state, _name, body) => changeAliases(state, known<Schemas['ChangeAliasesOperation']>(body, ['actions'])),
  'PUT collections/*/points': (state, name, body) => upsert(collectionOf(state, name), known<Schemas['PointsList']>(body, ['points', 'shard_key'])),
  'POST collections/*/points': (state, name, body): Schemas['Record'][] => {
    const { ids, with_payload: include } = known<Schemas['PointRequest']>(body, ['ids', 'with_payload', 'with_vector', 'shard_key']);
    const { points } = collectionOf(state, name);
    return ids.flatMap((id) => ((point) => (point === undefined ? [] : [toRecord(point, include)]))(points.get(String(id))));
  },
  'POST collections/*/points/delete': (state, name, body) => {
    const collection = collectionOf(state, name);
    const { filter } = known<Schemas['FilterSelector']>(body, ['filter', 'shard_key']);
    for (const point of matching(collection, filter as Schemas['Filter'])) collection.points.delete(String(point.id));
    return updated;
  },
  'POST collections/*/points/scroll': (state, name, body) => scroll(collectionOf(state, name), known<Schemas['ScrollRequest']>(body, ['filter', 'limit', 'offset', 'with_payload', 'with_vector', 'order_by', 'shard_key'])),
  'POST collections/*/points/query': (state, name, body): Schemas['QueryResponse'] => query(collectionOf(state, name), body),
  'POST collections/*/points/query/batch': (state, name, body): Schemas['QueryResponse'][] => known<Schemas['QueryRequestBatch']>(body, ['searches']).searches.map((one) => query(collectionOf(state, name), one)),
};

const updated: Schemas['UpdateResult'] = { operation_id: 1, status: 'completed' };

/** The body with its type, once its members are checked against those the API knows. */
function known<T>(body: unknown, members: readonly (keyof T & string)[]): T {
  const extra = Object.keys(body as object).filter((key) => !(members as readonly string[]).includes(key));
  if (extra.length > 0) refuse(400, `unknown field ${extra[0]}`);
  return body as T;
}

const collectionOf = (state: State, name: string): Collection => state.collections.get(state.aliases.get(name) ?? name) ?? refuse(404, `Not found: Collection \`${name}\` doesn't exist!`);

function create(state: State, name: string, body: unknown): boolean {
  const settings = known<Schemas['CreateCollection']>(body, ['vectors', 'sparse_vectors', 'strict_mode_config', 'hnsw_config', 'on_disk_payload', 'optimizers_config', 'quantization_config', 'replication_factor', 'shard_number', 'sharding_method', 'wal_config', 'write_consistency_factor']);
  if (state.collections.has(name) || state.aliases.has(name)) refuse(409, `Collection \`${name}\` already exists!`);
  state.collections.set(name, { settings, points: new Map(), indexes: new Set() });
  return true;
}

function changeAliases(state: State, { actions }: Schemas['ChangeAliasesOperation']): boolean {
  const draft = new Map(state.aliases);
  for (const action of actions) {
    if ('delete_alias' in action) {
      if (!draft.delete(action.delete_alias.alias_name)) refuse(404, 'no such alias');
    } else if ('create_alias' in action) {
      const { alias_name: alias, collection_name: target } = action.create_alias;
      if (!state.collections.has(target)) refuse(404, `Collection \`${target}\` doesn't exist!`);
      if (state.collections.has(alias)) refuse(409, 'a collection has this name');
      draft.set(alias, target);
    } else refuse(400, 'unknown alias action');
  }
  state.aliases.clear();
  for (const [alias, target] of draft) state.aliases.set(alias, target);
  return true;
}

function upsert(collection: Collection, { points }: Schemas['PointsList']): Schemas['UpdateResult'] {
  for (const { id, vector, payload } of points) {
    if (typeof id === 'string' && !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)) refuse(400, `${id} is not a valid point ID`);
    const vectors = new Map(Object.entries(vector as Record<string, number[] | Sparse>).map(([name, value]) => [name, checkedVector(collection, name, value)]));
    collection.points.set(String(id), { id: id as string | number, vectors, payload: (payload ?? {}) as Record<string, unknown> });
  }
  return updated;
}

/** Cosine vectors are kept with length 1, as Qdrant does. */
function checkedVector({ settings }: Collection, name: string, value: number[] | Sparse): number[] | Sparse {
  if (!Array.isArray(value)) {
    if (!Object.hasOwn(settings.sparse_vectors ?? {}, name)) refuse(400, `Not existing vector name error: ${name}`);
    if (value.indices.length !== value.values.length || new Set(value.indices).size !== value.indices.length) refuse(422, 'indices must be unique and as many as values');
    return value;
  }
  const size = (settings.vectors as Record<string, Schemas['VectorParams']> | undefined)?.[name]?.size;
  if (size !== value.length) refuse(400, `Vector dimension error: expected dim: ${size}, got ${value.length}`);
  const length = Math.hypot(...value);
  return length === 0 ? value : value.map((one) => one / length);
}

function scroll(collection: Collection, { filter, limit, offset, with_payload: include }: Schemas['ScrollRequest']): Schemas['ScrollResult'] {
  checkLimit(collection, limit);
  const sorted = matching(collection, filter as Schemas['Filter'] | undefined).sort((a, b) => (String(a.id) < String(b.id) ? -1 : 1));
  const from = offset === undefined || offset === null ? 0 : sorted.findIndex(({ id }) => id === offset);
  const page = sorted.slice(from, from + (limit ?? 10));
  const next = sorted[from + page.length];
  return { points: page.map((point) => toRecord(point, include)), next_page_offset: next?.id ?? null } as Schemas['ScrollResult'];
}

function query(collection: Collection, body: unknown): Schemas['QueryResponse'] {
  const { query: wanted, using, filter, limit, with_payload: include } = known<Schemas['QueryRequest']>(body, ['query', 'using', 'filter', 'limit', 'offset', 'params', 'with_payload', 'with_vector', 'score_threshold', 'shard_key', 'prefetch', 'lookup_from']);
  checkLimit(collection, limit);
  const scored = matching(collection, filter as Schemas['Filter'] | undefined).flatMap((point) => {
    const score = scoreOf(point.vectors.get(using ?? ''), wanted as number[] | Sparse);
    return score === undefined ? [] : [{ ...toRecord(point, include), version: 1, score: Math.fround(score) }];
  });
  return { points: scored.sort((a, b) => b.score - a.score).slice(0, limit ?? 10) };
}

/** `undefined` when the point has no such vector, or shares no term with a sparse query. */
function scoreOf(vector: readonly number[] | Sparse | undefined, wanted: number[] | Sparse): number | undefined {
  if (vector === undefined) return undefined;
  if ('indices' in vector) return sparseDot(vector, wanted as Sparse);
  const dense = wanted as readonly number[];
  const length = Math.hypot(...dense) || 1;
  return (vector as readonly number[]).reduce((sum, value, index) => sum + (value * (dense[index] ?? 0)) / length, 0);
}

function sparseDot(vector: Sparse, wanted: Sparse): number | undefined {
  const values = new Map(vector.indices.map((index, at) => [index, vector.values[at] ?? 0]));
  const shared = wanted.indices.map((index, at) => [values.get(index), wanted.values[at] ?? 0] as const).filter(([value]) => value !== undefined);
  return shared.length === 0 ? undefined : shared.reduce((sum, [value, weight]) => sum + (value ?? 0) * weight, 0);
}

function checkLimit({ settings }: Collection, limit: number | null | undefined): void {
  const most = settings.strict_mode_config?.max_query_limit as number | undefined;
  if (most !== undefined && (limit ?? 10) > most) refuse(400, `Limit exceeded ${limit} > ${most} for "limit"`);
}

// ---- filters

const matching = (collection: Collection, filter: Schemas['Filter'] | undefined | null): Point[] => [...collection.points.values()].filter((point) => filter === undefined || filter === null || passes(collection, point, filter));

function passes(collection: Collection, point: Point, filter: Schemas['Filter']): boolean {
  const extra = Object.keys(filter).filter((key) => !['must', 'should', 'must_not', 'min_should'].includes(key));
  if (extra.length > 0) refuse(400, `unknown filter member ${extra[0]}`);
  const list = (conditions: Schemas['Filter']['must']) => (conditions === undefined || conditions === null ? [] : Array.isArray(conditions) ? conditions : [conditions]) as Schemas['Condition'][];
  const holds = (condition: Schemas['Condition']) => conditionHolds(collection, point, condition);
  const should = list(filter.should as Schemas['Filter']['must']);
  return list(filter.must).every(holds) && (should.length === 0 || should.some(holds)) && !list(filter.must_not as Schemas['Filter']['must']).some(holds);
}

function conditionHolds(collection: Collection, point: Point, condition: Schemas['Condition']): boolean {
  if ('has_id' in condition) return (condition as Schemas['HasIdCondition']).has_id.includes(point.id);
  if (!('key' in condition)) return passes(collection, point, condition as Schemas['Filter']);
  const { key, match } = condition as Schemas['FieldCondition'];
  if (collection.settings.strict_mode_config?.enabled === true && !collection.indexes.has(key)) refuse(400, `Bad request: Index required but not found for "${key}"`);
  const value = point.payload[key];
  const values = Array.isArray(value) ? value : value === undefined ? [] : [value];
  const wanted = match as { readonly value?: unknown; readonly any?: readonly unknown[] };
  return wanted.any === undefined ? values.includes(wanted.value) : values.some((one) => wanted.any?.includes(one));
}

function toRecord(point: Point, include: unknown): Schemas['Record'] {
  if (include === false || include === undefined || include === null) return { id: point.id };
  if (include === true) return { id: point.id, payload: { ...point.payload } };
  return { id: point.id, payload: Object.fromEntries(Object.entries(point.payload).filter(([key]) => (include as readonly string[]).includes(key))) };
}
