// The seam between the governing workflow and its hands: what each activity is given and what it hands back.
// Owns: the argument and result shapes of `activities/`, which `workflows/` reads as types only.
// Never holds behaviour. Others may assume: everything here is plain data, small enough for one history event,
// and every activity may run again with the same argument and answers the same.

import type { Rung } from './capability.ts';
import type { ErrorBody } from './errors.ts';
import type { PolicySlice } from './bundle.ts';
import type { ProposedEffect, Trace, Walk } from './message.ts';
import type { SettleRequest } from './ports.ts';
import type { Receipt } from './receipt.ts';
import type { Asked, AttemptRecord } from './record.ts';
import type { AppliedEffect, Approved, GovernedInput, HumanDecision, LedgerAnchor, MemberOutcome, TaskMember, TaskState } from './task.ts';
import type { Facts, PolicyRequest, Principal, Verdict } from './verdict.ts';

/** Memo key under which a host leaves the principal that started a workflow of one's own; `ask` reads it. */
export const PRINCIPAL_MEMO = 'aiosPrincipal';

export interface OpenArgs {
  readonly input: GovernedInput;
  readonly workflowId: string;
  readonly runId: string;
}
export interface OpenedMember {
  readonly taskId: string;
  /** One line for people; holds no personal data. */
  readonly summary: string;
  readonly inputDigest: string;
  /** Present when the member as started was incomplete (a direct start by a Temporal client) or the schema filled in defaults. */
  readonly member?: TaskMember;
  readonly refused?: ErrorBody;
}
/** What a run is pinned to before it decides anything. */
export interface OpenedGroup {
  readonly slice: PolicySlice;
  /** The brain's proof that it issued this slice: whoever starts a workflow may carry one, nobody else can make one. */
  readonly seal: string;
  /** How long dispatch may wait in place, ms; learned from this capability's own history. */
  readonly patienceMs: number;
  readonly members: readonly OpenedMember[];
}
/** Names the slice the workflow decided with; an activity that acts on decisions checks the seal first. */
export interface Pinned {
  readonly slice: string;
  readonly seal: string;
}

/** One attempt of one member on one rung. (task, attempt, rung) names the envelope and the reservation. */
export interface DispatchMember {
  readonly taskId: string;
  readonly principal: Principal;
  readonly input: unknown;
  readonly inputDigest: string;
  readonly rung: Rung;
  readonly attempt: number;
  /** ms since 1970; of this attempt, so that a lower rung still has time. */
  readonly deadline: number;
  readonly spentMicroUsd: number;
  readonly trace?: Trace | undefined;
  /** For a team whose steps come back, or one that goes on from a step. */
  readonly walk?: Walk;
  /** Reservation of an earlier attempt, closed on the way. */
  readonly close?: SettleRequest;
}
export interface DispatchArgs {
  readonly tenant: string;
  readonly capability: string;
  readonly workflowId: string;
  readonly policy: string;
  readonly pinned: Pinned;
  readonly patienceMs: number;
  readonly members: readonly DispatchMember[];
}
export interface DispatchedGroup {
  /** In the order of the members asked for. */
  readonly outcomes: readonly MemberOutcome[];
}
/** For one member of the slow lane: the wait and the look at what came. */
export interface AwaitArgs {
  readonly tenant: string;
  readonly capability: string;
  readonly workflowId: string;
  readonly policy: string;
  readonly member: DispatchMember;
  readonly pending: MemberOutcome;
}

export interface PrepareArgs {
  readonly tenant: string;
  readonly capability: string;
  readonly taskId: string;
  readonly input: unknown;
  readonly outcome?: MemberOutcome;
  readonly settle: readonly SettleRequest[];
  /** Digest of what the approval will be bound to (`bindingOf`), to be sealed; and what the run is pinned to. */
  readonly binding?: string;
  readonly pinned?: Pinned;
  /** Where the run came from (`ResumePoint.from`): a canary shows by it. */
  readonly from?: string;
  /** Who asked and what made it wait: what a canary beside it needs to look the same. */
  readonly requester?: Principal;
  readonly verdict?: Extract<Verdict, { readonly kind: 'escalate' }>;
}
/** What the approval card shows. The words are the model's and the customer's: shown escaped, never as instructions. */
export interface PreparedApproval {
  readonly question?: string;
  readonly proposal?: string;
  readonly citations: readonly { readonly document: string; readonly quote: string }[];
  readonly requireVerified?: boolean;
  readonly attested?: boolean;
  readonly seal?: string;
  /** Shown on the card of a canary, and held by nothing else: no run ever carries it to settlement. */
  readonly shownEffect?: ProposedEffect;
}

