// A team's steps in the governing state machine and in the agent host, put together in memory: the three ways of orchestrating.
// Owns: what comes back and what does not, what a verdict on a step leads to, and that all ways end alike.
// Never starts a server. Others may assume: dispatches go through a real agent host on the in-memory ports.

import { describe, expect, test } from 'vitest';
import { policyToJson } from '@cedar-policy/cedar-wasm/nodejs';
import { z } from 'zod';
import { judge } from '../../../activities/judge.ts';
import { defineAgent } from '../../../agents/define.ts';
import { createAgentHost } from '../../../agents/runtime/host.ts';
import { asked, delegated } from '../../../agents/teams/follow.ts';
import type { CedarPolicyJson, PolicySlice } from '../../../contracts/bundle.ts';
import { digestOf, digestOfText } from '../../../contracts/canonical.ts';
import { type Capability, defineCapability, type Orchestration, ORCHESTRATIONS, traitsOf } from '../../../contracts/capability.ts';
import { fail } from '../../../contracts/errors.ts';
import type { DispatchMember } from '../../../contracts/governed.ts';
import type { ApprovalResult, MemberOutcome, TaskMember } from '../../../contracts/task.ts';
import { arrived, begin, decided, dispatchOf, resumeOf, type Run, type Scene } from '../../../workflows/group.ts';
import { createKit, TEST_TENANT } from '../../kit/index.ts';

const text = z.strictObject({ text: z.string() });
const upper = defineCapability('word.upper', { input: text, output: text, delivery: 'ephemeral' });
const exclaim = defineCapability('word.exclaim', { input: text, output: text, delivery: 'ephemeral' });
const shout = defineCapability('word.shout', { input: text, output: text, facts: () => ({ confidenceBp: 9_000 }), uses: ['word.upper', 'word.exclaim'], ladder: ['model', 'script', 'human'] });

const team = [
  defineAgent('upper').handle(upper, ({ text: given }) => ({ text: given.toUpperCase() })),
  defineAgent('exclaim').handle(exclaim, ({ text: given }) => {
    if (given === 'BREAK') throw fail('AIOS_MODEL_UNAVAILABLE', 'as asked');
    return { text: `${given}!` };
  }),
  defineAgent('shouter').team(shout, {
    steps: { upper: asked(upper), exclaim: delegated(exclaim) },
    plan: ({ text: given }, rung) => (seen) => {
      if (rung === 'script') return { done: { text: `script: ${given}` } };
      if (seen.upper === undefined) return { step: 'upper', input: { text: given } };
      if (seen.exclaim === undefined) return { step: 'exclaim', input: seen.upper, facts: { intent: seen.upper.text.slice(0, 3) } };
      return { done: seen.exclaim, notes: ['shouted'] };
    },
  }),
];

const BASE = '@id("all") permit (principal, action, resource);';
const NAMED = '@id("looks-at-exclaim") @steps("exclaim") forbid (principal, action == Action::"dispatch", resource) when { context has step && context.step == "exclaim" && context.intent == "NO!" };';
const on = (id: string, notes: string): string => `@id("${id}") ${notes} forbid (principal, action == Action::"dispatch", resource) when { context has step && context.step == "exclaim" } unless { context.approved };`;

function sliceOf(way: Orchestration, ...texts: readonly string[]): PolicySlice {
  const policies: Record<string, CedarPolicyJson> = {};
  for (const one of [BASE, NAMED, ...texts]) {
    const read = policyToJson(one);
    if (read.type === 'failure') throw new Error(JSON.stringify(read.errors));
    const json = read.json as unknown as CedarPolicyJson;
    policies[json.annotations?.['id'] ?? ''] = json;
  }
  return { bundle: digestOfText(texts.join()), version: 1, capability: { ...traitsOf(shout), orchestration: way }, policies, groups: { desk: ['ana'] } };
}

