// Settlement of a whole group at once: intents, effects, decision records, budgets; each batched, in that order.
// Owns: "intent stands before effect, outcome after" and that a task settled once is settled for ever.
// Never applies an effect whose intent is not on disk, and writes none for an approval that does not stand at that moment. Never writes content into the ledger: digests, facts, counters.
// Others may assume: run again after a crash at any point it applies nothing twice and returns the first decision's anchor.

import { digestOf, digestOfText } from '../contracts/canonical.ts';
import { ERRORS, type ErrorBody, fail, isAiosError } from '../contracts/errors.ts';
import type { SettleArgs, SettledGroup, SettledMember, SettleMember } from '../contracts/governed.ts';
import type { DecisionRecord, IntentRecord, LedgerRecord } from '../contracts/record.ts';
import type { AppliedEffect, HumanDecision, LedgerAnchor } from '../contracts/task.ts';
import { leaveOf } from '../policies/admission.ts';
import { NO_OBLIGATIONS, obligationsOver } from '../policies/obligations.ts';
import { shown } from '../policies/record-detail.ts';
import { resultOf } from '../policies/settlement.ts';
import { isCanary, requireStanding } from './approve.ts';
import { bodyOf } from './judge.ts';
import { checkPinned } from './open.ts';
import type { ActivityPorts } from './ports.ts';

/** Mandates outlive their task's deadline by the difference that clocks may have. */
const MANDATE_SLACK_MS = 10_000;

/** What became of one member's effect: applied (now or earlier), refused by the system of record, or there was none. */
interface Effected {
  readonly member: SettleMember;
  readonly effect?: AppliedEffect;
  readonly refused?: ReturnType<typeof bodyOf>;
  readonly earlier?: Earlier;
}
/** The decision that is on disk already, and where. */
interface Earlier {
  readonly anchor: LedgerAnchor;
  readonly record: DecisionRecord;
}

export async function settleGroup(ports: ActivityPorts, given: SettleArgs): Promise<SettledGroup> {
  checkPinned(ports, given.pinned);
  const earlier = await Promise.all(given.members.map((member) => earlierOf(ports, member)));
  const args = { ...given, members: await Promise.all(given.members.map((member, i) => (earlier[i] === undefined ? standing(ports, given, member) : member))) };
  const fresh = args.members.filter((_member, i) => earlier[i] === undefined);
  const intents = fresh.flatMap((member) => (member.effect === undefined ? [] : [intentOf(args, member)]));
  if (intents.length > 0) await ports.ledger.append(intents);
  ports.logger.debug({ tasks: intents.map((intent) => intent.task) }, 'intents recorded');
  const effected = await Promise.all(args.members.map((member, i) => applied(ports, args, member, earlier[i])));
  const [anchors] = await Promise.all([record(ports, args, effected), close(ports, args)]);
  ports.logger.debug({ tasks: args.members.map((member) => member.taskId) }, 'settled');
  const settled = effected.map((one, i) => settledOf(one, anchors, given.members[i]));
  ports.settled(args.workflowId, args.members.map((member, i) => resultOf(member, settled[i])));
  return { members: settled };
}

/**
 * What people approved must still stand when the effect is about to happen; otherwise the task is refused without it. An intent
 * that is on disk stood when it was written, and its effect may have happened: it is carried through.
 */
async function standing(ports: ActivityPorts, args: SettleArgs, member: SettleMember): Promise<SettleMember> {
  if (isCanary(ports, { capability: args.capability, taskId: member.taskId, ...(args.from === undefined ? {} : { from: args.from }) })) return withoutEffect(member, member.error ?? bodyOf(fail('AIOS_APPROVAL_REFUSED', 'It was a test of attention: nothing was done.')));
  if (member.approvals === undefined || member.state !== 'done') return member;
  if (member.effect !== undefined && (await intended(ports, member.taskId, member.effect))) return member;
  try {
    await requireStanding(ports, args.tenant, args.capability, member);
    return member;
  } catch (thrown) {
    if (!isAiosError(thrown) || ERRORS[thrown.code].retry !== 'never') throw thrown;
    return withoutEffect(member, bodyOf(thrown));
  }
}

