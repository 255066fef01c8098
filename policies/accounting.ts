// Where the money went: decision records of the ledger added up by call, model, space, capability, agent kind or tenant.
// Owns: the sums, and what counts as an effective task. Never reads a file and never estimates: what a record does not itemise is shown as such.
// Others may assume: pure; the costs of all rows of a report add up to what its records cost.

import type { LedgerEntry, DecisionRecord } from '../contracts/record.ts';
import { NO_USAGE, type ModelReceipt, type Receipt, type Usage } from '../contracts/receipt.ts';

export const REPORT_KEYS = ['call', 'model', 'space', 'capability', 'agent', 'tenant'] as const;
export type ReportKey = (typeof REPORT_KEYS)[number];

export interface ReportRow {
  readonly key: string;
  readonly tasks: number;
  readonly effectiveTasks: number;
  /** Receipts added up; of a report by capability or tenant, those of all its tasks. */
  readonly calls: number;
  readonly costMicroUsd: number;
  /** Cost of all tasks of the row for each effective one; absent where none was effective. */
  readonly microUsdPerEffectiveTask?: number;
  readonly usage: Usage;
  /** Digests of the price tables that the costs were computed with. */
  readonly prices: readonly string[];
}
export interface CostReport {
  readonly by: ReportKey;
  readonly tasks: number;
  readonly effectiveTasks: number;
  readonly costMicroUsd: number;
  readonly microUsdPerEffectiveTask?: number;
  /** Largest cost first; rows past the bound are added up in the last one. */
  readonly rows: readonly ReportRow[];
}

export const ROWS_MAX = 200;
/** Cost that the record gives only as a sum: its receipts were left out, as a policy may ask. */
export const NOT_ITEMISED = '(not itemised)';
const OTHERS = '(others)';

/** One line of `budget ledger`: what a task reserved and spent, or what an operator changed. */
export interface MoneyEntry {
  readonly at: number;
  readonly log: string;
  readonly index: number;
  readonly kind: 'task' | 'change';
  readonly task: string;
  /** Of a task: its capability; of a change: the level. */
  readonly what: string;
  readonly state: string;
  readonly reservedMicroUsd: number;
  readonly spentMicroUsd: number;
  /** Rungs it fell from for want of money, as recorded. */
  readonly degraded: readonly string[];
  readonly by: string;
}

/** The task ended with the machine's work in force: done, and no person had to write the answer. */
export const isEffective = ({ state, human, feedbackDigest }: DecisionRecord): boolean => state === 'done' && feedbackDigest === undefined && human?.decision !== 'answer';

export function costReport(records: readonly DecisionRecord[], by: ReportKey): CostReport {
  const rows = new Map<string, Sum>();
  for (const record of records) for (const part of partsOf(record, by)) add(rows, part, record);
  const all = [...rows.entries()].sort(([a, x], [b, y]) => y.cost - x.cost || (a < b ? -1 : 1));
  const kept = all.slice(0, ROWS_MAX);
  const rest = all.slice(ROWS_MAX).reduce<Sum | undefined>((sum, [, row]) => merged(sum, row), undefined);
  const total = records.reduce((sum, { costMicroUsd }) => sum + costMicroUsd, 0);
  const effective = records.filter(isEffective).length;
  return { by, tasks: records.length, effectiveTasks: effective, costMicroUsd: total, ...perEffective(total, effective), rows: [...kept, ...(rest === undefined ? [] : [[OTHERS, rest] as const])].map(([key, sum]) => rowOf(key, sum)) };
}

export function moneyEntries(entries: readonly LedgerEntry[], tenant: string): readonly MoneyEntry[] {
  return entries.flatMap(({ at, log, index, record }): readonly MoneyEntry[] => {
    if (record.tenant !== tenant) return [];
    if (record.kind === 'decision') return [{ at, log, index, kind: 'task', task: record.task, what: record.capability, state: record.state, reservedMicroUsd: record.reservedMicroUsd, spentMicroUsd: record.costMicroUsd, degraded: record.degraded.filter((why) => why.includes('BUDGET')), by: record.principal }];
    if (record.kind === 'budget') return [{ at, log, index, kind: 'change', task: record.task, what: record.level, state: record.change, reservedMicroUsd: record.microUsd ?? 0, spentMicroUsd: 0, degraded: [], by: record.by }];
    return [];
  });
}

