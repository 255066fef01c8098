// What another bundle would have made of decisions that were taken: the same requests, asked again.
// Owns: walking a task's recorded decisions in their order, the comparison, and what the difference would have cost.
// Never re-runs work: after the first decision that comes out otherwise nothing is known of the task, so nothing more is asked.
// Others may assume: pure; `changed` lists every task that would have been treated otherwise, in the order of the records;
// a record of before requests were kept is judged at commit by its facts, without roles, and counted as `approximate`.

import type { PolicyBundle, PolicySlice } from '../contracts/bundle.ts';
import type { Digest } from '../contracts/ids.ts';
import type { ModelReceipt } from '../contracts/receipt.ts';
import type { DecisionRecord } from '../contracts/record.ts';
import type { Action, PolicyRequest, Verdict } from '../contracts/verdict.ts';
import { askedAgain, BARE_FACTS } from './asked.ts';
import { decide } from './evaluate.ts';
import { costOf } from './price.ts';
import { sliceOf } from './slice.ts';

export interface WhatIfChange {
  readonly task: string;
  readonly capability: string;
  readonly principal: string;
  /** The decision that comes out otherwise. */
  readonly action: Action;
  readonly before: Verdict['kind'];
  readonly after: Verdict['kind'];
  readonly deciding: readonly string[];
  /** Micro-USD: what the task cost, and what it would have cost by the other price table, up to where it would have stopped. */
  readonly costMicroUsd: number;
  readonly costAfterMicroUsd: number;
  /** Of the effect that hangs on the decision, micro-USD. */
  readonly amountMicroUsd: number;
}
export interface WhatIf {
  readonly replayed: number;
  /** Of those, judged without the principal's roles, because their records are of before requests were kept. */
  readonly approximate: number;
  /** Records without a decision that could be asked again, that show no facts, or whose capability the bundle does not know. */
  readonly skipped: number;
  readonly changed: readonly WhatIfChange[];
  /** `commit allow->escalate` and so on, with how many. */
  readonly by: Readonly<Record<string, number>>;
  /** More (or fewer) tasks that a person would have had to decide. */
  readonly morePeople: number;
  /** Amounts of effects that would have been let through at once and were not, less those the other way. */
  readonly moreAmountMicroUsd: number;
  /** Over everything replayed, changed or not. */
  readonly costMicroUsd: number;
  readonly costAfterMicroUsd: number;
  /** Models that the other bundle has no price for: their calls would have been refused, and count as nothing. */
  readonly unpriced: readonly string[];
}

interface Judged { readonly change: WhatIfChange; readonly changed: boolean; readonly approximate: boolean; readonly unpriced: readonly string[] }
interface Decision { readonly before: Verdict; readonly request: PolicyRequest }

/** @throws AIOS_POLICY_INVALID when a slice of the bundle cannot be made */
export function whatIf(records: readonly DecisionRecord[], bundle: PolicyBundle, digest: Digest): WhatIf {
  const slices = new Map<string, PolicySlice>();
  const sliceFor = (capability: string): PolicySlice => {
    const slice = slices.get(capability) ?? sliceOf(bundle, digest, capability);
    slices.set(capability, slice);
    return slice;
  };
  const judged = records.map((record) => (Object.hasOwn(bundle.capabilities, record.capability) ? judge(record, sliceFor(record.capability), bundle) : undefined)).filter((one) => one !== undefined);
  const changed = judged.filter((one) => one.changed).map(({ change }) => change);
  const by: Record<string, number> = {};
  for (const { action, before, after } of changed) by[`${action} ${before}->${after}`] = (by[`${action} ${before}->${after}`] ?? 0) + 1;
  const sum = (of: readonly WhatIfChange[], value: (change: WhatIfChange) => number): number => of.reduce((total, change) => total + value(change), 0);
  const all = judged.map(({ change }) => change);
  return {
    replayed: judged.length,
    approximate: judged.filter(({ approximate }) => approximate).length,
    skipped: records.length - judged.length,
    changed,
    by,
    morePeople: sum(changed, ({ before, after }) => Number(after === 'escalate') - Number(before === 'escalate')),
    moreAmountMicroUsd: sum(changed, ({ before, after, amountMicroUsd }) => (Number(after === 'allow') - Number(before === 'allow')) * amountMicroUsd),
    costMicroUsd: sum(all, ({ costMicroUsd }) => costMicroUsd),
    costAfterMicroUsd: sum(all, ({ costAfterMicroUsd }) => costAfterMicroUsd),
    unpriced: [...new Set(judged.flatMap(({ unpriced }) => unpriced))].sort(),
  };
}

