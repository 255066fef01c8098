// One member of a governing workflow as a state machine of pure functions: what is known, and what comes next.
// Owns: the order of decisions (admit, dispatch, commit), the walk down the ladder, and what a member takes along when it leaves.
// Never calls Temporal, never reads a clock: `now` is an argument. Members never see each other.
// Others may assume: every step either ends a member or moves strictly down its ladder, so every member ends.

import type { PolicySlice } from '../contracts/bundle.ts';
import type { Rung } from '../contracts/capability.ts';
import { ERRORS, type ErrorBody, type ErrorCode } from '../contracts/errors.ts';
import type { DispatchMember, OpenedMember, Rechecked, SettleMember } from '../contracts/governed.ts';
import type { StepReport, Walk } from '../contracts/message.ts';
import type { SettleRequest } from '../contracts/ports.ts';
import type { Receipt } from '../contracts/receipt.ts';
import type { AskedFacts } from '../contracts/record.ts';
import type { ApprovalResult, Approved, HumanDecision, MemberOutcome, ResumePoint, TaskMember, WalkPoint } from '../contracts/task.ts';
import type { Action, PolicyRequest, Verdict } from '../contracts/verdict.ts';
import { briefOf } from '../policies/asked.ts';
import { requestOf, type Standing } from '../policies/context.ts';
import { decide } from '../policies/evaluate.ts';
import { humanApproval, QUARANTINE, QUARANTINE_REASON } from '../policies/ladder.ts';
import { decideStep, returnsOf, stepRequest } from '../policies/steps.ts';

export type Escalation = Extract<Verdict, { kind: 'escalate' }>;
export type Ending = SettleMember['state'];
export type Next =
  | { readonly at: 'dispatch' }
  | { readonly at: 'await' }
  | { readonly at: 'approval'; readonly verdict: Escalation }
  | { readonly at: 'end'; readonly state: Ending; readonly error?: ErrorBody };

export interface Run {
  readonly member: TaskMember;
  readonly summary: string;
  readonly inputDigest: string;
  readonly attempt: number;
  readonly rung: Rung;
  readonly degraded: readonly string[];
  readonly verdicts: readonly Verdict[];
  /** What policy was asked for each of them. */
  readonly asked?: readonly AskedFacts[];
  readonly receipts: readonly Receipt[];
  readonly spentMicroUsd: number;
  /** Reservations that are still open, with what their attempt spent. */
  readonly open: readonly SettleRequest[];
  readonly reservedMicroUsd: number;
  readonly approved: boolean;
  readonly outcome?: MemberOutcome;
  /** The step of a team that came back for a verdict; with the next dispatch it is granted. */
  readonly walk?: WalkPoint;
  readonly mandate?: string;
  readonly human?: HumanDecision;
  /** Approvals that let it go on: what they rest on is checked again at the moment of the effect. */
  readonly approvals?: readonly Approved[];
  readonly feedback?: string;
  readonly next: Next;
}
/** What every step looks at besides the member: the pinned policy and the clock. */
export interface Scene {
  readonly tenant: string;
  readonly capability: string;
  readonly slice: PolicySlice;
  readonly now: number;
}

/** Receipts kept per task; what a failed attempt saw counts as much as what the last one saw. */
const RECEIPTS_MAX = 128;

