// One approval: a person decides about exactly one action, however long that takes.
// Owns: the Update and the Signal `decide`, the clock of expiry and escalation, the grace period, the card in Current Details.
// The rules are a pure reducer (policies/approval.ts). Never throws from a Signal, never answers an attempt without a record.
// Others may assume: at most one outcome, sealed by the brain that recorded it and told to the governing workflow once; later
// attempts get a clear answer until the grace ends.

import {
  ActivityFailure, ApplicationFailure, allHandlersFinished, condition, currentUpdateInfo, defineQuery, defineSignal, defineUpdate, getExternalWorkflowHandle, proxyActivities, proxyLocalActivities, setCurrentDetails, setHandler, upsertSearchAttributes, workflowInfo,
} from '@temporalio/workflow';
import { isErrorCode } from '../contracts/errors.ts';
import type { GovernedActivities, RecordAttemptArgs } from '../contracts/governed.ts';
import type { ApprovalInput, ApprovalResult, Proven } from '../contracts/task.ts';
import { actionOf, attempt, bindingOf, expire, openApproval, refuseAttempt, resultDigest, resultOf, saidOf, shortAction, type Answer, type ApprovalState } from '../policies/approval.ts';
import { approvalCard, approveJson, SEARCH } from './page.ts';

/** Temporal allows 2,000 updates a run; long before that somebody is knocking, not deciding. */
const ATTEMPTS_MAX = 500;
const CANARY_WORDS = 'This was a test of attention: the action was made up and known to be bad. Nothing was done, and nothing would have been.';

export interface ApprovalPage {
  readonly approvers: string;
  readonly quorum: number;
  readonly expiresAt: number;
  readonly outcome?: string;
  readonly card: string;
  readonly json: string;
  /** Digest of the action as it stands: what a decision token has to name. */
  readonly action: string;
  readonly reason: string;
  readonly costMicroUsd: number;
  readonly facts: ApprovalInput['facts'];
  readonly proposal?: string;
  readonly citations: ApprovalInput['citations'];
}
export const decideUpdate = defineUpdate<string, [unknown]>('decide');
export const decideSignal = defineSignal<[unknown]>('decide');
export const cardQuery = defineQuery<ApprovalPage>('card');

export async function approval(input: ApprovalInput): Promise<ApprovalResult> {
  const { workflowId, runId, parent } = workflowInfo();
  const desk: Desk = { input, workflowId, runId, binding: bindingOf(workflowId, input), state: openApproval(input, Date.now()), pending: 0, signals: 0, seal: undefined, canary: false };
  listen(desk);
  show(desk);
  await untilDecided(desk);
  await condition(() => desk.pending === 0);
  const result: ApprovalResult = { ...resultOf(desk.state), ...(desk.seal === undefined ? {} : { seal: desk.seal }) };
  upsertSearchAttributes([{ key: { name: SEARCH.state, type: 'KEYWORD' }, value: result.outcome }, { key: { name: SEARCH.waitingFor, type: 'KEYWORD' }, value: null }]);
  if (parent !== undefined) await getExternalWorkflowHandle(parent.workflowId, parent.runId).signal('decided', result, workflowId).catch(() => undefined);
  await condition(() => false, input.graceMs, { summary: 'Late attempts are answered until here' });
  await condition(allHandlersFinished);
  return result;
}

interface Desk {
  readonly input: ApprovalInput;
  readonly workflowId: string;
  readonly runId: string;
  readonly binding: string;
  state: ApprovalState;
  /** Attempts whose record is being written. */
  pending: number;
  /** Signals seen: the n-th is the n-th in history, too. */
  signals: number;
  /** The brain's, over the result, since the attempt that brought it is on record. */
  seal: string | undefined;
  canary: boolean;
}
type Via = 'update' | 'signal';

