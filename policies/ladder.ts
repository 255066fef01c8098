// The ladder's last rung: who is asked when every machine rung has failed, and for how long.
// Owns: the approval a capability falls back to, and what each rung may reserve of the task's budget.
// Never invents a group silently: it is `operators`, or the one the capability's own policies name most.
// Others may assume: pure, and the same slice gives the same approval.

import type { PolicySlice } from '../contracts/bundle.ts';
import type { Rung } from '../contracts/capability.ts';
import type { Approval } from '../contracts/verdict.ts';

/** A person who is asked because the machine gave up has this long; then the task is refused, on record. */
export const HUMAN_EXPIRES_MS = 24 * 60 * 60 * 1_000;
export const OPERATORS = 'operators';

/** `operators` where the bundle has such a group, else the group that most policies of the slice name (then the first by name). */
export function humanApproval(slice: PolicySlice): Approval {
  const terms = { quorum: 1, expiresMs: HUMAN_EXPIRES_MS, onExpiry: 'deny' } as const;
  if (Object.hasOwn(slice.groups, OPERATORS)) return { approvers: OPERATORS, ...terms };
  const named = new Map<string, number>();
  for (const policy of Object.values(slice.policies)) {
    const group = policy.annotations?.['approvers'];
    if (group !== undefined && group !== '') named.set(group, (named.get(group) ?? 0) + 1);
  }
  const [first] = [...named].sort(([a, countA], [b, countB]) => countB - countA || (a < b ? -1 : 1));
  return { approvers: first?.[0] ?? OPERATORS, ...terms };
}

/** Stands for a policy in the verdict on a task whose message was quarantined and which no lower rung could save. */
export const QUARANTINE = 'ladder:quarantine';
export const QUARANTINE_REASON = 'The agent broke every time it handled this task, and its message is a dead letter. "approve" tries again, "reject" discards it, "answer" is your own answer.';

/** Share of the task's budget that one attempt on a rung reserves, in percent: a rung that calls no model reserves nothing, so it stays possible when the money is gone. */
export const RUNG_SHARE_PERCENT: Readonly<Record<Rung, number>> = { model: 100, small: 25, cache: 10, script: 0, human: 0 };

/** Micro-USD one attempt may spend: its rung's share, and never more than what the task has left. */
export function reserveFor(rung: Rung, microUsdMax: number, spentMicroUsd: number): number {
  return Math.max(0, Math.min(Math.floor((microUsdMax * RUNG_SHARE_PERCENT[rung]) / 100), microUsdMax - spentMicroUsd));
}
