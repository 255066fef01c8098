// A compiled set of policies and Cedar's raw answer: decision, determining ids, erroring ids.
// Owns: scopes, the index by action and resource, and the authorisation algorithm. What the answer means is in ../evaluate.ts.
// Never skips a policy silently: one that faults is reported by id, as Cedar's diagnostics do.
// Others may assume: `authorize` equals cedar-wasm's answer on every policy set that compiles (proven by a property test).

import type { CedarPolicyJson } from '../../contracts/bundle.ts';
import { fail, isAiosError } from '../../contracts/errors.ts';
import { expand } from './compact.ts';
import type { EntityData, EntityStore, Env, Scope } from './expression.ts';
import { compileCondition, createScope, factsOf, isFault, isIn } from './expression.ts';
import type { EntityValue, Value } from './values.ts';
import { entityFrom, recordOf, valueOf } from './values.ts';

type Test = (env: Env) => boolean;
interface ScopeTest {
  readonly always: boolean;
  readonly test: (uid: EntityValue, entities: EntityStore) => boolean;
}
export interface CompiledPolicy {
  readonly id: string;
  readonly effect: 'permit' | 'forbid';
  readonly annotations: Readonly<Record<string, string>>;
  readonly principal: ScopeTest;
  readonly action: ScopeTest;
  readonly resource: ScopeTest;
  readonly conditions: readonly Test[];
  /** Principal scope and all conditions in one. */
  readonly holds: Test;
  /** What `holds` was compiled from. */
  readonly body: unknown;
}
/** Policies of one effect that hold or not by the same words: asked once, whatever their number. */
interface Alike {
  readonly effect: CompiledPolicy['effect'];
  readonly holds: Test;
  /** Sorted by id. */
  readonly policies: readonly CompiledPolicy[];
}
export interface CompiledPolicies {
  /** Sorted by id, so that whatever matches is sorted too. */
  readonly policies: readonly CompiledPolicy[];
  readonly scope: Scope;
  /** Policies whose action and resource scope match, by action and resource; filled as requests come, at most `INDEX_ENTRIES_MAX`. */
  readonly index: Map<string, Map<string, readonly Alike[]>>;
}
const INDEX_ENTRIES_MAX = 512;

/** What matched, before it is turned into an answer, sorted by id. */
export interface Matches {
  readonly permits: readonly CompiledPolicy[];
  readonly forbids: readonly CompiledPolicy[];
  readonly erroring: readonly string[];
}

/** @throws AIOS_POLICY_INVALID naming the policy and what is wrong with it */
export function compilePolicies(policies: Readonly<Record<string, CedarPolicyJson>>): CompiledPolicies {
  const scope = createScope();
  return { policies: Object.keys(policies).sort().map((id) => compilePolicy(id, policies[id] as CedarPolicyJson, scope)), scope, index: new Map() };
}

export function compilePolicy(id: string, policy: CedarPolicyJson, scope: Scope = createScope()): CompiledPolicy {
  try {
    const principal = scopeOf(policy.principal);
    const conditions = policy.conditions.map((clause) => conditionOf(clause, scope));
    return { id, effect: effectOf(policy.effect), annotations: policy.annotations ?? {}, principal, action: scopeOf(policy.action), resource: scopeOf(policy.resource), conditions, holds: allOf(principal, conditions), body: [policy.principal, policy.conditions] };
  } catch (thrown) {
    if (!isAiosError(thrown)) throw thrown;
    throw fail('AIOS_POLICY_INVALID', `Policy "${id}": ${thrown.message}`, { cause: thrown });
  }
}

function allOf(principal: ScopeTest, conditions: readonly Test[]): Test {
  const [first, second, ...more] = conditions;
  const all: Test = first === undefined ? () => true : second === undefined ? first : more.length === 0 ? (env) => first(env) && second(env) : (env) => conditions.every((condition) => condition(env));
  return principal.always ? all : (env) => principal.test(env.principal, env.entities) && all(env);
}

/** Evaluates every policy whose scope fits. Order of entities and context does not matter. */
export function match(compiled: CompiledPolicies, env: Env): Matches {
  const permits: Alike[] = [];
  const forbids: Alike[] = [];
  const erroring: Alike[] = [];
  const found = candidates(compiled, env);
  // One `try` for a run of policies: a fault ends the run, is noted, and the next run starts behind it.
  for (let at = 0; at < found.length; at++) {
    try {
      for (; at < found.length; at++) {
        const alike = found[at] as Alike;
        if (alike.holds(env)) (alike.effect === 'permit' ? permits : forbids).push(alike);
      }
    } catch (thrown) {
      if (!isFault(thrown)) throw thrown;
      erroring.push(found[at] as Alike);
    }
  }
  return { permits: policiesOf(permits), forbids: policiesOf(forbids), erroring: policiesOf(erroring).map((policy) => policy.id) };
}

