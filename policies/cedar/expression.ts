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
  readonly context: RecordValue;
  readonly entities: EntityStore;
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
}

/** Extension functions and constructors of Cedar that this evaluator refuses at publish. */
export const UNSUPPORTED = [
  'decimal', 'lessThan', 'lessThanOrEqual', 'greaterThan', 'greaterThanOrEqual',
  'ip', 'isIpv4', 'isIpv6', 'isLoopback', 'isMulticast', 'isInRange',
  'datetime', 'duration', 'offset', 'durationSince', 'toDate', 'toTime', 'toMilliseconds', 'toSeconds', 'toMinutes', 'toHours', 'toDays',
] as const;

/** @throws AIOS_POLICY_INVALID naming the operator */
export const compileExpression = (expression: unknown): Evaluate => compile(expression).run;

/** As `compileExpression`, for a condition: anything but a boolean is a fault. */
export function compileCondition(expression: unknown): (env: Env) => boolean {
  return conditionOf(compile(expression), 'a condition');
}

const I64_MAX = 2n ** 63n - 1n;
const I64_MIN = -(2n ** 63n);
const typeFault = (wanted: string, where: string): Fault => ({ fault: `type error: ${where} needs ${wanted}` });

function compile(expression: unknown): Node {
  const entries = typeof expression === 'object' && expression !== null ? Object.entries(expression) : [];
  const entry = entries[0];
  if (entry === undefined || entries.length !== 1) throw refused('an expression must be one operator');
  const [operator, body] = entry;
  const compiler = Object.hasOwn(OPERATORS, operator) ? OPERATORS[operator] : undefined;
  if (compiler !== undefined) return compiler(body as Body);
  const extension = (UNSUPPORTED as readonly string[]).includes(operator);
  throw refused(extension ? `"${operator}" belongs to an extension type, which this evaluator does not support` : `unknown operator "${operator}"`);
}

