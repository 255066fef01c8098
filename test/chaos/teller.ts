// The agent that the chaos run torments: accounts that count deposits and write each into an outside ledger.
// Owns: two capabilities and the handler. Never dedups by itself: that each deposit counts once is the runtime's promise.
// Others may assume: `count` in the state is the number of deposits that took effect on the account.

import { z } from 'zod';
import { defineAgent } from '../../agents/define.ts';
import { defineCapability } from '../../contracts/capability.ts';

export const deposit = defineCapability('chaos.deposit', {
  input: z.strictObject({ id: z.string().max(64), amount: z.number().int() }),
  output: z.strictObject({ count: z.number().int(), total: z.number().int() }),
  dataClass: 'public',
});
export const balance = defineCapability('chaos.balance', {
  input: z.strictObject({}),
  output: z.strictObject({ count: z.number().int(), total: z.number().int() }),
  dataClass: 'public',
});

export interface Outside {
  /** Writes one deposit into the outside ledger, under a key it can dedup by. */
  write(dedupKey: string, id: string): void;
  pause(): Promise<void>;
  passed(step: string): void;
}

export const createTeller = (outside: Outside) => defineAgent('teller', { state: z.strictObject({ count: z.number().int(), total: z.number().int() }), initial: () => ({ count: 0, total: 0 }) })
  .handle(deposit, async ({ id, amount }, ctx) => {
    outside.passed('in-handler');
    await outside.pause();
    await ctx.effect(id, async (dedupKey) => {
      outside.passed('before-effect');
      outside.write(dedupKey, id);
      outside.passed('after-effect');
      return true;
    });
    ctx.state.count += 1;
    ctx.state.total += amount;
    return { count: ctx.state.count, total: ctx.state.total };
  })
  .handle(balance, (_input, ctx) => ({ count: ctx.state.count, total: ctx.state.total }));
