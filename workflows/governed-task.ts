// The governed task: admit, dispatch, judge, ask a person if need be, commit, settle and record; for one task or a group of them.
// Owns: the order of the steps, the lanes, who leaves a group, and cancellation. Decisions are in group.ts, words in page.ts.
// Never does I/O: its hands are activities, local ones but for the slow wait. Never lets one member wait for another's fate.
// Others may assume: a group costs the same few history events whatever its size; each member ends in exactly one settlement,
// here or in the workflow it left for; and the same history gives the same decisions.

import {
  ActivityCancellationType, ActivityFailure, ApplicationFailure, CancellationScope, ChildWorkflowCancellationType, ParentClosePolicy, TimeoutFailure,
  type ChildWorkflowOptions, condition, defineQuery, defineSignal, isCancellation, proxyActivities, proxyLocalActivities, setCurrentDetails, setHandler, startChild, upsertSearchAttributes, workflowInfo,
} from '@temporalio/workflow';
import { digestOf } from '../contracts/canonical.ts';
import { isErrorCode, type ErrorBody } from '../contracts/errors.ts';
import type { GovernedActivities, OpenedGroup, Pinned, PreparedApproval, Rechecked, SettleMember } from '../contracts/governed.ts';
import type { ApprovalInput, ApprovalResult, Approved, GovernedInput, GroupResult, MemberOutcome, TaskMember } from '../contracts/task.ts';
import { arrived, begin, cancelled, decided, dispatchOf, errorOf, resumeOf, settlementOf, type Escalation, type Run, type Scene } from './group.ts';
import { bindingOf } from '../policies/approval.ts';
import { resultOf } from '../policies/settlement.ts';
import { groupPage, SEARCH, stateOf } from './page.ts';

/** Steps of one task: at most five rungs, each with a dispatch, a wait and an approval, and a team's steps that come back; and room to spare. */
const STEPS_MAX = 96;
/** Rounds that a group makes for members whose team came back for a verdict; who is not through by then goes on alone. */
const ROUNDS_MAX = 16;
/** How long a decided approval stays open to answer second and late attempts. */
const GRACE_MS = 10 * 60_000;
const TASK_TIMEOUT = '3 s';

export interface TaskPage {
  readonly taskId: string;
  readonly state: ReturnType<typeof stateOf>;
  readonly workflowId?: string;
  readonly waiting?: { readonly workflowId: string; readonly approvers: string; readonly quorum: number };
}
export const viewQuery = defineQuery<readonly TaskPage[]>('view');
export const cancelSignal = defineSignal<[unknown]>('cancel');
export const decidedSignal = defineSignal<[ApprovalResult, string]>('decided');

interface Governing {
  readonly input: GovernedInput;
  readonly opened: OpenedGroup;
  readonly pinned: Pinned;
  readonly scene: () => Scene;
  runs: readonly Run[];
  readonly where: Map<string, string>;
  readonly cancelled: Set<string>;
  /** What was said to have been decided, by approval; the brain's seal tells which one was. */
  readonly approvals: Map<string, ApprovalResult[]>;
  approvalCount: number;
  readonly waitingIn: Map<string, string>;
  /** The search attributes were touched, so they are brought up to date at the end. */
  announced: boolean;
}

/** Governs 1 to 64 tasks of one tenant and one capability. */
export async function governedTask(input: GovernedInput): Promise<GroupResult> {
  const opened = input.opened ?? (await open(input));
  const { slice } = opened;
  const scene = (): Scene => ({ tenant: input.tenant, capability: input.capability, slice, now: Date.now() });
  const members = input.members.map((member, i) => begin(scene(), member, opened.members[i] ?? unopened(member), input.resume));
  const group: Governing = { input, opened, pinned: { slice: digestOf(slice), seal: opened.seal }, scene, runs: members, where: new Map(), cancelled: new Set(), approvals: new Map(), approvalCount: 0, waitingIn: new Map(), announced: false };
  listen(group);
  try {
    await (group.runs.length === 1 ? driveOne(group, opened.patienceMs) : driveGroup(group, opened.patienceMs));
  } catch (thrown) {
    if (!isCancellation(thrown)) throw thrown;
    group.runs = group.runs.map((run) => (run.next.at === 'end' ? run : cancelled(run)));
  }
  return CancellationScope.nonCancellable(() => close(group));
}

/** A group makes one round, and one more while steps come back and are granted; who is not finished then goes on alone. */
async function driveGroup(group: Governing, patienceMs: number): Promise<void> {
  await dispatch(group, patienceMs);
  for (let round = 1; round < ROUNDS_MAX && group.runs.some(isWalking); round++) await dispatch(group, patienceMs, isWalking);
}

