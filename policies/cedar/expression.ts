// Cedar expressions compiled to closures: one small function per operator, with Cedar's order of evaluation and its errors.
// Owns: the operator table. What is not in it is refused by name when a policy is compiled, never ignored when it runs.
// Never uses eval, a clock or chance: the same bytes decide in the workflow sandbox, in the gateway and on an edge box.
// Others may assume: a compiled expression yields a Value or throws one of the `Fault`s of this file and nothing else.

import { fail } from '../../contracts/errors.ts';
import type { EntityValue, RecordValue, SetValue, Value } from './values.ts';
import { equal, holds, holdsAll, holdsAny, isEntity, isLong, isRecord, isSet, recordOf, setOf, valueOf } from './values.ts';

/** What a store knows of one entity. `ancestors` holds the keys of all entities above it, however far. */
export interface EntityData {
  readonly fields: Readonly<Record<string, Value>>;
  readonly ancestors: ReadonlySet<string>;
  readonly tags: Readonly<Record<string, Value>>;
}
export interface EntityStore {
  find(uid: EntityValue): EntityData | undefined;
}

/** Everything one evaluation may look at. */
export interface Env {
  readonly principal: EntityValue;
  readonly action: EntityValue;
  readonly resource: EntityValue;
  /** The whole context, for the rare policy that looks at it as a value. */
  readonly context: RecordValue;
  /** The context's members by slot, absent ones undefined: an index is several times quicker than a name. */
  readonly facts: readonly (Value | undefined)[];
  readonly entities: EntityStore;
}

/** Slots of the context members that a set of policies names, handed out while it is compiled. */
export interface Scope {
  readonly slots: Map<string, number>;
}
export const createScope = (): Scope => ({ slots: new Map() });

/** The members of a context in their slots. Own members only: a fact is never found on a prototype. */
export function factsOf(scope: Scope, fields: Readonly<Record<string, Value>>): (Value | undefined)[] {
  const facts: (Value | undefined)[] = [];
  for (const name of scope.slots.keys()) facts.push(Object.hasOwn(fields, name) ? fields[name] : undefined);
  return facts;
}

function slotOf(scope: Scope, name: string): number {
  const known = scope.slots.get(name);
  if (known !== undefined) return known;
  scope.slots.set(name, scope.slots.size);
  return scope.slots.size - 1;
}

/** An evaluation error. Made when the policy is compiled, so that raising one takes no stack trace. */
export interface Fault {
  readonly fault: string;
}
export const isFault = (thrown: unknown): thrown is Fault => typeof thrown === 'object' && thrown !== null && typeof (thrown as { fault?: unknown }).fault === 'string';

export type Evaluate = (env: Env) => Value;
interface Node {
  readonly run: Evaluate;
  /** Present when the value does not depend on the request. */
  readonly constant?: Value;
  /** The operator yields nothing but booleans, so nobody has to look. */
  readonly truth?: true;
  /** The node is `context.x`: readers take the slot themselves, which saves a call in the commonest place. */
  readonly slot?: { readonly at: number; readonly absent: Fault };
}

/** Extension functions and constructors of Cedar that this evaluator refuses at publish. */
export const UNSUPPORTED = [
  'decimal', 'lessThan', 'lessThanOrEqual', 'greaterThan', 'greaterThanOrEqual',
  'ip', 'isIpv4', 'isIpv6', 'isLoopback', 'isMulticast', 'isInRange',
  'datetime', 'duration', 'offset', 'durationSince', 'toDate', 'toTime', 'toMilliseconds', 'toSeconds', 'toMinutes', 'toHours', 'toDays',
] as const;

/** @throws AIOS_POLICY_INVALID naming the operator */
export const compileExpression = (expression: unknown, scope: Scope): Evaluate => compile(expression, scope).run;

/** As `compileExpression`, for a condition: anything but a boolean is a fault. */
export function compileCondition(expression: unknown, scope: Scope): (env: Env) => boolean {
  return conditionOf(compile(expression, scope), 'a condition');
}

const I64_MAX = 2n ** 63n - 1n;
const I64_MIN = -(2n ** 63n);
const typeFault = (wanted: string, where: string): Fault => ({ fault: `type error: ${where} needs ${wanted}` });

