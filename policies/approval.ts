// Approvals as a pure reducer: attempts and the passing of time go in, answers and at most one outcome come out.
// Owns: who may decide (group, delegation, separation of duties, proof), quorum, expiry -> escalation chain -> declared default, single use.
// Never verifies a signature and never reads a clock: both arrive as arguments. Hand-written parsing, because this runs in the workflow sandbox.
// Others may assume: at most one outcome ever, every attempt has an answer, a closed approval stays closed, and the quorum is
// always of one group: when the next group is asked, the approvals of the one before lapse.

import { digestOf } from '../contracts/canonical.ts';
import { fail, isAiosError, type ErrorCode } from '../contracts/errors.ts';
import type { ApprovalInput, ApprovalResult, Decision, HumanDecision, Proven, Seat } from '../contracts/task.ts';

export interface Delegation {
  readonly from: string;
  readonly to: string;
  /** ms since 1970; absent = until this approval closes */
  readonly until?: number;
  readonly proven: Proven;
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
  /** Groups asked before this one. */
  readonly stage: number;
  /** Seats taken by an approval: one per member of the group, whoever sat in it. */
  readonly seats: readonly Seat[];
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
  return { group: approvers, openedAt: now, expiresAt: now + expiresMs, stage: 0, seats: [], decisions: [], delegations: [], attempts: [], attemptsCount: 0 };
}

/** One attempt, whoever made it and whatever it says. `proven` is what is known about who made it. */
export function attempt(input: ApprovalInput, state: ApprovalState, raw: unknown, now: number, proven: Proven): Answer {
  try {
    const decision = parseDecision(raw);
    const place = placeOf(input, state, decision, now, proven);
    return answered(accept(input, state, decision, place, now, proven), decision, now, acceptance(input, state, decision));
  } catch (thrown) {
    if (!isAiosError(thrown)) throw thrown;
    return refused(state, raw, now, thrown.code, thrown.message);
  }
}

/** Refuses an attempt for a reason found outside, such as a token that does not verify. */
export const refuseAttempt = (state: ApprovalState, raw: unknown, now: number, code: ErrorCode, detail: string): Answer => refused(state, raw, now, code, fail(code, detail).message);

/** Time passed. Each expiry asks the next group of the chain for as long again; after the last one the declared default holds. */
export function expire(input: ApprovalInput, state: ApprovalState, now: number): ApprovalState {
  if (state.outcome !== undefined || now < state.expiresAt) return state;
  const next = groupsAfter(input)[state.stage];
  if (next === undefined) return { ...state, outcome: 'expired', decisions: [...state.decisions, { decision: 'expired', by: state.group, verified: true, at: now }] };
  const { text: _lapsed, ...rest } = state;
  return { ...rest, group: next, stage: state.stage + 1, seats: [], expiresAt: now + input.verdict.approval.expiresMs };
}

/** Who is asked after the first group, in order. */
export function groupsAfter({ verdict }: Pick<ApprovalInput, 'verdict'>): readonly string[] {
  const { onExpiry, chain } = verdict.approval;
  return onExpiry === 'deny' ? [] : [onExpiry.escalate, ...(chain ?? [])];
}

export function resultOf(state: ApprovalState): ApprovalResult {
  return { outcome: state.outcome ?? 'expired', decisions: state.decisions, approvers: state.seats.map(({ seat }) => seat), group: state.group, seats: state.seats, ...(state.text === undefined ? {} : { text: state.text }) };
}

/** Approving needs something to approve; without a proposal only an answer or a rejection makes sense. */
export const isApprovable = (input: ApprovalInput): boolean => input.proposal !== undefined || input.effect !== undefined || input.verdict.action !== 'commit';

/** What is decided about now: once somebody wrote other words, those words are part of it. */
export const actionOf = (input: Pick<ApprovalInput, 'actionDigest'>, state: Pick<ApprovalState, 'text'>): string => (state.text === undefined ? input.actionDigest : digestOf({ action: input.actionDigest, text: state.text }));

/** What a person said, without the proof that they said it: the thing that a token is over. */
export function saidOf(raw: unknown): string {
  const { token: _proof, ...said } = (typeof raw === 'object' && raw !== null && !Array.isArray(raw) ? raw : {}) as Record<string, unknown>;
  return digestOf(said);
}

/** What the brain seals when it asks: this approval, of this action, by these terms. */
export const bindingOf = (approval: string, input: Pick<ApprovalInput, 'taskId' | 'tenant' | 'capability' | 'requester' | 'actionDigest'> & { readonly verdict: Pick<ApprovalInput['verdict'], 'approval' | 'action'> }): string =>
  digestOf({ approval, task: input.taskId, tenant: input.tenant, capability: input.capability, requester: input.requester.id, action: input.actionDigest, at: input.verdict.action, terms: input.verdict.approval });

/** Digest of a result, whoever sealed it. */
export function resultDigest({ seal: _seal, ...result }: ApprovalResult): string {
  return digestOf(result);
}

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

interface Place {
  readonly seat: string;
  readonly lent?: Delegation;
}

