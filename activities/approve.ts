// Before and after the human pause: what the approver is shown, and what is checked again before anything happens.
// Owns: the settlement of the machine's cost before the wait, the words of the card, the seals on what was asked and decided,
// and the re-check of approvers, policy, mandate and budget, after the pause and again at the moment of the effect.
// Never shows more than the capability's own card, and never applies anything.
// Others may assume: the re-checks read the bundle in force now, not the one the run is pinned to, and believe no seal but the brain's.

import type { ApprovalWords, Capability } from '../contracts/capability.ts';
import { fail, isAiosError } from '../contracts/errors.ts';
import type { ProposedEffect } from '../contracts/message.ts';
import type { PreparedApproval, PrepareArgs, RecheckArgs, Rechecked, RecordAttemptArgs, RecordedAttempt, SettleMember } from '../contracts/governed.ts';
import type { AttemptRecord } from '../contracts/record.ts';
import type { Approved } from '../contracts/task.ts';
import { bindingOf, resultDigest } from '../policies/approval.ts';
import { fallen } from '../policies/approval-effect.ts';
import { decide } from '../policies/evaluate.ts';
import { leaveOf } from '../policies/admission.ts';
import { bodyOf, capabilityOf, factsOf, outputFromWords } from './judge.ts';
import { checkPinned } from './open.ts';
import type { ActivityPorts } from './ports.ts';

const WORDS_MAX = 4_000;
const CITATIONS_MAX = 8;
/** The mandate of an approved action lives just long enough to commit it. */
const COMMIT_MS = 60_000;

export async function prepareApproval(ports: ActivityPorts, args: PrepareArgs): Promise<PreparedApproval> {
  if (args.pinned !== undefined) checkPinned(ports, args.pinned);
  const settle = [...args.settle, ...((await ports.budgets.limited?.(args.tenant, args.capability)) === true ? [leaveOf(args.tenant, args.taskId)] : [])];
  if (settle.length > 0) await ports.budgets.settle(settle);
  const capability = capabilityOf(ports, args.capability);
  const canary = isCanary(ports, args);
  if (!canary) releaseCanary(ports, capability, args);
  const output = args.outcome?.status === 'done' ? args.outcome.output : undefined;
  const words = capability.card?.({ input: args.input, output }) ?? guessed(args.input, output);
  return {
    citations: (words.citations ?? []).slice(0, CITATIONS_MAX).map((one) => ({ document: one.document.slice(0, 256), quote: one.quote.slice(0, 500) })),
    ...(words.question === undefined ? {} : { question: words.question.slice(0, WORDS_MAX) }),
    ...(words.proposal === undefined ? {} : { proposal: words.proposal.slice(0, WORDS_MAX) }),
    ...(args.binding === undefined ? {} : { seal: ports.sealOf(canary ? canaryText(args.binding) : askedText(args.binding)) }),
    ...shownEffect(canary ? capability.knownBad?.().effect : undefined),
    ...(ports.approvals.provenOnly ? { requireVerified: true } : {}),
    ...(ports.approvals.principalOf === undefined ? {} : { attested: true }),
  };
}

const shownEffect = (effect: ProposedEffect | undefined): Pick<PreparedApproval, 'shownEffect'> => (effect === undefined ? {} : { shownEffect: effect });

export const isCanary = (ports: Pick<ActivityPorts, 'approvals'>, { capability, taskId, from }: { readonly capability: string; readonly taskId: string; readonly from?: string }): boolean => from !== undefined && from === ports.approvals.canaries.from(capability, taskId);

/** Beside some approvals a made-up one is opened; whether that works out is nobody's concern who waits for the real one. */
function releaseCanary(ports: ActivityPorts, capability: Capability, { tenant, requester, verdict }: PrepareArgs): void {
  const { canaries } = ports.approvals;
  if (capability.knownBad === undefined || requester === undefined || verdict === undefined || canaries.random.next() * 10_000 >= canaries.rateBp) return;
  canaries.open({ tenant, capability: capability.id, requester, verdict }).catch((thrown: unknown) => ports.logger.warn({ code: bodyOf(thrown).code }, 'a canary approval could not be opened'));
}

/** One attempt on record. What the brain never asked for is refused; what the attempt decided is sealed. */
export async function recordAttempt(ports: ActivityPorts, args: RecordAttemptArgs): Promise<RecordedAttempt> {
  const { binding, seal, result, ...attempt } = args;
  const canary = binding !== undefined && seal === ports.sealOf(canaryText(binding));
  if (binding !== undefined && !canary && seal !== ports.sealOf(askedText(binding))) throw fail('AIOS_FORBIDDEN', 'No brain asked for this approval.');
  const [anchor] = await ports.ledger.append([canary ? { ...attempt, canary } : attempt]);
  if (anchor === undefined) throw new Error('the ledger answered nothing');
  measure(ports, attempt, canary);
  if (canary) return { ...anchor, canary };
  return { ...anchor, ...(binding === undefined || result === undefined ? {} : { seal: ports.sealOf(decidedText(binding, result)) }) };
}

function measure({ metrics }: ActivityPorts, { via, accepted, outcome, group, waitedMs, decision }: AttemptRecord, canary: boolean): void {
  if (canary) return outcome === undefined ? undefined : metrics.count('aios_approval_canaries_total', { group: group ?? 'unknown', outcome });
  metrics.count('aios_approval_attempts_total', { accepted: String(accepted), via });
  if (decision === 'escalated') metrics.count('aios_approval_escalations_total', { group: group ?? 'unknown' });
  if (outcome === undefined) return;
  metrics.count('aios_approvals_total', { group: group ?? 'unknown', outcome });
  if (waitedMs !== undefined) metrics.observe('aios_approval_turnaround_seconds', waitedMs / 1_000, { group: group ?? 'unknown', outcome });
}