async function untilDecided(desk: Desk): Promise<void> {
  while (desk.state.outcome === undefined) {
    const before = desk.state.group;
    const summary = `Somebody of ${before} decides before here`;
    const decided = await condition(() => desk.state.outcome !== undefined, Math.max(1, desk.state.expiresAt - Date.now()), { summary });
    if (decided) return;
    await passTime(desk, before);
  }
}

/** The expiry is an attempt of the clock's: on record like everybody's. */
async function passTime(desk: Desk, before: string): Promise<void> {
  const next = expire(desk.input, desk.state, Date.now());
  if (next === desk.state) return;
  desk.state = next;
  show(desk);
  await record(desk, { by: before, via: 'expiry', accepted: true, decision: next.outcome ?? 'escalated', verified: true, group: before }, next.outcome !== undefined);
  if (next.outcome === undefined) upsertSearchAttributes([{ key: { name: SEARCH.waitingFor, type: 'KEYWORD' }, value: next.group }]);
}

function listen(desk: Desk): void {
  const action = shortAction(desk.input);
  const example = approveJson(desk.input, desk.state);
  setHandler(decideUpdate, async (raw: unknown) => {
    const answer = await take(desk, raw, 'update');
    if (!answer.accepted) throw ApplicationFailure.nonRetryable(answer.message, answer.code ?? 'AIOS_APPROVAL_MALFORMED');
    return desk.canary && desk.state.outcome !== undefined ? `${answer.message} ${CANARY_WORDS}` : answer.message;
  }, { description: `Decide about action ${action}, for example ${example}; "reject" takes a "reason", "answer" takes the "text" to send, "delegate" takes "to" and "until". The answer tells whether it counts.` });
  setHandler(decideSignal, async (raw: unknown) => {
    desk.signals += 1;
    await take(desk, raw, 'signal', desk.signals);
  }, { description: `The same without an answer, for example ${example}; what became of it is shown under Last answers in Current Details.` });
  setHandler(cardQuery, () => pageOf(desk), { description: 'The card as it stands. Takes no argument.' });
}

/** One attempt: judged when it is known who made it, recorded, answered. */
async function take(desk: Desk, raw: unknown, via: Via, nth?: number): Promise<Answer> {
  desk.pending += 1;
  try {
    if (desk.state.attemptsCount >= ATTEMPTS_MAX) return refuseAttempt(desk.state, raw, Date.now(), 'AIOS_OVERLOADED', 'Too many attempts on this approval.');
    const proven = await prove(desk, raw, nth);
    const open = desk.state.outcome === undefined;
    const answer = typeof proven === 'string' ? refuseAttempt(desk.state, raw, Date.now(), 'AIOS_APPROVAL_UNAUTHORISED', proven) : attempt(desk.input, desk.state, raw, Date.now(), proven);
    desk.state = answer.state;
    show(desk);
    const last = answer.state.attempts.at(-1);
    const proof = typeof proven === 'string' ? 'none' : proven.proof;
    await record(desk, { by: last?.by ?? 'unknown', via, accepted: answer.accepted, decision: last?.decision ?? 'unreadable', verified: proof !== 'none', proof, group: answer.state.group, ...(answer.code === undefined ? {} : { code: answer.code }) }, open && answer.state.outcome !== undefined);
    return answer;
  } finally {
    desk.pending -= 1;
  }
}

type Said = Pick<RecordAttemptArgs, 'by' | 'via' | 'accepted' | 'decision' | 'verified' | 'proof' | 'code' | 'group'>;
/** The attempt that ends the approval takes the result along, and comes back with the brain's seal on it. */
async function record(desk: Desk, said: Said, ends: boolean): Promise<void> {
  const { input, state } = desk;
  const { seal, canary } = await hands('Record the attempt').recordAttempt({
    kind: 'attempt', tenant: input.tenant, task: input.taskId, approval: desk.workflowId, ...said, waitedMs: Math.max(0, Date.now() - state.openedAt),
    ...(input.seal === undefined ? {} : { binding: desk.binding, seal: input.seal }),
    ...(ends ? { outcome: state.outcome ?? 'expired', result: resultDigest(resultOf(state)) } : {}),
  });
  if (ends && seal !== undefined) desk.seal = seal;
  if (canary === true) desk.canary = true;
  if (ends && canary === true) show(desk);
}