/** The seat a person decides from: their own, or the one delegated to them. */
function placeOf(input: ApprovalInput, state: ApprovalState, decision: Decision, now: number, proven: Proven): Place {
  if (state.outcome !== undefined) throw fail('AIOS_APPROVAL_CLOSED', `It was ${state.outcome}.`);
  if (now >= state.expiresAt) throw fail('AIOS_APPROVAL_CLOSED', 'It expired.');
  requireAction(input, state, decision, proven);
  if (decision.by === input.requester.id) throw fail('AIOS_APPROVAL_UNAUTHORISED', 'Who asked for the task never decides it.');
  const place = seatFor(input.members[state.group] ?? [], state, decision.by, now);
  if (place === undefined) throw fail('AIOS_APPROVAL_UNAUTHORISED', `Needed is a member of ${state.group}.`);
  if (input.requireVerified === true && proven.proof === 'none') throw fail('AIOS_APPROVAL_UNAUTHORISED', 'Here a decision needs proof of who makes it: sign it with "aios approve --key", or decide through the API.');
  return place;
}

/** A decision is about the action as it stands; words that somebody wrote meanwhile make it another one, and then it has to be named. */
function requireAction(input: ApprovalInput, state: ApprovalState, decision: Decision, proven: Proven): void {
  const action = actionOf(input, state);
  if (proven.proof !== 'none' && proven.action !== action) throw fail('AIOS_APPROVAL_MALFORMED', 'The proof is about another action: look at the card again and sign what it shows.');
  if (decision.action !== undefined && !names(action, decision.action)) throw fail('AIOS_APPROVAL_MALFORMED', `"action" names another action; this one is ${shortDigest(action)}.`);
  if (decision.action === undefined && state.text !== undefined) throw fail('AIOS_APPROVAL_MALFORMED', `Somebody wrote another answer meanwhile: look at the card, and send "action":"${shortDigest(action)}" with the decision.`);
}

function seatFor(members: readonly string[], state: ApprovalState, by: string, now: number): Place | undefined {
  if (members.includes(by)) return { seat: by };
  const lent = state.delegations.find((one) => one.to === by && members.includes(one.from) && (one.until === undefined || now < one.until));
  return lent === undefined ? undefined : { seat: lent.from, lent };
}

function accept(input: ApprovalInput, state: ApprovalState, decision: Decision, place: Place, now: number, proven: Proven): ApprovalState {
  if (decision.decision === 'delegate') return delegated(input, state, decision, place, now, proven);
  if (decision.decision === 'approve' && !isApprovable(input) && state.text === undefined) throw fail('AIOS_APPROVAL_MALFORMED', 'There is no proposal to approve: send "answer" with "text", or "reject".');
  if (state.seats.some(({ seat, by }) => [seat, by].some((one) => one === place.seat || one === decision.by))) throw fail('AIOS_APPROVAL_UNAUTHORISED', 'This person decided already; another one is needed.');
  const said: HumanDecision = { decision: decision.decision, by: decision.by, verified: proven.proof !== 'none', at: now, ...(decision.reason === undefined ? {} : { reason: decision.reason }) };
  const next: ApprovalState = { ...state, decisions: [...state.decisions, said] };
  if (decision.decision === 'reject') return { ...next, outcome: 'rejected' };
  const seat: Seat = { ...proven, seat: place.seat, by: decision.by, decision: decision.decision, at: now, ...lending(place) };
  return decision.decision === 'answer' ? counted(input, { ...next, seats: [seat], text: decision.text ?? '' }) : counted(input, { ...next, seats: [...state.seats, seat] });
}

const lending = ({ lent }: Place): Pick<Seat, 'lent'> => (lent === undefined ? {} : { lent: { ...lent.proven, ...(lent.until === undefined ? {} : { until: lent.until }) } });

/** Approvals count towards the quorum. New words undid the approvals of the old ones: they were given to something else. */
function counted(input: ApprovalInput, state: ApprovalState): ApprovalState {
  if (state.seats.length < input.verdict.approval.quorum) return state;
  return { ...state, outcome: state.text === undefined ? 'approved' : 'answered' };
}

/** The newest delegation from one person to another replaces the one before, so a shorter one takes the right back. */
function delegated(input: ApprovalInput, state: ApprovalState, decision: Decision, { seat, lent }: Place, now: number, proven: Proven): ApprovalState {
  const to = decision.to ?? '';
  if (to === input.requester.id) throw fail('AIOS_APPROVAL_UNAUTHORISED', 'Who asked for the task never decides it.');
  if (lent !== undefined) throw fail('AIOS_APPROVAL_UNAUTHORISED', 'A delegated seat is not delegated on.');
  if (decision.until !== undefined && decision.until <= now) throw fail('AIOS_APPROVAL_MALFORMED', '"until" lies in the past.');
  const others = state.delegations.filter((one) => one.from !== seat || one.to !== to);
  if (others.length >= DELEGATIONS_MAX) throw fail('AIOS_OVERLOADED', 'Too many delegations.');
  return { ...state, delegations: [...others, { from: seat, to, proven, ...(decision.until === undefined ? {} : { until: decision.until }) }] };
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
const shortDigest = (digest: string): string => hexOf(digest).slice(0, 12);
/** What people type to name the action as it stands. */
export const shortAction = (input: Pick<ApprovalInput, 'actionDigest'>, state: Pick<ApprovalState, 'text'> = {}): string => shortDigest(actionOf(input, state));
const names = (digest: string, prefix: string): boolean => hexOf(prefix).length >= 12 && hexOf(digest).startsWith(hexOf(prefix));
