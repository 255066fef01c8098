// The `Tasks` port over Temporal: claim, start in a group, follow to the result wherever the task goes on, decide, cancel, list.
// Owns: idempotency by key, the recovery of claims whose brain died before the start, and of groups that failed as a whole.
// Never judges a task. Others may assume: a started task is durable in Temporal when `start` resolves,
// one key is one task whatever number of brains is asked, and every error has a code of the table.

import type { Client, WorkflowHandle } from '@temporalio/client';
import type { SearchAttributePair } from '@temporalio/common';
import { digestOf } from '../../contracts/canonical.ts';
import { ERRORS, fail, toErrorBody, type ErrorCode } from '../../contracts/errors.ts';
import type { OpenedGroup, OpenedMember } from '../../contracts/governed.ts';
import { readableId } from '../../contracts/ids.ts';
import { parseValue } from '../../contracts/parse.ts';
import type { Budgets, CapabilityRegistry, Clock, Logger, Metrics, Random, StartRequest, TaskDirectory, Tasks } from '../../contracts/ports.ts';
import { admissionOf, admissionRefusal, voidOf } from '../../policies/admission.ts';
import type { DecisionClaim } from '../../policies/approval-effect.ts';
import { saidOf } from '../../policies/approval.ts';
import { type Decision, type GovernedInput, type GroupResult, type TaskEntry, type TaskMember, type TaskResult, TASK_QUEUE, taskIdOf, WORKFLOWS } from '../../contracts/task.ts';
import { convertTemporalError, isAlreadyStarted, isNotFound, isWorkflowFailure } from './errors.ts';
import { createFollower } from './follow.ts';
import { createGroupFormer, type FormedGroup, type GroupFormer, type GroupFormerOptions } from './group-former.ts';
import { createViews } from './task-views.ts';

export interface TasksOptions {
  readonly client: Client;
  readonly directory: TaskDirectory;
  readonly registry: CapabilityRegistry;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly taskQueue?: string;
  /** Opens a group before it starts, which saves the workflow a step; without it the workflow opens itself. */
  readonly pin?: (capability: string, members: readonly OpenedMember[]) => Promise<OpenedGroup>;
  /** Signs who decides, so that the approval knows the name as proven; the caller of `decide` has authenticated it. */
  readonly signDecision?: (claim: DecisionClaim) => string;
  /** Where rates and concurrency are held; without it nothing is limited. */
  readonly budgets?: Pick<Budgets, 'reserve' | 'settle' | 'limited'>;
  readonly group?: Pick<GroupFormerOptions, 'tasksMax' | 'inFlightMax' | 'groupsMax' | 'holdMsMax' | 'lingerMsMax'>;
}
export interface GovernedTasks extends Tasks, AsyncDisposable {
  /** Told by the activities of this process when a workflow leaves the fast lane. */
  leftFastLane(workflowId: string): void;
  /** Told by the activities when decisions are on disk in the ledger. The answer goes out then, and the next group starts, while the server still stores the workflow's end: driven again after a crash the workflow ends with the same decision. */
  settled(workflowId: string, results: readonly TaskResult[]): void;
}

/** An envelope of 256 KiB must hold the input, the mandate and its own fields. */
const INPUT_BYTES_MAX = 192 * 1024;
const DEADLINE_MS_MIN = 30_000;
const DEADLINE_MS_MAX = 30 * 24 * 3_600_000;
/** A claim older than this whose workflow is not there was made by a brain that died; it is started again. */
const ORPHAN_MS = 10_000;
const RECENT_MAX = 512;
const RECENT_BYTES_MAX = 16 * 1024;