const isWalking = (run: Run): boolean => run.next.at === 'dispatch' && run.walk !== undefined;

/** A task of its own goes on in place for as long as it takes. */
async function driveOne(group: Governing, patienceMs: number): Promise<void> {
  for (let step = 0; step < STEPS_MAX; step++) {
    const run = only(group);
    if (run.next.at === 'end') return;
    if (run.next.at === 'dispatch') await dispatch(group, patienceMs);
    else if (run.next.at === 'await') await slowLane(group, run);
    else await approval(group, run, run.next.verdict);
  }
  group.runs = group.runs.map((run) => ({ ...run, next: { at: 'end', state: 'failed', error: errorOf('AIOS_LADDER_EXHAUSTED') } }));
}

/** Everything that may go out goes out in one local activity; its answer is one outcome a member. */
async function dispatch(group: Governing, patienceMs: number, who: (run: Run) => boolean = () => true): Promise<void> {
  const scene = group.scene();
  const out = group.runs.filter((run) => run.next.at === 'dispatch' && who(run));
  if (out.length === 0) return;
  const latest = Math.max(...out.map((run) => run.member.deadline));
  const args = { tenant: scene.tenant, capability: scene.capability, workflowId: workflowInfo().workflowId, policy: scene.slice.bundle, pinned: group.pinned, patienceMs, members: out.map((run) => dispatchOf(scene, run)) };
  const outcomes = await hands(`Reserve, mint, publish and wait up to ${patienceMs} ms for ${out.length === 1 ? 'the outcome' : `${out.length} outcomes`}`, Math.max(1_000, latest - scene.now + 1_000))
    .dispatchGroup(args)
    .then((answer) => answer.outcomes, (thrown: unknown) => failures(out.length, thrown));
  const now = group.scene();
  const by = new Map(out.map((run, i) => [run.member.taskId, outcomes[i] ?? failureOutcome(errorOf('AIOS_INTERNAL'))]));
  group.runs = group.runs.map((run) => {
    const outcome = by.get(run.member.taskId);
    return outcome === undefined ? run : stopped(group, arrived(now, run, outcome));
  });
  refresh(group);
}

/** The outcome was not there in time: the bridge wakes the workflow by task token, however long it takes within the deadline. */
async function slowLane(group: Governing, run: Run): Promise<void> {
  announce(group, 'running');
  const scene = group.scene();
  const args = { tenant: scene.tenant, capability: scene.capability, workflowId: workflowInfo().workflowId, policy: scene.slice.bundle, member: dispatchOf(scene, { ...run, open: [] }), pending: run.outcome ?? failureOutcome(errorOf('AIOS_INTERNAL')) };
  const outcome = await slow(`Wait for the agent's outcome on rung ${run.rung}`, Math.max(1_000, args.member.deadline - scene.now))
    .awaitOutcome(args)
    .then(() => hands('Read and check the outcome').collectOutcome(args), (thrown: unknown) => keepReservation(run, late(thrown)));
  group.runs = [stopped(group, arrived(group.scene(), run, outcome))];
  refresh(group);
}

/** A person decides, in a child workflow of its own that stays open a while after the decision. */
async function approval(group: Governing, run: Run, verdict: Escalation): Promise<void> {
  const scene = group.scene();
  const id = `approval/${run.member.taskId}${group.approvalCount === 0 ? '' : `.${group.approvalCount + 1}`}`;
  group.approvalCount += 1;
  group.waitingIn.set(run.member.taskId, id);
  announce(group, 'waiting', verdict.approval.approvers);
  const asked = askedOf(scene, run, verdict);
  const prepared = await hands('Settle the cost so far and gather what the approver sees').prepareApproval({
    tenant: scene.tenant, capability: scene.capability, taskId: run.member.taskId, input: run.member.input, ...(run.outcome === undefined ? {} : { outcome: run.outcome }), settle: run.open,
    binding: bindingOf(id, asked), pinned: group.pinned, requester: run.member.principal, verdict, ...cameFrom(group),
  });
  const shown: Run = { ...run, open: [] };
  const input = approvalInput(scene, shown, asked, prepared);
  await startChild<(input: ApprovalInput) => Promise<ApprovalResult>>('approval', {
    workflowId: id, args: [input], parentClosePolicy: ParentClosePolicy.ABANDON, cancellationType: ChildWorkflowCancellationType.TRY_CANCEL, workflowTaskTimeout: TASK_TIMEOUT,
    staticSummary: summaryLine(`Decision needed: ${run.summary}`), typedSearchAttributes: attributes(scene, [run.member.taskId], 'waiting', verdict.approval.approvers),
  }).then((child) => {
    void child.result().then((result) => told(group, id, result), () => told(group, id, NOBODY));
  });
  const { approved, checked } = await heard(group, run, id, input);
  group.waitingIn.delete(run.member.taskId);
  group.runs = [stopped(group, decided(group.scene(), shown, approved, checked))];
  refresh(group);
}

