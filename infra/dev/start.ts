// `npm start`: the support desk over a batch of tickets on the whole system, then what came of it, then the system stays up.
// Owns: the flags, the order of the stages, what is printed. Standard output carries the result, standard error the progress.
// Never decides anything about a ticket. Others may assume: exit code 0 means that the run was done and every ticket is
// accounted for; 1 that no ticket could be run; 2 a wrong flag or setting.

import { createHash } from 'node:crypto';
import { mkdir, readFile, realpath, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { ORCHESTRATIONS } from '../../contracts/capability.ts';
import { ERRORS, fail, isAiosError, toErrorBody } from '../../contracts/errors.ts';
import { approvalLink } from '../cli/shared.ts';
import { connect } from '../client/client.ts';
import { readConfig } from '../config.ts';
import { PRESETS } from '../presets/index.ts';
import { indexSpace } from '../corpus/index-space.ts';
import { type Row, runBatch } from './batch.ts';
import { createProgress, type Progress } from './progress.ts';
import { runSystem, type RunningSystem } from './run.ts';
import { summarise, summaryWords } from './summary.ts';
import { readTickets, type Ticket } from './tickets.ts';
import { type Asked, untilAsked } from './until-asked.ts';

const CAPABILITY = 'support.answer';
const TENANT = 'demo';
const SHIPPED = fileURLToPath(new URL('../../data/support/', import.meta.url));
/** What customers ask, with the article that answers it: a second space beside the help centre. */
const QUESTIONS = { space: 'help-centre-questions', path: `${SHIPPED}questions.jsonl` };

interface Flags {
  readonly once?: true;
  readonly json?: true;
  readonly docs?: string;
  readonly tickets?: string;
  readonly out?: string;
  readonly home?: string;
  readonly limit?: number;
  readonly split: string;
  readonly inFlight: number;
  readonly anyPorts?: true;
  readonly preset?: string;
  readonly orchestration?: string;
}

function flagsOf(parameters: readonly string[]): Flags {
  const program = new Command('npm start --')
    .description('Runs the support desk over a batch of tickets on the whole system, and stays up.')
    .option('--once', 'end after the summary')
    .option('--json', 'print the summary as one JSON object on the last line')
    .option('--docs <path>', 'other documents: a folder of .md, .txt, .html files, or a .jsonl or .jsonl.gz file')
    .option('--tickets <file>', 'other tickets: {"id","customer","text"} a line')
    .option('--out <file>', 'write one JSON line per ticket')
    .option('--limit <count>', 'at most so many tickets', count)
    .option('--split <half>', 'which half of the shipped tickets: report, calibrate or all', 'report')
    .option('--in-flight <count>', 'tickets in hand at once', count, 12)
    .option('--home <folder>', 'folder of the system (AIOS_HOME, .aios if absent)')
    .option('--any-ports', 'free ports instead of the usual ones')
    .option('--preset <name>', `how data is protected: ${PRESETS.map(({ name }) => name).join(', ')} (AIOS_PRESET)`)
    .option('--orchestration <way>', `who walks the steps of the desk: ${ORCHESTRATIONS.join(', ')} (AIOS_ORCHESTRATION)`)
    .exitOverride();
  return program.parse(parameters as string[], { from: 'user' }).opts<Flags>();
}

async function main(flags: Flags): Promise<void> {
  const config = readConfig('start', { ...process.env, ...(flags.home === undefined ? {} : { AIOS_HOME: flags.home }), ...(flags.preset === undefined ? {} : { AIOS_PRESET: flags.preset }), ...(flags.orchestration === undefined ? {} : { AIOS_ORCHESTRATION: flags.orchestration }) });
  const progress = createProgress({ write: (text) => void process.stderr.write(text), terminal: process.stderr.isTTY });
  const work = await workOf(flags, progress);
  await using asked = untilAsked();
  await using system = await runSystem({ config, onProgress: progress.note, ...(flags.anyPorts === true ? { anyPorts: true } : {}) });
  await index(system, work, progress);
  const { rows, firstResultMs } = await answer(system, work, flags, progress, asked);
  await report(rows, firstResultMs, system, flags);
  if (rows.length > 0 && rows.every((row) => row.status === 'failed')) process.exitCode = 1;
  if (flags.once === true || asked.aborted.aborted) return;
  say(`\nThe system stays up: API ${system.endpoints.api}, Temporal UI ${system.endpoints.temporalUi}${system.endpoints.codec === undefined ? '' : `, sign in to read payloads there: ${system.endpoints.codec}`}. Try "npx aios tasks". Ctrl-C stops everything.`, flags);
  await asked.signal;
}

interface Work {
  readonly tickets: readonly Ticket[];
  readonly documents: string;
  readonly space: string;
  /** Somebody else's documents: no ticket may lead to an effect there. */
  readonly foreign: boolean;
}

/** Everything that can be wrong with the flags is found before anything starts. */
async function workOf(flags: Flags, progress: Progress): Promise<Work> {
  const file = flags.tickets === undefined ? `${SHIPPED}tickets.jsonl` : resolve(flags.tickets);
  const half = flags.tickets === undefined && flags.split !== 'all' ? { only: await idsOfHalf(flags.split) } : {};
  const { tickets, bad } = await readTickets(file, { ...half, ...(flags.limit === undefined ? {} : { limit: flags.limit }) });
  for (const { line, reason } of bad) progress.note(`${file}:${line}: skipped, ${reason}`);
  if (tickets.length === 0) throw fail('AIOS_CONFIG_INVALID', `No usable ticket in ${file}.`);
  if (flags.docs === undefined) return { tickets, documents: `${SHIPPED}help-centre`, space: 'help-centre', foreign: false };
  if (flags.tickets === undefined) progress.note('No --tickets given: running the shipped tickets, which these documents were not written for.');
  const documents = await realpath(flags.docs).catch((cause: unknown) => {
    throw fail('AIOS_CONFIG_INVALID', `The documents cannot be read: ${flags.docs ?? ''}.`, { cause });
  });
  return { tickets, documents, space: `docs-${createHash('sha256').update(documents).digest('hex').slice(0, 12)}`, foreign: true };
}

/** Thresholds are set on one half of the shipped tickets, figures are reported on the other. */
async function idsOfHalf(split: string): Promise<ReadonlySet<string>> {
  const lines = (await readFile(`${SHIPPED}expected.jsonl`, 'utf8')).split('\n').filter((line) => line !== '');
  const expected = lines.map((line) => JSON.parse(line) as { readonly id: string; readonly split: string });
  const ids = new Set(expected.filter((one) => one.split === split).map(({ id }) => id));
  if (ids.size === 0) throw fail('AIOS_CONFIG_INVALID', `--split: one of ${[...new Set(expected.map((one) => one.split)), 'all'].join(', ')}.`);
  return ids;
}

async function index(system: RunningSystem, work: Work, progress: Progress): Promise<void> {
  const { ports, mandates, telemetry } = system.operator;
  const hands = { bus: ports.bus, mandates, clock: telemetry.clock, random: telemetry.random };
  if (!work.foreign) await indexSpace(hands, { tenant: TENANT, space: QUESTIONS.space, path: QUESTIONS.path }, ({ stage, done, total }) => progress.stage(`indexing questions: ${stage}`, done, total));
  const indexed = await indexSpace(
    hands,
    { tenant: TENANT, space: work.space, path: work.documents },
    ({ stage, done, total }) => progress.stage(`indexing: ${stage}`, done, total),
  );
  progress.end();
  const { documents, chunks } = indexed.manifest;
  progress.note(`${work.space}: ${documents} documents in ${chunks} fragments, ${indexed.rebuilt ? 'indexed' : 'unchanged'}${indexed.skipped.length === 0 ? '' : `, ${indexed.skipped.length} skipped`}`);
  for (const { where, why } of indexed.skipped.slice(0, 20)) progress.note(`  skipped ${where}: ${why}`);
}

async function answer(system: RunningSystem, work: Work, flags: Flags, progress: Progress, asked: Asked): Promise<{ rows: readonly Row[]; firstResultMs: number | null }> {
  const client = connect({ url: system.endpoints.api, key: system.keys.helpdesk });
  const run = Date.now().toString(36);
  let firstResultMs: number | null = null;
  const rows = await runBatch({
    client,
    capability: CAPABILITY,
    tickets: work.tickets,
    inputOf: ({ customer, text }) => ({ customer, text, space: work.space, ...(work.foreign ? { foreign: true } : {}) }),
    keyOf: ({ id }) => `${run}-${createHash('sha256').update(id).digest('hex').slice(0, 24)}`,
    inFlightMax: flags.inFlight,
    signal: asked.aborted,
    onRow: (row, done) => {
      firstResultMs ??= performance.now();
      progress.row(row, done, work.tickets.length);
    },
  });
  progress.end();
  return { rows, firstResultMs };
}

async function report(rows: readonly Row[], firstResultMs: number | null, system: RunningSystem, flags: Flags): Promise<void> {
  if (flags.out !== undefined) {
    const file = resolve(flags.out);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, rows.map(({ waiting: _waiting, ...row }) => `${JSON.stringify(row)}\n`).join(''));
  }
  const summary = summarise(rows, firstResultMs);
  say(`\n${summaryWords(summary)}`, flags);
  const waiting = rows.filter((row) => row.waiting !== undefined);
  if (waiting.length > 0) say(`\nWaiting for a person: open the link, choose the workflow, then More Actions > Send an Update > decide, with this JSON\n(or: npx aios approve|reject|answer <task>)\n${waiting.map((row) => waitingWords(row, system)).join('\n')}`, flags);
  if (flags.json === true) process.stdout.write(`${JSON.stringify(summary)}\n`);
}

function waitingWords(row: Row, system: RunningSystem): string {
  const { waiting } = row;
  if (waiting === undefined) return '';
  return `  ${row.id}  task ${row.taskId ?? ''}  for ${waiting.approvers}${row.reason === null ? '' : `  (${row.reason})`}\n    ${approvalLink(system.endpoints, waiting.workflowId)}\n    ${waiting.json}`;
}

/** Words for people: on standard output, or beside the JSON on standard error. */
function say(words: string, flags: Flags): void {
  (flags.json === true ? process.stderr : process.stdout).write(`${words}\n`);
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('a whole number of at least 1 is needed.');
  return value;
}

try {
  await main(flagsOf(process.argv.slice(2)));
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else {
    const body = toErrorBody(error);
    process.stderr.write(`\naios: ${isAiosError(error) ? body.message : String(error instanceof Error ? error.stack : error)}\n      ${ERRORS[body.code].todo}  (${body.code})\n`);
    process.exitCode = 2;
  }
}
process.exit();