function judge(record: DecisionRecord, slice: PolicySlice, bundle: PolicyBundle): Judged | undefined {
  if (record.detail === 'minimal') return undefined;
  const decisions = decisionsOf(record, slice);
  const last = decisions.at(-1);
  if (last === undefined) return undefined;
  const asked = decisions.map((decision) => ({ decision, after: decide(slice, decision.request) }));
  const other = asked.find(({ decision, after }) => decision.before.kind !== after.kind || rungOf(decision.before) !== rungOf(after));
  const { decision, after } = other ?? { decision: last, after: decide(slice, last.request) };
  const priced = pricedAgain(record, bundle);
  return {
    changed: other !== undefined,
    approximate: record.asked === undefined,
    unpriced: priced.unpriced,
    change: {
      task: record.task, capability: record.capability, principal: record.principal, action: decision.request.action, before: decision.before.kind, after: after.kind, deciding: after.deciding,
      costMicroUsd: record.costMicroUsd, costAfterMicroUsd: other === undefined || workWasDone(decision) ? priced.microUsd : spentBy(decision), amountMicroUsd: amountOf(decision.request),
    },
  };
}

const rungOf = (verdict: Verdict): string | undefined => (verdict.kind === 'degrade' ? verdict.rung : undefined);
/** Decisions about an outcome come after the work; whatever they come to, it is paid for. */
const workWasDone = ({ request }: Decision): boolean => request.action === 'commit';

function spentBy({ request }: Decision): number {
  const spent = request.context['costMicroUsd'];
  return typeof spent === 'number' ? spent : 0;
}

function amountOf({ context }: PolicyRequest): number {
  const amount = context['amountMicroUsd'];
  return typeof amount === 'number' ? amount : 0;
}

function decisionsOf(record: DecisionRecord, slice: PolicySlice): readonly Decision[] {
  if (record.asked !== undefined) return askedAgain(record).flatMap(({ verdict, request }) => { const before = record.verdicts[verdict]; return before === undefined ? [] : [{ before, request }]; });
  const before = record.verdicts.find(({ action }) => action === 'commit');
  return before === undefined ? [] : [{ before, request: guessed(record, slice) }];
}

/** The moment before any person looked: `approved` is false. */
function guessed(record: DecisionRecord, { capability: { dataClass, sla } }: PolicySlice): PolicyRequest {
  return {
    action: 'commit',
    principal: { id: record.principal, type: 'service', tenant: record.tenant, roles: [] },
    resource: { capability: record.capability, dataClass, sla },
    context: { ...BARE_FACTS, ...record.facts, rung: record.rung, dataClass, deadlineMsLeft: 0, costMicroUsd: record.costMicroUsd, reservedMicroUsd: record.reservedMicroUsd, approved: false },
  };
}

/** The gateway's own cache costs nothing by any table: nothing was computed, everything was read. */
const answeredFromCache = ({ usage, costMicroUsd }: ModelReceipt): boolean => costMicroUsd === 0 && usage.inputTokens + usage.cacheWriteTokens + usage.outputTokens + usage.reasoningTokens + usage.deviceUs === 0;

/** The same usage by the other price table, as the gateway looks prices up: by model, else by provider. */
function pricedAgain(record: DecisionRecord, { prices }: PolicyBundle): { readonly microUsd: number; readonly unpriced: readonly string[] } {
  const calls = record.receipts.filter((receipt): receipt is ModelReceipt => receipt.kind === 'model');
  const priceOf = ({ model, provider }: ModelReceipt) => [model, provider].filter((name) => Object.hasOwn(prices, name)).map((name) => prices[name])[0];
  const priced = calls.filter((call) => priceOf(call) !== undefined && !answeredFromCache(call));
  return { microUsd: priced.reduce((sum, call) => sum + costOf(call.usage, priceOf(call)), 0), unpriced: calls.filter((call) => priceOf(call) === undefined).map(({ model }) => model) };
}