function compile(expression: unknown, scope: Scope): Node {
  const entries = typeof expression === 'object' && expression !== null ? Object.entries(expression) : [];
  const entry = entries[0];
  if (entry === undefined || entries.length !== 1) throw refused('an expression must be one operator');
  const [operator, body] = entry;
  const compiler = Object.hasOwn(OPERATORS, operator) ? OPERATORS[operator] : undefined;
  if (compiler !== undefined) return compiler(body as Body, scope);
  const extension = (UNSUPPORTED as readonly string[]).includes(operator);
  throw refused(extension ? `"${operator}" belongs to an extension type, which this evaluator does not support` : `unknown operator "${operator}"`);
}

type Body = Readonly<Record<string, unknown>>;
const OPERATORS: Readonly<Record<string, (body: Body, scope: Scope) => Node>> = {
  Value: (body) => constant(valueOf(body)),
  Var: (body) => variable(body),
  '!': (body, scope) => pure(scope, [body['arg']], ([arg]) => negation(conditionOf(arg, '!')), 'truth'),
  neg: (body, scope) => pure(scope, [body['arg']], ([arg]) => minus(arg)),
  '==': (body, scope) => pure(scope, [body['left'], body['right']], ([left, right]) => equality(left, right), 'truth'),
  '!=': (body, scope) => pure(scope, [body['left'], body['right']], ([left, right]) => { const same = equality(left, right); return (env) => !same(env); }, 'truth'),
  '<': (body, scope) => order(body, scope, '<', (a, b) => a < b),
  '<=': (body, scope) => order(body, scope, '<=', (a, b) => a <= b),
  '>': (body, scope) => order(body, scope, '>', (a, b) => a > b),
  '>=': (body, scope) => order(body, scope, '>=', (a, b) => a >= b),
  '+': (body, scope) => arithmetic(body, scope, '+', (a, b) => a + b, (a, b) => a + b),
  '-': (body, scope) => arithmetic(body, scope, '-', (a, b) => a - b, (a, b) => a - b),
  '*': (body, scope) => arithmetic(body, scope, '*', (a, b) => a * b, (a, b) => a * b),
  '&&': (body, scope) => junction(body, scope, '&&', false),
  '||': (body, scope) => junction(body, scope, '||', true),
  'if-then-else': choice,
  in: (body, scope) => pure(scope, [body['left'], body['right']], ([left, right]) => membership(left, right), 'truth'),
  is: typeTest,
  has: presence,
  '.': access,
  like: (body, scope) => pure(scope, [body['left']], ([left]) => likeness(left, body['pattern']), 'truth'),
  contains: (body, scope) => pure(scope, [body['left'], body['right']], ([left, right]) => containment(left, right), 'truth'),
  containsAll: (body, scope) => setRelation(body, scope, 'containsAll', holdsAll),
  containsAny: (body, scope) => setRelation(body, scope, 'containsAny', holdsAny),
  isEmpty: (body, scope) => pure(scope, [body['arg']], ([arg]) => { const set = setFrom(arg, 'isEmpty'); return (env) => set(env).items.length === 0; }, 'truth'),
  getTag: (body, scope) => pure(scope, [body['left'], body['right']], ([left, right]) => tagOf(left, right)),
  hasTag: (body, scope) => pure(scope, [body['left'], body['right']], ([left, right]) => tagPresence(left, right), 'truth'),
  Set: (body, scope) => pure(scope, listOf(body), (nodes) => (env) => setOf(nodes.map((node) => node.run(env)))),
  Record: recordLiteral,
};

// ---- leaves

const constant = (value: Value): Node => ({ run: () => value, constant: value });

function variable(name: unknown): Node {
  if (name === 'principal') return { run: (env) => env.principal };
  if (name === 'action') return { run: (env) => env.action };
  if (name === 'resource') return { run: (env) => env.resource };
  if (name === 'context') return { run: (env) => env.context };
  throw refused(`unknown variable "${String(name)}"`);
}

