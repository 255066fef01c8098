// From Cedar's answer to a verdict: the one function that decides, at the centre, in the gateway and on an edge box.
// Owns: the mapping permit/forbid/annotations -> allow, deny, escalate, degrade, and the grammar of the annotations.
// Never sees content, a clock or chance, and never lets a doubt pass: no permit, an erroring policy, an unreadable
// annotation, a fact that is not a fact and a slice of another capability all deny.
// Others may assume: the same slice and request give the same verdict for ever, so replay proves the decision.

import type { CedarPolicyJson, PolicySlice } from '../contracts/bundle.ts';
import type { Rung } from '../contracts/capability.ts';
import { isRung, RUNGS } from '../contracts/capability.ts';
import type { Approval, Fact, Facts, Obligations, PolicyRequest, Principal, Verdict } from '../contracts/verdict.ts';
import type { EntityStore, Env } from './cedar/expression.ts';
import { factsOf } from './cedar/expression.ts';
import type { CompiledPolicies, CompiledPolicy, Matches, PolicyStatus } from './cedar/policy-set.ts';
import { compilePolicies, inspect, match } from './cedar/policy-set.ts';
import type { EntityValue, Value } from './cedar/values.ts';
import { joinObligations, obligationProblems, obligationsOf } from './obligations.ts';
import { entityOf, recordOf, setOf } from './cedar/values.ts';

export { authorize, compilePolicies, compilePolicy } from './cedar/policy-set.ts';
export type { CompiledPolicies, RawAnswer, RawEntity, RawRequest } from './cedar/policy-set.ts';
export { UNSUPPORTED } from './cedar/expression.ts';

export const APPROVAL_EXPIRES_MS_DEFAULT = 24 * 3_600_000;
export const QUORUM_MAX = 16;

/**
 * The verdict of one slice on one request. Pure; about 2 µs for twenty policies.
 * Precedence: deny > escalate > degrade > allow. `deciding` names the policies that made this verdict, sorted.
 * @throws AIOS_POLICY_INVALID when the slice holds what the evaluator does not support (publish refuses such policies)
 */
export function decide(slice: PolicySlice, request: PolicyRequest): Verdict {
  const compiled = compiledOf(slice);
  const doubt = doubtAbout(slice, request);
  if (doubt !== undefined) return { kind: 'deny', action: request.action, bundle: slice.bundle, deciding: [], erroring: [], reason: doubt };
  const found = match(compiled.policies, envOf(request, compiled.policies));
  const verdict = verdictOf(slice, request, found, compiled.obligations);
  return compiled.duties === undefined ? verdict : bound(verdict, found, compiled.duties);
}

/** What every satisfied policy binds to, whichever of them decided: a permit that asks for redaction does so beside a forbid that asks a person. */
function bound(verdict: Verdict, { permits, forbids }: Matches, duties: Duties): Verdict {
  let all: Obligations | undefined;
  for (const policies of [permits, forbids]) {
    for (const policy of policies) {
      const one = duties.get(policy);
      if (one !== undefined) all = all === undefined ? one : joinObligations(all, one);
    }
  }
  return all === undefined ? verdict : { ...verdict, obligations: all };
}

function verdictOf(slice: PolicySlice, request: PolicyRequest, found: Matches, obligations: ReadonlyMap<CompiledPolicy, Obligation>): Verdict {
  const base = { action: request.action, bundle: slice.bundle, erroring: found.erroring };
  if (found.erroring.length > 0) return { ...base, kind: 'deny', deciding: base.erroring, reason: `a policy failed: ${base.erroring.join(', ')}` };
  if (found.permits.length === 0) return { ...base, kind: 'deny', deciding: idsOf(found.forbids), reason: 'no policy permits this' };
  if (found.forbids.length === 0) return { ...base, kind: 'allow', deciding: idsOf(found.permits) };
  const of = (kind: Obligation['kind']): CompiledPolicy[] => found.forbids.filter((policy) => obligations.get(policy)?.kind === kind);
  const refusing = of('deny');
  if (refusing.length > 0) return { ...base, kind: 'deny', deciding: idsOf(refusing), reason: reasonOf(refusing) };
  const asking = of('escalate');
  if (asking.length > 0) return { ...base, kind: 'escalate', deciding: idsOf(asking), approval: approvalOf(asking, obligations), reason: reasonOf(asking) };
  return { ...base, kind: 'degrade', deciding: idsOf(found.forbids), rung: rungOf(found.forbids, obligations), reason: reasonOf(found.forbids) };
}