/** Whoever may send signals may say that somebody approved: what the brain did not seal is forgotten, and the wait goes on. */
async function heard(group: Governing, run: Run, id: string, input: ApprovalInput): Promise<{ readonly approved: Approved; readonly checked?: Rechecked }> {
  for (let forged = 0; forged < FORGED_MAX; forged++) {
    await condition(() => (group.approvals.get(id)?.length ?? 0) > 0);
    const result = group.approvals.get(id)?.shift() ?? NOBODY;
    const approved: Approved = { approval: id, input: boundOf(input), result };
    if (result.outcome !== 'approved' && result.outcome !== 'answered') return { approved };
    const scene = group.scene();
    const checked = await hands('Check policy, mandate and budget again after the pause').recheck({
      tenant: scene.tenant, capability: scene.capability, taskId: run.member.taskId, input: run.member.input, actionDigest: input.actionDigest, deadline: scene.now + scene.slice.capability.budget.latencyMsMax, approved,
      ...(run.outcome === undefined ? {} : { outcome: run.outcome }), ...(result.text === undefined ? {} : { text: result.text }),
    });
    if (checked.error?.code !== 'AIOS_FORBIDDEN') return { approved, checked };
  }
  return { approved: { approval: id, input: boundOf(input), result: NOBODY } };
}

/** Results that nobody sealed, of one approval; past it the task ends as if nobody had decided. */
const FORGED_MAX = 64;
const NOBODY: ApprovalResult = { outcome: 'expired', decisions: [], approvers: [] };

/** Who is finished is settled and recorded in one local activity; who is not goes on in a workflow of its own. */
async function close(group: Governing): Promise<GroupResult> {
  const scene = group.scene();
  const { workflowId, runId } = workflowInfo();
  const leavers = group.runs.filter((run) => run.next.at !== 'end');
  const left = leavers.map((run) => ({ taskId: run.member.taskId, workflowId: `${group.input.capability}/${run.member.taskId}`, why: run.next.at }));
  const leaving = leavers.map((run) => leave(group, scene, run, workflowId));
  for (const one of left) group.where.set(one.taskId, one.workflowId);
  const settlements: SettleMember[] = group.runs.filter((run) => run.next.at === 'end').map((run) => settlementOf(scene, run));
  const settled = await settling().settleGroup({ tenant: scene.tenant, capability: scene.capability, workflowId, runId, bundle: scene.slice.bundle, pinned: group.pinned, members: settlements, left: left.map(({ taskId, workflowId: place }) => ({ taskId, workflowId: place })), ...cameFrom(group) });
  await Promise.all(leaving);
  const by = new Map(settled.members.map((one) => [one.taskId, one]));
  const results = settlements.map((one) => resultOf(one, by.get(one.taskId)));
  if (group.announced && results[0] !== undefined) upsertSearchAttributes([{ key: { name: SEARCH.state, type: 'KEYWORD' }, value: results[0].state }, { key: { name: SEARCH.waitingFor, type: 'KEYWORD' }, value: null }]);
  refresh(group);
  return { v: 1, results, left };
}

/** Resolves when the server has started the child: a workflow that closes before that takes its children's starts with it, whatever their close policy. A child that runs already is this same task, driven twice. */
function leave(group: Governing, scene: Scene, run: Run, from: string): Promise<void> {
  const { resume: _old, ...base } = group.input;
  const opened: OpenedGroup = { ...group.opened, members: group.opened.members.filter((one) => one.taskId === run.member.taskId) };
  const input: GovernedInput = { ...base, members: [run.member], claimed: true, opened, resume: resumeOf(run, from) };
  return startChild(governedTask, {
    workflowId: `${group.input.capability}/${run.member.taskId}`, args: [input], parentClosePolicy: ParentClosePolicy.ABANDON, workflowTaskTimeout: TASK_TIMEOUT,
    staticSummary: summaryLine(run.summary), typedSearchAttributes: attributes(scene, [run.member.taskId], stateOf(run)),
  }).then(() => undefined, () => undefined);
}

