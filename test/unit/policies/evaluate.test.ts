// From Cedar's answer to a verdict: precedence, obligations, and that every doubt denies.
// Owns: tests of policies/evaluate, explain and what-if. Policies are written in Cedar and read by Cedar.

import { describe, expect, test } from 'vitest';
import { policyToJson } from '@cedar-policy/cedar-wasm/nodejs';
import type { CedarPolicyJson, PolicyBundle, PolicySlice } from '../../../contracts/bundle.ts';
import { digestOf } from '../../../contracts/canonical.ts';
import { parseCapabilityId } from '../../../contracts/ids.ts';
import type { DecisionRecord } from '../../../contracts/record.ts';
import type { PolicyRequest, Verdict } from '../../../contracts/verdict.ts';
import { decide, durationMs, obligationOf } from '../../../policies/evaluate.ts';
import { explain, explanationText } from '../../../policies/explain.ts';
import { whatIf } from '../../../policies/what-if.ts';
import { DEFAULT_BUDGETS, DEFAULT_GROUPS, DEFAULT_PRICES, DEFAULT_PROVIDERS } from '../../../policies/defaults.ts';

const OPEN = 'permit (principal, action, resource);';
const traits = { id: parseCapabilityId('support.answer'), dataClass: 'confidential', sla: 'interactive', budget: { latencyMsMax: 8_000, microUsdMax: 20_000 }, ladder: ['model', 'human'], orchestration: 'distributed', delivery: 'durable', uses: [], effects: [] } as const;

function policy(text: string): CedarPolicyJson {
  const read = policyToJson(text);
  if (read.type === 'failure') throw new Error(JSON.stringify(read.errors));
  return read.json as unknown as CedarPolicyJson;
}
const policiesOf = (texts: Readonly<Record<string, string>>): Record<string, CedarPolicyJson> => Object.fromEntries(Object.entries(texts).map(([id, text]) => [id, policy(text)]));
const slice = (texts: Readonly<Record<string, string>>): PolicySlice => ({ bundle: digestOf(texts), version: 1, capability: traits, policies: policiesOf(texts), groups: {} });
const request = (context: PolicyRequest['context'] = {}, more: Partial<PolicyRequest> = {}): PolicyRequest => ({
  action: 'commit', principal: { id: 'ana', type: 'user', tenant: 'acme', roles: ['requester', 'night'] }, resource: { capability: 'support.answer', dataClass: 'confidential', sla: 'interactive' }, context, ...more,
});
const verdictOf = (texts: Readonly<Record<string, string>>, context: PolicyRequest['context'] = {}, more: Partial<PolicyRequest> = {}): Verdict => decide(slice(texts), request(context, more));

