// Obligations of decisions: read from policies, joined, carried by the verdict, and obeyed by settlement and gateway.
// Owns: `@redact`, `@retention`, `@record`. The shipped policies' own are in the cases beside them.

import { assert, constantFrom, property, record } from 'fast-check';
import { describe, expect, test } from 'vitest';
import { policyToJson } from '@cedar-policy/cedar-wasm/nodejs';
import type { CedarPolicyJson, PolicySlice } from '../../../contracts/bundle.ts';
import { digestOf } from '../../../contracts/canonical.ts';
import type { DecisionRecord } from '../../../contracts/record.ts';
import { type Obligations, type PolicyRequest, RECORD_DETAILS, REDACTIONS, RETENTIONS } from '../../../contracts/verdict.ts';
import { compileSources } from '../../../infra/cedar/compile.ts';
import { buildLineage } from '../../../infra/lineage/lineage.ts';
import { decide, obligationOf } from '../../../policies/evaluate.ts';
import { joinObligations, keptUntil, NO_OBLIGATIONS, obligationsOver, RETENTION_MS } from '../../../policies/obligations.ts';
import { shown } from '../../../policies/record-detail.ts';
import { sliceForCase } from '../../../infra/cedar/cases.ts';

const policyOf = (text: string): CedarPolicyJson => {
  const answer = policyToJson(text);
  if (answer.type === 'failure') throw new Error(JSON.stringify(answer.errors));
  return answer.json as unknown as CedarPolicyJson;
};
const sliceWith = (...texts: readonly string[]): PolicySlice => {
  const policies = Object.fromEntries(texts.map((text) => policyOf(text)).map((one) => [one.annotations?.['id'] ?? '', one]));
  return { ...sliceForCase({ v: 1, version: 1, createdAt: 0, notBefore: 0, notAfter: 1, policies, sources: {}, schema: '', capabilities: {}, prices: {}, providers: {}, groups: { lead: ['ana'] }, budgets: {} }, 'any.thing') };
};
const request = (context: PolicyRequest['context'] = {}): PolicyRequest => ({ action: 'commit', principal: { id: 'p', type: 'user', tenant: 'demo', roles: [] }, resource: { capability: 'any.thing', dataClass: 'internal', sla: 'interactive' }, context });
const PERMIT = '@id("all") @retention("standard") permit (principal, action, resource);';

describe('obligations - read from policies', () => {
  test('a verdict carries those of every satisfied policy, whichever decided, and the one that binds more', () => {
    const slice = sliceWith(
      PERMIT,
      '@id("large") @approvers("lead") @retention("legal") @record("full") forbid (principal, action, resource) when { context.amount > 5 };',
      '@id("small") @redact("strict") @retention("brief") permit (principal, action, resource) when { context.amount <= 5 };',
    );
    expect(decide(slice, request({ amount: 9 }))).toMatchObject({ kind: 'escalate', deciding: ['large'], obligations: { retention: 'legal', record: 'full' } });
    expect(decide(slice, request({ amount: 1 }))).toMatchObject({ kind: 'allow', obligations: { redact: 'strict', retention: 'standard' } });
  });

  test('without any the verdict has no such member', () => {
    expect(decide(sliceWith('@id("all") permit (principal, action, resource);'), request())).not.toHaveProperty('obligations');
  });

  test('a value that is none is refused at publish, and binds most should it get so far', () => {
    const text = '@id("typo") @redact("standart") @retention("forever") @record("some") permit (principal, action, resource);';
    expect(compileSources({ sources: { 'a.cedar': text }, schema: 'entity Capability; entity User; action commit appliesTo { principal: [User], resource: [Capability] };' }).problems.map(({ message }) => message)).toEqual([
      '@redact is one of none, standard, strict', '@retention is one of brief, standard, long, legal, hold', '@record is one of minimal, facts, full',
    ]);
    expect(decide(sliceWith(text), request())).toMatchObject({ kind: 'allow', obligations: { redact: 'strict', retention: 'hold', record: 'full' } });
    expect(obligationOf(policyOf('@id("f") @redact("nonsense") @degrade("script") forbid (principal, action, resource);')).obligation, 'a forbid with a note that cannot be read plainly denies').toEqual({ kind: 'deny' });
  });

  test('joining is commutative, associative and never binds less', () => {
    const some = record({ redact: constantFrom(...REDACTIONS), retention: constantFrom(...RETENTIONS), record: constantFrom(...RECORD_DETAILS) }, { requiredKeys: [] }).map((one) => one as Obligations);
    assert(property(some, some, some, (a, b, c) => {
      expect(joinObligations(a, b)).toEqual(joinObligations(b, a));
      expect(joinObligations(joinObligations(a, b), c)).toEqual(joinObligations(a, joinObligations(b, c)));
      expect(joinObligations(a, joinObligations(a, b))).toEqual(joinObligations(a, b));
      for (const [name, value] of Object.entries(a)) expect(joinObligations(a, b)).toHaveProperty(name, expect.stringMatching(new RegExp(`^(${value}|${(b as Record<string, string>)[name] ?? value})$`)));
    }));
    expect(obligationsOver([{}, { obligations: { record: 'facts' } }], { ...NO_OBLIGATIONS, record: 'minimal' })).toEqual({ redact: 'none', retention: 'standard', record: 'facts' });
  });

  test('a class keeps for its time, and what is held for ever', () => {
    expect(keptUntil('brief', 1_000)).toBe(1_000 + 30 * 86_400_000);
    expect(keptUntil('hold', 1_000)).toBeUndefined();
    expect(RETENTION_MS.standard).toBeGreaterThanOrEqual(183 * 86_400_000);
  });
});

