// Quick acceptance: a schema turned once into plain closures that say yes to JSON data the schema surely takes unchanged.
// Owns: the translation of the few schema types our messages are made of. Never refuses: a "no" here means "ask the schema",
// which alone decides, words the error, and alone handles what transforms its input.
// Others may assume: for freshly parsed JSON, `accepts(value)` implies that the schema's own parse succeeds with an equal value
// (property-tested over every message schema), at about a tenth of its cost.

import type { z } from 'zod';

export type Accepts = (value: unknown) => boolean;

/** `undefined`: the schema has a part that is not translated (a transform, a refinement, a default), so only it can say. */
export function acceptorOf(schema: z.ZodType): Accepts | undefined {
  let known = acceptors.get(schema);
  if (known === undefined) acceptors.set(schema, (known = { accepts: compile(schema as unknown as Node) }));
  return known.accepts;
}

const acceptors = new WeakMap<z.ZodType, { readonly accepts: Accepts | undefined }>();

/** The part of a schema's definition that is read here; zod publishes it for tools like this one (zod.dev/packages/core). */
interface Node { readonly _zod: { readonly def: Definition } }
interface Definition {
  readonly type: string;
  readonly checks?: readonly { readonly _zod: { readonly def: Check } }[];
  readonly shape?: Readonly<Record<string, Node>>;
  readonly catchall?: Node;
  readonly element?: Node;
  readonly innerType?: Node;
  readonly keyType?: Node;
  readonly valueType?: Node;
  readonly options?: readonly Node[];
  readonly items?: readonly Node[];
  readonly rest?: Node | null;
  readonly values?: readonly unknown[];
  readonly entries?: Readonly<Record<string, unknown>>;
  readonly coerce?: boolean;
  readonly format?: string;
}
interface Check {
  readonly check: string;
  readonly format?: string;
  readonly pattern?: RegExp;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly value?: unknown;
  readonly inclusive?: boolean;
}

function compile(node: Node): Accepts | undefined {
  const { def } = node._zod;
  if (def.coerce === true) return undefined;
  return Object.hasOwn(TYPES, def.type) ? TYPES[def.type]?.(def, node) : undefined;
}

const TYPES: Readonly<Record<string, (def: Definition, node: Node) => Accepts | undefined>> = {
  string: (def) => lift(boundsOf(def), text),
  number: (def) => lift(boundsOf(def), number),
  boolean: (def) => plain(def, (value) => typeof value === 'boolean'),
  null: (def) => plain(def, (value) => value === null),
  // What is missing is the schema's to judge.
  unknown: (def) => plain(def, (value) => value !== undefined),
  literal: (def) => plain(def, oneOf(def.values ?? [])),
  enum: (def) => plain(def, oneOf(Object.values(def.entries ?? {}))),
  optional: (def) => plain(def, lift(inner(def.innerType), (accepts) => (value) => value === undefined || accepts(value))),
  nullable: (def) => plain(def, lift(inner(def.innerType), (accepts) => (value) => value === null || accepts(value))),
  array: (def) => lift(inner(def.element), (accepts) => lift(boundsOf(def), (bounds) => list(accepts, bounds))),
  tuple: (def) => ((def.rest ?? undefined) === undefined ? plain(def, lift(all(def.items ?? []), tuple)) : undefined),
  union: (def) => plain(def, lift(all(def.options ?? []), (options) => (value) => options.some((accepts) => accepts(value)))),
  object: (def) => (def.catchall === undefined || def.catchall._zod.def.type === 'never' ? plain(def, object(def.shape ?? {})) : undefined),
  record: (def) => plain(def, record(inner(def.keyType), inner(def.valueType))),
  // A test of one's own has no parts; it is run as it is.
  custom: (def, node) => plain(def, (value) => (node as unknown as z.ZodType).safeParse(value).success),
};

const inner = (node: Node | undefined): Accepts | undefined => (node === undefined ? undefined : compile(node));
const lift = <T, R>(value: T | undefined, make: (value: T) => R | undefined): R | undefined => (value === undefined ? undefined : make(value));
/** Only for definitions without further checks. */
const plain = (def: Definition, accepts: Accepts | undefined): Accepts | undefined => ((def.checks ?? []).length === 0 ? accepts : undefined);

function all(nodes: readonly Node[]): readonly Accepts[] | undefined {
  const compiled = nodes.map(compile);
  return compiled.every((accepts) => accepts !== undefined) ? compiled : undefined;
}

