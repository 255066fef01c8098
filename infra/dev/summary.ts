// The summary of a batch: the numbers a machine reads and the words a manager reads.
// Owns: which numbers, how they are computed and rounded. Pure.
// Others may assume: the four counts add up to `tickets`; percentiles are over all tickets that were run.

import type { Row } from './batch.ts';

export interface Summary {
  readonly tickets: number;
  readonly answered: number;
  readonly waiting: number;
  readonly refused: number;
  readonly failed: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly costMicroUsd: number;
  /** Mean over answered tickets that carry a score; null when none does. */
  readonly groundedness: number | null;
  /** From the start of the program to the first finished ticket; null when none finished. */
  readonly firstResultMs: number | null;
}

export function summarise(rows: readonly Row[], firstResultMs: number | null): Summary {
  const count = (status: Row['status']): number => rows.filter((row) => row.status === status).length;
  const latencies = rows.map((row) => row.latencyMs).sort((a, b) => a - b);
  const scores = rows.filter((row) => row.status === 'answered').flatMap((row) => (row.groundedness === null ? [] : [row.groundedness]));
  return {
    tickets: rows.length,
    answered: count('answered'),
    waiting: count('waiting'),
    refused: count('refused'),
    failed: count('failed'),
    p50Ms: percentile(latencies, 0.5),
    p95Ms: percentile(latencies, 0.95),
    costMicroUsd: rows.reduce((sum, row) => sum + row.costMicroUsd, 0),
    groundedness: scores.length === 0 ? null : Math.round((scores.reduce((sum, score) => sum + score, 0) / scores.length) * 1_000) / 1_000,
    firstResultMs: firstResultMs === null ? null : Math.round(firstResultMs),
  };
}

/** Nearest rank, of sorted values; 0 when there are none. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

export function summaryWords(summary: Summary): string {
  const share = (count: number): string => `${String(count).padStart(5)}  ${summary.tickets === 0 ? '' : `${((100 * count) / summary.tickets).toFixed(1).padStart(5)} %`}`;
  const perAnswer = summary.answered === 0 ? 'no ticket was answered' : `${money(summary.costMicroUsd / summary.answered)} per answered ticket`;
  return [
    `Tickets                  ${String(summary.tickets).padStart(5)}`,
    `  answered automatically ${share(summary.answered)}`,
    `  waiting for a person   ${share(summary.waiting)}`,
    `  refused by policy      ${share(summary.refused)}`,
    `  failed                 ${share(summary.failed)}`,
    `Latency                  p50 ${summary.p50Ms} ms, p95 ${summary.p95Ms} ms${summary.firstResultMs === null ? '' : `; first finished ticket ${(summary.firstResultMs / 1_000).toFixed(1)} s after the start`}`,
    `Cost                     ${money(summary.costMicroUsd)} in all, ${perAnswer}`,
    `Groundedness             ${summary.groundedness === null ? 'no answer carries a score' : `${summary.groundedness.toFixed(3)} (mean over answers; 1 = every sentence is in its source)`}`,
  ].join('\n');
}

const money = (microUsd: number): string => `$${(microUsd / 1_000_000).toFixed(6)}`;
