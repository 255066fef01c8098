// How spaces, epochs and filters look inside Qdrant: collection and alias names, point ids, payloads, indexes.
// Owns: the layout and the translation of the access filter. Never builds a filter without tenant and kind.
// Others may assume: one collection per tenant, space and epoch, the alias names the one in force, and every filtered
// field has an index, which the collection's strict mode then demands.

import type { Schemas } from '@qdrant/js-client-rest';
import { digestOfText } from '../../contracts/canonical.ts';
import { parseId } from '../../contracts/ids.ts';
import type { AccessFilter } from '../../agents/retrieval/filter.ts';
import { EVERYBODY, rolesOf } from '../../agents/retrieval/filter.ts';
import type { StoredChunk } from '../../agents/retrieval/store.ts';

export const DENSE = 'dense';
export const SPARSE = 'bm25';
/** Tombstones of all spaces: points without vectors, so that they outlive every epoch. */
export const TOMBSTONES = 'aios__tombstones';
export const QUERY_LIMIT_MAX = 1_000;

export const aliasOf = (tenant: string, space: string): string => `${parseId('tenant', tenant)}__${parseId('agent-id', space)}`;
export const collectionOf = (tenant: string, space: string, epoch: string): string => `${aliasOf(tenant, space)}__${epoch}`;
export const epochOf = (collection: string): string | undefined => /__(e[1-9][0-9]{0,9})$/.exec(collection)?.[1];

/** A UUID made of a digest: the same text always names the same point. */
export function pointId(text: string): string {
  const hex = digestOfText(text).slice(7);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}

export const MANIFEST_POINT = pointId('manifest');
export const termsPoint = (part: number): string => pointId(`terms/${part}`);

export type Payload = Readonly<Record<string, unknown>>;

export function payloadOf(chunk: StoredChunk, tenant: string, row: number): Payload {
  const roles = rolesOf(chunk.labels);
  const owner = chunk.labels?.['owner'];
  return {
    kind: 'chunk', tenant, row, document: chunk.document, chunk: chunk.id, title: chunk.title, heading: chunk.heading, text: chunk.text, digest: chunk.digest,
    roles: roles.length === 0 && owner === undefined ? [EVERYBODY] : [...roles],
    ...(owner === undefined ? {} : { owner }),
    ...(chunk.labels === undefined ? {} : { labels: chunk.labels }),
  };
}

/** `undefined` when the payload is not one of ours. */
export function chunkOf(payload: unknown): StoredChunk | undefined {
  const { document, chunk, title, heading, text, digest } = (payload ?? {}) as Readonly<Record<string, unknown>>;
  const words = [document, chunk, title, heading, text, digest];
  if (!words.every((word) => typeof word === 'string')) return undefined;
  return { document, id: chunk, title, heading, text, digest } as StoredChunk;
}

const matches = (key: string, value: string): Schemas['FieldCondition'] => ({ key, match: { value } });

/** The mandatory filter: tenant and kind always, and a role (everybody's among them) or the owner. */
export function qdrantFilter(access: AccessFilter): Schemas['Filter'] {
  const roles: Schemas['FieldCondition'] = { key: 'roles', match: { any: [EVERYBODY, ...access.roles] } };
  return { must: [matches('tenant', access.tenant), matches('kind', 'chunk'), { should: [roles, matches('owner', access.principal)] }] };
}

export const documentFilter = (tenant: string, document: string): Schemas['Filter'] => ({ must: [matches('tenant', tenant), matches('document', document)] });
export const tombstoneFilter = (tenant: string, space: string): Schemas['Filter'] => ({ must: [matches('tenant', tenant), matches('space', space)] });

export const INDEXES: readonly (readonly [string, Schemas['PayloadFieldSchema']])[] = [
  ['tenant', { type: 'keyword', is_tenant: true }],
  ['kind', 'keyword'],
  ['document', 'keyword'],
  ['roles', 'keyword'],
  ['owner', 'keyword'],
  ['row', { type: 'integer', lookup: false, range: true }],
];

export const collectionSettings = (dimensions: number): Schemas['CreateCollection'] => ({
  vectors: dimensions === 0 ? {} : { [DENSE]: { size: dimensions, distance: 'Cosine' } },
  sparse_vectors: { [SPARSE]: {} },
  strict_mode_config: { enabled: true, max_query_limit: QUERY_LIMIT_MAX, unindexed_filtering_retrieve: false, unindexed_filtering_update: false },
});
