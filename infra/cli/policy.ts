// The commands `policy check|test|publish|diff|explain|what-if`: policies from text to force, and back to words.
// Owns: where folders, bundles and decision records come from. The work is in infra/cedar and in policies.
// Never publishes what has a problem or a failing case. Others may assume: exit code 1 for any problem, failing case or, with
// `--fail-on-change`, for any decision that would have been another.

import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import type { PolicyBundle } from '../../contracts/bundle.ts';
import { canonicalJson, digestOf } from '../../contracts/canonical.ts';
import { fail } from '../../contracts/errors.ts';
import { parseJson, parseValue } from '../../contracts/parse.ts';
import type { DecisionRecord } from '../../contracts/record.ts';
import type { PolicyRequest } from '../../contracts/verdict.ts';
import { ACTIONS, factsSchema, principalSchema } from '../../contracts/verdict.ts';
import { explain, explanationText } from '../../policies/explain.ts';
import { whatIf } from '../../policies/what-if.ts';
import { sliceForCase } from '../cedar/cases.ts';
import { problemText, readPolicyDir } from '../cedar/compile.ts';
import type { CheckedBundle } from '../cedar/publish.ts';
import { buildBundle, checkBundle } from '../cedar/publish.ts';
import { SHIPPED_POLICIES, publishPolicies, shippedCapabilities } from '../dev/publish.ts';
import { readLogs } from '../files/ledger.ts';
import { loadKeys } from '../crypto/keys.ts';
import { createVerifier } from '../crypto/signer.ts';
import { OPERATOR } from '../dev/authority.ts';
import { credentialsFor } from '../nats/identities.ts';
import type { NatsPorts } from '../nats/index.ts';
import { connectPorts } from '../nats/index.ts';
import { createTelemetry } from '../telemetry/index.ts';
import { act, type CliContext, EXIT } from './shared.ts';

interface DirOption { readonly dir?: string }

export function registerPolicy(program: Command): void {
  const policy = program.command('policy').description('check, test, publish and explain policies');
  const withDir = (name: string, words: string): Command => policy.command(name).description(words).option('--dir <folder>', 'folder of .cedar files; the shipped one when absent');
  withDir('check', 'validate the policies of a folder against its schema').action(act(check));
  withDir('test', 'run the *.cases.yaml of a folder').action(act(runTests));
  withDir('publish', 'check, test, sign and put a folder in force').action(act(publish));
  withDir('diff', 'what publishing a folder would change').action(act(diff));
  withDir('explain <capability> <action>', 'which policies decide, and what would change the verdict')
    .option('--facts <json>', 'facts over the plain ones, such as {"effectKind":"refund","amountMicroUsd":60000000}', '{}')
    .option('--principal <json>', 'who asks: {"id","type","tenant","roles"}')
    .action(act(explained));
  withDir('what-if', 'judge the decisions of the ledger again under a folder')
    .option('--ledger <folder>', 'ledger folder; that of the home when absent')
    .option('--bundle <file>', 'a signed bundle instead of a folder')
    .option('--since <time>', 'only decisions from here on: an ISO date, or a duration such as 24h')
    .option('--fail-on-change', 'exit code 1 when any decision would have been another')
    .action(act(replayed));
}

// ---- check, test

async function check(context: CliContext, { dir }: DirOption): Promise<void> {
  const { bundle, problems } = await checked(dir);
  if (problems.length > 0) context.exit(EXIT.failed);
  context.print({ json: { policies: Object.keys(bundle.policies).length, problems }, text: problems.length === 0 ? `${Object.keys(bundle.policies).length} policies, no problems` : problems.map(problemText).join('\n') });
}

async function runTests(context: CliContext, { dir }: DirOption): Promise<void> {
  const { problems, cases } = await checked(dir);
  const failed = cases.results.filter(({ passed }) => !passed);
  if (problems.length + failed.length > 0 || cases.results.length === 0) context.exit(EXIT.failed);
  const lines = [
    ...problems.map(problemText),
    ...failed.map(({ file, name, why }) => `${file}, case "${name}": ${why}`),
    `${cases.results.length - failed.length} of ${cases.results.length} cases passed`,
    ...(cases.untested.length === 0 ? [] : [`decided by no case: ${cases.untested.join(', ')}`]),
  ];
  context.print({ json: { problems, passed: cases.results.length - failed.length, failed, untested: cases.untested }, text: lines.join('\n') });
}

const dirOf = (dir: string | undefined): string => (dir === undefined ? SHIPPED_POLICIES : resolve(dir));
const checked = async (dir: string | undefined): Promise<CheckedBundle> => checkBundle(await readPolicyDir(dirOf(dir)), { capabilities: shippedCapabilities(), version: 1, now: Date.now() });
const built = (dir: string | undefined): Promise<PolicyBundle> => buildBundle({ dir: dirOf(dir), capabilities: shippedCapabilities(), version: 1, now: Date.now() });

// ---- publish, diff

async function publish(context: CliContext, { dir }: DirOption): Promise<void> {
  await using system = await connected(context);
  const { bundle, signed, published } = await publishPolicies({ config: context.config, ports: system.ports, dir: dirOf(dir), now: Date.now() });
  context.print({ json: { published, version: bundle.version, digest: signed.digest }, text: published ? `version ${bundle.version} is in force: ${signed.digest}` : `nothing changed; version ${bundle.version} stays in force` });
}

async function diff(context: CliContext, { dir }: DirOption): Promise<void> {
  const next = await built(dir);
  const { keyring } = await loadKeys(join(context.config.home, 'keys'));
  await using system = await connected(context);
  await using store = system.ports.policyStore(createVerifier(keyring));
  const changes = differences(await store.bundle(), next);
  context.print({ json: changes, text: changes.length === 0 ? 'no difference' : changes.map(({ what, name, how }) => `${how} ${what} ${name}`).join('\n') });
}