const whole: DecisionRecord = {
  kind: 'decision', tenant: 'demo', task: 't-1', capability: 'any.thing', workflowId: 'w', runId: 'r', principal: 'helpdesk', state: 'done', rung: 'model', degraded: [], inputDigest: 'sha256:1', bundle: 'sha256:b',
  verdicts: [{ kind: 'allow', action: 'commit', bundle: 'sha256:b' as never, deciding: ['all'], erroring: [], obligations: { record: 'facts' } }],
  facts: { intent: 'anna.smith@example.org', confidenceBp: 9_000 },
  receipts: [
    { kind: 'retrieval', space: 'handbook', engine: 'embedded', epoch: 'e', manifestDigest: `sha256:${'0'.repeat(64)}`, filterDigest: `sha256:${'1'.repeat(64)}`, fragments: [{ document: 'divorce.md', chunk: '1', digest: `sha256:${'2'.repeat(64)}`, score: 1 }] },
    { kind: 'turn', agent: 'desk', capability: 'any.thing', rung: 'model', fence: 1, ms: 3, local: ['abstain:low-margin'] },
  ],
  costMicroUsd: 5, reservedMicroUsd: 9, human: { decision: 'approve', by: 'ana', verified: true, at: 1 }, latencyMs: 4,
};

describe('obligations - what a decision record shows', () => {
  test('full keeps everything and names the class', () => {
    expect(shown(whole, { ...NO_OBLIGATIONS, retention: 'long' })).toEqual({ ...whole, retention: 'long' });
  });

  test('facts leaves out which pages were read and what agents noted, minimal the facts too; both commit to the whole', () => {
    const full = shown(whole, NO_OBLIGATIONS);
    const facts = shown(whole, { ...NO_OBLIGATIONS, record: 'facts' });
    expect(facts.whole).toBe(digestOf(full));
    expect(JSON.stringify(facts)).not.toMatch(/divorce|low-margin/);
    expect(facts.facts).toEqual(whole.facts);
    const minimal = shown(whole, { ...NO_OBLIGATIONS, record: 'minimal' });
    expect([minimal.facts, minimal.receipts, minimal.human, minimal.verdicts, minimal.costMicroUsd]).toEqual([{}, [], whole.human, whole.verdicts, 5]);
  });

  test('where text is redacted, tokens among the facts are', () => {
    expect(shown(whole, { ...NO_OBLIGATIONS, redact: 'standard' }).facts).toEqual({ intent: '[redacted:email]', confidenceBp: 9_000 });
  });

  test('the lineage shows the obligations, the class with its end, and what is left out', () => {
    const tree = buildLineage('t-1', [{ log: 'brain-1', index: 0, at: 0, prev: '', hash: 'h', record: shown(whole, { ...NO_OBLIGATIONS, record: 'facts', retention: 'brief' }) }], []);
    expect(tree?.children.find(({ kind }) => kind === 'policy')?.detail).toMatchObject({ record: 'facts' });
    expect(tree?.children.find(({ kind }) => kind === 'outcome')?.detail).toMatchObject({ retention: 'brief', keptUntil: '1970-01-31T00:00:00.000Z', detail: 'facts', whole: expect.stringContaining('sha256:') as unknown });
  });
});
