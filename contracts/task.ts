// Tasks: what a caller asks for, what a group carries, and what comes back.
// Owns: the request, the member of a governing workflow, task states and the result. Plain data, safe to record in history.
// Never decides anything. Others may assume: a member is one task for its whole life, whoever governs it.

import { z } from 'zod';
import { digestOf } from './canonical.ts';
import type { OpenedGroup } from './governed.ts';
import type { Rung } from './capability.ts';
import type { ErrorBody } from './errors.ts';
import { readableId } from './ids.ts';
import type { ProposedEffect, StepReport, Trace } from './message.ts';
import { traceSchema } from './message.ts';
import type { Receipt } from './receipt.ts';
import type { AskedFacts } from './record.ts';
import type { Facts, Principal, Verdict } from './verdict.ts';
import { principalSchema } from './verdict.ts';

export const GROUP_TASKS_MAX = 64;
export const GROUP_BYTES_MAX = 512 * 1024;
export const TASK_QUEUE = 'aios-governed';
export const WORKFLOWS = { governed: 'governedTask', approval: 'approval' } as const;

/** One task inside the governing workflow. `input` was checked against the capability's schema by `openGroup`. */
export const taskMemberSchema = z.strictObject({
  taskId: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/),
  key: z.string().min(1).max(128),
  principal: principalSchema,
  input: z.unknown(),
  /** ms since 1970 */
  acceptedAt: z.number().int().nonnegative().safe(),
  deadline: z.number().int().positive().safe(),
  trace: traceSchema.optional(),
});
export interface TaskMember {
  readonly taskId: string;
  readonly key: string;
  readonly principal: Principal;
  readonly input: unknown;
  readonly acceptedAt: number;
  readonly deadline: number;
  readonly trace?: Trace | undefined;
}

/** 60 bits: of a hundred million tasks of one tenant, one in a hundred months meets another's id, and is refused by name. */
const KEYED_ID_CHARACTERS = 12;

/** The id of the task that a caller's key stands for, the same on every brain: so that one entry is the claim and the directory. */
export function taskIdOf(tenant: string, capability: string, key: string): string {
  const hex = digestOf([tenant, capability, key]).slice('sha256:'.length);
  return readableId('t', Uint8Array.from({ length: KEYED_ID_CHARACTERS }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16)));
}

/** Argument of the governing workflow: one tenant, one capability, 1 to 64 members. */
export interface GovernedInput {
  readonly v: 1;
  readonly tenant: string;
  readonly capability: string;
  readonly members: readonly TaskMember[];
  /** Set when a member left its group: where to go on from. */
  readonly resume?: ResumePoint;
  /** Set by the brain, which claims every key before it starts a group; a direct start leaves it out and is claimed when it opens. */
  readonly claimed?: boolean;
  /** What the brain opened already, so that the fast lane spends no step on it; a direct start leaves it out. */
  readonly opened?: OpenedGroup;
}

/** Everything a member has gathered by the time it leaves its group; the workflow it goes on in starts here. */
export interface ResumePoint {
  readonly from: string;
  readonly at: 'await' | 'redispatch' | 'approval';
  readonly attempt: number;
  readonly rung: Rung;
  readonly verdicts: readonly Verdict[];
  /** The facts of those verdicts, for the record; absent in runs of before they were kept. */
  readonly asked?: readonly AskedFacts[];
  readonly settled?: MemberOutcome;
  readonly degraded?: readonly string[];
  readonly receipts?: readonly Receipt[];
  readonly spentMicroUsd?: number;
  readonly walk?: WalkPoint;
}

/** Where a team stands: before this step, with the answers of those before it. `facts` are what the step says of itself. */
export interface WalkPoint {
  readonly step: string;
  readonly facts: Facts;
  readonly seen: Readonly<Record<string, unknown>>;
}

/** What dispatch learned about one member. `facts` are computed outside the workflow from the checked output. */
export interface MemberOutcome {
  readonly status: 'done' | 'failed' | 'over-budget' | 'pending' | 'malformed' | 'step';
  readonly output?: unknown;
  readonly effect?: ProposedEffect;
  readonly facts: Facts;
  readonly error?: ErrorBody;
  readonly receipts: readonly Receipt[];
  readonly costMicroUsd: number;
  readonly mandate?: string;
  readonly reservation?: string;
  readonly reservedMicroUsd?: number;
  /** Steps the team took by itself in this attempt. */
  readonly steps?: readonly StepReport[];
  /** With `step`: where it stands. */
  readonly walk?: WalkPoint;
}

export const TASK_STATES = ['queued', 'running', 'waiting', 'committing', 'done', 'refused', 'failed', 'cancelled'] as const;
export type TaskState = (typeof TASK_STATES)[number];
export const isTerminal = (state: TaskState): boolean => state === 'done' || state === 'refused' || state === 'failed' || state === 'cancelled';

/** Where a record stands in the ledger, so that a cut tail or a rewritten log shows. */
export interface LedgerAnchor {
  readonly log: string;
  readonly index: number;
  readonly head: string;
}

export interface AppliedEffect {
  readonly kind: string;
  readonly key: string;
  readonly applied: boolean;
  readonly detail?: string;
}