/** Who decides: proven by a token, by the server, or only claimed; or the words why it is certainly somebody else. */
async function prove(desk: Desk, raw: unknown, nth: number | undefined): Promise<Proven | string> {
  const seen = typeof raw === 'object' && raw !== null ? (raw as { token?: unknown; by?: unknown; decision?: unknown }) : {};
  const claim = { action: actionOf(desk.input, desk.state), said: saidOf(raw) };
  if (typeof seen.by !== 'string' || typeof seen.decision !== 'string') return { ...claim, proof: 'none' };
  if (typeof seen.token === 'string') return signed(desk, { ...claim, by: seen.by.slice(0, 64), decision: seen.decision.slice(0, 16), token: seen.token.slice(0, 4_096) });
  return desk.input.attested === true ? attested(desk, claim, seen.by, nth) : { ...claim, proof: 'none' };
}

async function signed(desk: Desk, { token, ...claim }: { readonly action: string; readonly said: string; readonly by: string; readonly decision: string; readonly token: string }): Promise<Proven | string> {
  const { verified } = await hands('Check the decision token').checkDecision({ tenant: desk.input.tenant, taskId: desk.input.taskId, approval: desk.workflowId, actionDigest: claim.action, said: claim.said, by: claim.by, decision: claim.decision, token })
    .catch((thrown: unknown) => (thrown instanceof ActivityFailure && isErrorCode((thrown.cause as { type?: unknown } | undefined)?.type) ? { verified: false } : Promise.reject(thrown)));
  return verified ? { action: claim.action, said: claim.said, proof: 'token', token } : 'The decision token does not verify for this action, person and decision.';
}

/** The event that brought the decision is stored when this workflow task ends, so an ordinary activity reads it after that. */
async function attested(desk: Desk, claim: Pick<Proven, 'action' | 'said'>, by: string, nth: number | undefined): Promise<Proven | string> {
  const update = currentUpdateInfo()?.id;
  const { principal } = await proxyActivities<GovernedActivities>({ summary: 'Read who the server says sent this', startToCloseTimeout: '20 s', retry: { maximumInterval: '10 s' } })
    .attestDecision({ workflowId: desk.workflowId, runId: desk.runId, ...(nth === undefined ? { update: update ?? '' } : { signal: nth }) });
  if (principal === undefined) return { ...claim, proof: 'none' };
  return principal === by ? { ...claim, proof: 'server' } : 'The server knows the sender by another name than "by".';
}

const show = (desk: Desk): void => setCurrentDetails(`${desk.canary && desk.state.outcome !== undefined ? `${CANARY_WORDS}\n\n` : ''}${approvalCard(desk.input, desk.state, desk.workflowId)}`);

function pageOf(desk: Desk): ApprovalPage {
  const { state, input } = desk;
  return {
    approvers: state.group, quorum: input.verdict.approval.quorum, expiresAt: state.expiresAt, card: approvalCard(input, state, desk.workflowId), json: approveJson(input, state), action: actionOf(input, state),
    reason: input.verdict.reason, costMicroUsd: input.costMicroUsd, facts: input.facts, citations: input.citations,
    ...(input.proposal === undefined ? {} : { proposal: input.proposal }),
    ...(state.outcome === undefined ? {} : { outcome: state.outcome }),
  };
}

function hands(summary: string) {
  return proxyLocalActivities<GovernedActivities>({
    summary, startToCloseTimeout: '20 s', retry: { initialInterval: 200, backoffCoefficient: 2, maximumInterval: '2 m' }, localRetryThreshold: '5 s',
  });
}
