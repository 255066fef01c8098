// The workload of a simulation: agents whose state tells exactly what happened to them.
// Owns: three agent kinds (a counter, a listener it tells, a helper it delegates to) and how often they fail.
// Never looks at the network. Others may assume: an id in a state list is one effect; a message with `poison` faults every time.

import { z } from 'zod';
import { defineAgent, defineEvent } from '../../agents/define.ts';
import { partitionOf } from '../../contracts/address.ts';
import type { AnyAgent } from '../../contracts/agent.ts';
import { defineCapability } from '../../contracts/capability.ts';
import { fail } from '../../contracts/errors.ts';
import type { SeededRandom } from '../kit/index.ts';

const job = z.strictObject({ n: z.number(), counter: z.string(), poison: z.boolean(), tells: z.boolean(), publishes: z.boolean(), helps: z.boolean(), timer: z.boolean(), workMs: z.number() });
export type Job = z.infer<typeof job>;

const seen = z.strictObject({ seen: z.array(z.string()) });
const nothing = (): z.infer<typeof seen> => ({ seen: [] });

export const addJob = defineCapability('sim.add', { input: job, output: z.strictObject({ count: z.number() }), actorKey: ({ counter }) => counter, uses: ['sim.help'] });
export const helpJob = defineCapability('sim.help', { input: z.strictObject({ n: z.number(), counter: z.string() }), output: z.strictObject({ ok: z.boolean() }), actorKey: ({ counter }) => counter });
const added = defineEvent('sim.added', z.strictObject({ n: z.number() }), { published: false });
const noted = defineEvent('sim.noted', z.strictObject({ n: z.number(), counter: z.string() }));
const rang = defineEvent('sim.rang', z.strictObject({ n: z.number() }), { published: false });

export const COUNTERS = ['c0', 'c1'] as const;
export const PARTITIONS_USED: readonly number[] = [...new Set(COUNTERS.flatMap((id) => ['counter', 'listener', 'helper'].map((kind) => partitionOf(kind, id))))];

/** `random` decides when a handler fails for reasons outside itself; `sleep` runs on the clock of whoever runs the handler. */
export function agentsOf(random: SeededRandom, sleep: (ms: number) => Promise<void>, unrest: () => number): readonly AnyAgent[] {
  async function trouble(workMs: number): Promise<void> {
    if (workMs > 0) await sleep(workMs);
    const luck = random.next();
    if (luck < unrest()) throw fail('AIOS_UNAVAILABLE');
    if (luck < unrest() * 1.3) throw new RangeError('bad luck');
  }
  const counter = defineAgent('counter', { state: seen, initial: nothing, supervise: { restartsMax: 1_000, faultsMax: 5 } })
    .handle(addJob, async (input, ctx) => {
      await trouble(input.workMs);
      if (input.poison) throw new TypeError('poison');
      if (input.helps) await ctx.delegate(helpJob, { n: input.n, counter: input.counter }, { timeoutMs: 4_000 });
      ctx.state.seen.push(`add-${input.n}`);
      if (input.tells) ctx.tell({ kind: 'listener', id: input.counter }, added, { n: input.n });
      if (input.publishes) ctx.publish(noted, { n: input.n, counter: input.counter });
      if (input.timer) ctx.timer(`ring-${input.n}`, 1_000, rang, { n: input.n });
      return { count: ctx.state.seen.length };
    })
    .on(rang, ({ n }, ctx) => void ctx.state.seen.push(`rang-${n}`));
  const listener = defineAgent('listener', { state: seen, initial: nothing, supervise: { restartsMax: 1_000, faultsMax: 5 } }).on(added, async ({ n }, ctx) => {
    await trouble(0);
    ctx.state.seen.push(`told-${n}`);
  }).on(noted, async ({ n }, ctx) => {
    await trouble(0);
    ctx.state.seen.push(`noted-${n}`);
  }, { actorKey: ({ counter: id }) => id });
  const helper = defineAgent('helper', { state: seen, initial: nothing, supervise: { restartsMax: 1_000, faultsMax: 5 } }).handle(helpJob, async ({ n }, ctx) => {
    await trouble(0);
    ctx.state.seen.push(`helped-${n}`);
    return { ok: true };
  });
  return [counter, listener, helper];
}