function listen(group: Governing): void {
  setHandler(viewQuery, () => group.runs.map((run) => pageOf(group, run)), { description: 'Where each task stands. Takes no argument.' });
  setHandler(cancelSignal, (raw: unknown) => {
    const taskId = typeof raw === 'object' && raw !== null ? (raw as { taskId?: unknown }).taskId : undefined;
    if (typeof taskId === 'string') group.cancelled.add(taskId);
  }, { description: 'Cancels one task of this group before its effect, for example {"taskId":"t-0123456789"}. To cancel a task of its own, use Request Cancellation.' });
  setHandler(decidedSignal, (result: ApprovalResult, id: string) => {
    told(group, id, result);
  }, { description: 'Sent by the approval workflow when a person has decided. People send "decide" to that workflow instead, for example {"decision":"approve","by":"your-id"}.' });
}

function told(group: Governing, id: string, result: ApprovalResult): void {
  const results = group.approvals.get(id) ?? [];
  group.approvals.set(id, results);
  if (results.length < FORGED_MAX) results.push(result);
}

/** The first event that a task on the fast lane never pays: its attributes change only when it has to wait. */
function announce(group: Governing, state: string, waitingFor?: string): void {
  const scene = group.scene();
  upsertSearchAttributes(attributes(scene, group.runs.map((run) => run.member.taskId), state, waitingFor));
  group.announced = true;
  refresh(group);
}

const refresh = (group: Governing): void => setCurrentDetails(groupPage(group.input, group.runs, group.where));

function stopped(group: Governing, run: Run): Run {
  return group.cancelled.has(run.member.taskId) ? cancelled(run) : run;
}

function pageOf(group: Governing, run: Run): TaskPage {
  const place = group.where.get(run.member.taskId);
  const waitingIn = group.waitingIn.get(run.member.taskId);
  const verdict = run.next.at === 'approval' ? run.next.verdict : undefined;
  return {
    taskId: run.member.taskId, state: stateOf(run), ...(place === undefined ? {} : { workflowId: place }),
    ...(waitingIn === undefined || verdict === undefined ? {} : { waiting: { workflowId: waitingIn, approvers: verdict.approval.approvers, quorum: verdict.approval.quorum } }),
  };
}

const cameFrom = ({ input }: Governing): { readonly from?: string } => (input.resume === undefined ? {} : { from: input.resume.from });

/** What exactly is asked about; the brain seals it. */
function askedOf(scene: Scene, run: Run, verdict: Escalation): Omit<Approved['input'], 'verdict'> & { readonly verdict: Escalation } {
  const outcome = run.outcome?.status === 'done' ? run.outcome : undefined;
  return {
    taskId: run.member.taskId, tenant: scene.tenant, capability: scene.capability, requester: run.member.principal, verdict,
    actionDigest: digestOf({ capability: scene.capability, input: run.member.input, output: outcome?.output, effect: outcome?.effect, ...(outcome !== undefined || run.walk === undefined ? {} : { step: run.walk.step, seen: run.walk.seen }) }),
  };
}

const boundOf = ({ taskId, tenant, capability, requester, actionDigest, requireVerified, seal, verdict }: ApprovalInput): Approved['input'] => ({
  taskId, tenant, capability, requester, actionDigest, verdict: { approval: verdict.approval, action: verdict.action },
  ...(requireVerified === undefined ? {} : { requireVerified }), ...(seal === undefined ? {} : { seal }),
});

function approvalInput(scene: Scene, run: Run, asked: ReturnType<typeof askedOf>, prepared: PreparedApproval): ApprovalInput {
  const outcome = run.outcome?.status === 'done' ? run.outcome : undefined;
  const effect = outcome?.effect ?? prepared.shownEffect;
  return {
    v: 1, ...asked, members: scene.slice.groups,
    facts: outcome?.facts ?? {}, summary: run.summary, citations: prepared.citations, costMicroUsd: run.spentMicroUsd, graceMs: GRACE_MS,
    ...(effect === undefined ? {} : { effect }),
    ...(prepared.requireVerified === undefined ? {} : { requireVerified: prepared.requireVerified }),
    ...(prepared.attested === undefined ? {} : { attested: prepared.attested }),
    ...(prepared.seal === undefined ? {} : { seal: prepared.seal }),
    ...(prepared.proposal === undefined ? {} : { proposal: prepared.proposal }),
    ...(prepared.question === undefined ? {} : { question: prepared.question }),
  };
}

