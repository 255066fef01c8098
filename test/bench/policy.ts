// How long a decision and a mandate check take, beside Cedar's own engine in the same run.
// Owns: the worlds that are measured: 20 policies; 1,000 of which 100 share the request's action and resource and 20 have an open scope.
// Never times set-up. Others may assume: figures are medians of batches, in µs or ms as their names say.

import { preparsePolicySet, statefulIsAuthorized } from '@cedar-policy/cedar-wasm/nodejs';
import type { CedarPolicyJson, PolicySlice } from '../../contracts/bundle.ts';
import { digestOf } from '../../contracts/canonical.ts';
import { parseCapabilityId } from '../../contracts/ids.ts';
import type { Grant, MandateToken } from '../../contracts/mandate.ts';
import type { PolicyRequest } from '../../contracts/verdict.ts';
import { createKeys } from '../../infra/crypto/keys.ts';
import { mandatesOf } from '../../infra/crypto/mandates.ts';
import { decide, rawOf } from '../../policies/evaluate.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';

export interface PolicyBench {
  readonly decide20Us: number;
  readonly decide1000Us: number;
  readonly cedarWasm20Us: number;
  readonly mandateCachedUs: number;
  readonly mandateCold3Ms: number;
}
const TARGETS: PolicyBench = { decide20Us: 5, decide1000Us: 10, cedarWasm20Us: Number.POSITIVE_INFINITY, mandateCachedUs: 10, mandateCold3Ms: 0.7 };

export async function run({ json }: { readonly json: boolean }): Promise<PolicyBench> {
  const small = sliceOf(20, 20, 0);
  const large = sliceOf(1_000, 100, 20);
  const { cachedUs, coldMs } = mandateTimes();
  const result: PolicyBench = {
    decide20Us: round(medianUs(() => decide(small, REQUEST), 100)),
    decide1000Us: round(medianUs(() => decide(large, REQUEST), 30)),
    cedarWasm20Us: round(cedarUs(small)),
    mandateCachedUs: round(cachedUs),
    mandateCold3Ms: round(coldMs),
  };
  process.stdout.write(json ? `${JSON.stringify(result)}\n` : `${words(result)}\n`);
  return await Promise.resolve(result);
}

const words = (result: PolicyBench): string => Object.entries(result).map(([name, value]) => `${name.padEnd(18)} ${String(value).padStart(9)}${Number.isFinite(TARGETS[name as keyof PolicyBench]) ? `   at most ${TARGETS[name as keyof PolicyBench]}` : ''}`).join('\n');
const round = (value: number): number => Math.round(value * 1_000) / 1_000;

// ---- policies

const REQUEST: PolicyRequest = {
  action: 'commit',
  principal: { id: 'helpdesk', type: 'service', tenant: 'acme', roles: ['service', 'night'] },
  resource: { capability: 'support.answer', dataClass: 'confidential', sla: 'interactive' },
  context: { confidenceBp: 8_400, groundednessBp: 9_100, amountMicroUsd: 20_000_000, effectKind: 'refund', injection: false, approved: false, costMicroUsd: 310, rung: 'model' },
};

const uid = (type: string, id: string) => ({ type, id });
const fact = (attr: string) => ({ '.': { left: { Var: 'context' }, attr } });
const both = (left: unknown, right: unknown) => ({ '&&': { left, right } });
const ALL = { op: 'All' };

/** Of `count` policies `matching` share action and resource with the request and `open` have no scope; the rest are elsewhere. */
function sliceOf(count: number, matching: number, open: number): PolicySlice {
  const policies = Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, policy(i, i < matching ? 'matching' : i < matching + open ? 'open' : 'elsewhere')]));
  return {
    bundle: digestOf({ count }), version: 1, policies, groups: { lead: ['ana'] },
    capability: { id: parseCapabilityId('support.answer'), dataClass: 'confidential', sla: 'interactive', budget: { latencyMsMax: 8_000, microUsdMax: 20_000 }, ladder: ['model', 'human'], orchestration: 'distributed', delivery: 'durable', uses: [], effects: [] },
  };
}

function policy(i: number, scope: 'matching' | 'open' | 'elsewhere'): CedarPolicyJson {
  const action = scope === 'open' ? ALL : { op: '==', entity: uid('Action', scope === 'matching' || i % 2 === 0 ? 'commit' : 'invoke') };
  const resource = scope === 'open' ? ALL : { op: '==', entity: uid('Capability', scope === 'matching' ? 'support.answer' : `other.c${i}`) };
  if (i % 5 === 0) return { effect: 'permit', principal: ALL, action, resource, conditions: [{ kind: 'when', body: { contains: { left: { '.': { left: { Var: 'principal' }, attr: 'roles' } }, right: { Value: 'service' } } } }] };
  const risky = both({ '==': { left: fact('effectKind'), right: { Value: 'refund' } } }, { '>': { left: fact('amountMicroUsd'), right: { Value: 50_000_000 + i } } });
  const unsure = both({ has: { left: { Var: 'context' }, attr: 'confidenceBp' } }, { '<': { left: fact('confidenceBp'), right: { Value: 3_000 + (i % 7) } } });
  return { effect: 'forbid', principal: ALL, action, resource, conditions: [{ kind: 'when', body: i % 2 === 0 ? risky : unsure }, { kind: 'unless', body: fact('approved') }], annotations: { approvers: 'lead' } };
}

function cedarUs(slice: PolicySlice): number {
  preparsePolicySet('bench', { staticPolicies: slice.policies as never });
  const { entities, ...request } = rawOf(REQUEST);
  return medianUs(() => statefulIsAuthorized({ ...request, context: request.context as never, entities: entities as never, preparsedPolicySetId: 'bench' }), 2);
}

// ---- mandates

const GRANT = (task: string): Grant => ({
  tenant: 'acme', task, capabilities: ['support.answer', 'text.*', 'space.search'], dataClass: 'confidential', regions: ['*'], models: ['*'], spaces: ['*'], budgetMicroUsd: 20_000, callsMax: 100, depthMax: 4,
  notBefore: Date.now() - 1_000, expiresAt: Date.now() + 600_000, offline: false, policy: digestOf('bench'),
});

function mandateTimes(): { readonly cachedUs: number; readonly coldMs: number } {
  const keys = createKeys();
  const options = { clock: systemClock, random: systemRandom };
  const mandates = mandatesOf(keys, options);
  const threeHops = (i: number): MandateToken => mandates.attenuate(mandates.attenuate(mandates.mint(GRANT(`t-${i}`)), { callsMax: 20 }), { capabilities: ['text.embed'] });
  const tokens = Array.from({ length: 150 }, (_, i) => threeHops(i));
  const gateway = mandatesOf({ ...keys, brain: undefined }, options);
  const cold = tokens.map((token) => timeMs(() => gateway.verify(token)));
  return { cachedUs: medianUs(() => gateway.verify(tokens[0] as MandateToken), 100), coldMs: median(cold.slice(20)) };
}

// ---- clocks

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] as number;

function timeMs(work: () => unknown): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}

/** Median over many batches of well under a millisecond, so that most of them are not interrupted; as many to warm up. */
function medianUs(work: () => unknown, batch: number): number {
  const once = (): number => timeMs(() => { for (let i = 0; i < batch; i++) work(); }) * 1_000 / batch;
  for (let i = 0; i < 300; i++) once();
  return median(Array.from({ length: 301 }, once));
}

if (import.meta.main) await run({ json: process.argv.includes('--json') });