function oneOf(values: readonly unknown[]): Accepts {
  const [only] = values;
  if (values.length === 1) return (value) => value === only;
  const known = new Set(values);
  return (value) => known.has(value);
}

const tuple = (items: readonly Accepts[]): Accepts => (value) => Array.isArray(value) && value.length === items.length && items.every((accepts, i) => accepts(value[i]));

/** Exactly the named members, `undefined` only by absence. */
function object(shape: Readonly<Record<string, Node>>): Accepts | undefined {
  const names = Object.keys(shape);
  const members = all(Object.values(shape));
  if (members === undefined || names.includes('__proto__')) return undefined;
  const optional = Object.values(shape).map((node) => node._zod.def.type === 'optional');
  return (value) => {
    if (!isPlain(value)) return false;
    let present = 0;
    for (let i = 0; i < names.length; i++) {
      const member = value[names[i] as string];
      if (member === undefined && optional[i] === true) continue;
      if (!(members[i] as Accepts)(member)) return false;
      present++;
    }
    for (const _ in value) present--;
    return present === 0;
  };
}

function record(key: Accepts | undefined, member: Accepts | undefined): Accepts | undefined {
  if (key === undefined || member === undefined) return undefined;
  return (value) => {
    if (!isPlain(value)) return false;
    for (const name in value) if (name === '__proto__' || !key(name) || !member(value[name])) return false;
    return true;
  };
}

/** As JSON makes them: what has a prototype of its own may turn itself into something else when it is written. */
const isPlain = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;

// ---- bounds of strings, numbers and lengths

/** All checks of one definition folded together, so that a value meets one closure and not one a check. */
interface Bounds { low: number; high: number; integer: boolean; pattern: RegExp | undefined }

function boundsOf({ format, checks = [] }: Definition): Bounds | undefined {
  const bounds: Bounds = { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY, integer: false, pattern: undefined };
  if (format !== undefined && checks.length === 0) return undefined;
  return checks.every(({ _zod }) => fold(bounds, _zod.def)) ? bounds : undefined;
}

/** False for a check that is not known here. */
function fold(bounds: Bounds, check: Check): boolean {
  switch (check.check) {
    case 'max_length': return high(bounds, check.maximum);
    case 'min_length': return low(bounds, check.minimum);
    case 'greater_than': return check.inclusive === true ? low(bounds, check.value) : low(bounds, above(check.value));
    case 'less_than': return check.inclusive === true && high(bounds, check.value);
    case 'number_format': return check.format === 'safeint' && (bounds.integer = true);
    case 'string_format': return matching(bounds, check);
    default: return false;
  }
}

function low(bounds: Bounds, value: unknown): boolean {
  if (typeof value !== 'number') return false;
  bounds.low = Math.max(bounds.low, value);
  return true;
}
function high(bounds: Bounds, value: unknown): boolean {
  if (typeof value !== 'number') return false;
  bounds.high = Math.min(bounds.high, value);
  return true;
}
/** More than a whole number is at least the next one, for integers; for others it turns down a little that the schema will take. */
const above = (value: unknown): unknown => (typeof value === 'number' && Number.isInteger(value) ? value + 1 : undefined);

/** Stateful expressions remember where they stopped; those stay with the schema, and so does a second one. */
function matching(bounds: Bounds, { format, pattern }: Check): boolean {
  if (format !== 'regex' || pattern === undefined || pattern.global || pattern.sticky || bounds.pattern !== undefined) return false;
  bounds.pattern = pattern;
  return true;
}

/** Schemas count code points: at most as many as units, and at least half of them. */
function text({ low: least, high: most, pattern }: Bounds): Accepts {
  const longEnough = least > 0 ? (value: string): boolean => value.length >= 2 * least || (value.length >= least && !SURROGATE.test(value)) : () => true;
  if (pattern === undefined) return (value) => typeof value === 'string' && value.length <= most && longEnough(value);
  return (value) => typeof value === 'string' && value.length <= most && longEnough(value) && pattern.test(value);
}
const SURROGATE = /[\ud800-\udfff]/;

function number({ low: least, high: most, integer }: Bounds): Accepts {
  if (integer) return (value) => Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;
  return (value) => typeof value === 'number' && Number.isFinite(value) && value >= least && value <= most;
}

function list(accepts: Accepts, { low: least, high: most }: Bounds): Accepts {
  return (value) => {
    if (!Array.isArray(value) || value.length < least || value.length > most) return false;
    for (let i = 0; i < value.length; i++) if (!accepts(value[i])) return false;
    return true;
  };
}
