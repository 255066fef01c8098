// Views of tasks for people and clients: one, many, and one over time.
// Owns: how a state is read (directory, then the workflow's description, then its query) and the pace of watching.
// Never changes anything. Others may assume: a view of a running task needs no worker but for what it waits for,
// and a task of another tenant is as unknown as one that never was.

import type { Client } from '@temporalio/client';
import { fail } from '../../contracts/errors.ts';
import type { Clock, TaskDirectory, Tasks, TaskView } from '../../contracts/ports.ts';
import { type GroupResult, isTerminal, type TaskEntry, type TaskResult, type TaskState } from '../../contracts/task.ts';
import { convertTemporalError, isNotFound } from './errors.ts';

export interface ViewsOptions {
  readonly client: Client;
  readonly clock: Clock;
  readonly directory: TaskDirectory;
  readonly entryOf: (tenant: string, taskId: string) => Promise<TaskEntry>;
  readonly result: Tasks['result'];
  readonly recent: (taskId: string) => TaskResult | undefined;
}

/** What the workflows' queries answer; the shapes are theirs (workflows/governed-task.ts, workflows/approval.ts). */
interface TaskPage { readonly taskId: string; readonly state: TaskState; readonly workflowId?: string; readonly waiting?: { readonly workflowId: string } }
type CardPage = Omit<NonNullable<TaskView['waiting']>, 'workflowId'> & { readonly outcome?: string }

const WATCH_MS = { first: 150, last: 2_000 } as const;
const LIST_PARALLEL = 8;
/** Hops from a group to the workflow a member left for. */
const HOPS_MAX = 4;
/** Entries looked through for one list by state. */
const LIST_SCAN_MAX = 1_000;

export function createViews(options: ViewsOptions): Pick<Tasks, 'view' | 'watch' | 'list'> {
  const { client, clock, directory } = options;

  async function view(tenant: string, taskId: string): Promise<TaskView> {
    return viewOf(await options.entryOf(tenant, taskId));
  }

  async function viewOf(entry: TaskEntry): Promise<TaskView> {
    const kept = options.recent(entry.taskId);
    if (kept !== undefined) return { entry, state: kept.state, result: kept };
    let place = entry.workflowId;
    for (let hop = 0; hop < HOPS_MAX; hop++) {
      const seen = await look(entry, place);
      if (typeof seen !== 'string') return seen;
      place = seen;
    }
    return { entry, state: 'running' };
  }

  /** The view as this workflow has it, or the id of the workflow the task left for. */
  async function look(entry: TaskEntry, workflowId: string): Promise<TaskView | string> {
    const handle = client.workflow.getHandle<() => Promise<GroupResult>>(workflowId);
    try {
      const { status } = await handle.describe();
      if (status.name === 'RUNNING') return await live(entry, workflowId);
      if (status.name !== 'COMPLETED') return { entry, state: status.name === 'CANCELLED' || status.name === 'TERMINATED' ? 'cancelled' : 'failed' };
      const done = await handle.result();
      const mine = done.results.find((one) => one.taskId === entry.taskId);
      if (mine !== undefined) return { entry: { ...entry, workflowId }, state: mine.state, result: mine };
      return done.left.find((one) => one.taskId === entry.taskId)?.workflowId ?? { entry, state: 'failed' };
    } catch (thrown) {
      if (isNotFound(thrown)) return { entry, state: 'queued' };
      throw convertTemporalError(thrown);
    }
  }

  /** A running workflow answers for itself; without a worker there is nobody to answer, and `running` is all that is known. */
  async function live(entry: TaskEntry, workflowId: string): Promise<TaskView | string> {
    const at = { ...entry, workflowId };
    const pages = await client.workflow.getHandle(workflowId).query<readonly TaskPage[], []>('view').catch(() => []);
    const page = pages.find((one) => one.taskId === entry.taskId) ?? (pages.length === 1 ? pages[0] : undefined);
    if (page === undefined) return { entry: at, state: 'running' };
    if (page.workflowId !== undefined && page.workflowId !== workflowId) return page.workflowId;
    if (page.waiting === undefined) return { entry: at, state: isTerminal(page.state) ? 'committing' : page.state };
    const card = await client.workflow.getHandle(page.waiting.workflowId).query<CardPage, []>('card').catch(() => undefined);
    if (card === undefined || card.outcome !== undefined) return { entry: at, state: 'running' };
    const { outcome: _outcome, ...waiting } = card;
    return { entry: at, state: 'waiting', waiting: { ...waiting, workflowId: page.waiting.workflowId } };
  }

  async function* watch(tenant: string, taskId: string, signal: AbortSignal): AsyncIterable<TaskView> {
    let pauseMs: number = WATCH_MS.first;
    let last = '';
    while (!signal.aborted) {
      const now = await view(tenant, taskId);
      const mark = `${now.state} ${now.waiting?.workflowId ?? ''} ${now.waiting?.approvers ?? ''}`;
      if (mark !== last) {
        yield now;
        pauseMs = WATCH_MS.first;
      }
      if (isTerminal(now.state)) return;
      last = mark;
      await Promise.race([clock.sleep(pauseMs, signal), options.result(tenant, taskId, pauseMs).catch(() => undefined)]);
      pauseMs = Math.min(WATCH_MS.last, pauseMs * 1.5);
    }
  }

  async function list(tenant: string, wanted: { readonly state?: TaskState; readonly limit: number }): Promise<readonly TaskView[]> {
    const entries = wanted.state === 'waiting' ? await waitingEntries(tenant, wanted.limit) : await directory.list(tenant, wanted.state === undefined ? wanted.limit : LIST_SCAN_MAX);
    const views: TaskView[] = [];
    for (let i = 0; i < entries.length && views.length < wanted.limit; i += LIST_PARALLEL) {
      const found = await Promise.all(entries.slice(i, i + LIST_PARALLEL).map(viewOf));
      views.push(...found.filter((one) => wanted.state === undefined || one.state === wanted.state));
    }
    return views.slice(0, wanted.limit);
  }

  /** Who waits for a person is few among many: the search attributes find them without a walk. */
  async function waitingEntries(tenant: string, limit: number): Promise<readonly TaskEntry[]> {
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(tenant)) throw fail('AIOS_INPUT_INVALID', 'tenant');
    const entries: TaskEntry[] = [];
    try {
      const query = `WorkflowType = 'governedTask' AND ExecutionStatus = 'Running' AND AiosTenant = '${tenant}' AND AiosState = 'waiting'`;
      for await (const execution of client.workflow.list({ query, pageSize: Math.min(1_000, limit) })) {
        const entry = await directory.find(tenant, execution.workflowId.split('/').at(-1) ?? '').catch(() => undefined);
        if (entry !== undefined) entries.push(entry);
        if (entries.length >= limit) break;
      }
    } catch (thrown) {
      throw convertTemporalError(thrown);
    }
    return entries;
  }

  return { view, watch, list };
}
