// One approval: a person decides about exactly one action, however long that takes.
// Owns: the Update and the Signal `decide`, the clock of expiry and escalation, the grace period, the card in Current Details.
// The rules are a pure reducer (policies/approval.ts). Never throws from a Signal, never answers an attempt without a record.
// Others may assume: at most one outcome, told to the governing workflow once; later attempts get a clear answer until the grace ends.

import {
  ApplicationFailure, allHandlersFinished, condition, defineQuery, defineSignal, defineUpdate, getExternalWorkflowHandle, proxyLocalActivities, setCurrentDetails, setHandler, upsertSearchAttributes, workflowInfo,
} from '@temporalio/workflow';
import { isErrorCode } from '../contracts/errors.ts';
import type { GovernedActivities } from '../contracts/governed.ts';
import type { ApprovalInput, ApprovalResult } from '../contracts/task.ts';
import { attempt, expire, openApproval, refuseAttempt, resultOf, shortAction, type Answer, type ApprovalState } from '../policies/approval.ts';
import { approvalCard, approveJson, SEARCH } from './page.ts';

/** Temporal allows 2,000 updates a run; long before that somebody is knocking, not deciding. */
const ATTEMPTS_MAX = 500;

export interface ApprovalPage {
  readonly approvers: string;
  readonly quorum: number;
  readonly expiresAt: number;
  readonly outcome?: string;
  readonly card: string;
  readonly json: string;
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
  const { workflowId, parent } = workflowInfo();
  const desk: Desk = { input, workflowId, state: openApproval(input, Date.now()), pending: 0 };
  listen(desk);
  show(desk);
  await untilDecided(desk);
  await condition(() => desk.pending === 0);
  const result = resultOf(desk.state);
  upsertSearchAttributes([{ key: { name: SEARCH.state, type: 'KEYWORD' }, value: result.outcome }, { key: { name: SEARCH.waitingFor, type: 'KEYWORD' }, value: null }]);
  if (parent !== undefined) await getExternalWorkflowHandle(parent.workflowId, parent.runId).signal('decided', result, workflowId).catch(() => undefined);
  await condition(() => false, input.graceMs, { summary: 'Late attempts are answered until here' });
  await condition(allHandlersFinished);
  return result;
}

interface Desk {
  readonly input: ApprovalInput;
  readonly workflowId: string;
  state: ApprovalState;
  /** Attempts whose record is being written. */
  pending: number;
}

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
  await hands('Record the expiry').recordAttempt({ kind: 'attempt', tenant: desk.input.tenant, task: desk.input.taskId, approval: desk.workflowId, by: before, via: 'expiry', accepted: true, decision: next.outcome ?? 'escalated', verified: true });
  if (next.outcome === undefined) upsertSearchAttributes([{ key: { name: SEARCH.waitingFor, type: 'KEYWORD' }, value: next.group }]);
  show(desk);
}

function listen(desk: Desk): void {
  const action = shortAction(desk.input);
  const example = approveJson(desk.input);
  setHandler(decideUpdate, async (raw: unknown) => {
    const answer = await take(desk, raw, 'update');
    if (!answer.accepted) throw ApplicationFailure.nonRetryable(answer.message, answer.code ?? 'AIOS_APPROVAL_MALFORMED');
    return answer.message;
  }, { description: `Decide about action ${action}, for example ${example}; "reject" takes a "reason", "answer" takes the "text" to send, "delegate" takes "to". The answer tells whether it counts.` });
  setHandler(decideSignal, async (raw: unknown) => {
    await take(desk, raw, 'signal');
  }, { description: `The same without an answer, for example ${example}; what became of it is shown under Last answers in Current Details.` });
  setHandler(cardQuery, () => pageOf(desk), { description: 'The card as it stands. Takes no argument.' });
}

/** One attempt: judged in the order of arrival, recorded, answered. */
async function take(desk: Desk, raw: unknown, via: 'update' | 'signal'): Promise<Answer> {
  desk.pending += 1;
  try {
    if (desk.state.attemptsCount >= ATTEMPTS_MAX) return refuseAttempt(desk.state, raw, Date.now(), 'AIOS_OVERLOADED', 'Too many attempts on this approval.');
    const proof = await prove(desk, raw);
    const answer = proof === 'forged' ? refuseAttempt(desk.state, raw, Date.now(), 'AIOS_APPROVAL_UNAUTHORISED', 'The decision token does not verify.') : attempt(desk.input, desk.state, raw, Date.now(), proof === 'proven');
    desk.state = answer.state;
    show(desk);
    await record(desk, answer, via, proof === 'proven');
    return answer;
  } finally {
    desk.pending -= 1;
  }
}

async function record(desk: Desk, answer: Answer, via: 'update' | 'signal', verified: boolean): Promise<void> {
  const last = answer.state.attempts.at(-1);
  await hands('Record the attempt').recordAttempt({
    kind: 'attempt', tenant: desk.input.tenant, task: desk.input.taskId, approval: desk.workflowId, by: last?.by ?? 'unknown', via, accepted: answer.accepted, decision: last?.decision ?? 'unreadable', verified,
    ...(answer.code === undefined ? {} : { code: answer.code }),
  });
}

/** A token proves who decides; without one the name is a claim, and the record says so. */
async function prove(desk: Desk, raw: unknown): Promise<'proven' | 'claimed' | 'forged'> {
  const seen = typeof raw === 'object' && raw !== null ? (raw as { token?: unknown; by?: unknown; decision?: unknown }) : {};
  if (typeof seen.token !== 'string' || typeof seen.by !== 'string' || typeof seen.decision !== 'string') return 'claimed';
  const checked = await hands('Check the decision token').checkDecision({ tenant: desk.input.tenant, taskId: desk.input.taskId, actionDigest: desk.input.actionDigest, by: seen.by.slice(0, 64), decision: seen.decision.slice(0, 16), token: seen.token.slice(0, 4_096) })
    .catch((thrown: unknown) => (isErrorCode((thrown as { cause?: { type?: unknown } }).cause?.type) ? { verified: false } : Promise.reject(thrown)));
  return checked.verified ? 'proven' : 'forged';
}

const show = (desk: Desk): void => setCurrentDetails(approvalCard(desk.input, desk.state, desk.workflowId));

function pageOf(desk: Desk): ApprovalPage {
  const { state, input } = desk;
  return {
    approvers: state.group, quorum: input.verdict.approval.quorum, expiresAt: state.expiresAt, card: approvalCard(input, state, desk.workflowId), json: approveJson(input),
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
