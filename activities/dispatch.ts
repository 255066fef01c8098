// Dispatch of a whole group at once: one reservation call, one mandate and one publish a member, one bounded wait.
// Owns: the patience, the straggler rule, and the look for an outcome that came while nobody listened.
// Never publishes what was not reserved. Never waits for one member on another's account longer than HELD_MS_MAX.
// Others may assume: run again with the same argument it asks again under the same ids, so agents answer and never work twice.

import { digestOf } from '../contracts/canonical.ts';
import type { Capability } from '../contracts/capability.ts';
import { ERRORS, fail, isAiosError } from '../contracts/errors.ts';
import type { AwaitArgs, DispatchArgs, DispatchedGroup, DispatchMember } from '../contracts/governed.ts';
import { parseId } from '../contracts/ids.ts';
import type { Envelope, Outcome } from '../contracts/message.ts';
import { parseValue } from '../contracts/parse.ts';
import type { ReserveAnswer } from '../contracts/ports.ts';
import { GROUP_BYTES_MAX, type MemberOutcome } from '../contracts/task.ts';
import { teamOf } from '../policies/admission.ts';
import { reserveFor } from '../policies/ladder.ts';
import { mandateDigest } from '../policies/mandate.ts';
import { type Attempted, bodyOf, capabilityOf, judge } from './judge.ts';
import { checkPinned } from './open.ts';
import { grantFor } from './mandate.ts';
import type { Patience } from './patience.ts';
import type { ActivityPorts } from './ports.ts';

/**
 * Once somebody is done, a gap without another outcome ends the wait for the rest: they go on alone. The bound is learned
 * from the group itself: as long again as the first outcome took, since on a busy machine everybody is slow and leaving,
 * which costs two more transactions, would make it busier.
 */
export const STRAGGLER_MS_MIN = 50;
export const STRAGGLER_MS_MAX = 500;
/** And who is done never waits longer than this in all, however steadily the others come in. */
export const HELD_MS_MAX = 1_000;
/** A reservation outlives its mandate, or a late settlement would find it gone. */
const RESERVATION_SLACK_MS = 60_000;

interface Sent {
  readonly member: DispatchMember;
  readonly envelope: Envelope;
  readonly attempted: Attempted;
}

export async function dispatchGroup(ports: ActivityPorts, patience: Patience, args: DispatchArgs, signal: AbortSignal): Promise<DispatchedGroup> {
  checkPinned(ports, args.pinned);
  const capability = capabilityOf(ports, args.capability);
  if (args.patienceMs === 0) ports.leftFastLane(args.workflowId);
  const answers = await reserve(ports, capability, args);
  const prepared = args.members.map((member, i) => prepare(ports, capability, args, member, answers[i]));
  const sent = prepared.filter((one): one is Sent => 'envelope' in one);
  const started = ports.clock.monotonic();
  const came = await exchange(ports, args, sent, signal);
  for (const one of sent) patience.saw(args.capability, came.has(one.envelope.id) ? (came.get(one.envelope.id)?.at ?? started) - started : undefined);
  for (const { outcome } of came.values()) learn(patience, args.capability, outcome);
  const outcomes = withinBytes(prepared.map((one) => ('envelope' in one ? outcomeOf(capability, one, came.get(one.envelope.id)) : one)));
  if (outcomes.some((one) => one.status === 'pending')) ports.leftFastLane(args.workflowId);
  return { outcomes };
}

/** Where teams stand is recorded in the group's history; past its bound a member goes on alone, and finds its outcome stored. */
function withinBytes(outcomes: readonly MemberOutcome[]): readonly MemberOutcome[] {
  let bytes = 0;
  return outcomes.map((one): MemberOutcome => {
    if (one.walk === undefined || outcomes.length === 1) return one;
    bytes += Buffer.byteLength(JSON.stringify(one.walk));
    if (bytes <= GROUP_BYTES_MAX) return one;
    const { walk: _stored, steps: _reported, error: _none, ...attempted } = one;
    return { ...attempted, status: 'pending', facts: {}, receipts: [], costMicroUsd: 0 };
  });
}