/** An operator that evaluates all its operands: folded at once when they are constant and it does not fault. */
function pure(scope: Scope, operands: readonly unknown[], build: (nodes: readonly [Node, Node, ...Node[]]) => Evaluate, truth?: 'truth'): Node {
  const nodes = operands.map((operand) => compile(operand, scope)) as unknown as [Node, Node, ...Node[]];
  const run = build(nodes);
  const node: Node = truth === undefined ? { run } : { run, truth: true };
  if (nodes.some((operand) => operand.constant === undefined)) return node;
  try {
    return constant(run(NOWHERE));
  } catch (thrown) {
    if (isFault(thrown)) return node;
    throw thrown;
  }
}

/** Folding asks nothing of the request except through entities: operators over constant entities see an empty store, so they are kept apart. */
const NOWHERE: Env = {
  get principal(): never { throw STORE_NEEDED; },
  get action(): never { throw STORE_NEEDED; },
  get resource(): never { throw STORE_NEEDED; },
  get context(): never { throw STORE_NEEDED; },
  get facts(): never { throw STORE_NEEDED; },
  get entities(): never { throw STORE_NEEDED; },
};
const STORE_NEEDED: Fault = { fault: 'depends on the request' };

// ---- operand readers

function conditionOf(node: Node, where: string): (env: Env) => boolean {
  const fault = typeFault('a boolean', where);
  const { run, slot } = node;
  if (node.truth === true) return run as (env: Env) => boolean;
  if (slot !== undefined) return fromSlot(slot, (value): value is boolean => typeof value === 'boolean', fault);
  return (env) => {
    const value = run(env);
    if (typeof value !== 'boolean') throw fault;
    return value;
  };
}
function longFrom(node: Node, where: string): (env: Env) => number | bigint {
  const fault = typeFault('a long', where);
  const { run, slot } = node;
  if (slot !== undefined) {
    return (env) => {
      const value = env.facts[slot.at];
      return typeof value === 'number' ? value : longOrRaise(value, slot.absent, fault);
    };
  }
  return (env) => {
    const value = run(env);
    if (!isLong(value)) throw fault;
    return value;
  };
}
function longOrRaise(value: Value | undefined, absent: Fault, fault: Fault): number | bigint {
  if (value === undefined) throw absent;
  if (!isLong(value)) throw fault;
  return value;
}
function fromSlot<T extends Value>({ at, absent }: NonNullable<Node['slot']>, is: (value: Value) => value is T, fault: Fault): (env: Env) => T {
  return (env) => {
    const value = env.facts[at];
    if (value === undefined) throw absent;
    if (!is(value)) throw fault;
    return value;
  };
}
function stringFrom(node: Node, where: string): (env: Env) => string {
  const fault = typeFault('a string', where);
  const { run } = node;
  return (env) => {
    const value = run(env);
    if (typeof value !== 'string') throw fault;
    return value;
  };
}
function setFrom(node: Node, where: string): (env: Env) => SetValue {
  const fault = typeFault('a set', where);
  const { run } = node;
  return (env) => {
    const value = run(env);
    if (!isSet(value)) throw fault;
    return value;
  };
}
function entityOperand(node: Node, where: string): (env: Env) => EntityValue {
  const fault = typeFault('an entity', where);
  const { run } = node;
  return (env) => {
    const value = run(env);
    if (!isEntity(value)) throw fault;
    return value;
  };
}

// ---- logic

const negation = (condition: (env: Env) => boolean): Evaluate => (env) => !condition(env);

function junction(body: Body, scope: Scope, operator: string, decides: boolean): Node {
  const left = conditionOf(compile(body['left'], scope), operator);
  const right = conditionOf(compile(body['right'], scope), operator);
  return decides ? { truth: true, run: (env) => left(env) || right(env) } : { truth: true, run: (env) => left(env) && right(env) };
}

function choice(body: Body, scope: Scope): Node {
  const test = conditionOf(compile(body['if'], scope), 'if');
  const yes = compile(body['then'], scope).run;
  const no = compile(body['else'], scope).run;
  return { run: (env) => (test(env) ? yes(env) : no(env)) };
}

