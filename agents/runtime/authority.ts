// Authority: whether a mandate covers the call that carries it.
// Owns: the check every receiver makes before work (tenant, task, principal, capability, class, depth). Signatures are the Mandates
// port's, the rules of coverage policies/mandate's. Never widens and never repairs.
// Others may assume: what passes here is covered by every block of the mandate's chain.

import { canonicalJson, digestOfText } from '../../contracts/canonical.ts';
import type { CapabilityTraits } from '../../contracts/capability.ts';
import { fail } from '../../contracts/errors.ts';
import type { Digest } from '../../contracts/ids.ts';
import type { VerifiedMandate } from '../../contracts/mandate.ts';
import type { Envelope } from '../../contracts/message.ts';
import type { Mandates } from '../../contracts/ports.ts';
import type { Principal } from '../../contracts/verdict.ts';
import { isPresented, matches, presentedCall, requireCover } from '../../policies/mandate.ts';

/** `*` grants every name, `support.*` every name below. */
export const grantsName: (granted: readonly string[], name: string) => boolean = matches;

/** `presented`: only with a proof for this very call. Traits absent: an event, which needs a valid mandate of this tenant and task but no capability. @throws AIOS_MANDATE_INVALID, AIOS_TENANT_MISMATCH, AIOS_MANDATE_EXCEEDED */
export function authorise(mandates: Mandates, envelope: Envelope, traits: CapabilityTraits | undefined, shown: 'either' | 'presented' = 'either'): VerifiedMandate {
  const mandate = shown === 'presented' || isPresented(envelope.mandate) ? mandates.verifyPresented(envelope.mandate, presentedCall(envelope)) : mandates.verify(envelope.mandate);
  const { grant } = mandate;
  if (envelope.principal.tenant !== envelope.tenant) throw fail('AIOS_TENANT_MISMATCH');
  if (envelope.depth > grant.depthMax) throw fail('AIOS_MANDATE_EXCEEDED', `depth ${envelope.depth}, at most ${grant.depthMax}.`);
  requireCover(grant, {
    tenant: envelope.tenant,
    task: envelope.task,
    ...(traits === undefined ? {} : { capability: traits.id, dataClass: traits.dataClass }),
    ...(grant.principal === undefined ? {} : { principal: principalDigest(envelope.principal) }),
  });
  return mandate;
}

/** Principals are few and asked about with every message; a digest costs more than all other checks together. */
const PRINCIPALS_MAX = 1_000;
const principals = new Map<string, Digest>();

function principalDigest(principal: Principal): Digest {
  const text = canonicalJson(principal);
  const known = principals.get(text);
  if (known !== undefined) return known;
  if (principals.size >= PRINCIPALS_MAX) principals.clear();
  const digest = digestOfText(text);
  principals.set(text, digest);
  return digest;
}