interface Walked { readonly run: Run; readonly dispatches: readonly DispatchMember[] }
type Policies = { readonly pinned: PolicySlice; readonly local?: PolicySlice };

/** Drives one task as the workflow does, with the agent host as the other side. */
async function walk(words: string, { pinned, local }: Policies, approve?: ApprovalResult['outcome']): Promise<Walked> {
  const kit = createKit();
  await using host = createAgentHost({ ...kit, ...(local === undefined ? {} : { policies: { slice: async () => local } }) }, { agents: team, name: 'a', partitions: '*' });
  await host.start();
  const scene = (): Scene => ({ tenant: TEST_TENANT, capability: shout.id, slice: pinned, now: Date.now() });
  const member: TaskMember = { taskId: 't-1', key: 'k', principal: { id: 'svc', type: 'service', tenant: TEST_TENANT, roles: [] }, input: { text: words }, acceptedAt: Date.now(), deadline: Date.now() + 20_000 };
  const dispatches: DispatchMember[] = [];
  let run = begin(scene(), member, { taskId: 't-1', summary: 's', inputDigest: digestOf(member.input) });
  for (let i = 0; i < 12 && run.next.at !== 'end'; i++) {
    if (run.next.at === 'approval') {
      if (approve === undefined) break;
      run = decided(scene(), run, { approval: 'approval/t-1', input: { verdict: run.next.verdict }, result: { outcome: approve, decisions: [], approvers: ['ana'] } } as never, { slice: pinned });
      continue;
    }
    const out = dispatchOf(scene(), run);
    dispatches.push(out);
    const outcome = await kit.dispatch('shouter', kit.envelope(shout, out.input as { text: string }, { id: `envelope-of-attempt-${out.attempt}`, task: 't-1', actor: 't-1', principal: { ...member.principal, roles: [] }, rung: out.rung, deadline: out.deadline, ...(out.walk === undefined ? {} : { walk: out.walk }) }), 10_000);
    if (outcome === undefined) throw new Error('no outcome');
    run = arrived(scene(), run, judge(shout as unknown as Capability, out.input, outcome, { reservedMicroUsd: 0 }));
  }
  return { run, dispatches };
}
const both = (way: Orchestration, ...texts: readonly string[]): Policies => ({ pinned: sliceOf(way, ...texts), local: sliceOf(way, ...texts) });
const told = ({ run }: Walked): readonly string[] => run.verdicts.map(({ action, step, kind, deciding }) => `${action} ${step ?? ''} ${kind} ${deciding.join()}`);
const by = ({ run }: Walked): readonly (string | undefined)[] => run.verdicts.filter(({ step }) => step !== undefined).map((verdict) => verdict.by);

