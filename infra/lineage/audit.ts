// The audit: verifies every log of a ledger directory offline, and against the anchors in workflow results where given.
// Owns: the report and the verdict over all logs. Never writes. Others may assume: `ok` is false for any finding,
// for a log that should exist and does not, and for an empty directory when anchors say that there was something.

import type { SignatureVerifier } from '../../contracts/ports.ts';
import type { LedgerAnchor } from '../../contracts/task.ts';
import { verifyLog, type Verification } from '../../policies/ledger.ts';
import { readLogs } from '../files/ledger.ts';

export interface AuditReport {
  readonly ok: boolean;
  readonly logs: readonly Verification[];
  /** Logs that workflow results name but the directory does not hold. */
  readonly missing: readonly string[];
  readonly records: number;
}

export async function verifyLedger(dir: string, verifier: SignatureVerifier, anchors: readonly LedgerAnchor[] = []): Promise<AuditReport> {
  const files = await readLogs(dir);
  const logs = files.map(({ log, lines, heads }) => verifyLog(log, lines, heads, anchors.filter((anchor) => anchor.log === log), verifier));
  const present = new Set(files.map(({ log }) => log));
  const missing = [...new Set(anchors.map(({ log }) => log))].filter((log) => !present.has(log)).sort();
  return {
    ok: missing.length === 0 && logs.every(({ findings }) => findings.length === 0),
    logs,
    missing,
    records: logs.reduce((sum, { entries }) => sum + entries, 0),
  };
}