/** A member as it enters: refused input ends at once, a leaver goes on where it stood, everybody else is admitted or not. */
export function begin(scene: Scene, member: TaskMember, opened: OpenedMember, resume?: ResumePoint): Run {
  const base: Run = {
    member: opened.member ?? member,
    summary: opened.summary,
    inputDigest: opened.inputDigest,
    attempt: resume?.attempt ?? 1,
    rung: resume?.rung ?? scene.slice.capability.ladder[0] ?? 'human',
    degraded: resume?.degraded ?? [],
    verdicts: resume?.verdicts ?? [],
    asked: resume?.asked ?? [],
    receipts: resume?.receipts ?? [],
    spentMicroUsd: resume?.spentMicroUsd ?? 0,
    open: reservationOf(scene.tenant, resume?.settled),
    reservedMicroUsd: 0,
    approved: false,
    ...(resume?.settled === undefined ? {} : { outcome: resume.settled }),
    ...(resume?.walk === undefined ? {} : { walk: resume.walk }),
    ...(resume?.settled?.mandate === undefined ? {} : { mandate: resume.settled.mandate }),
    next: { at: 'dispatch' },
  };
  if (opened.refused !== undefined) return end(base, 'failed', opened.refused);
  if (resume === undefined) return admitted(scene, base);
  if (resume.at === 'await') return { ...base, next: { at: 'await' } };
  if (resume.at === 'redispatch') return base.walk === undefined ? dispatchable(scene, base) : base;
  const last = base.verdicts.at(-1);
  return last?.kind === 'escalate' ? { ...base, next: { at: 'approval', verdict: last } } : dispatchable(scene, base);
}

function admitted(scene: Scene, run: Run): Run {
  return heeded(scene, judged(scene, run, 'admit'), (admitted) => dispatchable(scene, admitted));
}

/** A verdict, and the run that has it on record. */
interface Judged { readonly verdict: Verdict; readonly seen: Run }

/** What a verdict means, whatever it is about. */
function heeded(scene: Scene, { verdict, seen }: Judged, allowed: (run: Run) => Run): Run {
  switch (verdict.kind) {
    case 'allow': return allowed(seen);
    case 'deny': return end(seen, 'refused', refusal(verdict));
    case 'escalate': return { ...seen, next: { at: 'approval', verdict } };
    case 'degrade': return descend(scene, seen, verdict.action, verdict.rung);
  }
}

/** Work may go out on this rung, or the next one is tried. */
export function dispatchable(scene: Scene, run: Run): Run {
  if (run.rung === 'human') return { ...run, next: { at: 'approval', verdict: quarantined(run) === undefined ? humanVerdict(scene, 'The ladder ended: a person answers.') : quarantineVerdict(scene) } };
  if (run.member.deadline <= scene.now) return end(run, 'failed', errorOf('AIOS_DEADLINE_EXCEEDED'));
  return heeded(scene, judged(scene, run, 'dispatch'), outward);
}

const outward = (run: Run): Run => ({ ...run, next: { at: 'dispatch' } });

/** What came back from one attempt. */
export function arrived(scene: Scene, run: Run, outcome: MemberOutcome): Run {
  const { held, objection } = reviewed(scene, received(scene, run, outcome), run.spentMicroUsd, outcome.steps ?? []);
  if (objection !== undefined) return heeded(scene, { verdict: objection, seen: held }, (seen) => seen);
  switch (outcome.status) {
    case 'pending': return { ...held, next: { at: 'await' } };
    case 'done': return committable(scene, held);
    case 'step': return steppable(scene, held, outcome.walk);
    case 'over-budget': return descend(scene, held, outcome.error?.code ?? 'AIOS_BUDGET_EXCEEDED');
    case 'malformed': return descend(scene, held, outcome.error?.code ?? 'AIOS_MODEL_FAULT');
    case 'failed': return failed(scene, held, outcome.error ?? errorOf('AIOS_AGENT_FAULT'));
  }
}

/** Steps that the team took by itself are judged again by the pinned policy, on the facts it reports: what it should not have done does not count. */
function reviewed(scene: Scene, run: Run, spentBefore: number, steps: readonly StepReport[]): { readonly held: Run; readonly objection: Verdict | undefined } {
  let held = run;
  const objections: Verdict[] = [];
  for (const { step, facts, costMicroUsd, deadlineMsLeft } of steps) {
    const standing = { ...standingOf(scene, run), costMicroUsd: spentBefore + costMicroUsd, deadlineMsLeft };
    const asked = stepRequest(step, { principal: run.member.principal, capability: resourceOf(scene), facts, standing });
    const verdict: Verdict = { ...decideStep(scene.slice, asked), by: 'team' };
    held = noted(held, verdict, asked);
    if (verdict.kind !== 'allow') objections.push(verdict);
  }
  return { held, objection: objections.find(({ kind }) => kind === 'deny') ?? objections[0] };
}

