// Budgets of a box that is out of reach: the same rules over a slice that it leased before it left.
// Owns: the box's own small budget, kept by whoever gives it a store. Never reaches the root: the lease was reserved there.
// Others may assume: nothing is granted past the slice or after the lease ends, an answer comes after the state was saved,
// and `spent` is what the box reports on return; a lease that is not reported stays charged in full at the root.

import { fail } from '../../contracts/errors.ts';
import type { Budgets, Clock, ReserveRequest } from '../../contracts/ports.ts';
import { type BudgetState, beginStep, emptyBudget, viewOf, type BudgetStep } from '../../policies/budget.ts';

export interface Lease { readonly tenant: string; readonly lease: string; readonly microUsd: number; readonly expiresAt: number }
export interface LeasedStore {
  load(): Promise<BudgetState | undefined>;
  /** Resolves when it would survive a power cut. */
  save(state: BudgetState): Promise<void>;
}
export interface LeasedBudgets extends Budgets {
  /** To report with `aios budget return`: what was settled, and all that is still reserved, since it may have been spent. */
  spent(): Promise<{ readonly lease: string; readonly spentMicroUsd: number }>;
}

/** The box's clock may be this much behind the root's. */
const SKEW_MS = 60_000;

export function createLeasedBudgets({ lease, store, clock }: { readonly lease: Lease; readonly store: LeasedStore; readonly clock: Pick<Clock, 'now'> }): LeasedBudgets {
  let known: BudgetState | undefined;
  let last: Promise<unknown> = Promise.resolve();
  const endsAt = lease.expiresAt - SKEW_MS;
  // A period starts once here and never again, or a month that turns would fill the slice a second time.
  const opened = Math.min(clock.now(), endsAt - 1);
  const current = async (): Promise<BudgetState> => (known ??= (await store.load()) ?? emptyBudget(lease.microUsd));

  /** One change after the other; a save that fails leaves the state as it was. */
  function step<T>(work: (step: BudgetStep) => T): Promise<T> {
    const next = last.then(async () => {
      const begun = beginStep(await current(), opened);
      const answer = work(begun);
      const after = begun.end();
      await store.save(after);
      known = after;
      return answer;
    });
    last = next.catch(() => undefined);
    return next;
  }

  return {
    reserve(requests) {
      if (clock.now() >= endsAt) return Promise.resolve(requests.map(() => ({ granted: false, leftMicroUsd: 0, by: 'expired' }) as const));
      return step((begun) => requests.map((request) => begun.reserve(mine(lease, request))));
    },
    settle: (requests) => step((begun) => { for (const request of requests) begun.settle(request); }),
    view: async () => viewOf(lease.tenant, await current()),
    async spent() {
      const { spentMicroUsd, reservedMicroUsd } = viewOf(lease.tenant, await current());
      return { lease: lease.lease, spentMicroUsd: spentMicroUsd + reservedMicroUsd };
    },
  };
}

/** Nothing expires on the box: what was reserved and never settled may have been spent. @throws AIOS_TENANT_MISMATCH */
function mine({ tenant }: Lease, request: ReserveRequest): ReserveRequest {
  if (request.tenant !== tenant) throw fail('AIOS_TENANT_MISMATCH');
  return { ...request, expiresAt: Number.MAX_SAFE_INTEGER };
}