type Attributes = Extract<NonNullable<ChildWorkflowOptions['typedSearchAttributes']>, readonly unknown[]>;
function attributes(scene: Scene, tasks: readonly string[], state: string, waitingFor?: string): Attributes {
  return [
    { key: { name: SEARCH.tenant, type: 'KEYWORD' }, value: scene.tenant },
    { key: { name: SEARCH.capability, type: 'KEYWORD' }, value: scene.capability },
    { key: { name: SEARCH.state, type: 'KEYWORD' }, value: state },
    { key: { name: SEARCH.tasks, type: 'KEYWORD_LIST' }, value: [...tasks] },
    ...(waitingFor === undefined ? [] : [{ key: { name: SEARCH.waitingFor, type: 'KEYWORD' as const }, value: waitingFor }]),
  ] as Attributes;
}

async function open(input: GovernedInput): Promise<OpenedGroup> {
  const { workflowId, runId } = workflowInfo();
  return hands('Check the input and pin the policy', 30_000).openGroup({ input, workflowId, runId });
}

const unopened = (member: TaskMember) => ({ taskId: member.taskId, summary: member.taskId, inputDigest: '', refused: errorOf('AIOS_INTERNAL') });

function only(group: Governing): Run {
  const run = group.runs[0];
  if (run === undefined) throw ApplicationFailure.nonRetryable('a group has at least one member', 'AIOS_INPUT_INVALID');
  return run;
}

/** Local activities: no task queue, no extra transaction. They answer the same when asked again. */
function hands(summary: string, withinMs = 120_000) {
  return proxyLocalActivities<GovernedActivities>({
    summary, startToCloseTimeout: '20 s', scheduleToCloseTimeout: withinMs, cancellationType: ActivityCancellationType.TRY_CANCEL,
    retry: { initialInterval: 100, backoffCoefficient: 2, maximumInterval: '5 s' }, localRetryThreshold: '10 s',
  });
}

/** Settlement has no deadline: what was decided is recorded, however long the disk takes. Long pauses become server timers, so history stays short. */
function settling() {
  return proxyLocalActivities<GovernedActivities>({
    summary: 'Commit effects, write the record, settle the budget', startToCloseTimeout: '60 s',
    retry: { initialInterval: 200, backoffCoefficient: 2, maximumInterval: '2 m' }, localRetryThreshold: '5 s',
  });
}

/** The one ordinary activity. An attempt that hears nothing for half a minute, or a third of a shorter time, looks and publishes again under the same id: NATS is a carrier that may lose. */
function slow(summary: string, withinMs: number) {
  return proxyActivities<GovernedActivities>({
    summary, startToCloseTimeout: Math.min(withinMs, 30_000, Math.max(2_000, Math.floor(withinMs / 3))), scheduleToCloseTimeout: withinMs, cancellationType: ActivityCancellationType.TRY_CANCEL,
    retry: { initialInterval: 500, backoffCoefficient: 1.5, maximumInterval: '10 s' },
  });
}

const failureOutcome = (error: ErrorBody): MemberOutcome => ({ status: 'failed', facts: {}, error, receipts: [], costMicroUsd: 0 });

function failures(count: number, thrown: unknown): readonly MemberOutcome[] {
  if (isCancellation(thrown)) throw thrown;
  return Array.from({ length: count }, () => failureOutcome(bodyOf(thrown)));
}

function late(thrown: unknown): MemberOutcome {
  if (isCancellation(thrown)) throw thrown;
  return failureOutcome(bodyOf(thrown));
}

/** What was reserved for an attempt that never answered is settled with nothing spent. */
const keepReservation = (run: Run, outcome: MemberOutcome): MemberOutcome => ({
  ...outcome,
  ...(run.outcome?.reservation === undefined ? {} : { reservation: run.outcome.reservation }),
  ...(run.outcome?.reservedMicroUsd === undefined ? {} : { reservedMicroUsd: run.outcome.reservedMicroUsd }),
});

/** An activity's failure as an error of the table. */
function bodyOf(thrown: unknown): ErrorBody {
  const cause = thrown instanceof ActivityFailure ? thrown.cause : thrown;
  if (cause instanceof TimeoutFailure) return errorOf('AIOS_DEADLINE_EXCEEDED');
  if (cause instanceof ApplicationFailure && isErrorCode(cause.type)) return { code: cause.type, message: cause.message };
  return errorOf('AIOS_INTERNAL');
}

/** The server refuses summaries over 400 bytes. */
const summaryLine = (words: string): string => words.replaceAll(/\s+/g, ' ').slice(0, 120);