const NONE: readonly CompiledPolicy[] = [];

/** Sorted by id again where several come together. */
function policiesOf(groups: readonly Alike[]): readonly CompiledPolicy[] {
  if (groups.length <= 1) return groups[0]?.policies ?? NONE;
  return groups.flatMap((alike) => alike.policies).sort((a, b) => (a.id < b.id ? -1 : 1));
}

export type PolicyStatus = 'satisfied' | 'unsatisfied' | 'error';

/** Why one policy did what it did, for people: evaluated apart, slower, with the words of the fault. */
export function inspect(policy: CompiledPolicy, env: Env): { readonly status: PolicyStatus | 'out-of-scope'; readonly fault?: string } {
  if (!inScope(policy, env) || !policy.principal.test(env.principal, env.entities)) return { status: 'out-of-scope' };
  try {
    return { status: policy.conditions.every((condition) => condition(env)) ? 'satisfied' : 'unsatisfied' };
  } catch (thrown) {
    if (isFault(thrown)) return { status: 'error', fault: thrown.fault };
    throw thrown;
  }
}

// ---- Cedar's raw interface

export interface TypeAndId { readonly type: string; readonly id: string }
export interface RawRequest {
  readonly principal: TypeAndId;
  readonly action: TypeAndId;
  readonly resource: TypeAndId;
  /** Cedar JSON values. */
  readonly context: Readonly<Record<string, unknown>>;
}
export interface RawEntity {
  readonly uid: TypeAndId;
  readonly attrs: Readonly<Record<string, unknown>>;
  readonly parents: readonly TypeAndId[];
  readonly tags?: Readonly<Record<string, unknown>>;
}
export interface RawAnswer {
  readonly decision: 'allow' | 'deny';
  /** Sorted. Satisfied forbids if there are any, else satisfied permits. */
  readonly determining: readonly string[];
  readonly erroring: readonly string[];
}

/** Cedar's answer, unchanged: an erroring policy is skipped and reported. That it denies is decided outside, in `decide`. */
export function authorize(compiled: CompiledPolicies, request: RawRequest, entities: readonly RawEntity[]): RawAnswer {
  const context = fieldsOf(request.context);
  const env: Env = {
    principal: entityFrom(request.principal),
    action: entityFrom(request.action),
    resource: entityFrom(request.resource),
    context: recordOf(context),
    facts: factsOf(compiled.scope, context),
    entities: storeOf(entities),
  };
  const { permits, forbids, erroring } = match(compiled, env);
  const decision = permits.length > 0 && forbids.length === 0 ? 'allow' : 'deny';
  const determining = (forbids.length > 0 ? forbids : permits).map((policy) => policy.id);
  return { decision, determining, erroring };
}

/** Entities with the transitive closure of their parents. @throws AIOS_POLICY_INVALID for values outside the language */
export function storeOf(entities: readonly RawEntity[]): EntityStore {
  const parents = new Map(entities.map((entity) => [keyOf(entity.uid), entity.parents.map(keyOf)]));
  const data = new Map<string, EntityData>();
  for (const entity of entities) {
    const key = keyOf(entity.uid);
    data.set(key, { fields: fieldsOf(entity.attrs), ancestors: closure(key, parents), tags: fieldsOf(entity.tags ?? {}) });
  }
  return { find: (uid) => data.get(uid.key) };
}

const keyOf = (uid: TypeAndId): string => entityFrom(uid).key;

function closure(start: string, parents: ReadonlyMap<string, readonly string[]>): ReadonlySet<string> {
  const seen = new Set<string>();
  const open = [...(parents.get(start) ?? [])];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    open.push(...(parents.get(next) ?? []));
  }
  return seen;
}

function fieldsOf(json: Readonly<Record<string, unknown>>): Readonly<Record<string, Value>> {
  const fields = Object.create(null) as Record<string, Value>;
  for (const name of Object.keys(json)) fields[name] = valueOf(json[name]);
  return fields;
}

// ---- index

