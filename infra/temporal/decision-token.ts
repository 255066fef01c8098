// Proof of who decides: a signature over approval, action, person and every word of the decision, by the person's own key, or
// by the brain's border, which authenticated them.
// Owns: the bytes that are signed. Never proves that the person may decide: that is the approval's reducer.
// Others may assume: a token of one approval, action, person or wording does not verify for another, and a person's key proves
// that person only; single use is the approval's.

import { canonicalBytes } from '../../contracts/canonical.ts';
import type { SignatureVerifier, Signer } from '../../contracts/ports.ts';
import type { DecisionClaim } from '../../policies/approval-effect.ts';

export type { DecisionClaim } from '../../policies/approval-effect.ts';

const bytesOf = ({ tenant, task, approval, action, by, decision, said }: DecisionClaim): Uint8Array => canonicalBytes({ use: 'aios-decision/2', tenant, task, approval, action, by, decision, said });

export const createDecisionSigner = (signer: Signer) => (claim: DecisionClaim): string => `${signer.kid}.${signer.sign(bytesOf(claim))}`;

/** `people` verifies keys of approvers: only under the person a key belongs to. */
export function createDecisionVerifier(brain: SignatureVerifier, people?: (person: string) => SignatureVerifier): (claim: DecisionClaim, token: string) => boolean {
  return (claim, token) => {
    const dot = token.lastIndexOf('.');
    if (dot <= 0) return false;
    const [kid, signature, bytes] = [token.slice(0, dot), token.slice(dot + 1), bytesOf(claim)];
    return brain.verify(kid, bytes, signature) || (people?.(claim.by).verify(kid, bytes, signature) ?? false);
  };
}
