// A batch of tickets through the client API: a bounded number in flight, one row each, whatever becomes of it.
// Owns: the row of a ticket and when a ticket counts as waiting. Never retries a task: the engine does that.
// Others may assume: every ticket gives exactly one row, in the order of the tickets, and nothing here throws for one of them.

import { setTimeout as sleep } from 'node:timers/promises';
import { isAiosError, toErrorBody } from '../../contracts/errors.ts';
import { isTerminal, type TaskState } from '../../contracts/task.ts';
import type { TaskView } from '../../contracts/ports.ts';
import type { Client, Result } from '../client/client.ts';
import type { Ticket } from './tickets.ts';

export type RowStatus = 'answered' | 'waiting' | 'refused' | 'failed';
export interface Row {
  readonly id: string;
  readonly status: RowStatus;
  readonly intent: string | null;
  readonly confidence: number | null;
  readonly text: string | null;
  readonly citations: readonly unknown[];
  readonly groundedness: number | null;
  readonly effect: unknown;
  readonly reason: string | null;
  readonly costMicroUsd: number;
  readonly latencyMs: number;
  readonly taskId: string | null;
  /** Of a waiting ticket: where a person decides, and with what. */
  readonly waiting?: { readonly workflowId: string; readonly json: string; readonly approvers: string };
}
export interface BatchOptions {
  readonly client: Client;
  readonly capability: string;
  readonly tickets: readonly Ticket[];
  readonly inputOf: (ticket: Ticket) => unknown;
  /** Idempotency key of a ticket in this run. */
  readonly keyOf: (ticket: Ticket) => string;
  readonly inFlightMax: number;
  /** A ticket that neither ends nor waits for a person by then counts as failed; its task goes on. */
  readonly ticketMsMax?: number;
  readonly onRow?: (row: Row, done: number) => void;
  readonly signal?: AbortSignal;
}

/** Tickets not begun when the signal aborts have no row. */
export async function runBatch(options: BatchOptions): Promise<readonly Row[]> {
  const rows: Row[] = [];
  let next = 0;
  let done = 0;
  const lane = async (): Promise<void> => {
    while (next < options.tickets.length && options.signal?.aborted !== true) {
      const index = next++;
      const ticket = options.tickets[index];
      if (ticket === undefined) return;
      const row = await runTicket(ticket, options);
      rows[index] = row;
      options.onRow?.(row, ++done);
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, options.inFlightMax) }, lane));
  return rows.filter((row) => row !== undefined);
}

/** Most tickets are done by then; the others are asked about until they end or wait for a person. */
const START_WAIT_MS = 800;
const POLL_WAIT_MS = 300;
const TICKET_MS_MAX = 120_000;

async function runTicket(ticket: Ticket, options: BatchOptions): Promise<Row> {
  const started = performance.now();
  const latencyMs = (): number => Math.round(performance.now() - started);
  let taskId: string | null = null;
  try {
    const start = await options.client.start(options.capability, options.inputOf(ticket), { key: options.keyOf(ticket), waitMs: START_WAIT_MS });
    taskId = start.taskId;
    if (start.result !== undefined) return rowOfResult(ticket, start.result, latencyMs());
    const view = await untilSettled(taskId, options, started);
    return view.result === undefined ? rowOfView(ticket, view, latencyMs()) : rowOfResult(ticket, view.result, latencyMs());
  } catch (error) {
    const body = toErrorBody(error);
    return { ...emptyRow(ticket, latencyMs()), taskId, status: refusedBy(error) ? 'refused' : 'failed', reason: `${body.code}: ${body.message}` };
  }
}

async function untilSettled(taskId: string, options: BatchOptions, started: number): Promise<TaskView> {
  for (;;) {
    const view = await options.client.view(taskId);
    if (isTerminal(view.state) || view.state === 'waiting') return view;
    if (performance.now() - started > (options.ticketMsMax ?? TICKET_MS_MAX)) return view;
    await options.client.wait(taskId, { timeoutMs: POLL_WAIT_MS }).catch(() => sleep(50));
  }
}

const refusedBy = (error: unknown): boolean => isAiosError(error) && (error.code === 'AIOS_POLICY_DENIED' || error.code === 'AIOS_BUDGET_EXCEEDED');

const STATUS: Partial<Record<TaskState, RowStatus>> = { done: 'answered', refused: 'refused', waiting: 'waiting' };

function rowOfResult(ticket: Ticket, result: Result, latencyMs: number): Row {
  const reason = result.error === undefined ? (result.degraded.length > 0 ? result.degraded.join('; ') : answerOf(result.output).reason) : `${result.error.code}: ${result.error.message}`;
  return { ...emptyRow(ticket, latencyMs), ...answerOf(result.output), status: STATUS[result.state] ?? 'failed', effect: result.effect ?? null, reason, costMicroUsd: result.costMicroUsd, taskId: result.taskId };
}

function rowOfView(ticket: Ticket, view: TaskView, latencyMs: number): Row {
  const { waiting, entry } = view;
  const base = { ...emptyRow(ticket, latencyMs), taskId: entry.taskId };
  if (waiting === undefined) return { ...base, status: 'failed', reason: `AIOS_DEADLINE_EXCEEDED: still ${view.state} after ${latencyMs} ms` };
  return { ...base, ...proposed(waiting), status: 'waiting', costMicroUsd: waiting.costMicroUsd ?? 0, waiting: { workflowId: waiting.workflowId, json: waiting.json, approvers: waiting.approvers } };
}

/** Of a ticket that waits the facts are known, not the whole output. */
function proposed({ facts = {}, proposal, citations, reason }: NonNullable<TaskView['waiting']>): Answer {
  const share = (name: string): number | null => (typeof facts[name] === 'number' ? facts[name] / 10_000 : null);
  return { intent: textOf(facts['intent']), confidence: share('confidenceBp'), groundedness: share('groundednessBp'), text: proposal ?? null, citations: citations ?? [], reason: reason ?? null };
}

const emptyRow = (ticket: Ticket, latencyMs: number): Row => ({ id: ticket.id, status: 'failed', intent: null, confidence: null, text: null, citations: [], groundedness: null, effect: null, reason: null, costMicroUsd: 0, latencyMs, taskId: null });

type Answer = Pick<Row, 'intent' | 'confidence' | 'text' | 'citations' | 'groundedness' | 'reason'>;

/** What an answering capability says of itself, read by shape: another capability may leave any of it out. */
function answerOf(output: unknown): Answer {
  const of = (typeof output === 'object' && output !== null ? output : {}) as Record<string, unknown>;
  return { intent: textOf(of['intent']), confidence: numberOf(of['confidence']), text: textOf(of['text']), citations: Array.isArray(of['citations']) ? of['citations'] : [], groundedness: numberOf(of['groundedness']), reason: textOf(of['reason']) };
}

const textOf = (value: unknown): string | null => (typeof value === 'string' ? value : null);
const numberOf = (value: unknown): number | null => (typeof value === 'number' ? value : null);