/** The team stands before a step that came back: it is granted, and the walk goes on in another dispatch, or it is not. */
function steppable(scene: Scene, run: Run, walk: WalkPoint | undefined): Run {
  if (walk === undefined) return descend(scene, run, 'AIOS_MODEL_FAULT');
  if (run.member.deadline <= scene.now) return end(run, 'failed', errorOf('AIOS_DEADLINE_EXCEEDED'));
  const asked = requestFor(scene, run, walk);
  const verdict = decideStep(scene.slice, asked);
  const { walk: _stood, ...outcome } = run.outcome ?? UNANSWERED;
  return heeded(scene, { verdict, seen: noted({ ...run, outcome, walk, attempt: run.attempt + 1 }, verdict, asked) }, outward);
}

const UNANSWERED: MemberOutcome = { status: 'step', facts: {}, receipts: [], costMicroUsd: 0 };

const requestFor = (scene: Scene, run: Run, { step, facts }: WalkPoint): PolicyRequest =>
  stepRequest(step, { principal: run.member.principal, capability: resourceOf(scene), facts, standing: standingOf(scene, run) });

/** The caller's own mistakes and a passed deadline end the task; everything else is what the ladder is for. */
function failed(scene: Scene, run: Run, error: ErrorBody): Run {
  const entry = ERRORS[error.code];
  if (entry.blame === 'caller' && entry.retry === 'never') return end(run, 'failed', error);
  if (run.member.deadline <= scene.now) return end(run, 'failed', errorOf('AIOS_DEADLINE_EXCEEDED'));
  if (error.code === 'AIOS_DEADLINE_EXCEEDED' && machineRungsBelow(scene, run) === 0) return end(run, 'failed', error);
  return descend(scene, run, error.code);
}

/** Rungs that a machine could still try. */
function machineRungsBelow(scene: Scene, run: Run): number {
  const ladder = scene.slice.capability.ladder;
  return ladder.slice(ladder.indexOf(run.rung) + 1).filter((rung) => rung !== 'human').length;
}

function committable(scene: Scene, run: Run): Run {
  return heeded(scene, judged(scene, run, 'commit'), (allowed) => end(allowed, 'done'));
}

/** One rung down, to the one policy names if it is lower than this one. Below the last rung stands a person. */
export function descend(scene: Scene, run: Run, reason: string, named?: Rung): Run {
  const ladder = scene.slice.capability.ladder;
  const here = ladder.indexOf(run.rung);
  const there = named === undefined ? here + 1 : Math.max(ladder.indexOf(named), here + 1);
  const rung = ladder[there] ?? 'human';
  const { outcome: _gone, walk: _given, ...kept } = run;
  const words = rung === 'human' && run.outcome !== undefined ? { ...kept, outcome: run.outcome } : kept;
  const lower: Run = { ...words, rung, attempt: run.attempt + 1, degraded: [...run.degraded, `${run.rung}:${reason}`] };
  return dispatchable(scene, lower);
}

/** After the pause: the person's decision, and policy asked again, by the pinned bundle and by the one in force now. */
export function decided(scene: Scene, run: Run, approved: Approved, checked: Rechecked | undefined): Run {
  const approval = approved.result;
  const human = approval.decisions.at(-1);
  const heard: Run = human === undefined ? run : { ...run, human };
  if (approval.outcome === 'expired') return expired(scene, heard, approved.input.verdict.approval.degrade);
  if (approval.outcome === 'rejected') return end(heard, 'refused', errorOf('AIOS_APPROVAL_REFUSED'));
  if (checked === undefined) return end(heard, 'failed', errorOf('AIOS_INTERNAL'));
  if (checked.error !== undefined) return end(heard, 'refused', checked.error);
  if (stripped(approval, checked)) return end(heard, 'refused', errorOf('AIOS_APPROVAL_UNAUTHORISED', 'An approver lost the right to decide during the pause.'));
  if (approval.outcome === 'approved' && isQuarantine(run)) return triedAgain(scene, heard);
  const approvedRun: Run = { ...heard, approved: true, approvals: [...(run.approvals ?? []), approved], ...(checked.mandate === undefined ? {} : { mandate: checked.mandate }) };
  if (approval.outcome === 'answered') return rewritten(scene, approvedRun, approval, checked);
  if (run.outcome?.status === 'done') return recommitted(scene, approvedRun, checked);
  const rested: Run = { ...approvedRun, member: afresh(run.member, scene.now) };
  return run.walk === undefined ? dispatchable(scene, rested) : regranted(scene, rested, run.walk, checked);
}