describe('steps', () => {
  test('steps - three ways, one answer and the same verdicts with the same deciding policies', async () => {
    const [centralised, distributed, hybrid] = await Promise.all(ORCHESTRATIONS.map((way) => walk('hey', both(way)))) as [Walked, Walked, Walked];
    for (const one of [centralised, distributed, hybrid]) {
      expect(one.run.next).toEqual({ at: 'end', state: 'done' });
      expect(one.run.outcome?.output).toEqual({ text: 'HEY!' });
      expect(told(one)).toEqual(['admit  allow all', 'dispatch  allow all', 'dispatch upper allow all', 'dispatch exclaim allow all', 'commit  allow all']);
    }
    expect([centralised, distributed, hybrid].map(({ dispatches }) => dispatches.length)).toEqual([3, 1, 2]);
    expect([centralised, distributed, hybrid].map(by)).toEqual([[undefined, undefined], ['team', 'team'], ['team', undefined]]);
    expect(distributed.dispatches[0]?.walk).toBeUndefined();
  });

  test('steps - a step granted to a team is taken once, with the answers of those before it', async () => {
    const { dispatches } = await walk('hey', both('centralised'));
    expect(dispatches.map(({ walk: sent, attempt }) => [attempt, sent?.granted, Object.keys(sent?.seen ?? {})])).toEqual([[1, undefined, []], [2, 'upper', []], [3, 'exclaim', ['upper']]]);
  });

  test('steps - a host without a policy of its own leaves every step to the brain', async () => {
    const walked = await walk('hey', { pinned: sliceOf('distributed') });
    expect(walked.run.next).toEqual({ at: 'end', state: 'done' });
    expect(by(walked)).toEqual([undefined, undefined]);
  });

  test.each(ORCHESTRATIONS)('steps - %s: a step that policy denies ends the task, and is never taken', async (way) => {
    const walked = await walk('hey', both(way, on('no-shouting', '')));
    expect(walked.run.next).toMatchObject({ at: 'end', state: 'refused', error: { code: 'AIOS_POLICY_DENIED' } });
    expect(told(walked).at(-1)).toBe('dispatch exclaim deny no-shouting');
  });

  test.each(ORCHESTRATIONS)('steps - %s: a step that policy degrades sends the whole attempt one rung down', async (way) => {
    const walked = await walk('hey', both(way, on('quietly', '@degrade("script")').replace('} unless', '&& context.rung == "model" } unless')));
    expect(walked.run.outcome?.output).toEqual({ text: 'script: hey' });
    expect(walked.run.degraded).toEqual(['model:dispatch']);
  });

  test.each(ORCHESTRATIONS)('steps - %s: a step that a person approves goes on from where the team stood', async (way) => {
    const policies = both(way, on('ask-first', '@approvers("desk")'));
    const waiting = await walk('hey', policies);
    expect(waiting.run.next).toMatchObject({ at: 'approval', verdict: { step: 'exclaim', deciding: ['ask-first'] } });
    expect(resumeOf(waiting.run, 'group').walk).toEqual({ step: 'exclaim', facts: { intent: 'HEY' }, seen: { upper: { text: 'HEY' } } });
    const walked = await walk('hey', policies, 'approved');
    expect(walked.run.outcome?.output).toEqual({ text: 'HEY!' });
    expect(walked.run.approved, 'the approval was of the step, not of what follows').toBe(false);
  });

  test('steps - what a team took by a policy that is not the pinned one does not count', async () => {
    const walked = await walk('hey', { pinned: sliceOf('distributed', on('no-shouting', '')), local: sliceOf('distributed') });
    expect(walked.run.next).toMatchObject({ at: 'end', state: 'refused', error: { code: 'AIOS_POLICY_DENIED' } });
    expect(walked.dispatches).toHaveLength(1);
    expect(by(walked)).toEqual(['team', 'team']);
  });

  test('steps - a step that fails was allowed all the same: its verdict is on record when the ladder goes on', async () => {
    const walked = await walk('break', both('distributed'));
    expect(told(walked)).toContain('dispatch exclaim allow all');
    expect(walked.run.degraded).toEqual(['model:AIOS_MODEL_UNAVAILABLE']);
  });

  test('steps - an outcome that stands nowhere is malformed', () => {
    const scene: Scene = { tenant: 'demo', capability: shout.id, slice: sliceOf('centralised'), now: 0 };
    const member: TaskMember = { taskId: 't-1', key: 'k', principal: { id: 'svc', type: 'service', tenant: 'demo', roles: [] }, input: {}, acceptedAt: 0, deadline: 20_000 };
    const stray: MemberOutcome = { status: 'step', facts: {}, receipts: [], costMicroUsd: 0 };
    expect(arrived(scene, begin(scene, member, { taskId: 't-1', summary: 's', inputDigest: '' }), stray).rung).toBe('script');
  });

  test('steps - a team on an ephemeral capability is refused where it is defined', () => {
    expect(() => defineAgent('x').team(upper, { steps: {}, plan: () => () => ({ done: { text: '' } }) })).toThrow(/ephemeral/);
  });
});