function equality(left: Node, right: Node): (env: Env) => boolean {
  const a = left.run;
  const b = right.run;
  const fixed = right.constant;
  if (fixed !== undefined && typeof fixed !== 'object') {
    const { slot } = left;
    if (slot === undefined) return (env) => a(env) === fixed;
    return (env) => { const value = env.facts[slot.at]; return value === fixed || (value === undefined && raise(slot.absent)); };
  }
  return (env) => equal(a(env), b(env));
}

// ---- numbers

function order(body: Body, scope: Scope, operator: string, compare: (a: number | bigint, b: number | bigint) => boolean): Node {
  return pure(scope, [body['left'], body['right']], ([left, right]) => {
    const a = longFrom(left, operator);
    const b = longFrom(right, operator);
    const fixed = right.constant;
    if (isLong(fixed ?? '')) return (env) => compare(a(env), fixed as number | bigint);
    return (env) => compare(a(env), b(env));
  }, 'truth');
}

/** Longs are 64 bit: doubles while the result is safe, bigint beyond, a fault past the range. */
function arithmetic(body: Body, scope: Scope, operator: string, quick: (a: number, b: number) => number, exact: (a: bigint, b: bigint) => bigint): Node {
  const overflow: Fault = { fault: `integer overflow in ${operator}` };
  return pure(scope, [body['left'], body['right']], ([left, right]) => {
    const readA = longFrom(left, operator);
    const readB = longFrom(right, operator);
    return (env) => {
      const a = readA(env);
      const b = readB(env);
      if (typeof a === 'number' && typeof b === 'number') {
        const result = quick(a, b);
        if (Number.isSafeInteger(result)) return result;
      }
      return longFromBig(exact(BigInt(a), BigInt(b)), overflow);
    };
  });
}

function minus(arg: Node): Evaluate {
  const overflow: Fault = { fault: 'integer overflow in -' };
  const read = longFrom(arg, '-');
  return (env) => {
    const value = read(env);
    return typeof value === 'number' ? -value : longFromBig(-value, overflow);
  };
}

function longFromBig(value: bigint, overflow: Fault): number | bigint {
  if (value > I64_MAX || value < I64_MIN) throw overflow;
  const small = Number(value);
  return Number.isSafeInteger(small) ? small : value;
}

// ---- entities and records

function membership(left: Node, right: Node): Evaluate {
  const element = entityOperand(left, 'in');
  const fault = typeFault('an entity or a set of entities', 'in');
  return (env) => {
    const uid = element(env);
    const target = right.run(env);
    if (isEntity(target)) return isIn(uid, target, env.entities);
    if (!isSet(target) || !target.items.every(isEntity)) throw fault;
    return target.items.some((item) => isIn(uid, item as EntityValue, env.entities));
  };
}

export const isIn = (uid: EntityValue, target: EntityValue, entities: EntityStore): boolean => uid.key === target.key || (entities.find(uid)?.ancestors.has(target.key) ?? false);

function typeTest(body: Body, scope: Scope): Node {
  const type = body['entity_type'];
  const left = compile(body['left'], scope);
  const uid = entityOperand(left, 'is');
  if (body['in'] === undefined) return { truth: true, run: (env) => uid(env).type === type };
  const within = membership(left, compile(body['in'], scope));
  return { truth: true, run: (env) => uid(env).type === type && within(env) };
}

/** `has a.b.c` asks one level after the other and stops at the first that is absent. */
function presence(body: Body, scope: Scope): Node {
  const path = (Array.isArray(body['attr']) ? body['attr'] : [body['attr']]).map(String);
  const fault = typeFault('a record or an entity', 'has');
  const [first, ...rest] = path as [string, ...string[]];
  if (isContext(body['left'])) {
    const slot = slotOf(scope, first);
    if (rest.length === 0) return { truth: true, run: (env) => env.facts[slot] !== undefined };
    return { truth: true, run: (env) => { const value = env.facts[slot]; return value !== undefined && hasPath(value, rest, env, fault); } };
  }
  const left = compile(body['left'], scope).run;
  return { truth: true, run: (env) => hasPath(left(env), path, env, fault) };
}

const isContext = (expression: unknown): boolean => (expression as { readonly Var?: unknown } | undefined)?.Var === 'context';

