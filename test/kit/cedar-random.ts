// Random Cedar: policy sets, entities and requests in Cedar's JSON form, over a small world so that scopes and values meet.
// Owns: a seeded generator. Never makes extension types, slots or numbers past 2^53 (JSON cannot carry those).
// Others may assume: the same seed gives the same case, and every case is one that Cedar reads.

import type { CedarPolicyJson } from '../../contracts/bundle.ts';
import type { RawEntity, RawRequest, TypeAndId } from '../../policies/cedar/policy-set.ts';

export interface CedarCase {
  readonly policies: Record<string, CedarPolicyJson>;
  readonly entities: readonly RawEntity[];
  readonly requests: readonly RawRequest[];
}

/** mulberry32: small, seeded, good enough to choose with. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

type Random = () => number;
type Json = unknown;
const upTo = (random: Random, bound: number): number => Math.floor(random() * bound);
const pick = <T>(random: Random, from: readonly T[]): T => from[upTo(random, from.length)] as T;
const listOf = <T>(random: Random, lengthMax: number, make: () => T): T[] => Array.from({ length: upTo(random, lengthMax + 1) }, make);

export function randomCase(random: Random): CedarCase {
  const entities = randomEntities(random);
  const policies: Record<string, CedarPolicyJson> = {};
  const count = 1 + upTo(random, 6);
  // Some say the words of an earlier one again, under another id and perhaps with the other effect: what is alike is asked once.
  for (let i = 0; i < count; i++) {
    const earlier = policies[`p${Math.floor(random() * i)}`];
    policies[`p${i}`] = earlier !== undefined && random() < 0.3 ? { ...earlier, effect: random() < 0.7 ? earlier.effect : 'permit' } : randomPolicy(random);
  }
  return { policies, entities, requests: Array.from({ length: 3 }, () => randomRequest(random)) };
}

const USERS: readonly TypeAndId[] = ['a', 'b', 'c', '"q"'].map((id) => ({ type: 'User', id }));
const TEAMS: readonly TypeAndId[] = ['x', 'y'].map((id) => ({ type: 'Org::Team', id }));
const THINGS: readonly TypeAndId[] = ['one', 'two'].map((id) => ({ type: 'Capability', id }));
const ACTIONS: readonly TypeAndId[] = ['admit', 'commit', 'any'].map((id) => ({ type: 'Action', id }));
const ANYONE = [...USERS, ...TEAMS, ...THINGS, ...ACTIONS];
const TYPES = ['User', 'Org::Team', 'Capability', 'Action', 'Nobody'];
const NAMES = ['n', 's', 'set', 'rec', 'who', 'flag', 'weird key', 'toString'];
const STRINGS = ['', 'a', 'ab', 'abc', 'a*b', 'ünï😀', 'n', 's', 'T'];
const NUMBERS = [0, 1, -1, 2, 7, 7_000, 2 ** 31, -(2 ** 53 - 1), 2 ** 53 - 1, 3_000_000_000];

// ---- world

function randomEntities(random: Random): RawEntity[] {
  const teams = TEAMS.filter(() => random() < 0.8).map((uid) => entity(random, uid, []));
  const users = USERS.filter(() => random() < 0.75).map((uid) => entity(random, uid, TEAMS.filter(() => random() < 0.4)));
  const things = THINGS.filter(() => random() < 0.75).map((uid) => entity(random, uid, random() < 0.3 ? [TEAMS[0] as TypeAndId] : []));
  const grouped = random() < 0.4 ? [{ uid: ACTIONS[0] as TypeAndId, attrs: {}, parents: [ACTIONS[2] as TypeAndId] }] : [];
  if (random() < 0.3 && teams.length === 2) teams[0] = { ...(teams[0] as RawEntity), parents: [(teams[1] as RawEntity).uid] };
  return [...teams, ...users, ...things, ...grouped];
}

function entity(random: Random, uid: TypeAndId, parents: TypeAndId[]): RawEntity {
  const tags = random() < 0.4 ? { tags: { [pick(random, NAMES)]: value(random, 1) } } : {};
  return { uid, attrs: fields(random, 2), parents, ...tags };
}

function fields(random: Random, depth: number): Record<string, Json> {
  const made: Record<string, Json> = {};
  for (const name of NAMES) if (random() < 0.75) made[name] = natural(random, name, depth);
  return made;
}

/** Most members have the type their name suggests, so that comparisons succeed often enough. */
function natural(random: Random, name: string, depth: number): Json {
  if (random() < 0.1) return value(random, depth);
  if (name === 'n') return pick(random, NUMBERS);
  if (name === 's') return pick(random, STRINGS);
  if (name === 'flag') return random() < 0.5;
  if (name === 'who') return { __entity: pick(random, ANYONE) };
  if (name === 'set') return listOf(random, 3, () => value(random, 1));
  if (name === 'rec') return depth > 0 ? fields(random, depth - 1) : {};
  return value(random, depth);
}

