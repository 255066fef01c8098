// Proofs of possession that were used: each is good for one call, so that a copied request is refused.
// Owns: remembering them for as long as they could be shown again. Never checks a signature.
// Others may assume: memory is bounded by PROOFS_MAX a window, past it calls are refused rather than believed twice;
// a proof copied to another gateway of the group is bounded by its age alone and asks for nothing but the same answer.

import { fail } from '../../contracts/errors.ts';
import type { Clock } from '../../contracts/ports.ts';
import { PRESENTED_MS_MAX, SKEW_MS_DEFAULT } from '../../policies/mandate.ts';

const PROOFS_MAX = 100_000;
/** A proof is 86 characters of a signature; nobody can make another text of the same one. */
const PROOF_CHARS = 86;
const WINDOW_MS = PRESENTED_MS_MAX + SKEW_MS_DEFAULT;

export interface Proofs {
  /** @throws AIOS_MANDATE_INVALID for one that was used, AIOS_OVERLOADED when too many are remembered */
  use(token: string): void;
}

export function createProofs(clock: Pick<Clock, 'monotonic'>): Proofs {
  let current = new Set<string>();
  let before = new Set<string>();
  let since = clock.monotonic();
  return {
    use(token) {
      const now = clock.monotonic();
      if (now - since >= WINDOW_MS) {
        before = now - since >= 2 * WINDOW_MS ? new Set() : current;
        current = new Set();
        since = now;
      }
      const proof = token.slice(-PROOF_CHARS);
      if (current.has(proof) || before.has(proof)) throw fail('AIOS_MANDATE_INVALID', 'The proof was used for an earlier call.');
      if (current.size >= PROOFS_MAX) throw fail('AIOS_OVERLOADED', 'More calls than can be told apart.', { retryAfterMs: 1_000 });
      current.add(proof);
    },
  };
}