describe('decide', () => {
  test('nothing permits - denies, also when nothing forbids', () => {
    expect(verdictOf({})).toMatchObject({ kind: 'deny', deciding: [], reason: 'no policy permits this' });
  });
  test('a permit - allows and is named', () => {
    expect(verdictOf({ b: OPEN, a: OPEN })).toMatchObject({ kind: 'allow', deciding: ['a', 'b'], action: 'commit' });
  });
  test('precedence - deny over escalate over degrade over allow', () => {
    const all = { p: OPEN, deny: 'forbid (principal, action, resource) when { context.n > 2 };', ask: '@approvers("lead") forbid (principal, action, resource) when { context.n > 1 };', less: '@degrade("script") forbid (principal, action, resource) when { context.n > 0 };' };
    expect([0, 1, 2, 3].map((n) => verdictOf(all, { n })).map(({ kind, deciding }) => [kind, deciding])).toEqual([['allow', ['p']], ['degrade', ['less']], ['escalate', ['ask']], ['deny', ['deny']]]);
  });
  test('an erroring policy - denies, whatever the others say', () => {
    const verdict = verdictOf({ p: OPEN, broken: '@approvers("lead") forbid (principal, action, resource) when { context.absent > 1 };' });
    expect(verdict).toMatchObject({ kind: 'deny', erroring: ['broken'], deciding: ['broken'], reason: 'a policy failed: broken' });
  });
  test('an error in a policy of another action - is not evaluated', () => {
    expect(verdictOf({ p: OPEN, broken: 'forbid (principal, action == Action::"invoke", resource) when { context.absent > 1 };' }).kind).toBe('allow');
  });
  test('obligations - carry group, quorum, expiry and what follows it', () => {
    const verdict = verdictOf({ p: OPEN, ask: '@approvers("lead") @quorum("2") @expires("90m") @onExpiry("escalate operators") @reason("too large") forbid (principal, action, resource);' });
    expect(verdict).toMatchObject({ kind: 'escalate', reason: 'too large', approval: { approvers: 'lead', quorum: 2, expiresMs: 5_400_000, onExpiry: { escalate: 'operators' } } });
    expect(verdictOf({ p: OPEN, ask: '@approvers("lead") forbid (principal, action, resource);' })).toMatchObject({ approval: { quorum: 1, expiresMs: 86_400_000, onExpiry: 'deny' }, reason: 'ask' });
  });
  test('several policies ask - the highest rank names the group, and the strictest terms of that group hold', () => {
    const verdict = verdictOf({
      p: OPEN,
      a: '@approvers("support") @quorum("3") forbid (principal, action, resource);',
      b: '@approvers("billing") @rank("5") @expires("2h") forbid (principal, action, resource);',
      c: '@approvers("billing") @quorum("2") @expires("3h") forbid (principal, action, resource);',
    });
    expect(verdict).toMatchObject({ kind: 'escalate', deciding: ['a', 'b', 'c'], approval: { approvers: 'billing', quorum: 2, expiresMs: 7_200_000 } });
  });
  test('several policies degrade - the lowest rung is taken', () => {
    expect(verdictOf({ p: OPEN, a: '@degrade("script") forbid (principal, action, resource);', b: '@degrade("cache") forbid (principal, action, resource);' })).toMatchObject({ kind: 'degrade', rung: 'script', deciding: ['a', 'b'] });
  });
  test('an annotation nobody can read - plainly denies', () => {
    for (const notes of ['@approvers("")', '@approvers("lead") @quorum("many")', '@degrade("cheaper")', '@approvers("lead") @degrade("script")', '@approvers("lead") @onExpiry("shrug")']) {
      expect(verdictOf({ p: OPEN, odd: `${notes} forbid (principal, action, resource);` })).toMatchObject({ kind: 'deny', deciding: ['odd'] });
    }
  });
  test('a fact that is no fact, and the slice of another capability - deny', () => {
    for (const bad of [0.5, Number.NaN, 2 ** 53, null, { a: 1 }, [1]]) expect(verdictOf({ p: OPEN }, { odd: bad as never })).toMatchObject({ kind: 'deny', reason: expect.stringContaining('odd') as string });
    expect(verdictOf({ p: OPEN }, {}, { resource: { capability: 'other.thing', dataClass: 'public', sla: 'bulk' } })).toMatchObject({ kind: 'deny', reason: 'the policy slice is of another capability' });
  });
  test('principals - are seen by type, id, tenant and roles', () => {
    const texts = { p: 'permit (principal is User, action, resource) when { principal == User::"ana" && principal.tenant == "acme" && principal.roles.containsAll(["night"]) && resource.sla == "interactive" };' };
    expect(verdictOf(texts).kind).toBe('allow');
    expect(verdictOf(texts, {}, { principal: { id: 'ana', type: 'service', tenant: 'acme', roles: ['night'] } }).kind).toBe('deny');
    expect(verdictOf(texts, {}, { principal: { id: 'ana', type: 'user', tenant: 'other', roles: ['night'] } }).kind).toBe('deny');
  });
  test('facts - lists are sets, and names on the prototype are no facts', () => {
    expect(verdictOf({ p: 'permit (principal, action, resource) when { context.tags == ["b", "a", "a"] };' }, { tags: ['a', 'b'] }).kind).toBe('allow');
    expect(verdictOf({ p: 'permit (principal, action, resource) when { context has toString || context has constructor };' }).kind).toBe('deny');
  });
  test('durations - have a unit and a bound', () => {
    expect(['90s', '15m', '24h', '7d'].map(durationMs)).toEqual([90_000, 900_000, 86_400_000, 604_800_000]);
    for (const bad of ['', '0h', '24', 'h', '1w', '91d', '-1h', '1.5h', undefined]) expect(durationMs(bad)).toBeUndefined();
    expect(obligationOf(policy('@expires("soon") @approvers("lead") forbid (principal, action, resource);')).problems).toEqual(['@expires is a number and s, m, h or d, at most 90d']);
  });
});