function value(random: Random, depth: number): Json {
  const kind = upTo(random, depth > 0 ? 6 : 4);
  if (kind === 0) return random() < 0.5;
  if (kind === 1) return pick(random, NUMBERS);
  if (kind === 2) return pick(random, STRINGS);
  if (kind === 3) return { __entity: pick(random, ANYONE) };
  return kind === 4 ? listOf(random, 3, () => value(random, depth - 1)) : fields(random, depth - 1);
}

function randomRequest(random: Random): RawRequest {
  return { principal: pick(random, random() < 0.8 ? USERS : ANYONE), action: pick(random, ACTIONS), resource: pick(random, random() < 0.8 ? THINGS : ANYONE), context: fields(random, 2) };
}

// ---- policies

function randomPolicy(random: Random): CedarPolicyJson {
  return {
    effect: random() < 0.6 ? 'permit' : 'forbid',
    principal: scope(random, USERS),
    action: actionScope(random),
    resource: scope(random, THINGS),
    conditions: listOf(random, 2, () => ({ kind: random() < 0.7 ? ('when' as const) : ('unless' as const), body: bool(random, 4) })),
  };
}

function scope(random: Random, usual: readonly TypeAndId[]): Json {
  const kind = random() < 0.4 ? 0 : upTo(random, 8);
  if (kind < 4) return { op: 'All' };
  if (kind === 4) return { op: '==', entity: pick(random, usual) };
  if (kind === 5) return { op: 'in', entity: pick(random, random() < 0.7 ? TEAMS : usual) };
  const type = random() < 0.6 ? (usual[0] as TypeAndId).type : pick(random, TYPES);
  return kind === 6 ? { op: 'is', entity_type: type } : { op: 'is', entity_type: type, in: { entity: pick(random, TEAMS) } };
}

function actionScope(random: Random): Json {
  const kind = upTo(random, 5);
  if (kind < 2) return { op: 'All' };
  if (kind === 2) return { op: '==', entity: pick(random, ACTIONS) };
  return kind === 3 ? { op: 'in', entity: pick(random, ACTIONS) } : { op: 'in', entities: listOf(random, 3, () => pick(random, ACTIONS)) };
}

// ---- expressions: typed most of the time, anything at all one time in twelve

type Make = (random: Random, depth: number) => Json;
const wild = (random: Random, depth: number, make: Make): Json => (random() < 0.04 ? any(random, depth) : make(random, depth));
const two = (operator: string, left: Json, right: Json): Json => ({ [operator]: { left, right } });

const BRANCHES = ['if', 'then', 'else'];
const conditional = (...parts: readonly [Json, Json, Json]): Json => ({ 'if-then-else': Object.fromEntries(BRANCHES.map((name, i) => [name, parts[i]])) });

const any: Make = (random, depth) => pick(random, [bool, long, text, setOf, record, who])(random, Math.max(0, depth - 1));
const access = (random: Random, depth: number, name: string): Json => ({ '.': { left: wild(random, depth - 1, holder), attr: random() < 0.93 ? name : pick(random, NAMES) } });
const holder: Make = (random, depth) => (random() < 0.6 || depth <= 0 ? { Var: 'context' } : pick(random, [record, who])(random, depth - 1));