const idsOf = (policies: readonly CompiledPolicy[]): string[] => policies.map((policy) => policy.id);

/** What a person reads: the `@reason` of each deciding policy, or its id. */
const reasonOf = (policies: readonly CompiledPolicy[]): string => policies.map((policy) => policy.annotations['reason'] ?? policy.id).sort().join('; ');

// ---- obligations

/** What a forbid asks for when it is satisfied. */
export type Obligation =
  | { readonly kind: 'deny' }
  | { readonly kind: 'escalate'; readonly approval: Approval; readonly rank: number }
  | { readonly kind: 'degrade'; readonly rung: Rung };

/**
 * Reads `@approvers(group)`, `@quorum(n)`, `@expires("24h")`, `@onExpiry("deny" | "escalate group, …, deny | degrade rung")`, `@rank(n)`, `@degrade(rung)`;
 * `@redact`, `@retention` and `@record` are read in obligations.ts.
 * `problems` is what publish refuses; a policy with a problem plainly denies, should it ever reach a decision.
 */
export function obligationOf(policy: Pick<CedarPolicyJson, 'effect' | 'annotations'>): { readonly obligation: Obligation; readonly problems: readonly string[] } {
  const notes = policy.annotations ?? {};
  const problems = [...problemsOf(policy.effect, notes), ...obligationProblems(notes)];
  if (problems.length > 0) return { obligation: { kind: 'deny' }, problems };
  const approvers = notes['approvers'];
  if (approvers !== undefined) return { obligation: { kind: 'escalate', approval: readApproval(approvers, notes), rank: Number(notes['rank'] ?? 0) }, problems };
  const rung = notes['degrade'];
  return { obligation: isRung(rung) ? { kind: 'degrade', rung } : { kind: 'deny' }, problems };
}

const GROUP = /^[A-Za-z0-9_-]{1,64}$/;
/** Groups that may be asked one after the other when each lets its time pass. */
const CHAIN_MAX = 4;
/** Names of steps of a team, parted by single spaces; policies/steps.ts reads them. */
const STEPS = /^[a-z][a-z0-9-]{0,31}( [a-z][a-z0-9-]{0,31}){0,31}$/;
const APPROVAL_NOTES = ['quorum', 'expires', 'onExpiry', 'rank'] as const;

function problemsOf(effect: 'permit' | 'forbid', notes: Readonly<Record<string, string>>): string[] {
  const has = (name: string): boolean => Object.hasOwn(notes, name);
  const problems: string[] = [];
  const require = (right: boolean, problem: string): void => { if (!right) problems.push(problem); };
  require(effect === 'forbid' || !(has('approvers') || has('degrade')), '@approvers and @degrade belong on a forbid');
  require(!(has('approvers') && has('degrade')), '@approvers and @degrade exclude each other');
  require(has('approvers') || !APPROVAL_NOTES.some(has), '@quorum, @expires, @onExpiry and @rank need @approvers');
  require(!has('approvers') || GROUP.test(notes['approvers'] as string), '@approvers names one group');
  require(!has('quorum') || isCount(notes['quorum'], 1, QUORUM_MAX), `@quorum is 1 to ${QUORUM_MAX}`);
  require(!has('rank') || isCount(notes['rank'], 0, 99), '@rank is 0 to 99');
  require(!has('expires') || durationMs(notes['expires']) !== undefined, '@expires is a number and s, m, h or d, at most 90d');
  require(!has('onExpiry') || readExpiry(notes['onExpiry'] as string) !== undefined, `@onExpiry is at most ${CHAIN_MAX} times "escalate <group>", separated by commas, and then "deny" or "degrade <rung>"`);
  require(!has('degrade') || isRung(notes['degrade']), `@degrade is one of ${RUNGS.join(', ')}`);
  require(!has('steps') || STEPS.test(notes['steps'] as string), '@steps is 1 to 32 names of steps with a space between them');
  return problems;
}

const isCount = (text: string | undefined, from: number, to: number): boolean => text !== undefined && /^\d{1,2}$/.test(text) && Number(text) >= from && Number(text) <= to;

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const DURATION_MS_MAX = 90 * 86_400_000;

