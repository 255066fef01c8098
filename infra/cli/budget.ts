// Commands on budgets: show, set, unset, ledger, report, lease, return.
// Owns: their words and the reading of amounts and durations. Everything goes through the HTTP API, as every operator does.
// Others may assume: commands use the key of an operator (`ana` in a development home), and exit 1 when a change was refused.

import { writeFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type BudgetChange, type BudgetDetail, CAP_LEVEL, type CapabilityLimit, LIMIT_LEVEL, type LevelView, type LimitView, PERIODS } from '../../contracts/budget.ts';
import { fail } from '../../contracts/errors.ts';
import { type CostReport, type MoneyEntry, REPORT_KEYS, type ReportKey } from '../../policies/accounting.ts';
import { act, type CliContext, dollars } from './shared.ts';

const OPERATOR = 'ana';
const LEVELS = 'tenant, team/<id>, agent/<kind>, task, or capability/<name>';

export function registerBudget(program: Command): void {
  const budget = program.command('budget').description('caps, limits, leases, and where the money went');
  budget.command('show', { isDefault: true }).description('every level with what is reserved, spent and left, limits and leases').action(act(show));
  budget
    .command('set <level>')
    .description(`set a cap or a limit, over what the bundle says; levels: ${LEVELS}`)
    .option('--usd <amount>', 'most that may be spent in a period, such as 50 or 0.25', microUsd)
    .addOption(new Option('--period <period>', 'period of the cap').choices([...PERIODS]))
    .option('--per-minute <count>', 'tasks of the capability that may start in a minute', count)
    .option('--burst <count>', 'how many of them at the same moment; a tenth of the rate if absent', count)
    .option('--concurrent <count>', 'tasks of the capability that may run at once', count)
    .addHelpText('after', '\nExamples:\n  aios budget set tenant --usd 100 --period month\n  aios budget set team/billing --usd 5 --period day\n  aios budget set capability/support.answer --per-minute 600 --concurrent 64')
    .action(act(set));
  budget.command('unset <level>').description('take a cap or a limit back; the bundle holds again').action(act(unset));
  const ledger = budget.command('ledger').description('what tasks reserved and spent and what operators changed, newest first');
  ledger.option('--limit <count>', 'how many', count, 50).option('--since <time>', 'an ISO date, or a duration such as 24h').addOption(new Option('--by <what>', 'add up instead, as "report" does').choices([...REPORT_KEYS])).action(act(entries));
  budget
    .command('report')
    .description('cost, and cost of each effective task: one that ended done with the machine\'s work in force')
    .addOption(new Option('--by <what>', 'what to add up by').choices([...REPORT_KEYS]).default('capability'))
    .option('--since <time>', 'an ISO date, or a duration such as 24h')
    .action(act(report));
  budget
    .command('lease <holder>')
    .description('hand part of the budget to a box that spends it out of sight; charged in full when it ends unreported')
    .requiredOption('--usd <amount>', 'how much', microUsd)
    .option('--for <duration>', 'how long it may be spent', duration, 86_400_000)
    .option('--out <file>', 'write the lease here, for the box')
    .action(act(lease));
  budget.command('return <lease>').description('end a lease with what was spent of it').requiredOption('--spent <usd>', 'what was spent in all', microUsd).action(act(giveBack));
}

interface SetOptions { readonly usd?: number; readonly period?: (typeof PERIODS)[number]; readonly perMinute?: number; readonly burst?: number; readonly concurrent?: number }
interface WhenOptions { readonly since?: string }

async function show(context: CliContext): Promise<void> {
  const detail = await (await context.client(OPERATOR)).budget.show();
  context.print({ json: detail, text: words(detail) });
}

async function set(context: CliContext, level: string, options: SetOptions): Promise<void> {
  const detail = await (await context.client(OPERATOR)).budget.set(changeOf(level, options));
  context.print({ json: detail, text: words(detail) });
}

