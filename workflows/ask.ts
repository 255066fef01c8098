// `ask`: how a workflow of one's own asks a capability: the task it starts is governed like any other.
// Owns: the child workflow, its id and the typed answer. Never decides, never does I/O.
// Others may assume: a refused or failed task throws an ApplicationFailure whose type is the code of the error table;
// a task that waits for a person keeps the workflow waiting, for days if need be.

import { ApplicationFailure, executeChild, uuid4, workflowInfo } from '@temporalio/workflow';
import type { Capability } from '../contracts/capability.ts';
import { PRINCIPAL_MEMO } from '../contracts/governed.ts';
import type { GovernedInput, GroupResult, TaskMember } from '../contracts/task.ts';
import type { Principal } from '../contracts/verdict.ts';

export interface AskOptions {
  /** Who asks; whoever started this workflow through a host, when absent. */
  readonly principal?: Principal;
  /** Readable end of the task's id, unique in the tenant; a random one when absent. */
  readonly taskId?: string;
}

/**
 * Runs one governed task and returns its output.
 * @example
 * export async function handleTicket(ticket: Ticket) { return (await ask(answer, ticket)).text; }
 */
export async function ask<I, O>(capability: Capability<I, O>, input: I, options: AskOptions = {}): Promise<O> {
  const principal = options.principal ?? (workflowInfo().memo?.[PRINCIPAL_MEMO] as Principal | undefined);
  if (principal === undefined) throw ApplicationFailure.nonRetryable('Who asks? Start the workflow through a host, or pass a principal.', 'AIOS_UNAUTHENTICATED');
  const taskId = options.taskId ?? `t-${uuid4().replaceAll('-', '').slice(0, 10)}`;
  const governed: GovernedInput = { v: 1, tenant: principal.tenant, capability: capability.id, members: [{ taskId, principal, input } as TaskMember] };
  const { results } = await executeChild<(input: GovernedInput) => Promise<GroupResult>>('governedTask', { workflowId: `${capability.id}/${taskId}`, args: [governed], workflowTaskTimeout: '3 s' });
  const result = results[0];
  if (result?.state !== 'done') throw ApplicationFailure.nonRetryable(result?.error?.message ?? 'The task did not end in this workflow.', result?.error?.code ?? 'AIOS_INTERNAL');
  return result.output as O;
}
