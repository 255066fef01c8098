// The result of a task from what settlement was told and what it did: one function for the workflow and for whoever answers first.
// Owns: the shape of a result. Never decides: state and error were decided before, but for an effect that was refused.
// Others may assume: pure; the workflow's recorded result and the answer given at settlement are the same value.

import type { ErrorBody } from '../contracts/errors.ts';
import type { SettledMember, SettleMember } from '../contracts/governed.ts';
import type { TaskResult } from '../contracts/task.ts';

export function resultOf(settlement: SettleMember, settled: SettledMember | undefined): TaskResult {
  const { state, error } = standing(settlement, settled);
  return {
    taskId: settlement.taskId, state, rung: settlement.rung, degraded: settlement.degraded,
    verdicts: settlement.verdicts, receipts: settlement.receipts, costMicroUsd: settlement.costMicroUsd,
    ...(settlement.output === undefined || state !== 'done' ? {} : { output: settlement.output }),
    ...(error === undefined ? {} : { error }),
    ...(settled?.effect === undefined ? {} : { effect: settled.effect }),
    ...(settlement.human === undefined ? {} : { human: settlement.human }),
    ...(settled === undefined ? {} : { ledger: settled.ledger }),
  };
}

/** What an earlier settlement decided stands before what this one was told; a refusal by the system of record before that. */
function standing(settlement: SettleMember, settled: SettledMember | undefined): { readonly state: TaskResult['state']; readonly error?: ErrorBody | undefined } {
  if (settled?.decided !== undefined) return settled.decided;
  if (settled?.error !== undefined) return { state: 'failed', error: settled.error };
  return { state: settlement.state, error: settlement.error };
}