/** The slow lane's look: the outcome is stored by now; the reservation is the one dispatch made. */
export async function collectOutcome(ports: ActivityPorts, patience: Patience, args: AwaitArgs): Promise<MemberOutcome> {
  const { pending, member } = args;
  const attempted: Attempted = {
    reservedMicroUsd: pending.reservedMicroUsd ?? 0,
    ...(pending.reservation === undefined ? {} : { reservation: pending.reservation }),
    ...(pending.mandate === undefined ? {} : { mandate: pending.mandate }),
  };
  const outcome = await ports.outcomes.find(args.tenant, member.taskId, ports.envelopeId(args.tenant, member.taskId, member.attempt, member.rung));
  if (outcome === undefined) return { ...attempted, status: 'failed', facts: {}, receipts: [], costMicroUsd: 0, error: bodyOf(fail('AIOS_UNAVAILABLE', 'The outcome is not kept any more.')) };
  learn(patience, args.capability, outcome);
  return judge(capabilityOf(ports, args.capability), member.input, outcome, attempted);
}

function learn(patience: Patience, capability: string, outcome: Outcome): void {
  for (const receipt of outcome.receipts) if (receipt.kind === 'turn' && receipt.capability === capability) patience.worked(capability, receipt.ms);
}

/** Publishes one attempt again, under the id it had: for a wait that heard nothing. */
export async function publishAgain(ports: ActivityPorts, args: AwaitArgs): Promise<void> {
  const capability = capabilityOf(ports, args.capability);
  const answer: ReserveAnswer = { granted: true, reservation: args.pending.reservation ?? '', leftMicroUsd: 0 };
  const again = prepare(ports, capability, args, args.member, answer, args.pending.reservedMicroUsd);
  if ('envelope' in again) await ports.dispatcher.publish(again.envelope);
}

async function reserve(ports: ActivityPorts, capability: Capability, args: DispatchArgs): Promise<readonly (ReserveAnswer | undefined)[]> {
  const close = args.members.flatMap((member) => (member.close === undefined ? [] : [member.close]));
  if (close.length > 0) await ports.budgets.settle(close);
  const wanted = args.members.map((member) => reserveFor(member.rung, capability.budget.microUsdMax, member.spentMicroUsd));
  const requests = args.members.flatMap((member, i) => ((wanted[i] ?? 0) === 0 ? [] : [{
    tenant: args.tenant, task: member.taskId, attempt: attemptOf(member), capability: args.capability, microUsd: wanted[i] ?? 0, expiresAt: member.deadline + RESERVATION_SLACK_MS, team: teamOf(member.principal), agent: ports.registry.kindOf(args.capability),
  }]));
  const answers = requests.length === 0 ? [] : [...(await ports.budgets.reserve(requests))];
  return args.members.map((_member, i) => ((wanted[i] ?? 0) === 0 ? undefined : answers.shift()));
}

const attemptOf = (member: DispatchMember): string => `${member.taskId}.${member.attempt}.${member.rung}`;

/** The envelope of one member, or the outcome it has already because it may not go out. */
function prepare(ports: ActivityPorts, capability: Capability, args: Pick<DispatchArgs, 'tenant' | 'policy'>, member: DispatchMember, answer: ReserveAnswer | undefined, reserved?: number): Sent | MemberOutcome {
  const nothing = { facts: {}, receipts: [], costMicroUsd: 0 };
  if (answer !== undefined && !answer.granted) return { ...nothing, status: 'over-budget', error: bodyOf(fail('AIOS_BUDGET_EXCEEDED', `Refused by ${answer.by}.`)) };
  const microUsd = reserved ?? (answer === undefined ? 0 : reserveFor(member.rung, capability.budget.microUsdMax, member.spentMicroUsd));
  const attempted: Attempted = { reservedMicroUsd: microUsd, ...(answer === undefined || answer.reservation === '' ? {} : { reservation: answer.reservation }) };
  try {
    parseValue(capability.input, member.input);
    if (digestOf(member.input) !== member.inputDigest) throw fail('AIOS_INPUT_INVALID', 'The input is not the one that was accepted.');
    const token = ports.mandates.mint(grantFor(ports.registry, capability, args.tenant, args.policy, member, microUsd, ports.clock.now()));
    const envelope = envelopeOf(ports, capability, args.tenant, member, token);
    return { member, envelope, attempted: { ...attempted, mandate: mandateDigest(token) } };
  } catch (thrown) {
    if (isAiosError(thrown) && ERRORS[thrown.code].retry === 'later') throw thrown;
    return { ...nothing, ...attempted, status: 'failed', error: bodyOf(thrown) };
  }
}

