// Following a task to its result: over groups it left, restarts of the server, and brains that died with a failed group.
// Owns: the patience with a workflow that is not there yet, and the reading of a group's own input back from history.
// Never decides what a failed group's member becomes: it hands the member to `drive`.
// Others may assume: bounded hops, and every error has a code of the table.

import type { Client } from '@temporalio/client';
import { fail } from '../../contracts/errors.ts';
import type { Clock } from '../../contracts/ports.ts';
import type { GovernedInput, GroupResult, TaskMember, TaskResult } from '../../contracts/task.ts';
import { convertTemporalError, isNotFound, isTransient, isWorkflowFailure } from './errors.ts';

export interface FollowerOptions {
  readonly client: Client;
  readonly clock: Clock;
  readonly stop: AbortSignal;
  /** Starts a workflow of its own for a member whose group failed as a whole; returns its id. */
  readonly drive: (input: GovernedInput, member: TaskMember, from: string) => Promise<string>;
}
export interface Follower {
  follow(workflowId: string, taskId: string): Promise<TaskResult>;
  patiently<T>(work: () => Promise<T>): Promise<T>;
}

/** A member that left its group starts a moment later: so long is not-found taken for not-yet. */
const NOT_YET_MS = 10_000;
const RETRY_MS = 200;
/** Group, leaver, and room for one drive-again each. */
const HOPS_MAX = 4;

export function createFollower({ client, clock, stop, drive }: FollowerOptions): Follower {
  async function follow(workflowId: string, taskId: string): Promise<TaskResult> {
    let place = workflowId;
    for (let hop = 0; hop < HOPS_MAX; hop++) {
      const result = await resultOf(place, taskId);
      const mine = result.results.find((one) => one.taskId === taskId);
      if (mine !== undefined) return mine;
      const moved = result.left.find((one) => one.taskId === taskId);
      if (moved === undefined) throw fail('AIOS_TASK_UNKNOWN');
      place = moved.workflowId;
    }
    throw fail('AIOS_INTERNAL', 'The task moved too often.');
  }

  async function resultOf(workflowId: string, taskId: string): Promise<GroupResult> {
    try {
      return await patiently(() => client.workflow.getHandle<() => Promise<GroupResult>>(workflowId).result());
    } catch (thrown) {
      if (!isWorkflowFailure(thrown)) throw convertTemporalError(thrown);
      const input = await startInput(client, workflowId);
      const member = input?.members.find((one) => one.taskId === taskId);
      if (input === undefined || member === undefined || input.members.length === 1) throw convertTemporalError(thrown);
      return { v: 1, results: [], left: [{ taskId, workflowId: await drive(input, member, workflowId), why: 'redriven' }] };
    }
  }

  async function patiently<T>(work: () => Promise<T>): Promise<T> {
    const notYet = clock.monotonic() + NOT_YET_MS;
    for (;;) {
      try {
        return await work();
      } catch (thrown) {
        const again = isTransient(thrown) || (isNotFound(thrown) && clock.monotonic() < notYet);
        if (!again || stop.aborted) throw thrown;
        await clock.sleep(RETRY_MS, stop);
      }
    }
  }

  return { follow, patiently };
}

/** What the workflow was started with; undefined when its history is gone or is not one of ours. */
async function startInput(client: Client, workflowId: string): Promise<GovernedInput | undefined> {
  try {
    const history = await client.workflow.getHandle(workflowId).fetchHistory();
    const payloads = history.events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads ?? [];
    const { payloadConverter, payloadCodecs } = client.options.loadedDataConverter;
    let decoded = [...payloads];
    for (const codec of payloadCodecs.toReversed()) decoded = await codec.decode(decoded);
    const [first] = decoded;
    return first === undefined ? undefined : payloadConverter.fromPayload<GovernedInput>(first);
  } catch {
    return undefined;
  }
}
