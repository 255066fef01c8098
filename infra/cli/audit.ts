// The command `audit verify`: whether the ledger is whole, offline, and against the workflow results when the system runs.
// Owns: where logs, keys and anchors come from. The verification is infra/lineage/audit.ts.
// Never changes anything. Others may assume: exit code 1 for any finding, with the log and the index where it starts.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { fail } from '../../contracts/errors.ts';
import type { LedgerAnchor } from '../../contracts/task.ts';
import { WORKFLOWS } from '../../contracts/task.ts';
import { loadKeys } from '../crypto/keys.ts';
import { createVerifier } from '../crypto/signer.ts';
import { readEndpoints } from '../dev/endpoints.ts';
import { type AuditReport, verifyLedger } from '../lineage/audit.ts';
import { act, type CliContext, EXIT } from './shared.ts';

export function registerAudit(program: Command): void {
  const audit = program.command('audit').description('check the ledger');
  audit
    .command('verify')
    .description('find every edited, dropped, reordered or cut-off record')
    .option('--dir <folder>', 'ledger folder; that of the home when absent')
    .option('--no-anchors', 'do not compare with the heads that workflow results carry')
    .action(act(verify));
}

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
  const endpoints = await readEndpoints(context.config.home);
  if (endpoints === undefined) return undefined;
  const [{ Client, Connection }, { readAnchors }, { converterOf, openCodec }] = await Promise.all([import('@temporalio/client'), import('../temporal/history.ts'), import('../temporal/converter.ts')]);
  // The system that runs says whether its payloads are sealed; the settings of this command need not repeat it.
  const dataConverter = endpoints.codec === undefined ? undefined : converterOf(await openCodec(context.config));
  const connection = await Connection.connect({ address: endpoints.temporalAddress });
  try {
    return await readAnchors(new Client({ connection, namespace: endpoints.namespace, ...(dataConverter === undefined ? {} : { dataConverter }) }), `WorkflowType = "${WORKFLOWS.governed}" AND ExecutionStatus = "Completed"`, ANCHORS_MAX);
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
