// Authority: whether a mandate covers the call that carries it.
// Owns: the check every receiver makes before work (tenant, task, capability, class, depth). Signatures are the Mandates port's.
// Never widens and never repairs. Others may assume: what passes here is covered by every block of the mandate's chain.

import type { CapabilityTraits } from '../../contracts/capability.ts';
import { covers } from '../../contracts/capability.ts';
import { fail } from '../../contracts/errors.ts';
import type { Grant, VerifiedMandate } from '../../contracts/mandate.ts';
import type { Envelope } from '../../contracts/message.ts';
import type { Mandates } from '../../contracts/ports.ts';

/** `*` grants every name, `support.*` every name below. */
export function grantsName(granted: readonly string[], name: string): boolean {
  return granted.some((entry) => entry === name || entry === '*' || (entry.endsWith('.*') && name.startsWith(entry.slice(0, -1))));
}

/** Traits absent: an event, which needs a valid mandate of this tenant and task but no capability. @throws AIOS_MANDATE_INVALID, AIOS_TENANT_MISMATCH, AIOS_MANDATE_EXCEEDED */
export function authorise(mandates: Mandates, envelope: Envelope, traits: CapabilityTraits | undefined): VerifiedMandate {
  const mandate = mandates.verify(envelope.mandate);
  checkOrigin(mandate.grant, envelope);
  if (envelope.depth > mandate.grant.depthMax) throw fail('AIOS_MANDATE_EXCEEDED', `depth ${envelope.depth}, at most ${mandate.grant.depthMax}.`);
  if (traits !== undefined) checkCapability(mandate.grant, traits);
  return mandate;
}

function checkOrigin(grant: Grant, envelope: Envelope): void {
  if (grant.tenant !== envelope.tenant || envelope.principal.tenant !== envelope.tenant) throw fail('AIOS_TENANT_MISMATCH');
  if (grant.task !== envelope.task) throw fail('AIOS_MANDATE_INVALID', 'it was minted for another task.');
}

function checkCapability(grant: Grant, traits: CapabilityTraits): void {
  if (!grantsName(grant.capabilities, traits.id)) throw fail('AIOS_MANDATE_EXCEEDED', `${traits.id} is not granted.`);
  if (!covers(grant.dataClass, traits.dataClass)) throw fail('AIOS_MANDATE_EXCEEDED', `${traits.id} handles ${traits.dataClass} data, the mandate covers ${grant.dataClass}.`);
}