interface Difference { readonly what: string; readonly name: string; readonly how: 'added' | 'removed' | 'changed' }

/** Member by member; the schema counts as one. */
export function differences(before: PolicyBundle, after: PolicyBundle): readonly Difference[] {
  const parts = ['policies', 'capabilities', 'groups', 'prices', 'providers', 'budgets'] as const;
  const schema: Difference[] = before.schema === after.schema ? [] : [{ what: 'schema', name: '', how: 'changed' }];
  return [...parts.flatMap((what) => differencesIn(what, before[what], after[what])), ...schema];
}

function differencesIn(what: string, before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>): readonly Difference[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].sort().flatMap((name): readonly Difference[] => {
    if (!Object.hasOwn(before, name)) return [{ what, name, how: 'added' }];
    if (!Object.hasOwn(after, name)) return [{ what, name, how: 'removed' }];
    return canonicalJson(before[name]) === canonicalJson(after[name]) ? [] : [{ what, name, how: 'changed' }];
  });
}

async function connected(context: CliContext): Promise<{ readonly ports: NatsPorts } & AsyncDisposable> {
  const { natsUrl } = await context.endpoints();
  const telemetry = createTelemetry({ ...context.config, logLevel: 'error' });
  const { clock, random, metrics, logger } = telemetry;
  const ports = await connectPorts({ url: natsUrl, name: 'cli', credentials: credentialsFor(context.config, OPERATOR), clock, random, metrics, logger, firstConnectMsMax: 5_000 });
  return { ports, async [Symbol.asyncDispose]() { await ports[Symbol.asyncDispose](); await telemetry[Symbol.asyncDispose](); } };
}

// ---- explain

/** A task before anything is known of it; `--facts` says the rest. */
const PLAIN_FACTS = { rung: 'model', deadlineMsLeft: 8_000, costMicroUsd: 0, reservedMicroUsd: 20_000, approved: false, intent: 'none', effectKind: 'none', amountMicroUsd: 0, injection: false, personalData: false, outOfScope: false, foreignCorpus: false, abstained: false, confidenceBp: 9_000, groundednessBp: 9_000 } as const;
const PLAIN_PRINCIPAL = { id: 'helpdesk', type: 'service', tenant: 'demo', roles: ['service'] } as const;

async function explained(context: CliContext, capability: string, action: string, options: DirOption & { readonly facts: string; readonly principal?: string }): Promise<void> {
  const slice = sliceForCase(await built(options.dir), capability);
  const { dataClass, sla } = slice.capability;
  const request: PolicyRequest = {
    action: parseValue(z.enum(ACTIONS), action),
    principal: options.principal === undefined ? PLAIN_PRINCIPAL : parseValue(principalSchema, parseJson(options.principal)),
    resource: { capability, dataClass, sla },
    context: { ...PLAIN_FACTS, dataClass, ...parseValue(factsSchema, parseJson(options.facts)) },
  };
  const explanation = explain(slice, request);
  context.print({ json: explanation, text: explanationText(explanation) });
}

// ---- what-if

interface WhatIfOptions extends DirOption { readonly ledger?: string; readonly bundle?: string; readonly since?: string; readonly failOnChange?: boolean }

async function replayed(context: CliContext, options: WhatIfOptions): Promise<void> {
  const bundle = options.bundle === undefined ? await built(options.dir) : await bundleFile(options.bundle);
  const records = await decisionsOf(options.ledger ?? join(context.config.home, 'ledger'), sinceOf(options.since));
  const answer = whatIf(records, bundle, digestOf(bundle));
  if (options.failOnChange === true && answer.changed.length > 0) context.exit(EXIT.failed);
  const lines = [
    `${answer.replayed} decisions judged again, ${answer.changed.length} would have been another, ${answer.skipped} never came to a commit`,
    ...Object.entries(answer.by).map(([what, count]) => `  ${what}: ${count}`),
    `people would have decided ${signed(answer.morePeople)} tasks; effects of ${signed(answer.moreAmountMicroUsd / 1_000_000)} USD would have gone through at once`,
    ...answer.changed.map(({ task, before, after, deciding }) => `  ${task}  ${before} -> ${after}  ${deciding.join(', ')}`),
  ];
  context.print({ json: answer, text: lines.join('\n') });
}

const signed = (value: number): string => (value > 0 ? `+${value}` : String(value));

async function bundleFile(file: string): Promise<PolicyBundle> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => { throw fail('AIOS_CONFIG_INVALID', `There is no bundle at ${file}.`, { cause }); });
  const { bytes } = parseValue(z.looseObject({ bytes: z.string() }), parseJson(text));
  return JSON.parse(bytes) as PolicyBundle;
}

async function decisionsOf(dir: string, since: number): Promise<readonly DecisionRecord[]> {
  const logs = await readLogs(dir);
  const entries = logs.flatMap(({ lines }) => lines).flatMap((line) => ('entry' in line ? [line.entry] : [])).filter(({ at }) => at >= since);
  return entries.flatMap(({ record }) => (record.kind === 'decision' ? [record] : []));
}

function sinceOf(text: string | undefined): number {
  if (text === undefined) return 0;
  const ago = /^(\d{1,5})([mhd])$/.exec(text);
  if (ago !== null) return Date.now() - Number(ago[1]) * ({ m: 60_000, h: 3_600_000, d: 86_400_000 }[ago[2] as 'm' | 'h' | 'd']);
  const at = Date.parse(text);
  if (Number.isNaN(at)) throw fail('AIOS_INPUT_INVALID', '--since is an ISO date or a duration such as 24h.');
  return at;
}
