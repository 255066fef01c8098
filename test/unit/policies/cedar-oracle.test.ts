// The evaluator against Cedar itself: random policy sets and requests, the raw answers must be equal.
// Owns: the generator. AIOS_PROPERTY_RUNS sets how many answers are compared, three to a policy set (default 3,000; the full run is 100,000).
// Never compares texts: policies are made in Cedar's JSON form, which is what both sides read.
// Others may assume: a difference prints the set, the request and both answers.

import { describe, expect, test } from 'vitest';
import { isAuthorized, preparsePolicySet, statefulIsAuthorized } from '@cedar-policy/cedar-wasm/nodejs';
import type { CedarPolicyJson } from '../../../contracts/bundle.ts';
import { compactPolicy, expand } from '../../../policies/cedar/compact.ts';
import { authorize, compilePolicies } from '../../../policies/evaluate.ts';
import { randomCase, seeded } from '../../kit/cedar-random.ts';

const RUNS = Number(process.env['AIOS_PROPERTY_RUNS'] ?? 3_000);
const SEED = Number(process.env['AIOS_PROPERTY_SEED'] ?? 20_261);

describe('cedar evaluator', () => {
  test(`equals cedar-wasm on ${RUNS} random policy sets x requests`, { timeout: 3_600_000 }, () => {
    const counts = { requests: 0, allow: 0, determined: 0, erroring: 0 };
    for (let run = 0; counts.requests < RUNS; run++) {
      const random = seeded(SEED * 1_000_003 + run);
      const { policies, entities, requests } = randomCase(random);
      const prepared = preparsePolicySet('set', { staticPolicies: policies as never });
      if (prepared.type === 'failure') throw new Error(`the generator made a set Cedar does not read: ${JSON.stringify(prepared.errors[0]?.message)} ${JSON.stringify(policies)}`);
      const short = Object.fromEntries(Object.entries(policies).map(([id, policy]) => [id, compactPolicy(policy)]));
      for (const [id, policy] of Object.entries(policies)) if (JSON.stringify((short[id] as CedarPolicyJson).conditions.map(({ body }) => expand(body))) !== JSON.stringify(policy.conditions.map(({ body }) => body))) expect(short[id]).toEqual(policy);
      // Every other set is judged in the short spelling that slices use.
      const compiled = compilePolicies(run % 2 === 0 ? policies : short);
      for (const request of requests) {
        const answer = statefulIsAuthorized({ ...request, context: request.context as never, entities: entities as never, preparsedPolicySetId: 'set' });
        if (answer.type === 'failure') throw new Error(`Cedar refused the call: ${JSON.stringify(answer.errors[0]?.message)} ${JSON.stringify({ request, entities })}`);
        const { decision, diagnostics } = answer.response;
        const wanted = { decision, determining: [...diagnostics.reason].sort(), erroring: [...new Set(diagnostics.errors.map(({ policyId }) => policyId))].sort() };
        const got = authorize(compiled, request, entities);
        if (JSON.stringify(got) !== JSON.stringify(wanted)) expect({ got, run, policies, request, entities }).toEqual({ got: wanted, run, policies, request, entities });
        counts.requests += 1;
        counts.allow += decision === 'allow' ? 1 : 0;
        counts.determined += wanted.determining.length > 0 ? 1 : 0;
        counts.erroring += wanted.erroring.length > 0 ? 1 : 0;
      }
    }
    // A generator that only makes denials proves nothing.
    expect(counts.allow / counts.requests).toBeGreaterThan(0.1);
    expect(counts.determined / counts.requests).toBeGreaterThan(0.35);
    expect(counts.erroring / counts.requests).toBeGreaterThan(0.1);
    expect(counts.erroring / counts.requests).toBeLessThan(0.95);
    if (process.env['AIOS_PROPERTY_RUNS'] !== undefined) console.log(JSON.stringify(counts));
  });

  test('the oracle and the evaluator agree that a skipped faulty forbid still lets Cedar allow', () => {
    const all = { op: 'All' };
    const policies = {
      open: { effect: 'permit', principal: all, action: all, resource: all, conditions: [] },
      faulty: { effect: 'forbid', principal: all, action: all, resource: all, conditions: [{ kind: 'when', body: { '.': { left: { Var: 'context' }, attr: 'absent' } } }] },
    } as const;
    const request = { principal: { type: 'User', id: 'u' }, action: { type: 'Action', id: 'a' }, resource: { type: 'Thing', id: 't' }, context: {} };
    const answer = isAuthorized({ ...request, policies: { staticPolicies: policies as never }, entities: [] });
    expect(answer.type === 'success' && answer.response.decision).toBe('allow');
    expect(authorize(compilePolicies(policies), request, [])).toEqual({ decision: 'allow', determining: ['open'], erroring: ['faulty'] });
  });
});
