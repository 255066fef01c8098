// A small checker of JSON Schema as OpenAPI 3 uses it, enough to hold requests against a published description.
// Owns: types, required, enum, bounds, items, properties, combinations and local references. Unknown keywords are ignored.
// Never fetches a reference. Others may assume: an empty list of problems means that everything this checks holds,
// and each problem names the place it was found at.

export type Schema = Readonly<Record<string, unknown>>;

export function schemaProblems(schema: Schema, value: unknown, root: Schema, path = '$', depth = 0): string[] {
  if (depth > 64) return [`${path}: nested too deeply`];
  if (typeof schema['$ref'] === 'string') return schemaProblems(resolve(schema['$ref'], root), value, root, path, depth + 1);
  if (value === null && isNullable(schema)) return [];
  const next = (part: unknown, at = path, inner: unknown = value): string[] => schemaProblems(part as Schema, inner, root, at, depth + 1);
  return [
    ...typeProblems(schema, value, path),
    ...boundProblems(schema, value, path),
    ...list(schema['allOf']).flatMap((part) => next(part)),
    ...choiceProblems(schema, path, (part) => next(part)),
    ...(Array.isArray(value) && schema['items'] !== undefined ? value.flatMap((item, i) => next(schema['items'], `${path}[${i}]`, item)) : []),
    ...objectProblems(schema, value, path, next),
  ];
}

function resolve(reference: string, root: Schema): Schema {
  let at: unknown = root;
  for (const part of reference.replace(/^#\//, '').split('/')) at = (at as Record<string, unknown> | undefined)?.[part];
  if (typeof at !== 'object' || at === null) throw new Error(`no such reference: ${reference}`);
  return at as Schema;
}

const isNullable = (schema: Schema): boolean => schema['nullable'] === true || schema['type'] === 'null' || list(schema['type']).includes('null');
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

function typeProblems(schema: Schema, value: unknown, path: string): string[] {
  const types = typeof schema['type'] === 'string' ? [schema['type']] : list(schema['type']);
  const fits = types.length === 0 || types.some((type) => isOfType(String(type), value));
  const known = schema['enum'] === undefined || list(schema['enum']).includes(value);
  return [...(fits ? [] : [`${path}: not ${types.join(' or ')}`]), ...(known ? [] : [`${path}: not one of ${list(schema['enum']).join(', ')}`])];
}

function isOfType(type: string, value: unknown): boolean {
  if (type === 'integer') return Number.isInteger(value);
  if (type === 'array') return Array.isArray(value);
  if (type === 'null') return value === null;
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value);
  return typeof value === type;
}

function boundProblems(schema: Schema, value: unknown, path: string): string[] {
  const size = typeof value === 'number' ? value : typeof value === 'string' || Array.isArray(value) ? value.length : undefined;
  if (size === undefined) return [];
  const suffix = typeof value === 'number' ? 'imum' : typeof value === 'string' ? 'Length' : 'Items';
  const [least, most] = [schema[`min${suffix}`], schema[`max${suffix}`]];
  return [...(typeof least === 'number' && size < least ? [`${path}: under ${least}`] : []), ...(typeof most === 'number' && size > most ? [`${path}: over ${most}`] : [])];
}

function choiceProblems(schema: Schema, path: string, check: (part: unknown) => string[]): string[] {
  return ['oneOf', 'anyOf'].flatMap((keyword) => {
    const parts = list(schema[keyword]);
    return parts.length === 0 || parts.some((part) => check(part).length === 0) ? [] : [`${path}: fits none of ${parts.length} alternatives`];
  });
}

function objectProblems(schema: Schema, value: unknown, path: string, check: (part: unknown, at: string, inner: unknown) => string[]): string[] {
  if (!isOfType('object', value)) return [];
  const properties = (schema['properties'] ?? {}) as Schema;
  const record = value as Record<string, unknown>;
  const absent = list(schema['required']).filter((name) => !Object.hasOwn(record, String(name))).map((name) => `${path}.${String(name)}: missing`);
  const extra = schema['additionalProperties'] === false ? Object.keys(record).filter((name) => !Object.hasOwn(properties, name)).map((name) => `${path}.${name}: not known`) : [];
  const wrong = Object.entries(record).flatMap(([name, inner]) => (Object.hasOwn(properties, name) ? check(properties[name], `${path}.${name}`, inner) : []));
  return [...absent, ...extra, ...wrong];
}
