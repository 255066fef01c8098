// Commands of people who decide: approve, reject, answer, delegate, and `approvals stats|enrol|revoke`.
// Owns: their words, batches, and the signature of a decision. Everything is decided by the approval itself, through the HTTP API.
// Never decides more than was listed: each decision is bound to the action that was shown when it was sent.
// Others may assume: a decision is made as a person (`ana` in a development home), never as the service that started the task.

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { fail, toErrorBody } from '../../contracts/errors.ts';
import type { TaskView } from '../../contracts/ports.ts';
import type { Decision } from '../../contracts/task.ts';
import { approvalStats, type ApprovalStats, type Turnaround } from '../../policies/approval-stats.ts';
import { saidOf } from '../../policies/approval.ts';
import type { Client } from '../client/client.ts';
import { enrolApprover, loadApproverKey, revokeApprover, type ApproverKey } from '../crypto/approver-keys.ts';
import { createSigner } from '../crypto/signer.ts';
import { readLogs } from '../files/ledger.ts';
import { createDecisionSigner } from '../temporal/decision-token.ts';
import { sinceOf } from './policy.ts';
import { act, type CliContext, EXIT } from './shared.ts';
import { parseCondition } from './where.ts';

type Kind = 'approve' | 'reject' | 'answer' | 'delegate';
interface DecideOptions {
  readonly reason?: string;
  readonly text?: string;
  readonly action?: string;
  readonly to?: string;
  readonly until?: number;
  readonly key?: string;
  readonly print?: boolean;
  readonly all?: boolean;
  readonly capability?: string;
  readonly where?: readonly string[];
  readonly limit?: number;
  readonly dryRun?: boolean;
}

const BATCH_MAX = 500;
const PARALLEL = 8;
const ACTION_SHOWN = 12;

export function registerApprovals(program: Command): void {
  const kinds = [['approve', 'approve what tasks propose'], ['reject', 'refuse what tasks propose'], ['answer', 'answer a waiting task in your own words'], ['delegate', 'let somebody else decide in your place']] as const;
  for (const [kind, words] of kinds) decisionCommand(program, kind, words);
  const approvals = program.command('approvals').description('how people decide, and the keys they sign with');
  approvals.command('stats').description('turnaround, refused attempts, escalations and canaries, from the ledger').option('--since <time>', 'an ISO date, or a duration such as 24h').option('--ledger <folder>', 'ledger folder; that of the home when absent').action(act(stats));
  approvals.command('enrol <person>').description('make a key for a person; decisions signed with it are proven').action(act(enrol));
  approvals.command('revoke <person>').description('take the keys of a person off the ring').action(act(revoke));
}

function decisionCommand(program: Command, kind: Kind, words: string): void {
  const batch = kind === 'approve' || kind === 'reject';
  const command = program.command(`${kind} ${batch ? '[tasks...]' : '<task>'}`).description(words)
    .option('--reason <text>', 'why, kept in the lineage')
    .option('--action <digest>', 'refuse unless this is the action that waits')
    .option('--key <file>', 'sign with this approver\'s key (or the API key, as everywhere)')
    .option('--print', 'print the JSON for the form of the Temporal UI, signed if --key is given, and send nothing');
  if (kind === 'answer') command.requiredOption('--text <text>', 'the answer');
  if (kind === 'delegate') command.requiredOption('--to <person>', 'who decides in your place').option('--until <time>', 'until when, an ISO date; until it is decided when absent', timeOf);
  if (batch) {
    command.option('--all', 'every waiting task that fits --capability and --where')
      .option('--capability <name>', 'only tasks of this capability')
      .option('--where <condition>', 'only tasks whose facts fulfil this, such as amountMicroUsd<=50000000; repeat for more', (one: string, all: readonly string[] = []) => [...all, one])
      .option('--limit <count>', `at most this many (${BATCH_MAX})`, wholeNumber, BATCH_MAX)
      .option('--dry-run', 'list them and decide nothing');
  }
  command.action(act((context, tasks: string | readonly string[], options: DecideOptions) => decide(context, kind, typeof tasks === 'string' ? [tasks] : tasks, options)));
}

