// Proof that the brain's border authenticated who decides: a signature over tenant, task, person and decision.
// Owns: the bytes that are signed. Never proves that the person may decide: that is the approval's reducer.
// Others may assume: a token of one task, person or decision does not verify for another; single use is the approval's.

import { canonicalBytes } from '../../contracts/canonical.ts';
import type { SignatureVerifier, Signer } from '../../contracts/ports.ts';

export interface DecisionClaim {
  readonly tenant: string;
  readonly task: string;
  readonly by: string;
  readonly decision: string;
}

const bytesOf = ({ tenant, task, by, decision }: DecisionClaim): Uint8Array => canonicalBytes({ use: 'aios-decision', tenant, task, by, decision });

export const createDecisionSigner = (signer: Signer) => (claim: DecisionClaim): string => `${signer.kid}.${signer.sign(bytesOf(claim))}`;

export function createDecisionVerifier(verifier: SignatureVerifier): (claim: DecisionClaim, token: string) => boolean {
  return (claim, token) => {
    const dot = token.lastIndexOf('.');
    return dot > 0 && verifier.verify(token.slice(0, dot), bytesOf(claim), token.slice(dot + 1));
  };
}
