// Approvals as a pure reducer: attempts and the passing of time go in, answers and at most one outcome come out.
// Owns: who may decide (group, delegation, separation of duties), quorum, expiry -> one escalation -> the declared default, single use.
// Never verifies a signature and never reads a clock: both arrive as arguments. Hand-written parsing, because this runs in the workflow sandbox.
// Others may assume: at most one outcome ever, every attempt has an answer, and a closed approval stays closed.

import { fail, isAiosError, type ErrorCode } from '../contracts/errors.ts';
import type { ApprovalInput, ApprovalResult, Decision, HumanDecision } from '../contracts/task.ts';

export interface Delegation {
  readonly from: string;
  readonly to: string;
  /** ms since 1970; absent = until this approval closes */
  readonly until?: number;
}
export interface Attempt {
  readonly at: number;
  readonly by: string;
  readonly decision: string;
  readonly accepted: boolean;
  readonly message: string;
  readonly code?: ErrorCode;
}
export interface ApprovalState {
  readonly group: string;
  readonly openedAt: number;
  readonly expiresAt: number;
  readonly escalated: boolean;
  /** Seats taken by an approval: one per member of the group, whoever sat in it. */
  readonly seats: readonly string[];
  readonly decisions: readonly HumanDecision[];
  readonly delegations: readonly Delegation[];
  /** The latest attempts, for the card. */
  readonly attempts: readonly Attempt[];
  readonly attemptsCount: number;
  readonly outcome?: ApprovalResult['outcome'];
  readonly text?: string;
}
export interface Answer {
  readonly state: ApprovalState;
  readonly accepted: boolean;
  readonly message: string;
  readonly code?: ErrorCode;
}

/** Attempts shown on the card; all of them are in the ledger. */
const ATTEMPTS_SHOWN = 10;
const DELEGATIONS_MAX = 32;
export const DECISION_EXAMPLE = '{"decision":"approve","by":"your-id","reason":"why"}';

export function openApproval(input: ApprovalInput, now: number): ApprovalState {
  const { approvers, expiresMs } = input.verdict.approval;
  return { group: approvers, openedAt: now, expiresAt: now + expiresMs, escalated: false, seats: [], decisions: [], delegations: [], attempts: [], attemptsCount: 0 };
}

/** One attempt, whoever made it and whatever it says. `verified` = the person's identity was proven, not only claimed. */
export function attempt(input: ApprovalInput, state: ApprovalState, raw: unknown, now: number, verified: boolean): Answer {
  try {
    const decision = parseDecision(raw);
    const seat = seatOf(input, state, decision, now);
    return answered(accept(input, state, decision, seat, now, verified), decision, now, acceptance(input, state, decision));
  } catch (thrown) {
    if (!isAiosError(thrown)) throw thrown;
    return refused(state, raw, now, thrown.code, thrown.message);
  }
}

/** Refuses an attempt for a reason found outside, such as a token that does not verify. */
export const refuseAttempt = (state: ApprovalState, raw: unknown, now: number, code: ErrorCode, detail: string): Answer => refused(state, raw, now, code, fail(code, detail).message);

/** Time passed. The first expiry asks the declared group once; the second, or a `deny`, closes. */
export function expire(input: ApprovalInput, state: ApprovalState, now: number): ApprovalState {
  if (state.outcome !== undefined || now < state.expiresAt) return state;
  const onExpiry = input.verdict.approval.onExpiry;
  if (state.escalated || onExpiry === 'deny') return { ...state, outcome: 'expired', decisions: [...state.decisions, { decision: 'expired', by: state.group, verified: true, at: now }] };
  return { ...state, group: onExpiry.escalate, escalated: true, expiresAt: now + input.verdict.approval.expiresMs };
}

export function resultOf(state: ApprovalState): ApprovalResult {
  return { outcome: state.outcome ?? 'expired', decisions: state.decisions, approvers: state.seats, ...(state.text === undefined ? {} : { text: state.text }) };
}