/** A step that a person approved: a deny of either bundle holds. The approval was of this step and of nothing after it. */
function regranted(scene: Scene, run: Run, walk: WalkPoint, checked: Rechecked): Run {
  const asked = requestFor(scene, run, walk);
  const pinned = decideStep(scene.slice, asked);
  const current = checked.slice.bundle === scene.slice.bundle ? pinned : decideStep(checked.slice, asked);
  const seen = current === pinned ? noted(run, pinned, asked) : noted(noted(run, pinned, asked), current, asked);
  for (const verdict of [pinned, current]) if (verdict.kind === 'deny') return end(seen, 'refused', refusal(verdict));
  return outward({ ...seen, approved: false });
}

/** Nobody decided: the declared default, which is a lower rung or a refusal. A rung that is not below this one is none. */
function expired(scene: Scene, run: Run, rung: Rung | undefined): Run {
  const ladder = scene.slice.capability.ladder;
  if (rung === undefined || rung === 'human' || ladder.indexOf(rung) <= ladder.indexOf(run.rung)) return end(run, 'refused', errorOf('AIOS_APPROVAL_EXPIRED'));
  return descend(scene, { ...run, member: afresh(run.member, scene.now) }, 'AIOS_APPROVAL_EXPIRED', rung);
}

/** A person let the agent try again: that says nothing about what it will answer, so the outcome is judged like any other. The attempt is a new one, and so is its message. */
function triedAgain(scene: Scene, run: Run): Run {
  const { outcome: _gone, ...kept } = run;
  return dispatchable(scene, { ...kept, rung: quarantined(run) ?? run.rung, member: afresh(run.member, scene.now) });
}

/** The highest rung on which the agent broke; the tries after it are in `degraded` too. */
function quarantined(run: Run): Rung | undefined {
  const mark = ':AIOS_QUARANTINED' satisfies `:${ErrorCode}`;
  return run.degraded.find((step) => step.endsWith(mark))?.slice(0, -mark.length) as Rung | undefined;
}

const isQuarantine = (run: Run): boolean => run.next.at === 'approval' && run.next.verdict.deciding.includes(QUARANTINE);

/** The clock of the machine's work does not run while a person thinks: what was allowed at the start is allowed again. */
const afresh = (member: TaskMember, now: number): TaskMember => ({ ...member, deadline: now + Math.max(1_000, member.deadline - member.acceptedAt) });

/** A person's words replace the machine's answer and drop the effect it had proposed. */
function rewritten(scene: Scene, run: Run, approval: ApprovalResult, checked: Rechecked): Run {
  const outcome: MemberOutcome = { status: 'done', output: checked.output, facts: { ...checked.facts, effectKind: 'none', amountMicroUsd: 0 }, receipts: [], costMicroUsd: 0 };
  return recommitted(scene, { ...run, outcome, feedback: approval.text ?? '' }, checked);
}

/** A deny of either bundle holds; what a person decided outranks a wish to degrade or to ask a person. */
function recommitted(scene: Scene, run: Run, checked: Rechecked): Run {
  const asked = request(scene, run, 'commit');
  const pinned = decide(scene.slice, asked);
  const current = checked.slice.bundle === scene.slice.bundle ? pinned : decide(checked.slice, asked);
  const seen = current === pinned ? noted(run, pinned, asked) : noted(noted(run, pinned, asked), current, asked);
  for (const verdict of [pinned, current]) if (verdict.kind === 'deny') return end(seen, 'refused', refusal(verdict));
  return end(seen, 'done');
}

