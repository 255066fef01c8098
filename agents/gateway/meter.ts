// What each mandate has used in this process: calls counted, micro-USD held for calls in flight and spent.
// Owns: the account of every block of a mandate's chain. Never prices anything and never talks to the budget's root:
// the brain reserved the slice, this keeps calls inside it. Counts are of one gateway; the settlement is the sum of all.
// Others may assume: a hold that is refused changes nothing, and a hold is ended once whatever happens.

import { fail } from '../../contracts/errors.ts';
import type { VerifiedMandate } from '../../contracts/mandate.ts';
import type { Clock } from '../../contracts/ports.ts';

const ACCOUNTS_MAX = 50_000;

export interface Hold {
  /** What was really spent; 0 when the call failed before it cost anything. */
  settle(spentMicroUsd: number): void;
}
export interface Meter {
  /** Counts the call. @throws AIOS_MANDATE_EXCEEDED when the calls are used up */
  countCall(mandate: VerifiedMandate): void;
  /** @throws AIOS_BUDGET_EXCEEDED when the slice does not cover what is asked for */
  hold(mandate: VerifiedMandate, worstMicroUsd: number): Hold;
  spentMicroUsd(mandate: VerifiedMandate): number;
}

interface Account {
  calls: number;
  spent: number;
  held: number;
  readonly expiresAt: number;
}

export function createMeter(clock: Pick<Clock, 'now'>): Meter {
  const accounts = new Map<string, Account>();
  const of = (mandate: VerifiedMandate) => mandate.blockIds.map((id) => account(accounts, id, mandate.grant.expiresAt, clock.now()));
  return {
    countCall(mandate) {
      const chain = of(mandate);
      limits(mandate, chain, ({ callsMax }, used) => {
        if (used.calls >= callsMax) throw fail('AIOS_MANDATE_EXCEEDED', `all ${callsMax} calls are used.`);
      });
      for (const one of chain) one.calls++;
    },
    hold(mandate, worst) {
      const chain = of(mandate);
      limits(mandate, chain, ({ budgetMicroUsd }, used) => {
        if (used.spent + used.held + worst > budgetMicroUsd) throw fail('AIOS_BUDGET_EXCEEDED', `${budgetMicroUsd} micro-USD granted, ${used.spent + used.held} used or held.`);
      });
      for (const one of chain) one.held += worst;
      let ended = false;
      return {
        settle(spent) {
          if (ended) return;
          ended = true;
          for (const one of chain) {
            one.held -= worst;
            one.spent += spent;
          }
        },
      };
    },
    spentMicroUsd: (mandate) => of(mandate).at(-1)?.spent ?? 0,
  };
}

/** The meet binds the last block's account; the root's own limits bind all that hangs below it. */
function limits(mandate: VerifiedMandate, chain: readonly Account[], check: (grant: VerifiedMandate['grant'], used: Account) => void): void {
  const last = chain.at(-1);
  const first = chain[0];
  if (last !== undefined) check(mandate.grant, last);
  if (first !== undefined && first !== last && mandate.root !== undefined) check(mandate.root, first);
}

function account(accounts: Map<string, Account>, id: string, expiresAt: number, now: number): Account {
  const known = accounts.get(id);
  if (known !== undefined) return known;
  if (accounts.size >= ACCOUNTS_MAX) evict(accounts, now);
  const fresh: Account = { calls: 0, spent: 0, held: 0, expiresAt };
  accounts.set(id, fresh);
  return fresh;
}

/** Expired accounts go; when none is expired the table is full of live ones and new work is refused rather than uncounted. */
function evict(accounts: Map<string, Account>, now: number): void {
  for (const [id, one] of accounts) if (one.expiresAt <= now && one.held === 0) accounts.delete(id);
  if (accounts.size >= ACCOUNTS_MAX) throw fail('AIOS_OVERLOADED', 'too many tasks are metered at once.', { retryAfterMs: 1_000 });
}