export interface RecheckArgs {
  readonly tenant: string;
  readonly capability: string;
  readonly taskId: string;
  readonly input: unknown;
  readonly outcome?: MemberOutcome;
  readonly actionDigest: string;
  /** The person's words, when they wrote the answer. */
  readonly text?: string;
  readonly deadline: number;
  /** The approval that lets the run go on; its seals are checked before anything else. */
  readonly approved?: Approved;
}
export interface Rechecked {
  /** The bundle in force now, which may be newer than the one the run is pinned to. */
  readonly slice: PolicySlice;
  /** The person's words as an output of the capability, with its facts. */
  readonly output?: unknown;
  readonly facts?: Facts;
  /** Digest of the short mandate that names the approved action. */
  readonly mandate?: string;
  readonly error?: ErrorBody;
}

export interface SettleMember {
  readonly taskId: string;
  readonly principal: string;
  readonly state: Extract<TaskState, 'done' | 'refused' | 'failed' | 'cancelled'>;
  readonly rung: Rung;
  readonly degraded: readonly string[];
  readonly inputDigest: string;
  readonly output?: unknown;
  /** Committed before the record is written; absent when the verdict did not allow it. */
  readonly effect?: ProposedEffect;
  readonly actionDigest?: string;
  readonly verdicts: readonly Verdict[];
  readonly asked?: Asked;
  readonly facts: Facts;
  readonly receipts: readonly Receipt[];
  readonly costMicroUsd: number;
  readonly reservedMicroUsd: number;
  readonly settle: readonly SettleRequest[];
  readonly mandate?: string;
  readonly human?: HumanDecision;
  /** Approvals without which this would not be done, and the request policy is asked again with; checked at the moment of the effect. */
  readonly approvals?: readonly Approved[];
  readonly request?: PolicyRequest;
  readonly feedback?: string;
  readonly error?: ErrorBody;
  readonly acceptedAt: number;
  /** Of a cancelled task, ms since 1970: so long its mandate is refused, and whoever works on it stops. */
  readonly deadline?: number;
  readonly trace?: Trace | undefined;
}
export interface SettleArgs {
  readonly tenant: string;
  readonly capability: string;
  readonly workflowId: string;
  readonly runId: string;
  readonly bundle: string;
  readonly pinned: Pinned;
  readonly members: readonly SettleMember[];
  readonly left: readonly { readonly taskId: string; readonly workflowId: string }[];
  /** As in `PrepareArgs`. */
  readonly from?: string;
}
export interface SettledMember {
  readonly taskId: string;
  readonly ledger: LedgerAnchor;
  readonly effect?: AppliedEffect;
  /** The system of record refused what policy had allowed. */
  readonly error?: ErrorBody;
  /** An earlier settlement of the task is on disk: what it decided stands, whatever this run came to. */
  readonly decided?: { readonly state: SettleMember['state']; readonly error?: ErrorBody };
}
export interface SettledGroup {
  readonly members: readonly SettledMember[];
}

export interface CheckDecisionArgs {
  readonly tenant: string;
  readonly taskId: string;
  readonly actionDigest: string;
  readonly by: string;
  readonly decision: string;
  readonly token: string;
  readonly approval: string;
  /** Digest of the decision without its token. */
  readonly said: string;
}
/** One attempt for the ledger, with what the brain needs to know that it asked. */
export interface RecordAttemptArgs extends AttemptRecord {
  readonly binding?: string;
  readonly seal?: string;
  /** Digest of the result, when this attempt brought it. */
  readonly result?: string;
}
export interface RecordedAttempt extends LedgerAnchor {
  /** Over the result, when there is one. */
  readonly seal?: string;
  readonly canary?: boolean;
}
/** Which event of the approval's own history brought the decision: an Update by its id, or the n-th Signal. */
export interface AttestArgs {
  readonly workflowId: string;
  readonly runId: string;
  readonly update?: string;
  readonly signal?: number;
}

/** The hands of the governing workflow. Local activities but for `awaitOutcome`. */
export interface GovernedActivities {
  openGroup(args: OpenArgs): Promise<OpenedGroup>;
  dispatchGroup(args: DispatchArgs): Promise<DispatchedGroup>;
  collectOutcome(args: AwaitArgs): Promise<MemberOutcome>;
  prepareApproval(args: PrepareArgs): Promise<PreparedApproval>;
  recheck(args: RecheckArgs): Promise<Rechecked>;
  settleGroup(args: SettleArgs): Promise<SettledGroup>;
  checkDecision(args: CheckDecisionArgs): Promise<{ readonly verified: boolean }>;
  recordAttempt(args: RecordAttemptArgs): Promise<RecordedAttempt>;
  /** Ordinary activity: it reads what the workflow task before it stored. `principal` is absent where the server attests nobody. */
  attestDecision(args: AttestArgs): Promise<{ readonly principal?: string }>;
  /** Completed by task token when the outcome is stored; answers only that it is there. */
  awaitOutcome(args: AwaitArgs): Promise<{ readonly arrived: string }>;
}
