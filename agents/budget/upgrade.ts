// States of budgets as an earlier version wrote them, brought to the present form.
// Owns: the reading of version 1. Never writes anything: the next append stores the new form.
// Others may assume: no reservation, no spending and no memory of a settled attempt is lost on the way.

import { z } from 'zod';
import { parseValue } from '../../contracts/parse.ts';
import { emptyBudget, NO_TERMS, type BudgetState } from '../../policies/budget.ts';

const accountSchema = z.object({ spentMicroUsd: z.number(), reservedMicroUsd: z.number() });
const firstSchema = z.object({
  spentMicroUsd: z.number(), reservedMicroUsd: z.number(), unfundedMicroUsd: z.number(),
  accounts: z.record(z.string(), accountSchema),
  open: z.record(z.string(), z.object({ microUsd: z.number(), expiresAt: z.number(), accounts: z.array(z.string()) })),
  settled: z.record(z.string(), z.number()),
  expired: z.record(z.string(), z.array(z.string())),
});
/** A letter and base 36 without leading zeros then, eleven digits now. */
const HASH_CHARS = 11;

export function upgraded(value: unknown): BudgetState {
  const first = parseValue(firstSchema, value);
  const { spentMicroUsd, reservedMicroUsd, unfundedMicroUsd } = first;
  const accounts = Object.fromEntries(Object.entries(first.accounts).map(([name, account]) => [name, { ...account, unfundedMicroUsd: 0, from: 0 }]));
  const hashes = Object.keys(first.settled).map((hash) => `,${hash.slice(1).padStart(HASH_CHARS, '0')}`);
  return {
    ...emptyBudget(NO_TERMS), accounts: { tenant: { spentMicroUsd, reservedMicroUsd, unfundedMicroUsd, from: 0 }, ...accounts }, open: first.open, earliest: 0, expired: first.expired,
    settled: hashes.length === 0 ? [] : [{ until: Math.max(...Object.values(first.settled)), hashes: hashes.join(''), count: hashes.length }],
  };
}