describe('explain', () => {
  const texts = { p: OPEN, big: '@approvers("lead") forbid (principal, action, resource) when { context.amountMicroUsd > 50 } unless { context.approved };' };
  test('names the policies that decided and the nearest change of each fact', () => {
    const explanation = explain(slice(texts), request({ amountMicroUsd: 80, approved: false }));
    expect(explanation.changes).toEqual([
      { fact: 'amountMicroUsd', from: 80, to: 50, verdict: 'allow', deciding: ['p'] },
      { fact: 'approved', from: false, to: true, verdict: 'allow', deciding: ['p'] },
    ]);
    const text = explanationText(explanation);
    expect(text).toContain('A person decides (1 of lead, within 24 h)');
    expect(text).toContain('* big (forbid): satisfied');
    expect(text).toContain('amountMicroUsd 50 instead of 80: allow by p');
  });
  test('says why a policy failed', () => {
    expect(explain(slice(texts), request({ approved: false })).policies).toContainEqual(expect.objectContaining({ id: 'big', status: 'error', fault: 'attribute "amountMicroUsd" is absent' }));
  });
});

describe('what-if', () => {
  const bundle = (texts: Readonly<Record<string, string>>): PolicyBundle => ({
    v: 1, version: 2, createdAt: 0, notBefore: 0, notAfter: 1, policies: policiesOf(texts), sources: {}, schema: '', capabilities: { 'support.answer': traits },
    prices: DEFAULT_PRICES, providers: DEFAULT_PROVIDERS, groups: DEFAULT_GROUPS, budgets: DEFAULT_BUDGETS,
  });
  const record = (task: string, kind: Verdict['kind'], amountMicroUsd: number, more: Partial<DecisionRecord> = {}): DecisionRecord => ({
    kind: 'decision', tenant: 'acme', task, capability: 'support.answer', workflowId: 'w', runId: 'r', principal: 'helpdesk', state: 'done', rung: 'model', degraded: [], inputDigest: 'd', bundle: 'b',
    verdicts: [{ kind, action: 'commit', bundle: digestOf('b'), deciding: [], erroring: [] } as unknown as Verdict], facts: { amountMicroUsd, effectKind: 'refund' }, receipts: [], costMicroUsd: 100, reservedMicroUsd: 200, latencyMs: 5, ...more,
  });
  test('counts who would have been treated otherwise, and the money', () => {
    const next = bundle({ p: OPEN, ask: '@approvers("operators") forbid (principal, action == Action::"commit", resource) when { context.amountMicroUsd > 20 };' });
    const records = [record('t-1', 'allow', 10), record('t-2', 'allow', 30), record('t-3', 'escalate', 40), record('t-4', 'deny', 15), record('t-5', 'allow', 1, { capability: 'gone.away' }), record('t-6', 'allow', 1, { verdicts: [] })];
    const answer = whatIf(records, next, digestOf('next'));
    expect(answer).toMatchObject({ replayed: 4, approximate: 4, skipped: 2, by: { 'commit allow->escalate': 1, 'commit deny->allow': 1 }, morePeople: 1, moreAmountMicroUsd: 15 - 30 });
    expect(answer.changed.map(({ task, before, after }) => [task, before, after])).toEqual([['t-2', 'allow', 'escalate'], ['t-4', 'deny', 'allow']]);
  });
});