// ---- parts of a record

interface Part { readonly key: string; readonly cost: number; readonly receipts: readonly ModelReceipt[]; readonly calls: number }

function partsOf(record: DecisionRecord, by: ReportKey): readonly Part[] {
  const models = record.receipts.filter((receipt): receipt is ModelReceipt => receipt.kind === 'model');
  const whole = (key: string): readonly Part[] => [{ key, cost: record.costMicroUsd, receipts: models, calls: record.receipts.filter((one) => one.kind !== 'turn').length }];
  switch (by) {
    case 'tenant': return whole(record.tenant);
    case 'capability': return whole(record.capability);
    case 'agent': return whole(agentOf(record.receipts));
    case 'model': return itemised(record, models.map((receipt) => partOf(`${receipt.provider}/${receipt.model}`, receipt)));
    case 'call': return itemised(record, models.map((receipt, i) => partOf(`${record.task}#${i + 1} ${receipt.capability} ${receipt.model}`, receipt)));
    case 'space': return itemised(record, [...searchesOf(record.receipts), ...models.map((receipt) => partOf(receipt.space ?? '(no space)', receipt))]);
  }
}

const partOf = (key: string, receipt: ModelReceipt): Part => ({ key, cost: receipt.costMicroUsd, receipts: [receipt], calls: 1 });

/** Retrieval itself has no price: a search counts as a call, the embedding of its question costs. */
const searchesOf = (receipts: readonly Receipt[]): readonly Part[] => receipts.flatMap((receipt) => (receipt.kind === 'retrieval' ? [{ key: receipt.space, cost: 0, receipts: [], calls: 1 }] : []));

/** The agent kind that handled the task; the turn of the task itself comes last. */
const agentOf = (receipts: readonly Receipt[]): string => receipts.reduce((name, receipt) => (receipt.kind === 'turn' ? receipt.agent : name), '(none)');

function itemised(record: DecisionRecord, parts: readonly Part[]): readonly Part[] {
  const missing = record.costMicroUsd - parts.reduce((sum, { cost }) => sum + cost, 0);
  return missing === 0 ? parts : [...parts, { key: NOT_ITEMISED, cost: missing, receipts: [], calls: 0 }];
}

// ---- sums

interface Sum { cost: number; calls: number; usage: Usage; readonly tasks: Map<string, boolean>; readonly prices: Set<string> }

function add(rows: Map<string, Sum>, { key, cost, receipts, calls }: Part, record: DecisionRecord): void {
  const row = rows.get(key) ?? { cost: 0, calls: 0, usage: NO_USAGE, tasks: new Map(), prices: new Set() };
  rows.set(key, row);
  row.cost += cost;
  row.calls += calls;
  for (const receipt of receipts) {
    row.usage = plus(row.usage, receipt.usage);
    row.prices.add(receipt.priceTable ?? receipt.priceDigest);
  }
  row.tasks.set(record.task, isEffective(record));
}

function merged(sum: Sum | undefined, row: Sum): Sum {
  if (sum === undefined) return row;
  return { cost: sum.cost + row.cost, calls: sum.calls + row.calls, usage: plus(sum.usage, row.usage), tasks: new Map([...sum.tasks, ...row.tasks]), prices: new Set([...sum.prices, ...row.prices]) };
}

function plus(a: Usage, b: Usage): Usage {
  return {
    inputTokens: a.inputTokens + b.inputTokens, cacheReadTokens: a.cacheReadTokens + b.cacheReadTokens, cacheWriteTokens: a.cacheWriteTokens + b.cacheWriteTokens,
    outputTokens: a.outputTokens + b.outputTokens, reasoningTokens: a.reasoningTokens + b.reasoningTokens, deviceUs: a.deviceUs + b.deviceUs,
  };
}

function rowOf(key: string, { cost, calls, usage, tasks, prices }: Sum): ReportRow {
  const effective = [...tasks.values()].filter(Boolean).length;
  return { key, tasks: tasks.size, effectiveTasks: effective, calls, costMicroUsd: cost, ...perEffective(cost, effective), usage, prices: [...prices].sort() };
}

const perEffective = (cost: number, effective: number): { readonly microUsdPerEffectiveTask?: number } => (effective === 0 ? {} : { microUsdPerEffectiveTask: Math.round(cost / effective) });