/** `90s`, `15m`, `24h`, `7d` in ms; undefined when it is none of these, zero, or longer than 90 days. */
export function durationMs(text: string | undefined): number | undefined {
  const found = /^(\d{1,6})([smhd])$/.exec(text ?? '');
  if (found === null) return undefined;
  const ms = Number(found[1]) * (UNIT_MS[found[2] as string] as number);
  return ms > 0 && ms <= DURATION_MS_MAX ? ms : undefined;
}

function readApproval(approvers: string, notes: Readonly<Record<string, string>>): Approval {
  const { groups: [next, ...chain], degrade } = readExpiry(notes['onExpiry'] ?? 'deny') ?? { groups: [] };
  return {
    approvers,
    quorum: Number(notes['quorum'] ?? 1),
    expiresMs: durationMs(notes['expires']) ?? APPROVAL_EXPIRES_MS_DEFAULT,
    onExpiry: next === undefined ? 'deny' : { escalate: next },
    ...(chain.length === 0 ? {} : { chain }),
    ...(degrade === undefined ? {} : { degrade }),
  };
}

/** `escalate a, escalate b, degrade script`: who is asked in turn, and what holds when nobody decided; "deny" may be left out. */
function readExpiry(text: string): { readonly groups: readonly string[]; readonly degrade?: Rung } | undefined {
  const steps = text.split(',').map((step) => step.trim().split(/\s+/));
  const [word, rung] = steps.at(-1) ?? [];
  const ends = word === 'deny' || word === 'degrade';
  const degrade = word === 'degrade' && isRung(rung) ? rung : undefined;
  const asked = ends ? steps.slice(0, -1) : steps;
  const right = asked.length <= CHAIN_MAX && asked.every((step) => step.length === 2 && step[0] === 'escalate' && GROUP.test(step[1] ?? '')) && (!ends || (word === 'deny' ? steps.at(-1)?.length === 1 : degrade !== undefined && steps.at(-1)?.length === 2));
  if (!right) return undefined;
  return { groups: asked.map((step) => step[1] as string), ...(degrade === undefined ? {} : { degrade }) };
}

/** Several policies may ask for a person: the highest rank names the group (then the larger quorum, then the id); of those naming it, the strictest terms hold. */
function approvalOf(policies: readonly CompiledPolicy[], obligations: ReadonlyMap<CompiledPolicy, Obligation>): Approval {
  const asked = policies.flatMap((policy) => {
    const obligation = obligations.get(policy);
    return obligation?.kind === 'escalate' ? [{ id: policy.id, ...obligation }] : [];
  });
  asked.sort((a, b) => b.rank - a.rank || b.approval.quorum - a.approval.quorum || (a.id < b.id ? -1 : 1));
  const first = (asked[0] as (typeof asked)[number]).approval;
  const same = asked.filter(({ approval }) => approval.approvers === first.approvers).map(({ approval }) => approval);
  return { ...first, quorum: Math.max(...same.map(({ quorum }) => quorum)), expiresMs: Math.min(...same.map(({ expiresMs }) => expiresMs)) };
}

/** The lowest rung that is asked for: the most careful one. */
function rungOf(policies: readonly CompiledPolicy[], obligations: ReadonlyMap<CompiledPolicy, Obligation>): Rung {
  const depth = policies.map((policy) => {
    const obligation = obligations.get(policy);
    return obligation?.kind === 'degrade' ? RUNGS.indexOf(obligation.rung) : 0;
  });
  return RUNGS[Math.max(...depth)] as Rung;
}

// ---- compiled slices

interface CompiledSlice {
  readonly policies: CompiledPolicies;
  readonly obligations: ReadonlyMap<CompiledPolicy, Obligation>;
  /** Of the policies that have any; absent when none has, which costs a decision nothing. */
  readonly duties: Duties | undefined;
}
type Duties = ReadonlyMap<CompiledPolicy, Obligations>;

/** By identity: a slice is immutable, and hashing 8 KiB costs more than compiling it. Whoever holds a bundle keeps its slices. */
const compiledSlices = new WeakMap<PolicySlice, CompiledSlice>();

function compiledOf(slice: PolicySlice): CompiledSlice {
  const known = compiledSlices.get(slice);
  if (known !== undefined) return known;
  const policies = compilePolicies(slice.policies);
  const obligations = new Map(policies.policies.map((policy) => [policy, obligationOf(policy).obligation]));
  const dutiful = policies.policies.flatMap((policy) => {
    const one = obligationsOf(policy);
    return one === undefined ? [] : [[policy, one] as const];
  });
  const compiled = { policies, obligations, duties: dutiful.length === 0 ? undefined : new Map(dutiful) };
  compiledSlices.set(slice, compiled);
  return compiled;
}