function hasPath(start: Value, path: readonly string[], env: Env, fault: Fault): boolean {
  let value = start;
  for (const name of path) {
    const found = ownFields(value, env, fault, name);
    if (found === undefined) return false;
    value = found;
  }
  return true;
}

/** The member `name`, or undefined when it is absent. */
function ownFields(value: Value, env: Env, fault: Fault, name: string): Value | undefined {
  const fields = isRecord(value) ? value.fields : isEntity(value) ? env.entities.find(value)?.fields : raise(fault);
  return fields !== undefined && Object.hasOwn(fields, name) ? fields[name] : undefined;
}

function access(body: Body, scope: Scope): Node {
  const name = String(body['attr']);
  const absent: Fault = { fault: `attribute "${name}" is absent` };
  if (isContext(body['left'])) {
    const at = slotOf(scope, name);
    return { run: (env) => env.facts[at] ?? raise(absent), slot: { at, absent } };
  }
  const fault = typeFault('a record or an entity', `.${name}`);
  const left = compile(body['left'], scope).run;
  return { run: (env) => ownFields(left(env), env, fault, name) ?? raise(absent) };
}

function tagOf(left: Node, right: Node): Evaluate {
  const uid = entityOperand(left, 'getTag');
  const tag = stringFrom(right, 'getTag');
  const absent: Fault = { fault: 'the tag is absent' };
  return (env) => {
    const tags = env.entities.find(uid(env))?.tags;
    const name = tag(env);
    return tags !== undefined && Object.hasOwn(tags, name) ? (tags[name] as Value) : raise(absent);
  };
}

function tagPresence(left: Node, right: Node): Evaluate {
  const uid = entityOperand(left, 'hasTag');
  const tag = stringFrom(right, 'hasTag');
  return (env) => {
    const tags = env.entities.find(uid(env))?.tags;
    const name = tag(env);
    return tags !== undefined && Object.hasOwn(tags, name);
  };
}

function recordLiteral(body: Body, scope: Scope): Node {
  const names = Object.keys(body);
  return pure(scope, Object.values(body), (nodes) => (env) => {
    const fields = Object.create(null) as Record<string, Value>;
    names.forEach((name, i) => { fields[name] = (nodes[i] as Node).run(env); });
    return recordOf(fields);
  });
}

// ---- sets and strings

function containment(left: Node, right: Node): Evaluate {
  const set = setFrom(left, 'contains');
  const wanted = right.run;
  return (env) => holds(set(env), wanted(env));
}

function setRelation(body: Body, scope: Scope, operator: string, relate: (set: SetValue, wanted: SetValue) => boolean): Node {
  return pure(scope, [body['left'], body['right']], ([left, right]) => {
    const a = setFrom(left, operator);
    const b = setFrom(right, operator);
    return (env) => relate(a(env), b(env));
  }, 'truth');
}

/** Wildcards split the pattern into pieces that must occur in order; greedy from the left is exact because only `*` repeats. */
function likeness(left: Node, pattern: unknown): Evaluate {
  const text = stringFrom(left, 'like');
  const pieces = piecesOf(listOf(pattern));
  const first = pieces[0] as string;
  if (pieces.length === 1) return (env) => text(env) === first;
  const last = pieces[pieces.length - 1] as string;
  const middle = pieces.slice(1, -1);
  return (env) => fits(text(env), first, middle, last);
}

function fits(text: string, first: string, middle: readonly string[], last: string): boolean {
  if (!text.startsWith(first)) return false;
  let at = first.length;
  for (const piece of middle) {
    const found = text.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  return text.length - at >= last.length && text.endsWith(last);
}

function piecesOf(pattern: readonly unknown[]): string[] {
  const pieces = [''];
  for (const element of pattern) {
    if (element === 'Wildcard') pieces.push('');
    else pieces[pieces.length - 1] += String((element as { readonly Literal: unknown }).Literal);
  }
  return pieces;
}

function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw refused('a list is missing');
}

function raise(fault: Fault): never {
  throw fault;
}

const refused = (why: string): Error => fail('AIOS_POLICY_INVALID', `${why}.`);
