// From Cedar text to checked policies in JSON form: the only place that asks Cedar's own implementation.
// Owns: reading policy files, ids, validation against the schema, and the list of everything that is wrong with them.
// Never drops or renames a policy: each has an @id, ids are unique, and what the evaluator cannot run is a problem here.
// Others may assume: policies without problems compile, decide as Cedar would, and carry readable obligations.

import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { policySetTextToParts, policyToJson, validate } from '@cedar-policy/cedar-wasm/nodejs';
import type { DetailedError } from '@cedar-policy/cedar-wasm/nodejs';
import type { CedarPolicyJson } from '../../contracts/bundle.ts';
import { fail, isAiosError } from '../../contracts/errors.ts';
import { compilePolicy, obligationOf } from '../../policies/evaluate.ts';

export const SCHEMA_FILE = 'schema.cedarschema';
const SHIPPED_SCHEMA = new URL(`../../policies/${SCHEMA_FILE}`, import.meta.url);
/** A policy file people still read, and a nesting a stack still holds. */
const FILE_CHARS_MAX = 256 * 1024;
const DEPTH_MAX = 128;

export interface PolicySources {
  /** Cedar text by file name. */
  readonly sources: Readonly<Record<string, string>>;
  readonly schema: string;
  /** `*.cases.yaml` by file name. */
  readonly cases: Readonly<Record<string, string>>;
}
export interface Problem {
  readonly file: string;
  readonly policy?: string;
  readonly message: string;
}
export interface CompiledSources {
  readonly policies: Readonly<Record<string, CedarPolicyJson>>;
  readonly problems: readonly Problem[];
}

/** A folder without a schema of its own is checked against the shipped one. @throws AIOS_CONFIG_INVALID when the folder is missing */
export async function readPolicyDir(dir: string): Promise<PolicySources> {
  const names = (await readdir(dir).catch((cause: unknown) => { throw fail('AIOS_CONFIG_INVALID', `There is no policy folder at ${dir}.`, { cause }); })).sort();
  const read = async (end: string): Promise<Record<string, string>> => Object.fromEntries(await Promise.all(names.filter((name) => name.endsWith(end)).map(async (name) => [name, await readFile(join(dir, name), 'utf8')])));
  const schema = (await read(SCHEMA_FILE))[SCHEMA_FILE] ?? (await readFile(SHIPPED_SCHEMA, 'utf8'));
  return { sources: await read('.cedar'), schema, cases: await read('.cases.yaml') };
}

/** Everything that can be said about the texts at once, so that nobody corrects one mistake at a time. */
export function compileSources({ sources, schema }: Pick<PolicySources, 'sources' | 'schema'>): CompiledSources {
  const found = Object.entries(sources).flatMap(([file, text]) => policiesIn(file, text));
  const problems = found.flatMap((one) => ('message' in one ? [one] : problemsOf(one)));
  const named = found.filter((one): one is NamedPolicy => !('message' in one));
  const policies = Object.fromEntries(named.map(({ id, json }) => [id, json]));
  const twice = named.filter(({ id }, i) => named.findIndex((other) => other.id === id) !== i);
  return { policies, problems: [...problems, ...twice.map(({ file, id }) => ({ file, policy: id, message: 'another policy has this @id' })), ...schemaProblems(policies, named, schema)] };
}

interface NamedPolicy { readonly file: string; readonly id: string; readonly json: CedarPolicyJson }

function policiesIn(file: string, text: string): readonly (NamedPolicy | Problem)[] {
  if (text.length > FILE_CHARS_MAX) return [{ file, message: `the file is longer than ${FILE_CHARS_MAX} characters` }];
  const parts = policySetTextToParts(text);
  if (parts.type === 'failure') return parts.errors.map((error) => ({ file, message: wordsOf(error, text) }));
  const templates = parts.policy_templates.map((): Problem => ({ file, message: 'templates (?principal, ?resource) are not supported; write one policy for each' }));
  return [...templates, ...parts.policies.map((policy) => namedPolicy(file, policy))];
}

function namedPolicy(file: string, text: string): NamedPolicy | Problem {
  const read = policyToJson(text);
  if (read.type === 'failure') return { file, message: read.errors.map((error) => wordsOf(error, text)).join('; ') };
  const json = read.json as unknown as CedarPolicyJson;
  const id = json.annotations?.['id'];
  if (typeof id !== 'string' || !/^[A-Za-z0-9_.-]{1,64}$/.test(id)) return { file, message: `a policy has no @id("…") of 1 to 64 letters, digits, "_", ".", "-": ${text.slice(0, 60)}` };
  // Cedar writes an annotation without a value as null.
  const annotations = Object.fromEntries(Object.entries(json.annotations ?? {}).filter(([name]) => name !== 'id').map(([name, value]) => [name, value ?? '']));
  return { file, id, json: { ...json, annotations } };
}

/** What the evaluator and the reader of annotations have to say. */
function problemsOf({ file, id, json }: NamedPolicy): readonly Problem[] {
  if (depthOf(json) > DEPTH_MAX) return [{ file, policy: id, message: `it is nested deeper than ${DEPTH_MAX}; split it` }];
  const unsupported: Problem[] = [];
  try {
    compilePolicy(id, json);
  } catch (thrown) {
    if (!isAiosError(thrown)) throw thrown;
    unsupported.push({ file, policy: id, message: (isAiosError(thrown.cause) ? thrown.cause : thrown).message.replace(/^The policy bundle cannot be published\. /, '') });
  }
  return [...unsupported, ...obligationOf(json).problems.map((message) => ({ file, policy: id, message }))];
}

function schemaProblems(policies: Readonly<Record<string, CedarPolicyJson>>, named: readonly NamedPolicy[], schema: string): readonly Problem[] {
  const answer = validate({ schema, policies: { staticPolicies: policies as never } });
  if (answer.type === 'failure') return answer.errors.map((error) => ({ file: SCHEMA_FILE, message: wordsOf(error, schema) }));
  const fileOf = (id: string): string => named.find((one) => one.id === id)?.file ?? SCHEMA_FILE;
  return answer.validationErrors.map(({ policyId, error }) => ({ file: fileOf(policyId), policy: policyId, message: wordsOf(error) }));
}

/** One function turns Cedar's errors into words; the line comes from its source location. */
function wordsOf(error: DetailedError, text?: string): string {
  const at = error.sourceLocations?.[0]?.start;
  const line = text === undefined || at === undefined ? '' : ` (line ${Buffer.from(text).subarray(0, at).toString().split('\n').length})`;
  const message = error.message.replace(/^for policy `[^`]*`, /, '');
  return `${message}${line}${error.help === null ? '' : `; ${error.help}`}`;
}

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  let deepest = 0;
  for (const member of Object.values(value)) deepest = Math.max(deepest, depthOf(member));
  return deepest + 1;
}

export const problemText = ({ file, policy, message }: Problem): string => `${file}${policy === undefined ? '' : `, policy "${policy}"`}: ${message}`;
