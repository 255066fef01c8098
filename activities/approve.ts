// Before and after the human pause: what the approver is shown, and what is checked again before anything happens.
// Owns: the settlement of the machine's cost before the wait, the words of the card, and the re-check of policy, mandate and budget.
// Never shows more than the capability's own card, and never applies anything.
// Others may assume: `recheck` reads the bundle in force now, not the one the run is pinned to.

import type { ApprovalWords, Capability } from '../contracts/capability.ts';
import { fail, isAiosError } from '../contracts/errors.ts';
import type { PreparedApproval, PrepareArgs, RecheckArgs, Rechecked } from '../contracts/governed.ts';
import { bodyOf, capabilityOf, factsOf, outputFromWords } from './judge.ts';
import type { ActivityPorts } from './ports.ts';

const WORDS_MAX = 4_000;
const CITATIONS_MAX = 8;
/** The mandate of an approved action lives just long enough to commit it. */
const COMMIT_MS = 60_000;

export async function prepareApproval(ports: ActivityPorts, args: PrepareArgs): Promise<PreparedApproval> {
  if (args.settle.length > 0) await ports.budgets.settle(args.settle);
  const capability = capabilityOf(ports, args.capability);
  const output = args.outcome?.status === 'done' ? args.outcome.output : undefined;
  const words = capability.card?.({ input: args.input, output }) ?? guessed(args.input, output);
  return {
    citations: (words.citations ?? []).slice(0, CITATIONS_MAX).map((one) => ({ document: one.document.slice(0, 256), quote: one.quote.slice(0, 500) })),
    ...(words.question === undefined ? {} : { question: words.question.slice(0, WORDS_MAX) }),
    ...(words.proposal === undefined ? {} : { proposal: words.proposal.slice(0, WORDS_MAX) }),
  };
}

export async function recheck(ports: ActivityPorts, args: RecheckArgs): Promise<Rechecked> {
  const capability = capabilityOf(ports, args.capability);
  const slice = await ports.policies.slice(args.capability);
  try {
    await solvent(ports, args);
    return { slice, mandate: commitMandate(ports, capability, args, slice.bundle), ...written(capability, args) };
  } catch (thrown) {
    if (!isAiosError(thrown)) throw thrown;
    return { slice, error: bodyOf(thrown) };
  }
}

/** A tenant whose money ran out during the pause commits nothing more. */
async function solvent(ports: ActivityPorts, args: RecheckArgs): Promise<void> {
  const view = await ports.budgets.view(args.tenant);
  if (view.spentMicroUsd > view.capMicroUsd) throw fail('AIOS_BUDGET_EXCEEDED');
}

/** A root grant that names the approved action and nothing else; minting and verifying it proves that this tenant still holds authority. */
function commitMandate(ports: ActivityPorts, capability: Capability, args: RecheckArgs, policy: string): string {
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