/** Revoked during the pause: who decided must still belong to the group that was asked, in the bundle in force now. */
function stripped(approval: ApprovalResult, checked: Rechecked): boolean {
  const known = new Set(approval.group === undefined ? Object.values(checked.slice.groups).flat() : checked.slice.groups[approval.group]);
  return approval.approvers.some((person) => !known.has(person));
}

export const cancelled = (run: Run): Run => end(run, 'cancelled', errorOf('AIOS_TASK_CANCELLED'));

/** A leaver takes everything along; the workflow it goes on in starts here. */
export function resumeOf(run: Run, from: string): ResumePoint {
  const at = run.next.at === 'await' ? 'await' : run.next.at === 'approval' ? 'approval' : 'redispatch';
  return {
    from, at, attempt: run.attempt, rung: run.rung, verdicts: withEscalation(run), asked: run.asked ?? [], degraded: run.degraded, receipts: run.receipts, spentMicroUsd: run.spentMicroUsd,
    ...(run.outcome === undefined ? {} : { settled: run.outcome }),
    ...(run.walk === undefined ? {} : { walk: run.walk }),
  };
}

function withEscalation(run: Run): readonly Verdict[] {
  if (run.next.at !== 'approval') return run.verdicts;
  return run.verdicts.at(-1) === run.next.verdict ? run.verdicts : [...run.verdicts, run.next.verdict];
}

/** This attempt's share of the time that is left: half of it while a lower machine rung still waits, all of it on the last. */
export function dispatchOf(scene: Scene, run: Run): DispatchMember {
  const lower = machineRungsBelow(scene, run);
  const left = run.member.deadline - scene.now;
  const share = lower === 0 ? left : Math.min(left, Math.max(scene.slice.capability.budget.latencyMsMax, Math.floor(left / (lower + 1))));
  const close = run.open[0];
  const walk = walkOf(scene, run);
  return {
    taskId: run.member.taskId, principal: run.member.principal, input: run.member.input, inputDigest: run.inputDigest, rung: run.rung, attempt: run.attempt,
    deadline: scene.now + Math.max(1, share), spentMicroUsd: run.spentMicroUsd,
    ...(run.member.trace === undefined ? {} : { trace: run.member.trace }),
    ...(walk === undefined ? {} : { walk }),
    ...(close === undefined ? {} : { close }),
  };
}

/** Nothing is sent to a team that walks on its own from the start. */
function walkOf(scene: Scene, { walk }: Run): Walk | undefined {
  const returns = returnsOf(scene.slice);
  if (walk !== undefined) return { returns, granted: walk.step, seen: { ...walk.seen } };
  return returns.length === 0 ? undefined : { returns, seen: {} };
}

/** What settlement is told; only a member whose verdict allowed it brings its effect. */
export function settlementOf(scene: Scene, run: Run): SettleMember {
  const next = run.next.at === 'end' ? run.next : { at: 'end' as const, state: 'failed' as const, error: errorOf('AIOS_INTERNAL') };
  const done = next.state === 'done';
  return {
    taskId: run.member.taskId, principal: run.member.principal.id, state: next.state, rung: run.rung, degraded: run.degraded, inputDigest: run.inputDigest,
    verdicts: run.verdicts, asked: askedOf(scene, run), facts: run.outcome?.facts ?? {}, receipts: run.receipts, costMicroUsd: run.spentMicroUsd, reservedMicroUsd: run.reservedMicroUsd,
    settle: run.open, acceptedAt: run.member.acceptedAt,
    ...(done && run.outcome?.output !== undefined ? { output: run.outcome.output } : {}),
    ...(done && run.outcome?.effect !== undefined ? { effect: run.outcome.effect } : {}),
    ...(run.mandate === undefined ? {} : { mandate: run.mandate }),
    ...(run.human === undefined ? {} : { human: run.human }),
    ...(done && run.approvals !== undefined ? { approvals: run.approvals, request: request(scene, run, 'commit') } : {}),
    ...(run.feedback === undefined ? {} : { feedback: run.feedback }),
    ...(next.error === undefined ? {} : { error: next.error }),
    ...(next.state === 'cancelled' ? { deadline: run.member.deadline } : {}),
    ...(run.member.trace === undefined ? {} : { trace: run.member.trace }),
  };
}

