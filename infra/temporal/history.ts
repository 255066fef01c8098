// Workflow histories as the lineage reads them: one step per event that a person auditing a task wants to see.
// Owns: which events matter and how they are named. Never reads payloads: content stays in the workflow.
// Others may assume: steps are in history order per workflow, children follow their parent, and `principal` is there
// only where the server attests it (`frontend.enablePrincipalPropagation` and a claim mapper).

import type { Client } from '@temporalio/client';
import proto, { type temporal } from '@temporalio/proto';
import type { HistoryStep } from '../lineage/lineage.ts';
import type { LedgerAnchor } from '../../contracts/task.ts';

type HistoryEvent = temporal.api.history.v1.IHistoryEvent;

/** Workflows read for one task: itself, its group, its approval and what those started. */
const WORKFLOWS_MAX = 16;

/** A workflow that the server no longer keeps is left out: the ledger alone still tells the story. */
export async function readHistory(client: Client, workflowIds: readonly string[]): Promise<readonly HistoryStep[]> {
  const queue = [...workflowIds];
  const seen = new Set<string>();
  const steps: HistoryStep[] = [];
  while (queue.length > 0 && seen.size < WORKFLOWS_MAX) {
    const workflowId = queue.shift() ?? '';
    if (seen.has(workflowId)) continue;
    seen.add(workflowId);
    const history = await client.workflow.getHandle(workflowId).fetchHistory().catch(() => undefined);
    const runId = history?.events?.[0]?.workflowExecutionStartedEventAttributes?.originalExecutionRunId ?? '';
    for (const event of history?.events ?? []) {
      steps.push(...toStep(workflowId, runId, event));
      const child = event.startChildWorkflowExecutionInitiatedEventAttributes?.workflowId;
      if (child !== undefined && child !== null) queue.push(child);
    }
  }
  return steps;
}

/** The anchors that finished governed workflows carry in their results; what `aios audit verify` checks the ledger against. */
export async function readAnchors(client: Client, query: string, limit: number): Promise<readonly LedgerAnchor[]> {
  const anchors: LedgerAnchor[] = [];
  let read = 0;
  for await (const execution of client.workflow.list({ query })) {
    if (read++ >= limit) break;
    if (execution.status.name !== 'COMPLETED') continue;
    const result: unknown = await client.workflow.getHandle(execution.workflowId, execution.runId).result().catch(() => undefined);
    anchors.push(...anchorsIn(result));
  }
  return anchors;
}

function anchorsIn(result: unknown): LedgerAnchor[] {
  const results = (result as { results?: readonly { ledger?: LedgerAnchor }[] } | undefined)?.results ?? [];
  return results.flatMap(({ ledger }) => (ledger === undefined ? [] : [ledger]));
}

function toStep(workflowId: string, runId: string, event: HistoryEvent): HistoryStep[] {
  const name = nameOf(event);
  if (name === undefined) return [];
  const at = Number(event.eventTime?.seconds ?? 0) * 1_000 + Math.floor((event.eventTime?.nanos ?? 0) / 1e6);
  const principal = event.principal?.name ?? undefined;
  const type = proto.temporal.api.enums.v1.EventType[event.eventType ?? 0] ?? 'EVENT_TYPE_UNSPECIFIED';
  return [{ at, workflowId, runId, event: words(type), name, ...(principal === undefined || principal === '' ? {} : { principal }) }];
}

const words = (type: string): string => type.replace(/^EVENT_TYPE_/, '').toLowerCase().replaceAll('_', ' ');

/** The name of what happened; undefined for bookkeeping events. */
function nameOf(event: HistoryEvent): string | undefined {
  return (
    event.workflowExecutionStartedEventAttributes?.workflowType?.name
    ?? event.activityTaskScheduledEventAttributes?.activityType?.name
    ?? (event.markerRecordedEventAttributes ? markerName(event) : undefined)
    ?? event.startChildWorkflowExecutionInitiatedEventAttributes?.workflowId
    ?? event.workflowExecutionSignaledEventAttributes?.signalName
    ?? event.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest?.input?.name
    ?? (event.activityTaskCompletedEventAttributes || event.workflowExecutionCompletedEventAttributes || event.timerFiredEventAttributes || event.workflowExecutionCanceledEventAttributes || event.workflowExecutionFailedEventAttributes ? '' : undefined)
  );
}

/** Local activities record their type in the marker's data, as plain JSON. */
function markerName(event: HistoryEvent): string {
  const marker = event.markerRecordedEventAttributes;
  const data = marker?.details?.['data']?.payloads?.[0]?.data;
  if (data === undefined || data === null) return marker?.markerName ?? 'marker';
  const found = /"activity_type":"([A-Za-z0-9]+)"/.exec(Buffer.from(data).toString('utf8'));
  return found?.[1] ?? marker?.markerName ?? 'marker';
}