interface Decided { readonly taskId: string; readonly accepted: boolean; readonly message: string; readonly code?: string }

async function decide(context: CliContext, kind: Kind, tasks: readonly string[], options: DecideOptions): Promise<void> {
  const signing = await signingKey(options.key);
  const client = await context.client(signing?.person ?? 'ana');
  const views = await chosen(client, tasks, options);
  if (options.dryRun === true) return context.print({ json: views.map(shown), text: views.length === 0 ? 'nothing waits' : views.map((view) => `${view.entry.taskId}  ${view.entry.capability}  ${view.entry.summary}`).join('\n') });
  if (options.print === true) return print(context, views.map((view) => decisionOn(view, kind, options, signing)));
  const decided: Decided[] = [];
  for (let i = 0; i < views.length; i += PARALLEL) decided.push(...(await Promise.all(views.slice(i, i + PARALLEL).map((view) => one(client, view, decisionOn(view, kind, options, signing))))));
  if (decided.length === 0 || decided.some(({ accepted }) => !accepted)) context.exit(EXIT.failed);
  context.print({ json: options.all === true || tasks.length > 1 ? { decided, accepted: decided.filter(({ accepted }) => accepted).length, refused: decided.filter(({ accepted }) => !accepted).length } : decided[0], text: decided.length === 0 ? 'nothing waits' : decided.map(({ taskId, message }) => `${taskId}: ${message}`).join('\n') });
}

/** A refusal of one is an answer like any other: the rest of a batch goes on. */
async function one(client: Client, view: TaskView, decision: Decision): Promise<Decided> {
  const { by, token, ...rest } = decision;
  try {
    return { taskId: view.entry.taskId, ...(await client.decide(view.entry.taskId, token === undefined ? rest : { ...rest, by, token })) };
  } catch (thrown) {
    const { code, message } = toErrorBody(thrown);
    return { taskId: view.entry.taskId, accepted: false, code, message };
  }
}

async function chosen(client: Client, tasks: readonly string[], options: DecideOptions): Promise<readonly TaskView[]> {
  if (options.all !== true) {
    if (tasks.length === 0) throw fail('AIOS_INPUT_INVALID', 'Name the tasks, or say --all with --capability or --where.');
    if (tasks.length > BATCH_MAX) throw fail('AIOS_INPUT_TOO_LARGE', `At most ${BATCH_MAX} tasks at once.`);
    return Promise.all([...new Set(tasks)].map((task) => client.view(task)));
  }
  if (tasks.length > 0 || (options.capability === undefined && options.where === undefined)) throw fail('AIOS_INPUT_INVALID', '--all takes no tasks, and needs --capability or --where.');
  const conditions = (options.where ?? []).map(parseCondition);
  const waiting = await client.list({ state: 'waiting', limit: BATCH_MAX });
  const fits = waiting.filter((view) => view.waiting !== undefined && (options.capability === undefined || view.entry.capability === options.capability) && conditions.every((holds) => holds(view.waiting?.facts ?? {})));
  return fits.slice(0, Math.min(options.limit ?? BATCH_MAX, BATCH_MAX));
}

/** Bound to what is shown now: should somebody write other words meanwhile, the decision is refused and nothing else happens. */
function decisionOn({ entry, waiting }: TaskView, decision: Kind, options: DecideOptions, key: ApproverKey | undefined): Decision {
  const action = options.action ?? waiting?.action?.replace(/^sha256:/, '').slice(0, ACTION_SHOWN);
  const said: Decision = {
    decision, by: key?.person ?? 'your-id',
    ...(options.reason === undefined ? {} : { reason: options.reason }), ...(options.text === undefined ? {} : { text: options.text }), ...(action === undefined ? {} : { action }),
    ...(options.to === undefined ? {} : { to: options.to }), ...(options.until === undefined ? {} : { until: options.until }),
  };
  if (key === undefined || waiting?.action === undefined) return said;
  const token = createDecisionSigner(createSigner(key))({ tenant: entry.tenant, task: entry.taskId, approval: waiting.workflowId, action: waiting.action, by: said.by, decision, said: saidOf(said) });
  return { ...said, token };
}