export interface HumanDecision {
  readonly decision: 'approve' | 'reject' | 'answer' | 'expired';
  readonly by: string;
  readonly verified: boolean;
  readonly at: number;
  readonly reason?: string;
}

/** How it was proven who decided: by a signed token, by the server that took the message, or not at all. */
export type Proof = 'token' | 'server' | 'none';
/** What a proof says: this person said this about this action. `said` is the digest of the decision without its token. */
export interface Proven {
  readonly proof: Proof;
  readonly action: string;
  readonly said: string;
  readonly token?: string;
}
/** One place of the quorum: whose right it is, who used it, and the proof. */
export interface Seat extends Proven {
  readonly seat: string;
  readonly by: string;
  readonly decision: 'approve' | 'answer';
  readonly at: number;
  /** Present when `by` decided in place of `seat`. */
  readonly lent?: Proven & { readonly until?: number };
}

export interface TaskResult {
  readonly taskId: string;
  readonly state: Extract<TaskState, 'done' | 'refused' | 'failed' | 'cancelled'>;
  readonly output?: unknown;
  readonly error?: ErrorBody;
  readonly rung: Rung;
  readonly degraded: readonly string[];
  readonly verdicts: readonly Verdict[];
  readonly effect?: AppliedEffect;
  readonly human?: HumanDecision;
  readonly receipts: readonly Receipt[];
  readonly costMicroUsd: number;
  readonly ledger?: LedgerAnchor;
}

export interface GroupResult {
  readonly v: 1;
  /** Members that finished here; those that left are named with the workflow they went on in. */
  readonly results: readonly TaskResult[];
  readonly left: readonly { readonly taskId: string; readonly workflowId: string; readonly why: string }[];
}

/** What the API keeps of a task so that anybody can find it again. */
export interface TaskEntry {
  readonly taskId: string;
  readonly tenant: string;
  readonly capability: string;
  readonly principal: string;
  readonly key: string;
  readonly inputDigest: string;
  readonly workflowId: string;
  readonly acceptedAt: number;
  readonly summary: string;
}

/** Argument of the approval child workflow: it binds the exact action and the policy in force. */
export interface ApprovalInput {
  readonly v: 1;
  readonly taskId: string;
  readonly tenant: string;
  readonly capability: string;
  readonly requester: Principal;
  readonly verdict: Extract<Verdict, { kind: 'escalate' }>;
  readonly members: Readonly<Record<string, readonly string[]>>;
  /** Digest of {capability, input, output, effect}: what exactly is approved. */
  readonly actionDigest: string;
  readonly effect?: ProposedEffect;
  readonly facts: Facts;
  readonly summary: string;
  /** The model's words, shown escaped and labelled, never as instructions. */
  readonly proposal?: string;
  readonly question?: string;
  readonly citations: readonly { readonly document: string; readonly quote: string }[];
  readonly costMicroUsd: number;
  readonly graceMs: number;
  /** A decision counts only where it is proven who made it. */
  readonly requireVerified?: boolean;
  /** The server stamps who sent an Update or a Signal on its event, and the brain reads it back. */
  readonly attested?: boolean;
  /** The brain's proof that it asked for exactly this (`bindingOf`). */
  readonly seal?: string;
}

/** What a person types into the Temporal UI, sends with the CLI or posts to the API. */
export const decisionSchema = z.strictObject({
  decision: z.enum(['approve', 'reject', 'answer', 'delegate']),
  by: z.string().regex(/^[A-Za-z0-9_.@-]{1,64}$/),
  reason: z.string().max(2_000).optional(),
  text: z.string().max(8_000).optional(),
  /** First 12 hex digits of the action digest; optional, refused when it names another action. */
  action: z.string().max(80).optional(),
  /** With `delegate`: who may decide in `by`'s place, and until when (ms since 1970). */
  to: z.string().regex(/^[A-Za-z0-9_.@-]{1,64}$/).optional(),
  until: z.number().int().positive().safe().optional(),
  /** Signed decision token, for approvers whom the server does not attest. */
  token: z.string().max(4_096).optional(),
});
export type Decision = z.infer<typeof decisionSchema>;

export interface ApprovalResult {
  readonly outcome: 'approved' | 'rejected' | 'answered' | 'expired';
  readonly decisions: readonly HumanDecision[];
  readonly text?: string;
  /** Whose seats were taken; `seats` says by whom and how that is proven. */
  readonly approvers: readonly string[];
  /** The group that was asked when it was decided. */
  readonly group?: string;
  readonly seats?: readonly Seat[];
  /** The brain's proof that it recorded the attempts that led here. */
  readonly seal?: string;
}
/** An approval that let a task go on: what is checked again at the moment of the effect. */
export interface Approved {
  /** Workflow id of the approval. */
  readonly approval: string;
  readonly input: Pick<ApprovalInput, 'taskId' | 'tenant' | 'capability' | 'requester' | 'actionDigest' | 'requireVerified' | 'seal'> & { readonly verdict: Pick<ApprovalInput['verdict'], 'approval' | 'action'> };
  readonly result: ApprovalResult;
}
