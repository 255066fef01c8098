// Teams over the real runtime: handoff, parallel map with quorum, vote, debate, and the caps of the mandate around them.
// Owns: behaviour tests of agents/teams. Others may assume: members are ephemeral agents on the in-memory bus.

import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineAgent } from '../../agents/define.ts';
import { createAgentHost } from '../../agents/runtime/host.ts';
import { debate, handoff, parallel, vote } from '../../agents/teams/index.ts';
import type { AnyAgent } from '../../contracts/agent.ts';
import { type Capability, defineCapability } from '../../contracts/capability.ts';
import { fail } from '../../contracts/errors.ts';
import type { Grant } from '../../contracts/mandate.ts';
import type { Outcome } from '../../contracts/message.ts';
import { createKit } from '../kit/index.ts';

const number = z.strictObject({ n: z.number() });
const lead = defineCapability('team.lead', { input: z.strictObject({}), output: z.unknown() });
const square = defineCapability('team.square', { input: number, output: number, delivery: 'ephemeral' });
const squarer = defineAgent('squarer').handle(square, async ({ n }) => {
  if (n < 0) throw fail('AIOS_POLICY_DENIED', 'no negatives.');
  if (n > 99) await new Promise((resolve) => setTimeout(resolve, 500));
  return { n: n * n };
});

async function lookAt(leader: Parameters<ReturnType<typeof defineAgent>['handle']>[1], agents: readonly AnyAgent[] = [], grant: Partial<Grant> = {}): Promise<Outcome | undefined> {
  const kit = createKit();
  await using host = createAgentHost(kit, { agents: [squarer, ...agents, defineAgent('leader').handle(lead as Capability<unknown, unknown>, leader)], name: 'a', partitions: '*' });
  await host.start();
  return await kit.dispatch('leader', kit.envelope(lead, {}, { grant }), 5_000);
}
const outputOf = (outcome: Outcome | undefined): unknown => (outcome?.status === 'done' ? outcome.output : outcome?.status === 'failed' ? outcome.error.code : undefined);
const notesOf = (outcome: Outcome | undefined): readonly string[] => outcome?.receipts.flatMap((receipt) => (receipt.kind === 'turn' && receipt.agent === 'leader' ? receipt.local : [])) ?? [];

describe('teams', () => {
  it('handoff - the other agent\'s answer is the answer, and the decision is noted', async () => {
    const outcome = await lookAt((_, ctx) => handoff(ctx, square, { n: 3 }));
    expect(outputOf(outcome)).toEqual({ n: 9 });
    expect(notesOf(outcome)).toEqual(['handoff:team.square']);
  });

  it('parallel - gathers in the order of the inputs and stops waiting at the quorum', async () => {
    const outcome = await lookAt(async (_, ctx) => {
      const { outputs, answered } = await parallel(ctx, square, [{ n: 1 }, { n: 100 }, { n: 3 }], { quorum: 2 });
      return { outputs: outputs.map((output) => output?.n ?? null), answered };
    });
    expect(outputOf(outcome)).toEqual({ outputs: [1, null, 9], answered: 2 });
    // The straggler takes half a second and is not waited for.
    expect(outcome?.receipts[0]).toMatchObject({ kind: 'turn', agent: 'leader' });
    expect((outcome?.receipts[0] as { ms: number } | undefined)?.ms).toBeLessThan(450);
  });

  it('parallel - a quorum out of reach fails with the refusal, a reachable one survives it', async () => {
    expect(outputOf(await lookAt((_, ctx) => parallel(ctx, square, [{ n: -1 }, { n: 2 }])))).toBe('AIOS_POLICY_DENIED');
    expect(outputOf(await lookAt(async (_, ctx) => (await parallel(ctx, square, [{ n: -1 }, { n: 2 }], { quorum: 1 })).answered))).toBe(1);
  });

  it('parallel - the mandate caps depth and calls', async () => {
    expect(outputOf(await lookAt((_, ctx) => parallel(ctx, square, [{ n: 1 }]), [], { depthMax: 0 }))).toBe('AIOS_MANDATE_EXCEEDED');
    expect(outputOf(await lookAt((_, ctx) => parallel(ctx, square, [{ n: 1 }, { n: 2 }, { n: 3 }], { concurrencyMax: 1 }), [], { callsMax: 2 }))).toBe('AIOS_MANDATE_EXCEEDED');
  });

  it('vote - the majority wins, failures abstain, no majority is undecided', async () => {
    const voter = (name: string, answer: string | undefined): readonly [Capability<{ n: number }, { say: string }>, AnyAgent] => {
      const capability = defineCapability(`vote.${name}`, { input: number, output: z.strictObject({ say: z.string() }), delivery: 'ephemeral' });
      return [capability, defineAgent(`voter-${name}`).handle(capability, () => {
        if (answer === undefined) throw fail('AIOS_MODEL_UNAVAILABLE');
        return { say: answer };
      })];
    };
    const voters = [voter('a', 'yes'), voter('b', 'no'), voter('c', 'yes'), voter('d', undefined)] as const;
    const agents = voters.map(([, agent]) => agent);
    const ask = (capabilities: readonly Capability<{ n: number }, { say: string }>[], majority?: number) => lookAt((_, ctx) => vote(ctx, capabilities, { n: 1 }, { ballot: ({ say }) => say, ...(majority === undefined ? {} : { majority }) }), agents);
    const all = voters.map(([capability]) => capability);
    expect(outputOf(await ask(all.slice(0, 3)))).toEqual({ winner: { say: 'yes' }, votes: { yes: 2, no: 1 }, abstained: 0 });
    const undecided = await ask(all);
    expect(outputOf(undecided)).toEqual({ votes: { yes: 2, no: 1 }, abstained: 1 });
    expect(notesOf(undecided)).toEqual(['vote:undecided']);
  });

  it('debate - goes on until the critic accepts, never past its rounds', async () => {
    const propose = defineCapability('debate.propose', { input: z.strictObject({ question: z.string(), objections: z.array(z.strictObject({ less: z.boolean() })) }), output: number, delivery: 'ephemeral' });
    const criticise = defineCapability('debate.criticise', { input: z.strictObject({ question: z.string(), proposal: number }), output: z.strictObject({ less: z.boolean() }), delivery: 'ephemeral' });
    const proposer = defineAgent('proposer').handle(propose, ({ objections }) => ({ n: 3 - objections.length }));
    const critic = defineAgent('critic').handle(criticise, ({ proposal }) => ({ less: proposal.n > 1 }));
    const run = (roundsMax: number) => lookAt((_, ctx) => debate(ctx, 'how many?', { proposer: propose as never, critic: criticise as never, accepts: ({ less }: { less: boolean }) => !less, roundsMax }), [proposer, critic]);
    expect(outputOf(await run(5))).toEqual({ proposal: { n: 1 }, accepted: true, rounds: 3 });
    expect(outputOf(await run(2))).toEqual({ proposal: { n: 2 }, accepted: false, rounds: 2 });
  });
});