// ---- request to Cedar

const PRINCIPAL_TYPES = { user: 'User', service: 'Service', agent: 'Agent', team: 'Team' } as const;
const ACTION_UIDS = { admit: entityOf('Action', 'admit'), dispatch: entityOf('Action', 'dispatch'), invoke: entityOf('Action', 'invoke'), commit: entityOf('Action', 'commit') } as const;
const NONE: ReadonlySet<string> = new Set();
const NO_TAGS = Object.freeze({});

/** Why the request cannot be decided at all. */
function doubtAbout(slice: PolicySlice, request: PolicyRequest): string | undefined {
  if (request.resource.capability !== slice.capability.id) return 'the policy slice is of another capability';
  for (const name in request.context) if (!isFact(request.context[name])) return `the fact ${name} is not an integer, a boolean, a token or a list of tokens`;
  return undefined;
}

const isFact = (value: unknown): value is Fact => typeof value === 'boolean' || typeof value === 'string' || Number.isSafeInteger(value) || (Array.isArray(value) && value.every((item) => typeof item === 'string'));

/** The request as Cedar sees it: `User::"id"` with {tenant, roles}, `Capability::"name"` with {dataClass, sla}, facts as context. */
function envOf(request: PolicyRequest, { scope }: CompiledPolicies): Env {
  const principal = entityOf(PRINCIPAL_TYPES[request.principal.type], request.principal.id);
  const resource = entityOf('Capability', request.resource.capability);
  const fields = contextOf(request.context);
  return { principal, action: ACTION_UIDS[request.action], resource, context: recordOf(fields), facts: factsOf(scope, fields), entities: twoEntities(principal, request.principal, resource, request.resource) };
}

function twoEntities(principal: EntityValue, who: Principal, resource: EntityValue, what: PolicyRequest['resource']): EntityStore {
  const principalData = { fields: { tenant: who.tenant, roles: setOf(who.roles) }, ancestors: NONE, tags: NO_TAGS };
  const resourceData = { fields: { dataClass: what.dataClass, sla: what.sla }, ancestors: NONE, tags: NO_TAGS };
  return { find: (uid) => (uid === principal || uid.key === principal.key ? principalData : uid === resource || uid.key === resource.key ? resourceData : undefined) };
}

/** Facts are Cedar values already, but for lists, which become sets; without one nothing is copied. */
function contextOf(facts: Facts): Readonly<Record<string, Value>> {
  let copy: Record<string, Value> | undefined;
  for (const name in facts) {
    const fact = facts[name] as Fact;
    if (typeof fact === 'object') (copy ??= { ...facts } as Record<string, Value>)[name] = setOf(fact);
  }
  return copy ?? (facts as Readonly<Record<string, Value>>);
}

// ---- for people

export interface PolicyTrace {
  readonly id: string;
  readonly effect: 'permit' | 'forbid';
  readonly status: PolicyStatus | 'out-of-scope';
  readonly fault?: string;
  readonly annotations: Readonly<Record<string, string>>;
}

/** What every policy of the slice made of the request: the input of `aios policy explain`. */
export function traceOf(slice: PolicySlice, request: PolicyRequest): readonly PolicyTrace[] {
  const compiled = compiledOf(slice).policies;
  const env = envOf(request, compiled);
  return compiled.policies.map((policy) => ({ id: policy.id, effect: policy.effect, annotations: policy.annotations, ...inspect(policy, env) }));
}

/** The same request in Cedar's own JSON: what the oracle is asked in tests and what `explain` can hand to other Cedar tools. */
export function rawOf(request: PolicyRequest): { readonly principal: { type: string; id: string }; readonly action: { type: string; id: string }; readonly resource: { type: string; id: string }; readonly context: Facts; readonly entities: readonly { uid: { type: string; id: string }; attrs: Record<string, unknown>; parents: [] }[] } {
  const principal = { type: PRINCIPAL_TYPES[request.principal.type], id: request.principal.id };
  const resource = { type: 'Capability', id: request.resource.capability };
  return {
    principal,
    action: { type: 'Action', id: request.action },
    resource,
    context: request.context,
    entities: [
      { uid: principal, attrs: { tenant: request.principal.tenant, roles: request.principal.roles }, parents: [] },
      { uid: resource, attrs: { dataClass: request.resource.dataClass, sla: request.resource.sla }, parents: [] },
    ],
  };
}