/** The index is by exact action and resource; one of them having ancestors makes the answer depend on more, so it is computed. */
function candidates(compiled: CompiledPolicies, env: Env): readonly Alike[] {
  const known = compiled.index.get(env.action.key)?.get(env.resource.key);
  const plain = !hasAncestors(env.action, env.entities) && !hasAncestors(env.resource, env.entities);
  if (known !== undefined && plain) return known;
  const found = alikes(compiled.policies.filter((policy) => inScope(policy, env)));
  if (plain) remember(compiled, env, found);
  return found;
}

const hasAncestors = (uid: EntityValue, entities: EntityStore): boolean => (entities.find(uid)?.ancestors.size ?? 0) > 0;
const inScope = (policy: CompiledPolicy, env: Env): boolean => policy.action.test(env.action, env.entities) && policy.resource.test(env.resource, env.entities);

/** Large sets repeat themselves: the same condition under many ids, for many resources and people. */
function alikes(policies: readonly CompiledPolicy[]): readonly Alike[] {
  const groups = new Map<string, CompiledPolicy[]>();
  for (const policy of policies) {
    const words = `${policy.effect} ${JSON.stringify(policy.body)}`;
    const group = groups.get(words);
    if (group === undefined) groups.set(words, [policy]);
    else group.push(policy);
  }
  return [...groups.values()].map((group) => ({ effect: (group[0] as CompiledPolicy).effect, holds: (group[0] as CompiledPolicy).holds, policies: group }));
}

function remember(compiled: CompiledPolicies, env: Env, found: readonly Alike[]): void {
  let byResource = compiled.index.get(env.action.key);
  if (byResource === undefined || byResource.size >= INDEX_ENTRIES_MAX) compiled.index.set(env.action.key, (byResource = new Map()));
  byResource.set(env.resource.key, found);
  if (compiled.index.size > INDEX_ENTRIES_MAX) compiled.index.clear();
}

// ---- reading a policy

function effectOf(effect: unknown): 'permit' | 'forbid' {
  if (effect === 'permit' || effect === 'forbid') return effect;
  throw fail('AIOS_POLICY_INVALID', 'the effect is permit or forbid.');
}

function conditionOf(clause: { readonly kind: 'when' | 'unless'; readonly body: unknown }, scope: Scope): Test {
  const test = compileCondition(expand(clause.body), scope);
  if (clause.kind === 'when') return test;
  if (clause.kind === 'unless') return (env) => !test(env);
  throw fail('AIOS_POLICY_INVALID', 'a condition is when or unless.');
}

const ANYTHING: ScopeTest = { always: true, test: () => true };
const scopeTest = (test: ScopeTest['test']): ScopeTest => ({ always: false, test });

/** Scopes of principal, action and resource share one grammar here: All, ==, in (one or a list), is, is … in. */
function scopeOf(json: unknown): ScopeTest {
  const scope = (json ?? {}) as { readonly op?: unknown; readonly entity?: unknown; readonly entities?: unknown; readonly entity_type?: unknown; readonly in?: unknown; readonly slot?: unknown };
  if (scope.slot !== undefined) throw fail('AIOS_POLICY_INVALID', 'templates with slots are not supported.');
  if (scope.op === 'All') return ANYTHING;
  if (scope.op === '==') return exactly(entityFrom(scope.entity));
  if (scope.op === 'in') return within(Array.isArray(scope.entities) ? scope.entities.map(entityFrom) : [entityFrom(scope.entity)]);
  if (scope.op === 'is' && typeof scope.entity_type === 'string') return ofType(scope.entity_type, scope.in);
  throw fail('AIOS_POLICY_INVALID', 'a scope is All, ==, in or is.');
}

const exactly = (wanted: EntityValue): ScopeTest => scopeTest((uid) => uid.key === wanted.key);
const within = (wanted: readonly EntityValue[]): ScopeTest => scopeTest((uid, entities) => wanted.some((target) => isIn(uid, target, entities)));

function ofType(type: string, inside: unknown): ScopeTest {
  if (inside === undefined) return scopeTest((uid) => uid.type === type);
  const inner = inside as { readonly entity?: unknown; readonly slot?: unknown };
  if (inner.slot !== undefined) throw fail('AIOS_POLICY_INVALID', 'templates with slots are not supported.');
  const target = entityFrom(inner.entity);
  return scopeTest((uid, entities) => uid.type === type && isIn(uid, target, entities));
}


