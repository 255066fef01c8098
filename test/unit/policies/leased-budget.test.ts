// A box with a leased slice: the same rules without the root, and what it reports when it is back.
// Owns: tests of agents/budget/leased.

import { describe, expect, test } from 'vitest';
import { createLeasedBudgets } from '../../../agents/budget/leased.ts';
import type { BudgetState } from '../../../policies/budget.ts';

const NOW = 1_763_850_000_000;
const DAY = 86_400_000;
const lease = { tenant: 'acme', lease: 'l-1', microUsd: 1_000, expiresAt: NOW + DAY };
const ask = (attempt: string, microUsd: number, tenant = 'acme') => ({ tenant, task: attempt, attempt, capability: 'a.b', microUsd, expiresAt: NOW + 1_000 });

function box(over: { readonly failing?: () => boolean } = {}) {
  let now = NOW;
  let kept: BudgetState | undefined;
  const store = { load: async () => kept, save: async (state: BudgetState) => { if (over.failing?.() === true) throw new Error('disk'); kept = state; } };
  const open = () => createLeasedBudgets({ lease, store, clock: { now: () => now } });
  return { open, advance: (ms: number) => { now += ms; } };
}

describe('leased budgets', () => {
  test('many askers at once - never get more than the slice, and the report is what was settled and what may have been spent', async () => {
    const budgets = box().open();
    const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => budgets.reserve([ask(`a${i}`, 100)])));
    expect(answers.flat().filter(({ granted }) => granted)).toHaveLength(10);
    await budgets.settle([{ tenant: 'acme', reservation: 'a0', spentMicroUsd: 40 }]);
    expect(await budgets.spent()).toEqual({ lease: 'l-1', spentMicroUsd: 40 + 900 });
  });
  test('a restart - goes on from what was saved; the same attempt reserves once', async () => {
    const { open } = box();
    await open().reserve([ask('a', 600)]);
    const again = open();
    expect((await again.reserve([ask('a', 600), ask('b', 600)])).map(({ granted }) => granted)).toEqual([true, false]);
  });
  test('time - a reservation is not forgotten on the box, a new month does not fill the slice again, and after the lease nothing is granted', async () => {
    const { open, advance } = box();
    const budgets = open();
    await budgets.reserve([ask('a', 900)]);
    advance(DAY / 2);
    expect((await open().reserve([ask('b', 200)]))[0]).toMatchObject({ granted: false, by: 'tenant' });
    advance(DAY / 2 - 60_000);
    expect((await budgets.reserve([ask('c', 1)]))[0]).toMatchObject({ granted: false, by: 'expired' });
  });
  test('a disk that fails - grants nothing and changes nothing', async () => {
    let failing = true;
    const budgets = box({ failing: () => failing }).open();
    await expect(budgets.reserve([ask('a', 900)])).rejects.toThrow('disk');
    failing = false;
    expect((await budgets.reserve([ask('b', 1_000)]))[0]).toMatchObject({ granted: true });
    await expect(budgets.reserve([ask('x', 1, 'other')])).rejects.toMatchObject({ code: 'AIOS_TENANT_MISMATCH' });
  });
});
