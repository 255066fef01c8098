// Deleting what a task left in Temporal: its workflow, its approvals, the group it was in when nobody else was.
// Owns: which executions those are. Never deletes one that still runs, and never a group with other members.
// Others may assume: an execution that is gone already is no error, and the ledger is not touched.

import type { Client } from '@temporalio/client';
import { convertTemporalError, isNotFound } from './errors.ts';

const APPROVALS_MAX = 8;

/** Returns the ids of what was deleted. */
export async function eraseTask(client: Client, namespace: string, workflowId: string, task: string): Promise<readonly string[]> {
  const own = workflowId.endsWith(`/${task}`) ? [workflowId] : [];
  const approvals = Array.from({ length: APPROVALS_MAX }, (_none, i) => `approval/${task}${i === 0 ? '' : `.${i + 1}`}`);
  const capability = workflowId.split('/')[0] ?? '';
  const erased: string[] = [];
  for (const id of new Set([...own, `${capability}/${task}`, ...approvals])) if (await eraseOne(client, namespace, id)) erased.push(id);
  return erased;
}

async function eraseOne(client: Client, namespace: string, workflowId: string): Promise<boolean> {
  try {
    const { status } = await client.workflow.getHandle(workflowId).describe();
    if (status.name === 'RUNNING') return false;
    await client.workflowService.deleteWorkflowExecution({ namespace, workflowExecution: { workflowId } });
    return true;
  } catch (thrown) {
    if (isNotFound(thrown)) return false;
    throw convertTemporalError(thrown);
  }
}