async function unset(context: CliContext, level: string): Promise<void> {
  const detail = await (await context.client(OPERATOR)).budget.set({ level: levelOf(level), unset: true });
  context.print({ json: detail, text: words(detail) });
}

async function entries(context: CliContext, options: WhenOptions & { readonly limit: number; readonly by?: ReportKey }): Promise<void> {
  if (options.by !== undefined) return report(context, { ...options, by: options.by });
  const found = await (await context.client(OPERATOR)).budget.entries({ limit: options.limit, since: sinceOf(options.since) });
  context.print({ json: found, text: found.length === 0 ? 'nothing was reserved, spent or changed' : found.map(entryLine).join('\n') });
}

async function report(context: CliContext, options: WhenOptions & { readonly by: ReportKey }): Promise<void> {
  const found = await (await context.client(OPERATOR)).budget.report({ by: options.by, since: sinceOf(options.since) });
  context.print({ json: found, text: reportText(found) });
}

async function lease(context: CliContext, holder: string, options: { readonly usd: number; readonly for: number; readonly out?: string }): Promise<void> {
  const given = await (await context.client(OPERATOR)).budget.lease({ holder, microUsd: options.usd, forMs: options.for });
  if (options.out !== undefined) await writeFile(options.out, `${JSON.stringify(given)}\n`, { mode: 0o600 });
  context.print({ json: given, text: `${given.lease}: ${holder} may spend ${dollars(given.microUsd)} until ${new Date(given.expiresAt).toISOString()}${options.out === undefined ? '' : `; written to ${options.out}`}` });
}

async function giveBack(context: CliContext, id: string, options: { readonly spent: number }): Promise<void> {
  const detail = await (await context.client(OPERATOR)).budget.giveBack(id, options.spent);
  context.print({ json: detail, text: words(detail) });
}

// ---- reading

function levelOf(level: string): string {
  if (CAP_LEVEL.test(level) || LIMIT_LEVEL.test(level)) return level;
  throw fail('AIOS_INPUT_INVALID', `level: ${LEVELS}.`);
}

function changeOf(text: string, { usd, period, perMinute, burst, concurrent }: SetOptions): BudgetChange {
  const level = levelOf(text);
  if (CAP_LEVEL.test(level)) {
    if (usd === undefined) throw fail('AIOS_INPUT_INVALID', `a cap of ${level} is given with --usd.`);
    return { level, cap: { microUsdMax: usd, period: period ?? 'month' } };
  }
  if (perMinute === undefined && concurrent === undefined) throw fail('AIOS_INPUT_INVALID', `a limit of ${level} is given with --per-minute, --concurrent or both.`);
  const limit: CapabilityLimit = { ...(perMinute === undefined ? {} : { perMinuteMax: perMinute }), ...(burst === undefined ? {} : { burstMax: burst }), ...(concurrent === undefined ? {} : { concurrentMax: concurrent }) };
  return { level, limit };
}

/** Dollars as people write them, exact to the millionth. */
function microUsd(text: string): number {
  const found = /^(\d{1,9})(?:\.(\d{1,6}))?$/.exec(text);
  if (found === null) throw new InvalidArgumentError('an amount of dollars such as 50 or 0.25, at most six digits after the point.');
  return Number(found[1]) * 1_000_000 + Number((found[2] ?? '').padEnd(6, '0'));
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('a whole number of at least 1 is needed.');
  return value;
}

const UNITS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
function duration(text: string): number {
  const found = /^(\d{1,5})([smhd])$/.exec(text);
  if (found === null) throw new InvalidArgumentError('a duration such as 30m, 24h or 7d.');
  return Number(found[1]) * UNITS[found[2] as keyof typeof UNITS];
}

