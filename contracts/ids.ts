// Identifiers: the branded strings every ring passes around, and the one pattern they obey.
// Owns: the pattern, the parsers and the readable task id. Never generates randomness itself: callers pass it in.
// Others may assume: a branded id is safe as a subject token, a workflow id part and a file name part.
// Nothing a user wrote becomes an id unless it passed `parseId`.

import { fail } from './errors.ts';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

export type TenantId = Branded<'tenant'>;
export type TaskId = Branded<'task'>;
export type AgentKind = Branded<'agent-kind'>;
export type AgentId = Branded<'agent-id'>;
export type PrincipalId = Branded<'principal'>;
/** `domain.verb`, such as `support.answer`. */
export type CapabilityId = Branded<'capability'>;
/** `sha256:` followed by 64 lower-case hex digits. */
export type Digest = Branded<'digest'>;

const ID = /^[A-Za-z0-9_-]{1,64}$/;
const CAPABILITY = /^[a-z][a-z0-9-]{0,31}(\.[a-z][a-z0-9-]{0,31}){1,3}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;

type IdOf = { tenant: TenantId; task: TaskId; 'agent-kind': AgentKind; 'agent-id': AgentId; principal: PrincipalId };

/** Refuses with `AIOS_INPUT_INVALID` whatever is not 1 to 64 of `A-Z a-z 0-9 _ -`. */
export function parseId<K extends keyof IdOf>(kind: K, value: unknown): IdOf[K] {
  if (typeof value === 'string' && ID.test(value)) return value as IdOf[K];
  throw fail('AIOS_INPUT_INVALID', `${kind} must be 1 to 64 characters of A-Z a-z 0-9 _ -`);
}

/** Capability names are dotted and lower case, such as `support.answer`. */
export function parseCapabilityId(value: unknown): CapabilityId {
  if (typeof value === 'string' && value.length <= 64 && CAPABILITY.test(value)) return value as CapabilityId;
  throw fail('AIOS_INPUT_INVALID', 'a capability is named domain.verb in lower case, such as support.answer');
}

export function parseDigest(value: unknown): Digest {
  if (typeof value === 'string' && DIGEST.test(value)) return value as Digest;
  throw fail('AIOS_INPUT_INVALID', 'a digest is sha256: followed by 64 hex digits');
}

export const isId = (value: unknown): value is string => typeof value === 'string' && ID.test(value);

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

/** A short readable id (Crockford base 32, no i l o u): `prefix-xxxxxxxxxx`, 50 random bits for ten characters. */
export function readableId(prefix: string, randomBytes: Uint8Array): string {
  let text = '';
  for (const byte of randomBytes) text += ALPHABET[byte & 31];
  return `${prefix}-${text}`;
}
