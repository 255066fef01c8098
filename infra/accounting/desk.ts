// The budget desk: what operators see of budgets and do with them, with every change on record before it is made.
// Owns: the order "ledger, then budget", leases for boxes that spend out of sight, and reading the ledger for entries and reports.
// Never holds a budget itself: the roots do (agents/budget). Others may assume: callers were authorised; a tenant sees its own only.

import type { BudgetChange, BudgetDetail } from '../../contracts/budget.ts';
import { fail } from '../../contracts/errors.ts';
import { readableId } from '../../contracts/ids.ts';
import type { BudgetRoots, Clock, Ledger, Random } from '../../contracts/ports.ts';
import type { BudgetRecord, DecisionRecord, LedgerEntry } from '../../contracts/record.ts';
import { type CostReport, costReport, type MoneyEntry, moneyEntries, type ReportKey } from '../../policies/accounting.ts';
import { readLogs } from '../files/ledger.ts';

export interface BudgetDesk {
  show(tenant: string): Promise<BudgetDetail>;
  /** Holds over the bundle's value until it is unset. */
  set(tenant: string, change: BudgetChange, by: string): Promise<BudgetDetail>;
  /** Newest first. */
  entries(tenant: string, options: { readonly since: number; readonly limit: number }): Promise<readonly MoneyEntry[]>;
  report(tenant: string, options: { readonly since: number; readonly by: ReportKey }): Promise<CostReport>;
  /** Money for a box that spends where nobody can see. Charged in full when it ends unreported. @throws AIOS_BUDGET_EXCEEDED */
  lease(tenant: string, wanted: { readonly holder: string; readonly microUsd: number; readonly forMs: number }, by: string): Promise<BudgetLease>;
  /** The box is back: what it did not spend is free again. @throws AIOS_INPUT_INVALID when there is no such lease */
  giveBack(tenant: string, lease: string, spentMicroUsd: number, by: string): Promise<BudgetDetail>;
}
/** What a box takes along; agents/budget/leased.ts spends it. */
export interface BudgetLease { readonly v: 1; readonly tenant: string; readonly lease: string; readonly holder: string; readonly microUsd: number; readonly expiresAt: number }

export interface DeskOptions {
  readonly budgets: BudgetRoots;
  readonly ledger: Pick<Ledger, 'append'>;
  /** Folder of all logs. */
  readonly dir: string;
  readonly clock: Clock;
  readonly random: Random;
}

export function createBudgetDesk({ budgets, ledger, dir, clock, random }: DeskOptions): BudgetDesk {
  const record = async (entry: Omit<BudgetRecord, 'kind'>): Promise<void> => void (await ledger.append([{ kind: 'budget', ...entry }]));
  const read = async (tenant: string, since: number): Promise<readonly LedgerEntry[]> => {
    const lines = (await readLogs(dir)).flatMap((log) => log.lines);
    return lines.flatMap((line) => ('entry' in line && line.entry.at >= since && line.entry.record.tenant === tenant ? [line.entry] : []));
  };
  return {
    show: (tenant) => budgets.detail(tenant),
    async set(tenant, change, by) {
      await record({ tenant, task: readableId('b', random.bytes(10)), change: 'unset' in change ? 'unset' : 'set', level: change.level, value: valueOf(change), by, ...('cap' in change ? { microUsd: change.cap.microUsdMax } : {}) });
      await budgets.configure(tenant, change);
      return budgets.detail(tenant);
    },
    async entries(tenant, { since, limit }) {
      return moneyEntries(await read(tenant, since), tenant).toSorted((a, b) => b.at - a.at).slice(0, limit);
    },
    async report(tenant, { since, by }) {
      const records = (await read(tenant, since)).map((entry) => entry.record);
      return costReport(records.filter((one): one is DecisionRecord => one.kind === 'decision'), by);
    },
    async lease(tenant, { holder, microUsd, forMs }, by) {
      const lease = readableId('l', random.bytes(10));
      const expiresAt = clock.now() + forMs;
      await record({ tenant, task: lease, change: 'lease', level: `lease/${holder}`, microUsd, value: `${microUsd} until ${new Date(expiresAt).toISOString()}`, by });
      const [answer] = await budgets.reserve([{ tenant, task: holder, attempt: lease, capability: 'budget.lease', microUsd, expiresAt, kind: 'lease' }]);
      if (answer?.granted !== true) throw fail('AIOS_BUDGET_EXCEEDED', `Refused by ${answer?.by ?? 'nobody'}; ${answer?.leftMicroUsd ?? 0} micro-USD are left.`);
      return { v: 1, tenant, lease, holder, microUsd, expiresAt };
    },
    async giveBack(tenant, lease, spentMicroUsd, by) {
      const known = (await budgets.detail(tenant)).leases.find((one) => one.lease === lease);
      if (known === undefined) throw fail('AIOS_INPUT_INVALID', 'there is no such lease; it was given back already, or is too old to be remembered.');
      await record({ tenant, task: lease, change: 'return', level: `lease/${known.holder}`, microUsd: spentMicroUsd, value: `${spentMicroUsd} of ${known.microUsd} spent`, by });
      await budgets.settle([{ tenant, reservation: lease, spentMicroUsd }]);
      return budgets.detail(tenant);
    },
  };
}

function valueOf(change: BudgetChange): string {
  if ('cap' in change) return `${change.cap.microUsdMax}/${change.level === 'task' ? 'task' : change.cap.period}`;
  if ('unset' in change) return 'as the bundle says';
  const { perMinuteMax, burstMax, concurrentMax } = change.limit;
  return [...(perMinuteMax === undefined ? [] : [`${perMinuteMax}/min`]), ...(burstMax === undefined ? [] : [`burst ${burstMax}`]), ...(concurrentMax === undefined ? [] : [`${concurrentMax} at once`])].join(', ');
}