function sinceOf(text: string | undefined): number {
  if (text === undefined) return 0;
  if (/^\d{1,5}[smhd]$/.test(text)) return Date.now() - duration(text);
  const at = Date.parse(text);
  if (Number.isNaN(at)) throw fail('AIOS_INPUT_INVALID', '--since is an ISO date or a duration such as 24h.');
  return at;
}

// ---- words

function words({ tenant, levels, limits, leases, openReservations }: BudgetDetail): string {
  return [
    `tenant ${tenant}, ${openReservations} reservations open`,
    ...levels.map(levelLine),
    ...limits.map(limitLine),
    ...leases.map(({ lease: id, holder, microUsd: amount, expiresAt, lapsed }) => `  ${id.padEnd(28)} ${holder} ${lapsed ? 'ended unreported, charged in full:' : 'may spend'} ${dollars(amount)} ${lapsed ? 'since' : 'until'} ${new Date(expiresAt).toISOString()}`),
  ].join('\n');
}

function levelLine({ level, microUsdMax, period, spentMicroUsd, reservedMicroUsd, leftMicroUsd, unfundedMicroUsd, set: own }: LevelView): string {
  const unfunded = unfundedMicroUsd === 0 ? '' : `, ${dollars(unfundedMicroUsd)} past its room`;
  return `  ${level.padEnd(28)} ${dollars(microUsdMax)} a ${period}: ${dollars(spentMicroUsd)} spent, ${dollars(reservedMicroUsd)} reserved, ${dollars(leftMicroUsd)} left${unfunded}${own ? '  (set)' : ''}`;
}

function limitLine({ level, perMinuteMax, burstMax, concurrentMax, running, set: own }: LimitView): string {
  const parts = [perMinuteMax === undefined ? '' : `${perMinuteMax} a minute`, burstMax === undefined ? '' : `${burstMax} at the same moment`, concurrentMax === undefined ? '' : `${running} of ${concurrentMax} at once`];
  return `  ${level.padEnd(28)} ${parts.filter((part) => part !== '').join(', ')}${own ? '  (set)' : ''}`;
}

function entryLine({ at, kind, task, what, state, reservedMicroUsd, spentMicroUsd, degraded, by }: MoneyEntry): string {
  const when = new Date(at).toISOString();
  if (kind === 'change') return `${when}  ${task}  ${state} ${what} by ${by}${reservedMicroUsd === 0 ? '' : ` ${dollars(reservedMicroUsd)}`}`;
  return `${when}  ${task}  ${what} ${state}: ${dollars(spentMicroUsd)} of ${dollars(reservedMicroUsd)} reserved${degraded.length === 0 ? '' : `, fell ${degraded.join(', ')}`}`;
}

const each = (value: number | undefined): string => (value === undefined ? 'none effective' : `${dollars(value)} each effective`);

function reportText({ by, tasks, effectiveTasks, costMicroUsd, microUsdPerEffectiveTask, rows }: CostReport): string {
  return [
    `${dollars(costMicroUsd)} for ${tasks} tasks, ${effectiveTasks} effective: ${each(microUsdPerEffectiveTask)}; by ${by}`,
    ...rows.map((row) => `  ${row.key.padEnd(44)} ${dollars(row.costMicroUsd).padStart(10)}  ${row.calls} calls  ${row.tasks} tasks  ${each(row.microUsdPerEffectiveTask)}${row.usage.deviceUs === 0 ? '' : `  ${Math.round(row.usage.deviceUs / 1_000)} device-ms`}${tokens(row)}`),
  ].join('\n');
}

const tokens = ({ usage }: CostReport['rows'][number]): string => {
  const named = [['in', usage.inputTokens], ['cache read', usage.cacheReadTokens], ['cache write', usage.cacheWriteTokens], ['out', usage.outputTokens], ['reasoning', usage.reasoningTokens]] as const;
  const parts = named.filter(([, used]) => used > 0).map(([name, used]) => `${used} ${name}`);
  return parts.length === 0 ? '' : `  tokens: ${parts.join(', ')}`;
};
