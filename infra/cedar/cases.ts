// Policy tests that stand beside the policies: a request in, the verdict and the deciding ids out.
// Owns: the grammar of `*.cases.yaml` and running it. Never asks another evaluator than the one that decides at run time.
// Others may assume: a file that does not parse is a failed case, and a policy no case names is listed.

import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import type { PolicyBundle, PolicySlice } from '../../contracts/bundle.ts';
import type { CapabilityTraits } from '../../contracts/capability.ts';
import { DATA_CLASSES, SLA_TIERS } from '../../contracts/capability.ts';
import { digestOf } from '../../contracts/canonical.ts';
import type { Digest } from '../../contracts/ids.ts';
import { parseCapabilityId } from '../../contracts/ids.ts';
import { parseValue } from '../../contracts/parse.ts';
import type { PolicyRequest, Principal, Verdict } from '../../contracts/verdict.ts';
import { ACTIONS, factsSchema, RECORD_DETAILS, REDACTIONS, RETENTIONS } from '../../contracts/verdict.ts';
import { decide } from '../../policies/evaluate.ts';
import { sliceOf } from '../../policies/slice.ts';

const principalSchema = z.strictObject({ id: z.string(), type: z.enum(['user', 'service', 'agent', 'team']), tenant: z.string(), roles: z.array(z.string()) }).partial();
const caseSchema = z.strictObject({
  name: z.string().min(1),
  action: z.enum(ACTIONS),
  capability: z.string(),
  principal: principalSchema.optional(),
  /** Over what the capability declares. */
  resource: z.strictObject({ dataClass: z.enum(DATA_CLASSES), sla: z.enum(SLA_TIERS) }).partial().optional(),
  facts: factsSchema.optional(),
  /** Facts of the file's defaults that this request lacks. */
  without: z.array(z.string()).optional(),
  expect: z.strictObject({
    kind: z.enum(['allow', 'deny', 'escalate', 'degrade']),
    deciding: z.array(z.string()),
    approvers: z.string().optional(),
    rung: z.string().optional(),
    redact: z.enum(REDACTIONS).optional(),
    retention: z.enum(RETENTIONS).optional(),
    record: z.enum(RECORD_DETAILS).optional(),
  }),
});
const fileSchema = z.strictObject({
  defaults: z.strictObject({ principal: principalSchema.optional(), facts: factsSchema.optional() }).default({}),
  cases: z.array(caseSchema).min(1),
});
type Case = z.infer<typeof caseSchema>;

export interface CaseResult {
  readonly file: string;
  readonly name: string;
  readonly passed: boolean;
  /** What was expected and what came instead. */
  readonly why?: string;
}
export interface CaseReport {
  readonly results: readonly CaseResult[];
  /** Policies that decided no case: nobody has said what they are for. */
  readonly untested: readonly string[];
}

/** Runs every file against a bundle. Capabilities that the bundle does not name get plain traits, so rules can be tested before them. */
export function runCases(bundle: PolicyBundle, files: Readonly<Record<string, string>>): CaseReport {
  const decided = new Set<string>();
  const results = Object.entries(files).flatMap(([file, text]) => runFile(bundle, file, text, decided));
  return { results, untested: Object.keys(bundle.policies).filter((id) => !decided.has(id)).sort() };
}

function runFile(bundle: PolicyBundle, file: string, text: string, decided: Set<string>): readonly CaseResult[] {
  try {
    const { defaults, cases } = parseValue(fileSchema, parseYaml(text));
    return cases.map((one) => runCase(bundle, file, one, defaults, decided));
  } catch (thrown) {
    return [{ file, name: 'the file', passed: false, why: (thrown as Error).message }];
  }
}

function runCase(bundle: PolicyBundle, file: string, one: Case, defaults: z.infer<typeof fileSchema>['defaults'], decided: Set<string>): CaseResult {
  const slice = sliceForCase(bundle, one.capability);
  const facts = Object.fromEntries(Object.entries({ ...defaults.facts, ...one.facts }).filter(([name]) => !(one.without ?? []).includes(name)));
  const request: PolicyRequest = {
    action: one.action,
    principal: overlaid<Principal>({ id: 'somebody', type: 'user', tenant: 'acme', roles: [] }, defaults.principal, one.principal),
    resource: overlaid<PolicyRequest['resource']>({ capability: one.capability, dataClass: slice.capability.dataClass, sla: slice.capability.sla }, one.resource),
    context: facts,
  };
  const verdict = decide(slice, request);
  for (const id of verdict.deciding) decided.add(id);
  const why = differenceOf(one.expect, verdict);
  return { file, name: one.name, passed: why === undefined, ...(why === undefined ? {} : { why }) };
}

/** Later parts win; members that are not there change nothing. */
const overlaid = <T extends object>(base: T, ...parts: readonly (object | undefined)[]): T => Object.assign({ ...base }, ...parts) as T;

function differenceOf(expected: Case['expect'], verdict: Verdict): string | undefined {
  const got = { kind: verdict.kind, deciding: verdict.deciding, ...(verdict.kind === 'escalate' ? { approvers: verdict.approval.approvers } : {}), ...(verdict.kind === 'degrade' ? { rung: verdict.rung } : {}), ...verdict.obligations };
  const wanted = { ...got, ...expected, deciding: [...expected.deciding].sort() };
  if (JSON.stringify(wanted) === JSON.stringify(got)) return undefined;
  return `expected ${JSON.stringify(wanted)}, got ${JSON.stringify(got)}${verdict.erroring.length > 0 ? `, failing: ${verdict.erroring.join(', ')}` : ''}`;
}

/** As at run time, with plain traits for a capability the bundle does not name. */
export function sliceForCase(bundle: PolicyBundle, capability: string): PolicySlice {
  const known = Object.hasOwn(bundle.capabilities, capability);
  const traits: CapabilityTraits = { id: parseCapabilityId(capability), dataClass: 'internal', sla: 'interactive', budget: { latencyMsMax: 8_000, microUsdMax: 20_000 }, ladder: ['model', 'human'], orchestration: 'distributed', delivery: 'durable', uses: [], effects: [] };
  const whole = known ? bundle : { ...bundle, capabilities: { ...bundle.capabilities, [capability]: traits } };
  return sliceOf(whole, CASE_DIGEST, capability);
}
const CASE_DIGEST: Digest = digestOf('policy cases');
