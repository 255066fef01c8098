// A `Tasks` port in memory for tests of its clients: finishes each task when told to, keeps keys, tenants and decisions.
// Owns: the smallest behaviour the API can be tested against. Never runs a policy or an agent.

import { fail } from '../../../contracts/errors.ts';
import type { StartRequest, TaskView, Tasks } from '../../../contracts/ports.ts';
import type { Decision, TaskEntry, TaskResult, TaskState } from '../../../contracts/task.ts';

export interface FakeTasks extends Tasks {
  readonly started: StartRequest[];
  readonly decisions: Decision[];
  move(taskId: string, state: TaskState, result?: Partial<TaskResult>): void;
}

export function createFakeTasks(options: { readonly instant?: boolean } = {}): FakeTasks {
  const views = new Map<string, TaskView>();
  const listeners = new Set<() => void>();
  const started: StartRequest[] = [];
  const decisions: Decision[] = [];
  const changed = (): void => { for (const run of listeners) run(); };
  const find = (tenant: string, taskId: string): TaskView => {
    const view = views.get(taskId);
    if (view === undefined || view.entry.tenant !== tenant) throw fail('AIOS_TASK_UNKNOWN');
    return view;
  };
  const nextChange = (ms: number, signal?: AbortSignal): Promise<void> => new Promise((resolve) => {
    const end = (): void => { clearTimeout(timer); listeners.delete(end); resolve(); };
    const timer = setTimeout(end, ms);
    signal?.addEventListener('abort', end, { once: true });
    listeners.add(end);
  });
  const move: FakeTasks['move'] = (taskId, state, result) => {
    const view = views.get(taskId);
    if (view === undefined) return;
    const full: TaskResult | undefined = result === undefined ? undefined : { taskId, state: 'done', rung: 'model', degraded: [], verdicts: [], receipts: [], costMicroUsd: 7, ...result };
    views.set(taskId, { entry: view.entry, state, ...(full === undefined ? {} : { result: full }) });
    changed();
  };
  return {
    started,
    decisions,
    move,
    async start(request) {
      started.push(request);
      if (request.capability !== 'demo.echo') throw fail('AIOS_CAPABILITY_UNKNOWN');
      const key = request.key ?? `made-${started.length}`;
      const known = [...views.values()].find((view) => view.entry.key === key && view.entry.tenant === request.principal.tenant);
      const inputDigest = JSON.stringify(request.input);
      if (known !== undefined && known.entry.inputDigest !== inputDigest) throw fail('AIOS_KEY_CONFLICT');
      if (known !== undefined) return { entry: known.entry, replayed: true };
      const taskId = `t-${String(views.size).padStart(10, '0')}`;
      const entry: TaskEntry = { taskId, tenant: request.principal.tenant, capability: request.capability, principal: request.principal.id, key, inputDigest, workflowId: `${request.capability}/${taskId}`, acceptedAt: 1, summary: 'echo' };
      views.set(taskId, { entry, state: 'running' });
      if (options.instant === true) move(taskId, 'done', { output: request.input });
      return { entry, replayed: false };
    },
    async result(tenant, taskId, timeoutMs) {
      for (const until = performance.now() + timeoutMs; ; ) {
        const { result } = find(tenant, taskId);
        if (result !== undefined || performance.now() >= until) return result;
        await nextChange(until - performance.now());
      }
    },
    view: async (tenant, taskId) => find(tenant, taskId),
    async *watch(tenant, taskId, signal) {
      for (let last: TaskView | undefined; !signal.aborted; ) {
        const view = find(tenant, taskId);
        if (view !== last) yield (last = view);
        await nextChange(1_000, signal);
      }
    },
    async cancel(tenant, taskId) {
      find(tenant, taskId);
      move(taskId, 'cancelled', { state: 'cancelled', error: { code: 'AIOS_TASK_CANCELLED', message: 'The task was cancelled.' } });
    },
    list: async (tenant, { state, limit }) => [...views.values()].filter((view) => view.entry.tenant === tenant && (state === undefined || view.state === state)).slice(0, limit),
    async decide(tenant, taskId, decision) {
      find(tenant, taskId);
      decisions.push(decision);
      return { accepted: true, message: 'Approved.' };
    },
  };
}