async function signingKey(file: string | undefined): Promise<ApproverKey | undefined> {
  const isFile = file !== undefined && (await stat(file).then((seen) => seen.isFile(), () => false));
  return isFile ? loadApproverKey(file) : undefined;
}

function print(context: CliContext, decisions: readonly Decision[]): void {
  context.print({ json: decisions.length === 1 ? decisions[0] : decisions, text: decisions.map((decision) => JSON.stringify(decision)).join('\n') });
}

const shown = ({ entry, waiting }: TaskView) => ({ taskId: entry.taskId, capability: entry.capability, summary: entry.summary, facts: waiting?.facts ?? {}, approvers: waiting?.approvers });

// ---- people

async function stats(context: CliContext, options: { readonly since?: string; readonly ledger?: string }): Promise<void> {
  const since = sinceOf(options.since);
  const logs = await readLogs(options.ledger ?? join(context.config.home, 'ledger'));
  const records = logs.flatMap(({ lines }) => lines).flatMap((line) => ('entry' in line && line.entry.at >= since && line.entry.record.kind === 'attempt' ? [line.entry.record] : []));
  const answer = approvalStats(records);
  context.print({ json: answer, text: statsText(answer) });
}

function statsText({ outcomes, attempts, refusedBy, escalations, turnaround, byGroup, byPerson, canaries }: ApprovalStats): string {
  const list = (counts: Readonly<Record<string, number>>): string => Object.entries(counts).map(([name, count]) => `${name} ${count}`).join(', ') || 'none';
  return [
    `approvals ended: ${list(outcomes)}; escalations: ${escalations}`,
    `attempts: ${attempts.accepted} accepted, ${attempts.refused} refused (${list(refusedBy)}), ${attempts.unverified} unverified`,
    `turnaround: ${took(turnaround)}`,
    ...Object.entries(byGroup).map(([group, times]) => `  ${group}: ${took(times)}`),
    `canaries: ${canaries.ended} ended, ${canaries.approved} let pass, ${canaries.refused} refused, ${canaries.expired} expired`,
    ...Object.entries(byPerson).map(([person, did]) => `  ${person}: ${did.decided} decisions, ${did.canariesApproved} of ${did.canariesApproved + did.canariesRefused} canaries let pass`),
  ].join('\n');
}

const took = ({ count, p50Ms, p95Ms, maxMs }: Turnaround): string => (count === 0 ? 'nothing decided' : `${count} decided, half within ${seconds(p50Ms)}, 95 % within ${seconds(p95Ms)}, longest ${seconds(maxMs)}`);
const seconds = (ms: number): string => (ms < 120_000 ? `${Math.round(ms / 100) / 10} s` : ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`);

async function enrol(context: CliContext, person: string): Promise<void> {
  const made = await enrolApprover(join(context.config.home, 'keys'), person);
  context.print({ json: { person, ...made }, text: `${person} signs with ${made.file} (${made.kid}). Hand the file over, and keep no copy.` });
}

async function revoke(context: CliContext, person: string): Promise<void> {
  const removed = await revokeApprover(join(context.config.home, 'keys'), person);
  if (removed === 0) context.exit(EXIT.failed);
  context.print({ json: { person, removed }, text: removed === 0 ? `${person} has no key here` : `${removed} key(s) of ${person} prove nothing any more` });
}

function timeOf(text: string): number {
  const at = Date.parse(text);
  if (Number.isNaN(at)) throw new InvalidArgumentError('an ISO date is needed.');
  return at;
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('a whole number of at least 1 is needed.');
  return value;
}
