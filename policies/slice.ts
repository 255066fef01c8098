// The part of a bundle that concerns one capability: what a workflow records and every point of decision evaluates.
// Owns: which policies and groups belong to a slice, and the bound on its size. Pure; never evaluates anything.
// Others may assume: a policy is left out only when its resource is another capability by name, so a slice decides
// exactly as the whole bundle would.

import type { CedarPolicyJson, PolicyBundle, PolicySlice } from '../contracts/bundle.ts';
import { SLICE_BYTES_MAX } from '../contracts/bundle.ts';
import { canonicalBytes } from '../contracts/canonical.ts';
import { fail } from '../contracts/errors.ts';
import type { Digest } from '../contracts/ids.ts';
import { compactPolicy } from './cedar/compact.ts';
import { OPERATORS } from './ladder.ts';

/** @throws AIOS_CAPABILITY_UNKNOWN when the bundle has no traits for it, AIOS_POLICY_INVALID when the slice is too large to record */
export function sliceOf(bundle: PolicyBundle, digest: Digest, capability: string): PolicySlice {
  const traits = Object.hasOwn(bundle.capabilities, capability) ? bundle.capabilities[capability] : undefined;
  if (traits === undefined) throw fail('AIOS_CAPABILITY_UNKNOWN', `The bundle in force does not name ${capability}.`);
  const policies = Object.fromEntries(Object.entries(bundle.policies).filter(([, policy]) => concerns(policy, capability)).map(([id, policy]) => [id, compactPolicy(policy)]));
  const slice: PolicySlice = { bundle: digest, version: bundle.version, capability: traits, policies, groups: groupsOf(bundle, policies) };
  const size = canonicalBytes(slice).byteLength;
  if (size > SLICE_BYTES_MAX) throw fail('AIOS_POLICY_INVALID', `The policies of ${capability} take ${size} bytes, at most ${SLICE_BYTES_MAX}.`);
  return slice;
}

/** Only a resource fixed with `==` to another capability rules a policy out. */
function concerns(policy: CedarPolicyJson, capability: string): boolean {
  const resource = policy.resource as { readonly op?: string; readonly entity?: EntityJson } | undefined;
  if (resource?.op !== '==' || resource.entity === undefined) return true;
  const { type, id } = '__entity' in resource.entity ? resource.entity.__entity : resource.entity;
  return type !== 'Capability' || id === capability;
}
type EntityUid = { readonly type: string; readonly id: string };
type EntityJson = EntityUid | { readonly __entity: EntityUid };

/** Groups that an annotation names, and the one that is asked when a ladder ends. */
function groupsOf(bundle: PolicyBundle, policies: PolicySlice['policies']): PolicySlice['groups'] {
  const named = new Set([OPERATORS]);
  for (const policy of Object.values(policies)) {
    for (const note of Object.values(policy.annotations ?? {})) for (const word of note.split(/[^A-Za-z0-9_-]+/)) named.add(word);
  }
  return Object.fromEntries(Object.entries(bundle.groups).filter(([group]) => named.has(group)));
}