type Body = Readonly<Record<string, unknown>>;
const OPERATORS: Readonly<Record<string, (body: Body) => Node>> = {
  Value: (body) => constant(valueOf(body)),
  Var: variable,
  '!': (body) => pure([body['arg']], ([arg]) => negation(conditionOf(arg, '!'))),
  neg: (body) => pure([body['arg']], ([arg]) => minus(arg)),
  '==': (body) => pure([body['left'], body['right']], ([left, right]) => equality(left, right)),
  '!=': (body) => pure([body['left'], body['right']], ([left, right]) => { const same = equality(left, right); return (env) => !same(env); }),
  '<': (body) => order(body, '<', (a, b) => a < b),
  '<=': (body) => order(body, '<=', (a, b) => a <= b),
  '>': (body) => order(body, '>', (a, b) => a > b),
  '>=': (body) => order(body, '>=', (a, b) => a >= b),
  '+': (body) => arithmetic(body, '+', (a, b) => a + b, (a, b) => a + b),
  '-': (body) => arithmetic(body, '-', (a, b) => a - b, (a, b) => a - b),
  '*': (body) => arithmetic(body, '*', (a, b) => a * b, (a, b) => a * b),
  '&&': (body) => junction(body, '&&', false),
  '||': (body) => junction(body, '||', true),
  'if-then-else': choice,
  in: (body) => pure([body['left'], body['right']], ([left, right]) => membership(left, right)),
  is: typeTest,
  has: presence,
  '.': access,
  like: (body) => pure([body['left']], ([left]) => likeness(left, body['pattern'])),
  contains: (body) => pure([body['left'], body['right']], ([left, right]) => containment(left, right)),
  containsAll: (body) => setRelation(body, 'containsAll', holdsAll),
  containsAny: (body) => setRelation(body, 'containsAny', holdsAny),
  isEmpty: (body) => pure([body['arg']], ([arg]) => { const set = setFrom(arg, 'isEmpty'); return (env) => set(env).items.length === 0; }),
  getTag: (body) => pure([body['left'], body['right']], ([left, right]) => tagOf(left, right)),
  hasTag: (body) => pure([body['left'], body['right']], ([left, right]) => tagPresence(left, right)),
  Set: (body) => pure(listOf(body), (nodes) => (env) => setOf(nodes.map((node) => node.run(env)))),
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
function pure(operands: readonly unknown[], build: (nodes: readonly [Node, Node, ...Node[]]) => Evaluate): Node {
  const nodes = operands.map(compile) as unknown as [Node, Node, ...Node[]];
  const run = build(nodes);
  if (nodes.some((node) => node.constant === undefined)) return { run };
  try {
    return constant(run(NOWHERE));
  } catch (thrown) {
    if (isFault(thrown)) return { run };
    throw thrown;
  }
}

/** Folding asks nothing of the request except through entities: operators over constant entities see an empty store, so they are kept apart. */
const NOWHERE: Env = {
  get principal(): never { throw STORE_NEEDED; },
  get action(): never { throw STORE_NEEDED; },
  get resource(): never { throw STORE_NEEDED; },
  get context(): never { throw STORE_NEEDED; },
  get entities(): never { throw STORE_NEEDED; },
};
const STORE_NEEDED: Fault = { fault: 'depends on the request' };

// ---- operand readers

function conditionOf(node: Node, where: string): (env: Env) => boolean {
  const fault = typeFault('a boolean', where);
  const { run } = node;
  return (env) => {
    const value = run(env);
    if (typeof value !== 'boolean') throw fault;
    return value;
  };
}
function longFrom(node: Node, where: string): (env: Env) => number | bigint {
  const fault = typeFault('a long', where);
  const { run } = node;
  return (env) => {
    const value = run(env);
    if (!isLong(value)) throw fault;
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

function junction(body: Body, operator: string, decides: boolean): Node {
  const left = conditionOf(compile(body['left']), operator);
  const right = conditionOf(compile(body['right']), operator);
  return decides ? { run: (env) => left(env) || right(env) } : { run: (env) => left(env) && right(env) };
}

function choice(body: Body): Node {
  const test = conditionOf(compile(body['if']), 'if');
  const yes = compile(body['then']).run;
  const no = compile(body['else']).run;
  return { run: (env) => (test(env) ? yes(env) : no(env)) };
}

function equality(left: Node, right: Node): (env: Env) => boolean {
  const a = left.run;
  const b = right.run;
  const fixed = right.constant;
  if (fixed !== undefined && typeof fixed !== 'object') return (env) => a(env) === fixed;
  return (env) => equal(a(env), b(env));
}

// ---- numbers

function order(body: Body, operator: string, compare: (a: number | bigint, b: number | bigint) => boolean): Node {
  return pure([body['left'], body['right']], ([left, right]) => {
    const a = longFrom(left, operator);
    const b = longFrom(right, operator);
    return (env) => compare(a(env), b(env));
  });
}

/** Longs are 64 bit: doubles while the result is safe, bigint beyond, a fault past the range. */
function arithmetic(body: Body, operator: string, quick: (a: number, b: number) => number, exact: (a: bigint, b: bigint) => bigint): Node {
  const overflow: Fault = { fault: `integer overflow in ${operator}` };
  return pure([body['left'], body['right']], ([left, right]) => {
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

function typeTest(body: Body): Node {
  const type = body['entity_type'];
  const left = compile(body['left']);
  const uid = entityOperand(left, 'is');
  if (body['in'] === undefined) return { run: (env) => uid(env).type === type };
  const within = membership(left, compile(body['in']));
  return { run: (env) => uid(env).type === type && within(env) };
}

/** `has a.b.c` asks one level after the other and stops at the first that is absent. */
function presence(body: Body): Node {
  const left = compile(body['left']).run;
  const path = (Array.isArray(body['attr']) ? body['attr'] : [body['attr']]).map(String);
  const fault = typeFault('a record or an entity', 'has');
  if (path.length === 1) {
    const name = path[0] as string;
    return { run: (env) => ownFields(left(env), env, fault, name) !== undefined };
  }
  return { run: (env) => hasPath(left(env), path, env, fault) };
}

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

function access(body: Body): Node {
  const name = String(body['attr']);
  const absent: Fault = { fault: `attribute "${name}" is absent` };
  const fault = typeFault('a record or an entity', `.${name}`);
  const inner = body['left'] as { readonly Var?: unknown } | undefined;
  if (inner?.Var === 'context') return { run: (env) => fieldOf(env.context.fields, name, absent) };
  const left = compile(body['left']).run;
  return { run: (env) => ownFields(left(env), env, fault, name) ?? raise(absent) };
}

function fieldOf(fields: Readonly<Record<string, Value>>, name: string, absent: Fault): Value {
  const value = fields[name];
  if (value === undefined || !Object.hasOwn(fields, name)) throw absent;
  return value;
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

function recordLiteral(body: Body): Node {
  const names = Object.keys(body);
  return pure(Object.values(body), (nodes) => (env) => {
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

function setRelation(body: Body, operator: string, relate: (set: SetValue, wanted: SetValue) => boolean): Node {
  return pure([body['left'], body['right']], ([left, right]) => {
    const a = setFrom(left, operator);
    const b = setFrom(right, operator);
    return (env) => relate(a(env), b(env));
  });
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