function envelopeOf(ports: ActivityPorts, capability: Capability, tenant: string, member: DispatchMember, mandate: string): Envelope {
  const key = capability.actorKey?.(member.input);
  const actor = key === undefined ? member.taskId : parseId('agent-id', key);
  return {
    v: 1, id: ports.envelopeId(tenant, member.taskId, member.attempt, member.rung), tenant, task: member.taskId, capability: capability.id, actor, principal: { ...member.principal, roles: [...member.principal.roles] },
    rung: member.rung, deadline: member.deadline, mandate, depth: 0, input: member.input, ...(member.walk === undefined ? {} : { walk: member.walk }), ...(member.trace === undefined ? {} : { trace: member.trace }),
  };
}

type Came = Map<string, { readonly outcome: Outcome; readonly at: number }>;

/** Listen first, then publish, then wait until everybody is there, patience ends, or only stragglers are left. */
async function exchange(ports: ActivityPorts, args: DispatchArgs, sent: readonly Sent[], outer: AbortSignal): Promise<Came> {
  const came: Came = new Map();
  const ends = new AbortController();
  const signal = AbortSignal.any([outer, ends.signal]);
  const arrival = watchGaps(ports, sent.length, ends);
  const note = (outcome: Outcome | undefined): void => {
    if (outcome === undefined || came.has(outcome.id)) return;
    came.set(outcome.id, { outcome, at: ports.clock.monotonic() });
    arrival(came.size);
  };
  const waits = sent.map(({ member, envelope }) => ports.outcomes.wait(args.tenant, member.taskId, envelope.id, args.patienceMs, signal).then(note));
  const publishes = sent.map(async ({ envelope }) => {
    const { duplicate } = await ports.dispatcher.publish(envelope);
    if (duplicate) note(await ports.outcomes.find(args.tenant, envelope.task, envelope.id));
  });
  try {
    await Promise.all(publishes);
    ports.logger.debug({ tasks: sent.map(({ member }) => member.taskId) }, 'dispatched');
    await Promise.all(waits);
  } finally {
    ends.abort();
    await Promise.allSettled(waits);
  }
  return came;
}

/** Ends the wait by gap and by total; both clocks start with the first outcome, since before it nobody is held up. */
function watchGaps(ports: ActivityPorts, expected: number, ends: AbortController): (count: number) => void {
  let cancelGap: (() => void) | undefined;
  let cancelTotal: (() => void) | undefined;
  const stop = (): void => {
    cancelGap?.();
    cancelTotal?.();
    ends.abort();
  };
  ends.signal.addEventListener('abort', () => {
    cancelGap?.();
    cancelTotal?.();
  });
  const from = ports.clock.monotonic();
  let gapMs = 0;
  return (count) => {
    cancelGap?.();
    if (count >= expected) return stop();
    if (cancelTotal === undefined) {
      gapMs = Math.min(STRAGGLER_MS_MAX, Math.max(STRAGGLER_MS_MIN, ports.clock.monotonic() - from));
      cancelTotal = ports.clock.after(HELD_MS_MAX, stop);
    }
    cancelGap = ports.clock.after(gapMs, stop);
  };
}

function outcomeOf(capability: Capability, sent: Sent, came: { readonly outcome: Outcome } | undefined): MemberOutcome {
  if (came !== undefined) return judge(capability, sent.member.input, came.outcome, sent.attempted);
  return { ...sent.attempted, status: 'pending', facts: {}, receipts: [], costMicroUsd: 0 };
}