/** Approving needs something to approve; without a proposal only an answer or a rejection makes sense. */
export const isApprovable = (input: ApprovalInput): boolean => input.proposal !== undefined || input.effect !== undefined || input.verdict.action !== 'commit';

/** @throws AIOS_APPROVAL_MALFORMED naming the field and showing the accepted form */
export function parseDecision(raw: unknown): Decision {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) throw malformed('send one JSON object');
  const seen = raw as Record<string, unknown>;
  for (const name of Object.keys(seen)) if (!(name in FIELDS)) throw malformed(`unknown field "${name.slice(0, 32)}"`);
  for (const [name, accepts] of Object.entries(FIELDS)) if (!accepts(seen[name])) throw malformed(`field "${name}"`);
  const decision = seen as unknown as Decision;
  if (decision.decision === 'answer' && (decision.text ?? '').trim() === '') throw malformed('"answer" needs "text"');
  if (decision.decision === 'delegate' && decision.to === undefined) throw malformed('"delegate" needs "to"');
  return decision;
}

const PERSON = /^[A-Za-z0-9_.@-]{1,64}$/;
const text = (max: number) => (value: unknown): boolean => value === undefined || (typeof value === 'string' && value.length <= max);
const FIELDS: Readonly<Record<keyof Decision, (value: unknown) => boolean>> = {
  decision: (value) => value === 'approve' || value === 'reject' || value === 'answer' || value === 'delegate',
  by: (value) => typeof value === 'string' && PERSON.test(value),
  reason: text(2_000),
  text: text(8_000),
  action: text(80),
  to: (value) => value === undefined || (typeof value === 'string' && PERSON.test(value)),
  until: (value) => value === undefined || (typeof value === 'number' && Number.isSafeInteger(value) && value > 0),
  token: text(4_096),
};

const malformed = (detail: string) => fail('AIOS_APPROVAL_MALFORMED', `${detail}. Accepted: ${DECISION_EXAMPLE}`);

/** The seat a person decides from: their own, or the one delegated to them. */
function seatOf(input: ApprovalInput, state: ApprovalState, decision: Decision, now: number): string {
  if (state.outcome !== undefined) throw fail('AIOS_APPROVAL_CLOSED', `It was ${state.outcome}.`);
  if (now >= state.expiresAt) throw fail('AIOS_APPROVAL_CLOSED', 'It expired.');
  if (decision.action !== undefined && !names(input.actionDigest, decision.action)) throw fail('AIOS_APPROVAL_MALFORMED', `"action" names another action; this one is ${shortAction(input)}.`);
  if (decision.by === input.requester.id) throw fail('AIOS_APPROVAL_UNAUTHORISED', 'Who asked for the task never decides it.');
  const members = input.members[state.group] ?? [];
  if (members.includes(decision.by)) return decision.by;
  const lent = state.delegations.find((one) => one.to === decision.by && members.includes(one.from) && (one.until === undefined || now < one.until));
  if (lent !== undefined) return lent.from;
  throw fail('AIOS_APPROVAL_UNAUTHORISED', `Needed is a member of ${state.group}.`);
}

function accept(input: ApprovalInput, state: ApprovalState, decision: Decision, seat: string, now: number, verified: boolean): ApprovalState {
  if (decision.decision === 'delegate') return delegated(input, state, decision, seat, now);
  if (decision.decision === 'approve' && !isApprovable(input)) throw fail('AIOS_APPROVAL_MALFORMED', 'There is no proposal to approve: send "answer" with "text", or "reject".');
  if (state.seats.includes(seat)) throw fail('AIOS_APPROVAL_UNAUTHORISED', 'This person decided already; another one is needed.');
  if (state.decisions.some((one) => one.by === decision.by)) throw fail('AIOS_APPROVAL_UNAUTHORISED', 'This person decided already; another one is needed.');
  const said: HumanDecision = { decision: decision.decision, by: decision.by, verified, at: now, ...(decision.reason === undefined ? {} : { reason: decision.reason }) };
  const next: ApprovalState = { ...state, seats: [...state.seats, seat], decisions: [...state.decisions, said] };
  if (decision.decision === 'reject') return { ...next, outcome: 'rejected' };
  return decision.decision === 'answer' ? written(input, next, decision) : counted(input, next);
}

