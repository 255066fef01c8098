// The command `audit`: whether the ledger is whole, and erasing what tasks left behind when their retention is over.
// Owns: where logs, keys and anchors come from. The verification is infra/lineage/audit.ts.
// Never rewrites the ledger: an erasure is one more record. Others may assume: exit code 1 for any finding, with the log and the index where it starts.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { fail } from '../../contracts/errors.ts';
import type { LedgerAnchor } from '../../contracts/task.ts';
import { WORKFLOWS } from '../../contracts/task.ts';
import type { Retention } from '../../contracts/verdict.ts';
import { keptUntil } from '../../policies/obligations.ts';
import { loadKeys } from '../crypto/keys.ts';
import { createSigner, createVerifier } from '../crypto/signer.ts';
import { readEndpoints } from '../dev/endpoints.ts';
import { openLedger, readLogs } from '../files/ledger.ts';
import { type AuditReport, verifyLedger } from '../lineage/audit.ts';
import type { TemporalLink } from '../temporal/connect.ts';
import { act, type CliContext, EXIT } from './shared.ts';

export function registerAudit(program: Command): void {
  const audit = program.command('audit').description('check the ledger');
  audit
    .command('verify')
    .description('find every edited, dropped, reordered or cut-off record')
    .option('--dir <folder>', 'ledger folder; that of the home when absent')
    .option('--no-anchors', 'do not compare with the heads that workflow results carry')
    .action(act(verify));
  audit
    .command('expire')
    .description('erase what tasks left in Temporal whose retention is over; the ledger keeps the decision and notes the erasure')
    .option('--task <task>', 'this task, if its class lets it go')
    .option('--dry-run', 'only say what is due')
    .action(act(expire));
}

/** A decision with the end of its class; undefined where a record has none yet, or is held. */
interface Kept { readonly task: string; readonly workflowId: string; readonly tenant: string; readonly retention: Retention; readonly until: number | undefined }

async function keptTasks(dir: string): Promise<readonly Kept[]> {
  const entries = (await readLogs(dir)).flatMap(({ lines }) => lines.flatMap((line) => ('entry' in line ? [line.entry] : [])));
  const erased = new Set(entries.flatMap(({ record }) => (record.kind === 'erasure' ? [record.task] : [])));
  return entries.flatMap(({ record, at }): Kept[] => {
    if (record.kind !== 'decision' || erased.has(record.task)) return [];
    const retention = record.retention ?? 'standard';
    return [{ task: record.task, workflowId: record.workflowId, tenant: record.tenant, retention, until: keptUntil(retention, at) }];
  });
}

/** Erases what is due, or the one task that is named, if its class lets it go. The decision stays in the ledger, and the erasure beside it. */
async function expire(context: CliContext, options: { readonly task?: string; readonly dryRun?: true }): Promise<void> {
  const dir = join(context.config.home, 'ledger');
  const all = await keptTasks(dir);
  const due = options.task === undefined ? all.filter(({ until }) => until !== undefined && until <= Date.now()).slice(0, EXPIRE_MAX) : [dueOf(all, options.task)];
  if (options.dryRun === true || due.length === 0) return context.print({ json: { due: due.map(({ task }) => task) }, text: due.length === 0 ? 'nothing is due' : due.map(({ task, retention }) => `${task} (${retention}) would be erased`).join('\n') });
  const erased = await withTemporal(context, (client, namespace) => eraseAll(context, client, namespace, due));
  context.print({ json: { erased }, text: erased.map(({ task, removed }) => `${task}: ${removed.length === 0 ? 'nothing left' : removed.join(', ')}`).join('\n') });
}

function dueOf(all: readonly Kept[], task: string): Kept {
  const found = all.find((one) => one.task === task);
  if (found === undefined) throw fail('AIOS_TASK_UNKNOWN');
  if (found.until === undefined || found.until > Date.now()) throw fail('AIOS_RETENTION_HOLDS', `Its class is ${found.retention}: ${found.until === undefined ? 'it is held' : `until ${new Date(found.until).toISOString()}`}.`);
  return found;
}