function withoutEffect(member: SettleMember, error: ErrorBody): SettleMember {
  const { effect: _effect, output: _output, ...rest } = member;
  return { ...rest, state: 'refused', error };
}

async function intended(ports: ActivityPorts, taskId: string, effect: NonNullable<SettleMember['effect']>): Promise<boolean> {
  const digest = digestOf(effect);
  return (await ports.ledger.find(taskId)).some(({ record: one }) => one.kind === 'intent' && one.actionDigest === digest);
}

/** A run that another brain took over is at least as old as its workflow task may take (3 s): only then is it worth asking what others wrote. */
const DRIVEN_AGAIN_MS = 2_500;

async function earlierOf(ports: ActivityPorts, { taskId, acceptedAt }: Pick<SettleMember, 'taskId' | 'acceptedAt'>): Promise<Earlier | undefined> {
  const anchor = await ports.ledger.decision(taskId, { elsewhere: ports.clock.now() - acceptedAt > DRIVEN_AGAIN_MS });
  if (anchor === undefined) return undefined;
  const entry = (await ports.ledger.find(taskId)).find(({ log, index }) => log === anchor.log && index === anchor.index);
  return entry?.record.kind === 'decision' ? { anchor, record: entry.record } : undefined;
}

/**
 * An effect runs again under its key and answers the same; a refusal is an answer, everything else is tried again.
 * A task that was settled before gets no effect now: its effect came before its decision, or there was none.
 */
async function applied(ports: ActivityPorts, args: SettleArgs, member: SettleMember, earlier: Earlier | undefined): Promise<Effected> {
  if (earlier !== undefined) return { member, earlier, ...(earlier.record.effect === undefined ? {} : { effect: earlier.record.effect }) };
  if (member.effect === undefined) return { member };
  try {
    return { member, effect: await ports.effects.apply(args.tenant, member.effect) };
  } catch (thrown) {
    if (!isAiosError(thrown) || ERRORS[thrown.code].retry !== 'never') throw thrown;
    return { member, refused: bodyOf(thrown), effect: { kind: member.effect.kind, key: member.effect.key, applied: false, detail: thrown.code } };
  }
}

/** One append for the group: what happened to each effect, and each decision. */
async function record(ports: ActivityPorts, args: SettleArgs, effected: readonly Effected[]): Promise<ReadonlyMap<string, LedgerAnchor>> {
  const records: LedgerRecord[] = [];
  const at = new Map<string, number>();
  for (const one of effected) {
    if (one.earlier !== undefined) continue;
    if (one.effect !== undefined) records.push({ kind: 'effect', tenant: args.tenant, task: one.member.taskId, effectKind: one.effect.kind, effectKey: one.effect.key, applied: one.effect.applied, detail: (one.effect.detail ?? '').slice(0, 96) });
    at.set(one.member.taskId, records.length);
    records.push(decisionOf(ports, args, one));
  }
  const anchors = records.length === 0 ? [] : await ports.ledger.append(records);
  const found = new Map<string, LedgerAnchor>();
  for (const [task, i] of at) {
    const anchor = anchors[i];
    if (anchor !== undefined) found.set(task, anchor);
  }
  return found;
}

async function close(ports: ActivityPorts, args: SettleArgs): Promise<void> {
  const places = (await ports.budgets.limited?.(args.tenant, args.capability)) === true ? args.members.map((member) => leaveOf(args.tenant, member.taskId)) : [];
  const settle = [...args.members.flatMap((member) => member.settle), ...places];
  await Promise.all([
    settle.length === 0 ? Promise.resolve() : ports.budgets.settle(settle),
    ...args.left.map((one) => ports.directory.moved(args.tenant, one.taskId, one.workflowId)),
    ...args.members.map((member) => stopWork(ports, args.tenant, member)),
  ]);
  for (const member of args.members) ports.metrics.count('aios_tasks_total', { capability: args.capability, state: member.state });
}