const bool: Make = (random, depth) => {
  if (depth <= 0) return random() < 0.6 ? { Value: random() < 0.5 } : access(random, 0, 'flag');
  const next = depth - 1;
  const of = (make: Make): Json => wild(random, next, make);
  switch (upTo(random, 20)) {
    case 0: case 1: return two('&&', of(bool), of(bool));
    case 2: case 3: return two('||', of(bool), of(bool));
    case 4: return { '!': { arg: of(bool) } };
    case 5: { const make = pick(random, [long, text, bool, setOf, record, who]); return two(random() < 0.5 ? '==' : '!=', of(make), of(make)); }
    case 6: case 7: return two(pick(random, ['<', '<=', '>', '>=']), of(long), of(long));
    case 8: return two('in', of(who), of(random() < 0.6 ? who : setOfWho));
    case 9: return { is: { left: of(who), entity_type: pick(random, TYPES), ...(random() < 0.4 ? { in: of(who) } : {}) } };
    case 10: return { has: { left: of(holder), attr: pick(random, NAMES) } };
    case 11: return { has: { left: of(holder), attr: [pick(random, ['rec', 'who']), ...listOf(random, 1, () => 'rec'), pick(random, NAMES)] } };
    case 12: return { like: { left: of(text), pattern: listOf(random, 4, () => (random() < 0.4 ? 'Wildcard' : { Literal: pick(random, ['a', 'b', '*', 'ü', '😀', 'c']) })) } };
    case 13: return two('contains', of(setOf), of(any));
    case 14: return two(pick(random, ['containsAll', 'containsAny']), of(setOf), of(setOf));
    case 15: return { isEmpty: { arg: of(setOf) } };
    case 16: return two('hasTag', of(who), of(text));
    case 17: return conditional(of(bool), of(bool), of(bool));
    case 18: { const name = pick(random, NAMES); return two('&&', { has: { left: { Var: 'context' }, attr: name } }, two('==', { '.': { left: { Var: 'context' }, attr: name } }, of(any))); }
    default: return access(random, depth, 'flag');
  }
};

const long: Make = (random, depth) => {
  if (depth <= 0) return random() < 0.6 ? { Value: pick(random, NUMBERS) } : access(random, 0, 'n');
  const of = (make: Make): Json => wild(random, depth - 1, make);
  switch (upTo(random, 6)) {
    case 0: return two('+', of(long), of(long));
    case 1: return two('-', of(long), of(long));
    case 2: return two('*', of(long), of(long));
    case 3: return { neg: { arg: of(long) } };
    case 4: return conditional(of(bool), of(long), of(long));
    default: return access(random, depth, 'n');
  }
};

const text: Make = (random, depth) => {
  if (depth <= 0 || random() < 0.5) return random() < 0.6 ? { Value: pick(random, STRINGS) } : access(random, 0, 's');
  return random() < 0.3 ? two('getTag', wild(random, depth - 1, who), { Value: pick(random, NAMES) }) : access(random, depth, 's');
};

const setOf: Make = (random, depth) => (random() < 0.4 ? access(random, depth, 'set') : { Set: listOf(random, 3, () => any(random, depth - 1)) });
const setOfWho: Make = (random, depth) => ({ Set: listOf(random, 3, () => wild(random, depth - 1, who)) });
const record: Make = (random, depth) => {
  if (random() < 0.5) return access(random, depth, 'rec');
  const members: Record<string, Json> = {};
  for (const name of NAMES) if (random() < 0.25) members[name] = any(random, depth - 1);
  return { Record: members };
};
const who: Make = (random, depth) => {
  const kind = upTo(random, 8);
  if (kind < 2) return { Var: 'principal' };
  if (kind === 2) return { Var: 'resource' };
  if (kind === 3) return { Var: 'action' };
  if (kind < 6 || depth <= 0) return { Value: { __entity: pick(random, ANYONE) } };
  return access(random, depth, 'who');
};
