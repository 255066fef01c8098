// Cedar values at run time: what an expression can yield, how two are compared, and how they are read from Cedar's JSON.
// Owns: the value model and its equality. A Long is a number while it is a safe integer and a bigint beyond, never both.
// Never holds an extension type (decimal, ip, datetime, duration): those are refused when a policy is compiled.
// Others may assume: values are immutable, and equality is Cedar's (sets ignore order and repetition).

import { fail } from '../../contracts/errors.ts';

export interface EntityValue {
  readonly kind: 'entity';
  readonly type: string;
  readonly id: string;
  /** `Type::"id"`; unambiguous because a type holds no quote. */
  readonly key: string;
}
export interface SetValue {
  readonly kind: 'set';
  readonly items: readonly Value[];
}
export interface RecordValue {
  readonly kind: 'record';
  readonly fields: Readonly<Record<string, Value>>;
}
export type Value = boolean | number | bigint | string | EntityValue | SetValue | RecordValue;

export const entityOf = (type: string, id: string): EntityValue => ({ kind: 'entity', type, id, key: `${type}::"${id}"` });
export const setOf = (items: readonly Value[]): SetValue => ({ kind: 'set', items });
export const recordOf = (fields: Readonly<Record<string, Value>>): RecordValue => ({ kind: 'record', fields });

export const isEntity = (value: Value): value is EntityValue => typeof value === 'object' && value.kind === 'entity';
export const isSet = (value: Value): value is SetValue => typeof value === 'object' && value.kind === 'set';
export const isRecord = (value: Value): value is RecordValue => typeof value === 'object' && value.kind === 'record';
export const isLong = (value: Value): value is number | bigint => typeof value === 'number' || typeof value === 'bigint';

export function equal(a: Value, b: Value): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object') return false;
  if (a.kind === 'entity') return b.kind === 'entity' && a.id === b.id && a.type === b.type;
  if (a.kind === 'set') return b.kind === 'set' && holdsAll(a, b) && holdsAll(b, a);
  return b.kind === 'record' && sameFields(a.fields, b.fields);
}

export function holds(set: SetValue, wanted: Value): boolean {
  for (const item of set.items) if (equal(item, wanted)) return true;
  return false;
}

export const holdsAll = (set: SetValue, wanted: SetValue): boolean => wanted.items.every((item) => holds(set, item));
export const holdsAny = (set: SetValue, wanted: SetValue): boolean => wanted.items.some((item) => holds(set, item));

/** Cedar's JSON values: booleans, safe integers, strings, arrays, `{__entity: {type, id}}`, records. @throws AIOS_POLICY_INVALID */
export function valueOf(json: unknown): Value {
  if (typeof json === 'boolean' || typeof json === 'string') return json;
  if (typeof json === 'number') return longOf(json);
  if (Array.isArray(json)) return setOf(json.map(valueOf));
  if (typeof json === 'object' && json !== null) return objectOf(json as Record<string, unknown>);
  throw fail('AIOS_POLICY_INVALID', `a ${json === null ? 'null' : typeof json} is not a Cedar value.`);
}

/** Reads `{type, id}` or `{__entity: {type, id}}`. @throws AIOS_POLICY_INVALID */
export function entityFrom(json: unknown): EntityValue {
  const outer = json as Readonly<Record<string, unknown>> | null | undefined;
  const uid = (outer?.['__entity'] ?? outer) as { readonly type?: unknown; readonly id?: unknown } | null | undefined;
  if (typeof uid?.type === 'string' && typeof uid.id === 'string') return entityOf(uid.type, uid.id);
  throw fail('AIOS_POLICY_INVALID', 'an entity is written {"type": …, "id": …}.');
}

function sameFields(a: RecordValue['fields'], b: RecordValue['fields']): boolean {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && equal(a[name] as Value, b[name] as Value));
}

/** JSON carries Cedar's 64-bit integers as doubles: past 2^53 they are already another number, so they are refused. */
function longOf(value: number): number {
  if (Number.isSafeInteger(value)) return value;
  throw fail('AIOS_POLICY_INVALID', `the number ${value} is not an integer between -(2^53-1) and 2^53-1.`);
}

function objectOf(json: Record<string, unknown>): Value {
  if (Object.hasOwn(json, '__entity')) return entityFrom(json);
  if (Object.hasOwn(json, '__extn')) throw fail('AIOS_POLICY_INVALID', 'extension values (decimal, ip, datetime, duration) are not supported.');
  const fields = Object.create(null) as Record<string, Value>;
  for (const name of Object.keys(json)) fields[name] = valueOf(json[name]);
  return recordOf(fields);
}
