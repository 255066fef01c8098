// Who the server says sent a decision: the principal it stamped on the event that brought it.
// Owns: finding that event in an approval's own history: an Update by its id, a Signal by its number. Never trusts `identity`:
// that is a client's own text. Others may assume: a server that stamps nobody, or an event that is not there, attests nobody.

import type { Client } from '@temporalio/client';
import type { temporal } from '@temporalio/proto';
import type { AttestArgs } from '../../contracts/governed.ts';
import { convertTemporalError } from './errors.ts';

type HistoryEvent = temporal.api.history.v1.IHistoryEvent;

/** The Signal people send; others do not count. */
const DECIDE = 'decide';

export function createAttestation(client: Client): (args: AttestArgs) => Promise<string | undefined> {
  return async (args) => {
    try {
      const { events } = await client.workflow.getHandle(args.workflowId, args.runId).fetchHistory();
      return principalIn(events ?? [], args);
    } catch (thrown) {
      throw convertTemporalError(thrown);
    }
  };
}

/** Exported for the recorded histories: the development server attests nobody. */
export function principalIn(events: readonly HistoryEvent[], { update, signal }: Pick<AttestArgs, 'update' | 'signal'>): string | undefined {
  const event = signal === undefined
    ? events.find((one) => one.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest?.meta?.updateId === update)
    : events.filter((one) => one.workflowExecutionSignaledEventAttributes?.signalName === DECIDE)[signal - 1];
  const name = event?.principal?.name;
  return name === undefined || name === null || name === '' ? undefined : name;
}