/** A cancelled task's outcome is refused whatever happens; that its agent stops early saves work, and no settlement fails for it. */
async function stopWork(ports: ActivityPorts, tenant: string, { taskId, state, deadline }: SettleMember): Promise<void> {
  if (state !== 'cancelled' || deadline === undefined) return;
  await ports.revokeTask(tenant, taskId, deadline + MANDATE_SLACK_MS).catch((thrown: unknown) => ports.logger.warn({ task: taskId, code: bodyOf(thrown).code }, 'the agent could not be told to stop'));
}

function settledOf(one: Effected, anchors: ReadonlyMap<string, LedgerAnchor>, given: SettleMember | undefined): SettledMember {
  const ledger = one.earlier?.anchor ?? anchors.get(one.member.taskId);
  if (ledger === undefined) throw new Error('a settled task has an anchor');
  return { taskId: one.member.taskId, ledger, ...decidedElse(one, given), ...(one.effect === undefined ? {} : { effect: one.effect }), ...(one.refused === undefined ? {} : { error: one.refused }) };
}

/** What stands instead of what the workflow asked for: an earlier decision, or the refusal of an approval that fell. */
function decidedElse({ earlier, member }: Effected, given: SettleMember | undefined): Pick<SettledMember, 'decided'> {
  if (earlier !== undefined) return { decided: decidedBy(earlier.record) };
  return member.state === given?.state ? {} : { decided: { state: member.state, ...(member.error === undefined ? {} : { error: member.error }) } };
}

function decidedBy({ state, error }: DecisionRecord): NonNullable<SettledMember['decided']> {
  return { state: state as SettleMember['state'], ...(error === undefined ? {} : { error: { code: error, message: ERRORS[error].message } }) };
}

function intentOf(args: SettleArgs, member: SettleMember): IntentRecord {
  const effect = member.effect ?? { kind: '', key: '', amountMicroUsd: 0, params: {} };
  return { kind: 'intent', tenant: args.tenant, task: member.taskId, effectKind: effect.kind, effectKey: effect.key, amountMicroUsd: effect.amountMicroUsd, actionDigest: digestOf(effect) };
}

function decisionOf(ports: ActivityPorts, args: SettleArgs, one: Effected): DecisionRecord {
  const { member } = one;
  const error = one.refused ?? member.error;
  const record: DecisionRecord = {
    kind: 'decision', tenant: args.tenant, task: member.taskId, capability: args.capability, workflowId: args.workflowId, runId: args.runId, principal: member.principal,
    state: one.refused === undefined ? member.state : 'failed', rung: member.rung, degraded: member.degraded, inputDigest: member.inputDigest, bundle: args.bundle,
    verdicts: member.verdicts, ...(member.asked === undefined ? {} : { asked: member.asked }), facts: member.facts, receipts: member.receipts, costMicroUsd: member.costMicroUsd, reservedMicroUsd: member.reservedMicroUsd,
    latencyMs: Math.max(0, ports.clock.now() - member.acceptedAt),
    ...(member.output === undefined ? {} : { outputDigest: digestOf(member.output) }),
    ...(member.mandate === undefined ? {} : { mandateDigest: member.mandate }),
    ...(one.effect === undefined ? {} : { effect: one.effect }),
    ...(member.human === undefined ? {} : { human: withoutWords(member.human) }),
    ...(member.feedback === undefined ? {} : { feedbackDigest: digestOfText(member.feedback) }),
    ...(error === undefined ? {} : { error: error.code }),
    ...(isCanary(ports, { capability: args.capability, taskId: member.taskId, ...(args.from === undefined ? {} : { from: args.from }) }) ? { canary: true } : {}),
  };
  return shown(record, obligationsOver(member.verdicts, ports.obligations ?? NO_OBLIGATIONS));
}

/** A person's reason is free text: it stays in the workflow, where erasing a key erases it. */
function withoutWords(human: HumanDecision): HumanDecision {
  const { reason: _words, ...rest } = human;
  return rest;
}