function askedOf({ slice }: Scene, { member: { principal }, asked = [] }: Run): NonNullable<SettleMember['asked']> {
  return { type: principal.type, roles: principal.roles, dataClass: slice.capability.dataClass, sla: slice.capability.sla, contexts: asked };
}

export function errorOf(code: ErrorCode, detail?: string): ErrorBody {
  return { code, message: detail === undefined ? ERRORS[code].message : `${ERRORS[code].message} ${detail}` };
}

function end(run: Run, state: Ending, error?: ErrorBody): Run {
  return { ...run, next: error === undefined ? { at: 'end', state } : { at: 'end', state, error } };
}

function received(scene: Scene, run: Run, outcome: MemberOutcome): Run {
  const still = outcome.reservation === undefined ? [] : [{ tenant: scene.tenant, reservation: outcome.reservation, spentMicroUsd: outcome.costMicroUsd }];
  return {
    ...run, outcome, open: still,
    spentMicroUsd: run.spentMicroUsd + (outcome.status === 'pending' ? 0 : outcome.costMicroUsd),
    reservedMicroUsd: outcome.reservedMicroUsd ?? run.reservedMicroUsd,
    receipts: outcome.status === 'pending' ? run.receipts : [...run.receipts, ...outcome.receipts].slice(-RECEIPTS_MAX),
    ...(outcome.mandate === undefined ? {} : { mandate: outcome.mandate }),
  };
}

const reservationOf = (tenant: string, outcome: MemberOutcome | undefined): readonly SettleRequest[] =>
  outcome?.reservation === undefined ? [] : [{ tenant, reservation: outcome.reservation, spentMicroUsd: outcome.costMicroUsd }];

/** The verdict of the pinned policy on the task as a whole. */
function judged(scene: Scene, run: Run, action: Action): Judged {
  const asked = request(scene, run, action);
  const verdict = decide(scene.slice, asked);
  return { verdict, seen: noted(run, verdict, asked) };
}

const noted = (run: Run, verdict: Verdict, { context }: PolicyRequest): Run => ({ ...run, verdicts: [...run.verdicts, verdict], asked: [...(run.asked ?? []), { verdict: run.verdicts.length, facts: briefOf(context) }] });

const refusal = (verdict: Extract<Verdict, { kind: 'deny' }>): ErrorBody => errorOf('AIOS_POLICY_DENIED', verdict.deciding.length === 0 ? verdict.reason : `Decided by ${verdict.deciding.join(', ')}.`);

function humanVerdict(scene: Scene, reason: string): Escalation {
  return { kind: 'escalate', action: 'commit', bundle: scene.slice.bundle, deciding: ['ladder:human'], erroring: [], approval: humanApproval(scene.slice), reason };
}

/** Asked before another dispatch, not before a commit: there is nothing to commit, and trying again is a choice. */
function quarantineVerdict(scene: Scene): Escalation {
  return { ...humanVerdict(scene, QUARANTINE_REASON), action: 'dispatch', deciding: [QUARANTINE] };
}

function request(scene: Scene, run: Run, action: Action): PolicyRequest {
  const facts = run.outcome?.status === 'done' ? run.outcome.facts : {};
  return requestOf({ action, principal: run.member.principal, capability: resourceOf(scene), facts, standing: standingOf(scene, run) });
}

function standingOf(scene: Scene, run: Run): Standing {
  return { costMicroUsd: run.spentMicroUsd, reservedMicroUsd: run.reservedMicroUsd, rung: run.rung, deadlineMsLeft: Math.max(0, run.member.deadline - scene.now), approved: run.approved };
}

function resourceOf({ capability, slice }: Scene): { readonly id: string; readonly dataClass: string; readonly sla: string } {
  const { dataClass, sla } = slice.capability;
  return { id: capability, dataClass, sla };
}
