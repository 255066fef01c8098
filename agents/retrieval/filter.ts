// Who may see which chunk: the mandatory filter, compiled from the principal and never taken from a caller.
// Owns: the meaning of the labels `roles` and `owner`, and the digest that receipts name.
// Never reads content. Others may assume: a filter without its tenant cannot be built, and unknown labels grant nothing.

import { digestOf } from '../../contracts/canonical.ts';
import { fail } from '../../contracts/errors.ts';
import type { Digest } from '../../contracts/ids.ts';
import type { Principal } from '../../contracts/verdict.ts';

/** The role that everybody of the tenant has. */
export const EVERYBODY = '*';

export type Labels = Readonly<Record<string, string>>;

/** Plain data, so that an engine can translate it into its own query language. */
export interface AccessFilter {
  readonly tenant: string;
  readonly principal: string;
  /** Sorted, so that equal principals give equal digests. */
  readonly roles: readonly string[];
}

/** @throws AIOS_TENANT_MISMATCH when the principal is of another tenant than the space */
export function compileFilter(tenant: string, principal: Principal): AccessFilter {
  if (principal.tenant !== tenant) throw fail('AIOS_TENANT_MISMATCH');
  return { tenant, principal: principal.id, roles: [...new Set(principal.roles)].sort() };
}

export const filterDigest = (filter: AccessFilter): Digest => digestOf({ v: 1, ...filter });

/** A document without labels is for everybody of its tenant; `roles` lists who else than the `owner` may read it. */
export function admits(filter: AccessFilter, labels: Labels | undefined): boolean {
  const roles = rolesOf(labels);
  const owner = labels?.['owner'];
  if (roles.length === 0 && owner === undefined) return true;
  return owner === filter.principal || roles.some((role) => role === EVERYBODY || filter.roles.includes(role));
}

/** Roles in a label are separated by spaces or commas. */
export const rolesOf = (labels: Labels | undefined): readonly string[] => (labels?.['roles'] ?? '').split(/[\s,]+/).filter((role) => role !== '');