/** Approvals count towards the quorum; an answer that somebody wrote meanwhile is what they then approve. */
function counted(input: ApprovalInput, state: ApprovalState): ApprovalState {
  if (state.seats.length < input.verdict.approval.quorum) return state;
  return { ...state, outcome: state.text === undefined ? 'approved' : 'answered' };
}

/** New words undo the approvals of the old ones: they were given to something else. */
function written(input: ApprovalInput, state: ApprovalState, decision: Decision): ApprovalState {
  const seat = state.seats.at(-1);
  return counted(input, { ...state, seats: seat === undefined ? [] : [seat], text: decision.text ?? '' });
}

function delegated(input: ApprovalInput, state: ApprovalState, decision: Decision, seat: string, now: number): ApprovalState {
  const to = decision.to ?? '';
  if (to === input.requester.id) throw fail('AIOS_APPROVAL_UNAUTHORISED', 'Who asked for the task never decides it.');
  if (seat !== decision.by) throw fail('AIOS_APPROVAL_UNAUTHORISED', 'A delegated seat is not delegated on.');
  if (decision.until !== undefined && decision.until <= now) throw fail('AIOS_APPROVAL_MALFORMED', '"until" lies in the past.');
  if (state.delegations.length >= DELEGATIONS_MAX) throw fail('AIOS_OVERLOADED', 'Too many delegations.');
  return { ...state, delegations: [...state.delegations, { from: seat, to, ...(decision.until === undefined ? {} : { until: decision.until }) }] };
}

function acceptance(input: ApprovalInput, before: ApprovalState, decision: Decision): (after: ApprovalState) => string {
  return (after) => {
    if (decision.decision === 'delegate') return `${decision.to} may now decide in place of ${decision.by}.`;
    if (after.outcome !== undefined) return `Accepted: ${after.outcome}.`;
    const missing = input.verdict.approval.quorum - after.seats.length;
    return `Accepted: ${after.seats.length} of ${input.verdict.approval.quorum}; ${missing} more of ${before.group} needed.`;
  };
}

function answered(state: ApprovalState, decision: Decision, at: number, words: (after: ApprovalState) => string): Answer {
  const message = words(state);
  return { state: remember(state, { at, by: decision.by, decision: decision.decision, accepted: true, message }), accepted: true, message };
}

function refused(state: ApprovalState, raw: unknown, at: number, code: ErrorCode, message: string): Answer {
  const seen = typeof raw === 'object' && raw !== null ? (raw as Record<string, unknown>) : {};
  const by = typeof seen['by'] === 'string' && PERSON.test(seen['by']) ? seen['by'] : 'unknown';
  const decision = typeof seen['decision'] === 'string' && FIELDS.decision(seen['decision']) ? seen['decision'] : 'unreadable';
  return { state: remember(state, { at, by, decision, accepted: false, message, code }), accepted: false, message, code };
}

const remember = (state: ApprovalState, one: Attempt): ApprovalState => ({ ...state, attemptsCount: state.attemptsCount + 1, attempts: [...state.attempts, one].slice(-ATTEMPTS_SHOWN) });

const hexOf = (digest: string): string => digest.replace(/^sha256:/, '');
export const shortAction = (input: Pick<ApprovalInput, 'actionDigest'>): string => hexOf(input.actionDigest).slice(0, 12);
const names = (digest: string, prefix: string): boolean => hexOf(prefix).length >= 12 && hexOf(digest).startsWith(hexOf(prefix));