export function createTasks(options: TasksOptions): GovernedTasks {
  const { client, directory, registry, clock, random, metrics, logger } = options;
  /** Tasks this brain started and that have not ended yet. */
  const pending = new Map<string, PromiseWithResolvers<TaskResult>>();
  const recent = new Map<string, TaskResult>();
  const former: GroupFormer = createGroupFormer({ clock, launch, groupId: () => readableId('g', random.bytes(10)).slice(2), ...options.group });
  const closing = new AbortController();
  const follower = createFollower({ client, clock, stop: closing.signal, drive: async (input, member, from) => {
    const workflowId = `${input.capability}/${member.taskId}`;
    await startWorkflow({ tenant: input.tenant, capability: input.capability, workflowId, claimedAs: from, members: [member] });
    await directory.moved(input.tenant, member.taskId, workflowId);
    return workflowId;
  } });
  const views = createViews({ client, clock, directory, entryOf, result: (tenant, taskId, timeoutMs) => result(tenant, taskId, timeoutMs), recent: (taskId) => recent.get(taskId) });

  async function start(request: StartRequest): Promise<{ readonly entry: TaskEntry; readonly replayed: boolean }> {
    const prepared = prepare(request);
    const place = former.reserve(request.principal.tenant, prepared.entry.capability, prepared.member.taskId, prepared.bytes);
    const admitted = await admit(prepared.entry, prepared.member.deadline).catch((thrown: unknown) => {
      place.leave();
      throw thrown;
    });
    if ('earlier' in admitted) {
      place.leave();
      return replay(admitted.earlier, prepared);
    }
    const entry: TaskEntry = { ...prepared.entry, workflowId: place.workflowId };
    let claim: { readonly entry: TaskEntry; readonly ours: boolean };
    try {
      claim = await directory.claim(entry);
    } catch (thrown) {
      place.leave();
      await admitted.giveBack();
      throw thrown;
    }
    if (!claim.ours) {
      place.leave();
      // Who has the same id, made from the same key, holds the same place.
      if (claim.entry.taskId !== entry.taskId) await admitted.giveBack();
      return replay(claim.entry, prepared);
    }
    pending.set(entry.taskId, quietly(Promise.withResolvers<TaskResult>()));
    metrics.count('aios_tasks_accepted_total', { capability: entry.capability });
    try {
      const workflowId = await place.fill(prepared.member);
      return { entry: { ...claim.entry, workflowId }, replayed: false };
    } catch (thrown) {
      pending.delete(entry.taskId);
      await admitted.giveBack();
      throw convertTemporalError(thrown);
    }
  }

  /** A place in the rate and the concurrency of the capability, where an operator limits them; a key that is known takes none. */
  async function admit({ tenant, capability, taskId, key }: Pick<TaskEntry, 'tenant' | 'capability' | 'taskId' | 'key'>, deadline: number): Promise<{ readonly earlier: TaskEntry } | { giveBack(): Promise<void> }> {
    const { budgets } = options;
    if (budgets === undefined || (await budgets.limited?.(tenant, capability)) !== true) return { giveBack: async () => {} };
    const earlier = await directory.claimed?.(tenant, capability, key);
    if (earlier !== undefined) return { earlier };
    const [answer] = await budgets.reserve([admissionOf({ tenant, capability, taskId, deadline })]);
    const refusal = admissionRefusal(capability, answer);
    if (refusal === undefined) return { giveBack: () => budgets.settle([voidOf(tenant, taskId)]).catch(() => undefined) };
    metrics.count('aios_tasks_limited_total', { capability, code: refusal.code });
    throw refusal;
  }

  function prepare(request: StartRequest) {
    const capability = registry.get(request.capability);
    if (capability === undefined || registry.kindOf(request.capability) === undefined) throw fail('AIOS_CAPABILITY_UNKNOWN', request.capability.slice(0, 64));
    const input = parseValue(capability.input, request.input);
    const bytes = Buffer.byteLength(JSON.stringify(input) ?? '');
    if (bytes > INPUT_BYTES_MAX) throw fail('AIOS_INPUT_TOO_LARGE', `${bytes} bytes, at most ${INPUT_BYTES_MAX}.`);
    const taskId = request.key === undefined ? readableId('t', random.bytes(10)) : taskIdOf(request.principal.tenant, capability.id, request.key);
    const acceptedAt = clock.now();
    const deadlineMs = Math.min(DEADLINE_MS_MAX, request.deadlineMs ?? Math.max(DEADLINE_MS_MIN, capability.budget.latencyMsMax * 4));
    if (deadlineMs <= 0) throw fail('AIOS_DEADLINE_EXCEEDED');
    const key = request.key ?? taskId;
    const member: TaskMember = { taskId, key, principal: request.principal, input, acceptedAt, deadline: acceptedAt + deadlineMs, ...(request.trace === undefined ? {} : { trace: request.trace }) };
    const entry = { taskId, tenant: request.principal.tenant, capability: capability.id, principal: request.principal.id, key, inputDigest: digestOf(input), acceptedAt, summary: capability.summary(input).slice(0, 200) };
    return { member, entry, bytes };
  }

  /** The key is known: the same request gets the same task, another one a refusal; a task nobody started is started now. */
  async function replay(earlier: TaskEntry, prepared: ReturnType<typeof prepare>): Promise<{ readonly entry: TaskEntry; readonly replayed: boolean }> {
    if (earlier.inputDigest !== prepared.entry.inputDigest) throw fail('AIOS_KEY_CONFLICT');
    metrics.count('aios_tasks_replayed_total', { capability: earlier.capability });
    const known = pending.has(earlier.taskId) || recent.has(earlier.taskId);
    if (!known && clock.now() - earlier.acceptedAt > ORPHAN_MS && !(await exists(earlier.workflowId))) await adopt(earlier, prepared.member);
    return { entry: earlier, replayed: true };
  }

  async function exists(workflowId: string): Promise<boolean> {
    try {
      await client.workflow.getHandle(workflowId).describe();
      return true;
    } catch (thrown) {
      if (isNotFound(thrown)) return false;
      throw convertTemporalError(thrown);
    }
  }

  /** Starts an orphaned claim under its own task id. Two brains doing so meet in the workflow id. */
  async function adopt(earlier: TaskEntry, member: TaskMember): Promise<void> {
    logger.warn({ task: earlier.taskId }, 'a claimed task had not been started; starting it now');
    const workflowId = `${earlier.capability}/${earlier.taskId}`;
    const allowance = member.deadline - member.acceptedAt;
    const own: TaskMember = { ...member, taskId: earlier.taskId, key: earlier.key, acceptedAt: earlier.acceptedAt, deadline: clock.now() + allowance };
    await startWorkflow({ tenant: earlier.tenant, capability: earlier.capability, workflowId, claimedAs: earlier.workflowId, members: [own] });
    if (earlier.workflowId !== workflowId) await directory.moved(earlier.tenant, earlier.taskId, workflowId);
  }

  /** Called by the group former: resolves when the workflow is started; its end is followed in the background. */
  async function launch(group: FormedGroup, release: () => void): Promise<void> {
    const moved = group.workflowId === group.claimedAs ? undefined : Promise.all(group.members.map((member) => directory.moved(group.tenant, member.taskId, group.workflowId)));
    moved?.catch(() => undefined);
    const handle = await startWorkflow(group);
    await moved;
    metrics.observe('aios_group_members', group.members.length, { capability: group.capability });
    void finish(handle, group).catch((thrown: unknown) => logger.error({ code: toErrorBody(thrown).code, workflow: group.workflowId }, 'a group could not be followed')).finally(release);
  }

  async function startWorkflow(group: FormedGroup): Promise<WorkflowHandle<() => Promise<GroupResult>>> {
    const opened = await options.pin?.(group.capability, group.members.map(openedOf(group.capability)));
    const input: GovernedInput = { v: 1, tenant: group.tenant, capability: group.capability, members: group.members, claimed: true, ...(opened === undefined ? {} : { opened }) };
    try {
      return await client.workflow.start<(input: GovernedInput) => Promise<GroupResult>>(WORKFLOWS.governed, {
        workflowId: group.workflowId, taskQueue: options.taskQueue ?? TASK_QUEUE, args: [input], requestEagerStart: true, workflowTaskTimeout: 3_000,
        workflowIdReusePolicy: 'REJECT_DUPLICATE', staticSummary: summaryOf(group), typedSearchAttributes: attributesOf(group),
      });
    } catch (thrown) {
      if (isAlreadyStarted(thrown)) return client.workflow.getHandle(group.workflowId);
      throw convertTemporalError(thrown);
    }
  }

  /** Inputs were checked by `prepare`, or came from the history of a workflow whose inputs were. */
  const openedOf = (capability: string) => ({ taskId, input }: TaskMember): OpenedMember => ({ taskId, summary: registry.get(capability)?.summary(input).slice(0, 200) ?? capability, inputDigest: digestOf(input) });

  function summaryOf(group: FormedGroup): string {
    if (group.members.length > 1) return `${group.members.length} tasks of ${group.capability}`;
    const words = registry.get(group.capability)?.summary(group.members[0]?.input) ?? group.capability;
    return words.replaceAll(/\s+/g, ' ').slice(0, 120);
  }

  /** The group's end is its members' end, but for those who left; a group that failed as a whole is driven again one by one. */
  async function finish(handle: WorkflowHandle<() => Promise<GroupResult>>, group: FormedGroup): Promise<void> {
    try {
      const ended = await follower.patiently(() => handle.result());
      for (const one of ended.results) conclude(one);
      for (const one of ended.left) void follower.follow(one.workflowId, one.taskId).then(conclude, (thrown: unknown) => abandon(one.taskId, thrown));
    } catch (thrown) {
      if (isWorkflowFailure(thrown) && group.members.length > 1) return redrive(group);
      for (const member of group.members) abandon(member.taskId, thrown);
    }
  }

  async function redrive(group: FormedGroup): Promise<void> {
    logger.error({ workflow: group.workflowId, members: group.members.length }, 'a group failed as a whole; driving its tasks one by one');
    metrics.count('aios_groups_redriven_total', { capability: group.capability });
    for (const member of group.members) {
      const workflowId = `${group.capability}/${member.taskId}`;
      const single: FormedGroup = { ...group, workflowId, members: [member] };
      try {
        await directory.moved(group.tenant, member.taskId, workflowId);
        const handle = await startWorkflow(single);
        void finish(handle, single);
      } catch (thrown) {
        abandon(member.taskId, thrown);
      }
    }
  }

  function conclude(ended: TaskResult): void {
    if (JSON.stringify(ended).length <= RECENT_BYTES_MAX) {
      recent.set(ended.taskId, ended);
      if (recent.size > RECENT_MAX) recent.delete(recent.keys().next().value ?? '');
    }
    pending.get(ended.taskId)?.resolve(ended);
    pending.delete(ended.taskId);
  }

  function abandon(taskId: string, thrown: unknown): void {
    pending.get(taskId)?.reject(convertTemporalError(thrown));
    pending.delete(taskId);
  }

  async function entryOf(tenant: string, taskId: string): Promise<TaskEntry> {
    const entry = await directory.find(tenant, taskId);
    if (entry === undefined || entry.tenant !== tenant) throw fail('AIOS_TASK_UNKNOWN');
    return entry;
  }

  /** Waits where the task is governed: in this process, or by its workflow. */
  async function result(tenant: string, taskId: string, timeoutMs: number): Promise<TaskResult | undefined> {
    const own = pending.get(taskId);
    if (own !== undefined) return within(clock, timeoutMs, own.promise);
    const entry = await entryOf(tenant, taskId);
    return recent.get(taskId) ?? within(clock, timeoutMs, follower.follow(entry.workflowId, taskId));
  }

  /** Idempotent: a task that ended stays as it ended. */
  async function cancel(tenant: string, taskId: string, by: string): Promise<void> {
    const entry = await entryOf(tenant, taskId);
    logger.info({ task: taskId, by }, 'cancel asked for');
    const handle = client.workflow.getHandle(entry.workflowId);
    try {
      if (entry.workflowId.endsWith(`/${taskId}`)) await handle.cancel();
      else await handle.signal('cancel', { taskId });
    } catch (thrown) {
      if (!isNotFound(thrown)) throw convertTemporalError(thrown);
    }
  }

  /** `by` was authenticated by the caller of this port, so the decision goes in with a proof of it; one that brings its own proof goes in as it is. */
  async function decide(tenant: string, taskId: string, decision: Decision): Promise<{ readonly accepted: boolean; readonly message: string; readonly code?: ErrorCode }> {
    const { waiting } = await views.view(tenant, taskId);
    const workflowId = waiting?.workflowId ?? `approval/${taskId}`;
    const action = waiting?.action;
    const token = action === undefined || decision.token !== undefined ? undefined : options.signDecision?.({ tenant, task: taskId, approval: workflowId, action, by: decision.by, decision: decision.decision, said: saidOf(decision) });
    try {
      const message = await client.workflow.getHandle(workflowId).executeUpdate<string, [unknown]>('decide', { args: [token === undefined ? decision : { ...decision, token }] });
      return { accepted: true, message };
    } catch (thrown) {
      const error = isNotFound(thrown) ? fail('AIOS_APPROVAL_CLOSED', 'Nobody is waited for.') : convertTemporalError(thrown);
      if (ERRORS[error.code].retry !== 'never') throw error;
      return { accepted: false, message: error.message, code: error.code };
    }
  }

  return {
    start, result, cancel, decide, ...views,
    leftFastLane: (workflowId) => former.release(workflowId),
    settled(workflowId, results) {
      for (const one of results) conclude(one);
      former.release(workflowId);
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      for (const [taskId] of pending) abandon(taskId, fail('AIOS_UNAVAILABLE', 'This brain is stopping; ask again.'));
    },
  };
}

async function within<T>(clock: Clock, timeoutMs: number, work: Promise<T>): Promise<T | undefined> {
  work.catch(() => undefined);
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const cancel = clock.after(timeoutMs, () => resolve(undefined));
  try {
    return await Promise.race([work, promise]);
  } finally {
    cancel();
  }
}

/** A result that nobody waits for may fail without being called unhandled. */
function quietly<T>(waiter: PromiseWithResolvers<T>): PromiseWithResolvers<T> {
  waiter.promise.catch(() => undefined);
  return waiter;
}

function attributesOf(group: FormedGroup): SearchAttributePair[] {
  return [
    { key: { name: 'AiosTenant', type: 'KEYWORD' }, value: group.tenant },
    { key: { name: 'AiosCapability', type: 'KEYWORD' }, value: group.capability },
    { key: { name: 'AiosState', type: 'KEYWORD' }, value: 'running' },
    { key: { name: 'AiosTasks', type: 'KEYWORD_LIST' }, value: group.members.map((member) => member.taskId) },
  ];
}
