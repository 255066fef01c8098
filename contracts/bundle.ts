// Policy bundles: the signed, versioned set of everything a decision depends on besides its facts.
// Owns: the shape of a bundle, of the slice one capability needs, and of the price table.
// Never holds a key or code. Others may assume: a bundle in hand was verified; its digest names it for ever.

import type { TenantTerms } from './budget.ts';
import type { CapabilityTraits, DataClass } from './capability.ts';
import type { Digest } from './ids.ts';

/** Cedar's JSON policy form (EST) plus the annotations we read; produced by cedar-wasm at publish time. */
export interface CedarPolicyJson {
  readonly effect: 'permit' | 'forbid';
  readonly principal: unknown;
  readonly action: unknown;
  readonly resource: unknown;
  readonly conditions: readonly { readonly kind: 'when' | 'unless'; readonly body: unknown }[];
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Micro-USD per million units; an absent price refuses, it is never zero. */
export interface Price {
  readonly inputPerMillion: number;
  readonly cacheReadPerMillion: number;
  readonly cacheWritePerMillion: number;
  readonly outputPerMillion: number;
  readonly reasoningPerMillion: number;
  readonly devicePerSecond: number;
}

/** Where a provider runs and what it may see. */
export interface ProviderTraits {
  readonly inside: boolean;
  readonly region: string;
  readonly dataClassMax: DataClass;
}

export interface PolicyBundle {
  readonly v: 1;
  readonly version: number;
  readonly createdAt: number;
  /** In force from here (ms since 1970). */
  readonly notBefore: number;
  /** Stale after this: only `offline` grants hold. */
  readonly notAfter: number;
  readonly policies: Readonly<Record<string, CedarPolicyJson>>;
  /** Cedar text as people wrote it, by file name, so that a bundle explains itself. */
  readonly sources: Readonly<Record<string, string>>;
  readonly schema: string;
  readonly capabilities: Readonly<Record<string, CapabilityTraits>>;
  readonly prices: Readonly<Record<string, Price>>;
  readonly providers: Readonly<Record<string, ProviderTraits>>;
  /** Groups that approvals name, with their members' principal ids. */
  readonly groups: Readonly<Record<string, readonly string[]>>;
  /** Caps per tenant and period (a month unless `limits` says otherwise), micro-USD; `*` for tenants not named. */
  readonly budgets: Readonly<Record<string, number>>;
  /** Caps below a tenant's, and how many tasks of a capability it may start; `*` for tenants not named. */
  readonly limits?: Readonly<Record<string, TenantTerms>>;
}

export interface SignedBundle {
  readonly digest: Digest;
  /** Canonical JSON of the bundle; the digest and the signature are over these bytes. */
  readonly bytes: string;
  readonly kid: string;
  /** Ed25519, base64url. */
  readonly signature: string;
}

/** What the workflow records: the part that concerns one capability, at most 8 KiB of canonical JSON. */
export interface PolicySlice {
  readonly bundle: Digest;
  readonly version: number;
  readonly capability: CapabilityTraits;
  readonly policies: Readonly<Record<string, CedarPolicyJson>>;
  readonly groups: Readonly<Record<string, readonly string[]>>;
}
export const SLICE_BYTES_MAX = 8_192;