/** What the brain puts its seal on: that it asked for this, and that this came of it. */
const askedText = (binding: string): string => `approval asked ${binding}`;
const canaryText = (binding: string): string => `approval canary ${binding}`;
const decidedText = (binding: string, result: string): string => `approval decided ${binding} ${result}`;

/** @throws AIOS_FORBIDDEN for an approval, or a result of one, that no brain sealed */
function requireSealed(ports: Pick<ActivityPorts, 'sealOf'>, { approval, input, result }: Approved): void {
  const binding = bindingOf(approval, input);
  if (input.seal !== ports.sealOf(askedText(binding)) || result.seal !== ports.sealOf(decidedText(binding, resultDigest(result)))) throw fail('AIOS_FORBIDDEN', 'The approval was not sealed by a brain.');
}

/** @throws AIOS_APPROVAL_REFUSED for a canary: whoever approved it, nothing comes of it */
function requireReal(ports: Pick<ActivityPorts, 'sealOf'>, { approval, input }: Approved): void {
  if (input.seal === ports.sealOf(canaryText(bindingOf(approval, input)))) throw fail('AIOS_APPROVAL_REFUSED', 'It was a test of attention: nothing was done.');
}

/**
 * At the moment of the effect: everything that let the task go on must still hold by the bundle in force now.
 * @throws AIOS_FORBIDDEN, AIOS_APPROVAL_UNAUTHORISED, AIOS_POLICY_DENIED, AIOS_BUDGET_EXCEEDED, AIOS_MANDATE_INVALID
 */
export async function requireStanding(ports: ActivityPorts, tenant: string, capability: string, member: Pick<SettleMember, 'taskId' | 'approvals' | 'request'>): Promise<void> {
  const { approvals = [], request } = member;
  const last = approvals.at(-1);
  if (last === undefined) return;
  const slice = await ports.policies.slice(capability);
  const now = { groups: slice.groups, requireVerified: ports.approvals.provenOnly, tokenHolds: ports.decisionToken };
  for (const approved of approvals) {
    requireSealed(ports, approved);
    const lost = fallen(approved, now);
    if (lost !== undefined) throw lost;
  }
  const verdict = request === undefined ? undefined : decide(slice, request);
  if (verdict?.kind === 'deny') throw fail('AIOS_POLICY_DENIED', verdict.deciding.length === 0 ? verdict.reason : `Decided by ${verdict.deciding.join(', ')}.`);
  await solvent(ports, { tenant });
  commitMandate(ports, capabilityOf(ports, capability), { tenant, taskId: member.taskId, actionDigest: last.input.actionDigest }, slice.bundle);
}

export async function recheck(ports: ActivityPorts, args: RecheckArgs): Promise<Rechecked> {
  const capability = capabilityOf(ports, args.capability);
  const slice = await ports.policies.slice(args.capability);
  try {
    if (args.approved !== undefined) requireReal(ports, args.approved);
    if (args.approved !== undefined) requireSealed(ports, args.approved);
    await solvent(ports, args);
    return { slice, mandate: commitMandate(ports, capability, args, slice.bundle), ...written(capability, args) };
  } catch (thrown) {
    if (!isAiosError(thrown)) throw thrown;
    return { slice, error: bodyOf(thrown) };
  }
}

/** A tenant whose money ran out during the pause commits nothing more. */
async function solvent(ports: ActivityPorts, args: Pick<RecheckArgs, 'tenant'>): Promise<void> {
  const view = await ports.budgets.view(args.tenant);
  if (view.spentMicroUsd > view.capMicroUsd) throw fail('AIOS_BUDGET_EXCEEDED');
}

/** A root grant that names the approved action and nothing else; minting and verifying it proves that this tenant still holds authority. */
function commitMandate(ports: ActivityPorts, capability: Capability, args: Pick<RecheckArgs, 'tenant' | 'taskId' | 'actionDigest'>, policy: string): string {
  const now = ports.clock.now();
  const token = ports.mandates.mint({
    tenant: args.tenant, task: args.taskId, capabilities: [capability.id], dataClass: capability.dataClass, regions: [], models: [], spaces: [], budgetMicroUsd: 0, callsMax: 0, depthMax: 0,
    notBefore: now - 5_000, expiresAt: now + COMMIT_MS, offline: false, policy, action: args.actionDigest,
  });
  return ports.mandates.verify(token).digest;
}

function written(capability: Capability, args: RecheckArgs): Pick<Rechecked, 'output' | 'facts'> {
  if (args.text === undefined) return {};
  const machine = args.outcome?.status === 'done' ? args.outcome.output : undefined;
  const output = outputFromWords(capability, args.input, machine, args.text);
  return { output, facts: factsOf(capability, args.input, output, undefined) };
}

/** For capabilities that declare no card: the fields that most of them have. */
function guessed(input: unknown, output: unknown): ApprovalWords {
  const asked = fieldsOf(input);
  const said = fieldsOf(output);
  const question = typeof asked['question'] === 'string' ? asked['question'] : typeof asked['text'] === 'string' ? asked['text'] : undefined;
  const proposal = output === undefined ? undefined : typeof said['text'] === 'string' ? said['text'] : JSON.stringify(output);
  const citations = Array.isArray(said['citations']) ? said['citations'].map(citationOf) : [];
  return { citations, ...(question === undefined ? {} : { question }), ...(proposal === undefined ? {} : { proposal }) };
}

const fieldsOf = (value: unknown): Record<string, unknown> => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {});

function citationOf(value: unknown): { document: string; quote: string } {
  const seen = fieldsOf(value);
  return { document: typeof value === 'string' ? value : String(seen['document'] ?? ''), quote: String(seen['quote'] ?? '') };
}