async function eraseAll(context: CliContext, client: Client, namespace: string, due: readonly Kept[]): Promise<readonly { readonly task: string; readonly removed: readonly string[] }[]> {
  const [{ eraseTask }, { createTelemetry }] = await Promise.all([import('../temporal/erase.ts'), import('../telemetry/index.ts')]);
  await using telemetry = createTelemetry({ ...context.config, name: 'audit', logLevel: 'error', traces: 'none' });
  const { brain } = await loadKeys(join(context.config.home, 'keys'));
  if (brain === undefined) throw fail('AIOS_CONFIG_INVALID', 'An erasure is recorded under the key of the brain, which is not in this home.');
  await using ledger = await openLedger({ dir: join(context.config.home, 'ledger'), log: 'audit', signer: createSigner(brain), clock: telemetry.clock, logger: telemetry.logger, metrics: telemetry.metrics });
  const erased: { task: string; removed: readonly string[] }[] = [];
  for (const { task, tenant, workflowId, retention } of due) {
    const removed = await eraseTask(client, namespace, workflowId, task);
    await ledger.append([{ kind: 'erasure', tenant, task, retention, removed, by: 'operator' }]);
    erased.push({ task, removed });
  }
  return erased;
}

type Client = TemporalLink['client'];
const EXPIRE_MAX = 1_000;
const ANCHORS_MAX = 2_000;

async function verify(context: CliContext, options: { readonly dir?: string; readonly anchors: boolean }): Promise<void> {
  const dir = options.dir ?? join(context.config.home, 'ledger');
  if (!existsSync(dir)) throw fail('AIOS_CONFIG_INVALID', `there is no ledger at ${dir}; name its folder with --dir or the home with --home.`);
  const { keyring } = await loadKeys(join(context.config.home, 'keys'));
  if (keyring.keys.length === 0) throw fail('AIOS_CONFIG_INVALID', `there is no key ring in ${context.config.home}/keys; without its public keys nothing can be verified.`);
  const anchors = options.anchors ? await anchorsOf(context) : undefined;
  const report = await verifyLedger(dir, createVerifier(keyring), anchors ?? []);
  if (!report.ok) context.exit(EXIT.failed);
  context.print({ json: { ...report, anchors: anchors?.length ?? null }, text: words(report, anchors?.length) });
}

/** Undefined when no system runs: then the files are checked against their own signed heads only. */
async function anchorsOf(context: CliContext): Promise<readonly LedgerAnchor[] | undefined> {
  if ((await readEndpoints(context.config.home)) === undefined) return undefined;
  const { readAnchors } = await import('../temporal/history.ts');
  return withTemporal(context, (client) => readAnchors(client, `WorkflowType = "${WORKFLOWS.governed}" AND ExecutionStatus = "Completed"`, ANCHORS_MAX));
}

/** @throws AIOS_UNAVAILABLE when no system of this home runs */
async function withTemporal<T>(context: CliContext, work: (client: Client, namespace: string) => Promise<T>): Promise<T> {
  const endpoints = await context.endpoints();
  const [{ Client, Connection }, { converterOf, openCodec }] = await Promise.all([import('@temporalio/client'), import('../temporal/converter.ts')]);
  // The system that runs says whether its payloads are sealed; the settings of this command need not repeat it.
  const dataConverter = endpoints.codec === undefined ? undefined : converterOf(await openCodec(context.config));
  const connection = await Connection.connect({ address: endpoints.temporalAddress });
  try {
    return await work(new Client({ connection, namespace: endpoints.namespace, ...(dataConverter === undefined ? {} : { dataConverter }) }), endpoints.namespace);
  } finally {
    await connection.close();
  }
}

function words(report: AuditReport, anchors: number | undefined): string {
  const logs = report.logs.flatMap((log) => [`${log.findings.length === 0 ? 'ok   ' : 'WRONG'} ${log.log}: ${log.entries} records`, ...log.findings.map((finding) => `      ${JSON.stringify(finding)}`)]);
  const missing = report.missing.map((log) => `WRONG ${log}: named by workflow results, but the file is not there`);
  const against = anchors === undefined ? 'checked against the signed heads only; no system runs in this home' : `checked against ${anchors} anchors in workflow results`;
  return [...logs, ...missing, `${report.ok ? 'The ledger is whole' : 'The ledger is BROKEN'}: ${report.records} records in ${report.logs.length} logs, ${against}.`].join('\n');
}
