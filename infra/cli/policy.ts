// The commands `policy check|test|explain|what-if`, and beside them publish|versions|rollback|diff: policies from text to force, and back to words.
// Owns: where folders, bundles and decision records come from. The work is in infra/cedar and in policies.
// Never publishes what has a problem or a failing case. Others may assume: exit code 1 for any problem, failing case or, with
// `--fail-on-change`, for any decision that would have been another.

import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { z } from 'zod';
import type { PolicyBundle } from '../../contracts/bundle.ts';
import { digestOf } from '../../contracts/canonical.ts';
import { fail } from '../../contracts/errors.ts';
import { parseJson, parseValue } from '../../contracts/parse.ts';
import type { DecisionRecord } from '../../contracts/record.ts';
import type { PolicyRequest } from '../../contracts/verdict.ts';
import { ACTIONS, factsSchema, principalSchema } from '../../contracts/verdict.ts';
import { explain, explanationText } from '../../policies/explain.ts';
import { whatIf, type WhatIf } from '../../policies/what-if.ts';
import { sliceForCase } from '../cedar/cases.ts';
import { problemText, readPolicyDir } from '../cedar/compile.ts';
import type { CheckedBundle } from '../cedar/publish.ts';
import { buildBundle, checkBundle } from '../cedar/publish.ts';
import { SHIPPED_POLICIES, shippedCapabilities } from '../dev/publish.ts';
import { readLogs } from '../files/ledger.ts';
import { readBundle, registerPublishing, verifierOf } from './policy-publish.ts';
import { act, type CliContext, dollars, EXIT } from './shared.ts';

interface DirOption { readonly dir?: string }

export function registerPolicy(program: Command): void {
  const policy = program.command('policy').description('check, test, publish and explain policies');
  const withDir = (name: string, words: string): Command => policy.command(name).description(words).option('--dir <folder>', 'folder of .cedar files; the shipped one when absent');
  withDir('check', 'validate the policies of a folder against its schema').action(act(check));
  withDir('test', 'run the *.cases.yaml of a folder').action(act(runTests));
  registerPublishing(policy);
  withDir('explain <capability> <action>', 'which policies decide, and what would change the verdict')
    .option('--facts <json>', 'facts over the plain ones, such as {"effectKind":"refund","amountMicroUsd":60000000}', '{}')
    .option('--principal <json>', 'who asks: {"id","type","tenant","roles"}')
    .action(act(explained));
  withDir('what-if', 'judge the decisions of the ledger again under a folder')
    .option('--ledger <folder>', 'ledger folder; that of the home when absent')
    .option('--bundle <file>', 'a signed bundle instead of a folder')
    .option('--since <time>', 'only decisions from here on: an ISO date, or a duration such as 24h')
    .option('--fail-on-change', 'exit code 1 when any task would have been treated otherwise: for a pipeline')
    .option('--people-max <count>', 'exit code 1 when people would have had to decide more than so many tasks more', count)
    .option('--cost-max <microUsd>', 'exit code 1 when it would have cost more than so much more, micro-USD', count)
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

interface WhatIfOptions extends DirOption { readonly ledger?: string; readonly bundle?: string; readonly since?: string; readonly failOnChange?: boolean; readonly peopleMax?: number; readonly costMax?: number }

async function replayed(context: CliContext, options: WhatIfOptions): Promise<void> {
  const bundle = options.bundle === undefined ? await built(options.dir) : (await readBundle(options.bundle, await verifierOf(context))).bundle;
  const records = await decisionsOf(options.ledger ?? join(context.config.home, 'ledger'), sinceOf(options.since));
  const answer = whatIf(records, bundle, digestOf(bundle));
  if (tooDifferent(answer, options)) context.exit(EXIT.failed);
  context.print({ json: answer, text: whatIfText(answer) });
}

const tooDifferent = (answer: WhatIf, { failOnChange, peopleMax, costMax }: WhatIfOptions): boolean =>
  (failOnChange === true && answer.changed.length > 0) || (peopleMax !== undefined && answer.morePeople > peopleMax) || (costMax !== undefined && answer.costAfterMicroUsd - answer.costMicroUsd > costMax);

function whatIfText(answer: WhatIf): string {
  const { replayed: count_, approximate, skipped, changed, by, morePeople, moreAmountMicroUsd, costMicroUsd, costAfterMicroUsd, unpriced } = answer;
  return [
    `${count_} tasks judged again, ${changed.length} would have been treated otherwise, ${skipped} have no decision to ask again`,
    ...(approximate === 0 ? [] : [`  ${approximate} of them without the roles of who asked: their records are of before those were kept`]),
    ...Object.entries(by).map(([what, many]) => `  ${what}: ${many}`),
    `people would have decided ${signed(morePeople)} tasks; effects of ${signed(moreAmountMicroUsd / 1_000_000)} USD would have gone through at once`,
    `the work cost ${dollars(costMicroUsd)} and would have cost ${dollars(costAfterMicroUsd)}${unpriced.length === 0 ? '' : `, without calls of ${unpriced.join(', ')}, which have no price and would have been refused`}`,
    ...changed.map(({ task, principal, action, before, after, deciding }) => `  ${task}  ${principal}  ${action} ${before} -> ${after}  ${deciding.join(', ')}`),
  ].join('\n');
}

const signed = (value: number): string => (value > 0 ? `+${value}` : String(value));

function count(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('a whole number, 0 or more');
}

async function decisionsOf(dir: string, since: number): Promise<readonly DecisionRecord[]> {
  const logs = await readLogs(dir);
  const entries = logs.flatMap(({ lines }) => lines).flatMap((line) => ('entry' in line ? [line.entry] : [])).filter(({ at }) => at >= since);
  return entries.flatMap(({ record }) => (record.kind === 'decision' ? [record] : []));
}

/** ms since 1970. @throws AIOS_INPUT_INVALID */
export function sinceOf(text: string | undefined): number {
  if (text === undefined) return 0;
  const ago = /^(\d{1,5})([mhd])$/.exec(text);
  if (ago !== null) return Date.now() - Number(ago[1]) * ({ m: 60_000, h: 3_600_000, d: 86_400_000 }[ago[2] as 'm' | 'h' | 'd']);
  const at = Date.parse(text);
  if (Number.isNaN(at)) throw fail('AIOS_INPUT_INVALID', '--since is an ISO date or a duration such as 24h.');
  return at;
}
