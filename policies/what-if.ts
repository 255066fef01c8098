// What another bundle would have made of decisions that were taken: the same facts, judged again.
// Owns: rebuilding the request from a decision record, the comparison and its sums. Pure: whoever has the ledger brings the records.
// Never re-runs work: an outcome that would not have been dispatched is still judged at commit, where people and money are decided.
// Others may assume: `changed` lists every record whose verdict kind at commit differs, in the order of the records.

import type { PolicyBundle } from '../contracts/bundle.ts';
import type { Digest } from '../contracts/ids.ts';
import type { DecisionRecord } from '../contracts/record.ts';
import type { PolicyRequest, Verdict } from '../contracts/verdict.ts';
import { decide } from './evaluate.ts';
import { sliceOf } from './slice.ts';

export interface WhatIfChange {
  readonly task: string;
  readonly capability: string;
  readonly before: Verdict['kind'];
  readonly after: Verdict['kind'];
  readonly deciding: readonly string[];
  readonly costMicroUsd: number;
  readonly amountMicroUsd: number;
}
export interface WhatIf {
  readonly replayed: number;
  /** Records that never came to a commit, or whose capability the bundle does not know. */
  readonly skipped: number;
  readonly changed: readonly WhatIfChange[];
  /** `allow->escalate` and so on, with how many. */
  readonly by: Readonly<Record<string, number>>;
  /** More (or fewer) decisions that a person would have had to take. */
  readonly morePeople: number;
  /** Amounts of effects that would have been let through at once and were not, less those the other way. */
  readonly moreAmountMicroUsd: number;
}

/** @throws AIOS_POLICY_INVALID when a slice of the bundle cannot be made */
export function whatIf(records: readonly DecisionRecord[], bundle: PolicyBundle, digest: Digest): WhatIf {
  const judged = records.map((record) => judge(record, bundle, digest));
  const replayed = judged.filter((one) => one !== undefined);
  const changed = replayed.filter(({ before, after }) => before !== after);
  const by: Record<string, number> = {};
  for (const { before, after } of changed) by[`${before}->${after}`] = (by[`${before}->${after}`] ?? 0) + 1;
  const sum = (of: (change: WhatIfChange) => number): number => changed.reduce((total, change) => total + of(change), 0);
  return {
    replayed: replayed.length,
    skipped: records.length - replayed.length,
    changed,
    by,
    morePeople: sum(({ before, after }) => Number(after === 'escalate') - Number(before === 'escalate')),
    moreAmountMicroUsd: sum(({ before, after, amountMicroUsd }) => (Number(after === 'allow') - Number(before === 'allow')) * amountMicroUsd),
  };
}

function judge(record: DecisionRecord, bundle: PolicyBundle, digest: Digest): WhatIfChange | undefined {
  const before = record.verdicts.find(({ action }) => action === 'commit');
  if (before === undefined || !Object.hasOwn(bundle.capabilities, record.capability)) return undefined;
  const slice = sliceOf(bundle, digest, record.capability);
  const after = decide(slice, requestOf(record, slice.capability));
  const amount = record.facts['amountMicroUsd'];
  return { task: record.task, capability: record.capability, before: before.kind, after: after.kind, deciding: after.deciding, costMicroUsd: record.costMicroUsd, amountMicroUsd: typeof amount === 'number' ? amount : 0 };
}

/** The moment before any person looked: `approved` is false. Roles are not in a record, so rules about them see none. */
function requestOf(record: DecisionRecord, { dataClass, sla }: { readonly dataClass: string; readonly sla: string }): PolicyRequest {
  const known = { intent: 'none', injection: false, personalData: false, outOfScope: false, foreignCorpus: false, abstained: false, effectKind: 'none', amountMicroUsd: 0 };
  return {
    action: 'commit',
    principal: { id: record.principal, type: 'service', tenant: record.tenant, roles: [] },
    resource: { capability: record.capability, dataClass, sla },
    context: { ...known, ...record.facts, rung: record.rung, dataClass, deadlineMsLeft: 0, costMicroUsd: record.costMicroUsd, reservedMicroUsd: record.reservedMicroUsd, approved: false },
  };
}
