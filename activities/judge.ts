// From an outcome on the wire to what the workflow may look at: checked output, facts, effect, cost.
// Owns: the parse of agents' output by the capability's schema and the computation of facts; pure but for the schema.
// Never trusts an outcome: wrong envelope, unknown effect or malformed output is `malformed`, never an exception.
// Others may assume: facts of a `done` outcome passed the facts schema, and content never becomes a fact.

import type { Capability } from '../contracts/capability.ts';
import { fail, toErrorBody, type ErrorBody } from '../contracts/errors.ts';
import type { Outcome, ProposedEffect } from '../contracts/message.ts';
import { parseValue } from '../contracts/parse.ts';
import type { CapabilityRegistry } from '../contracts/ports.ts';
import type { MemberOutcome } from '../contracts/task.ts';
import { type Facts, factsSchema } from '../contracts/verdict.ts';

/** What one attempt was given: it comes back in the member's outcome whatever happened. */
export interface Attempted {
  readonly reservation?: string;
  readonly reservedMicroUsd: number;
  readonly mandate?: string;
}

export function judge(capability: Capability, input: unknown, outcome: Outcome, attempted: Attempted): MemberOutcome {
  const base = { ...attempted, receipts: outcome.receipts, costMicroUsd: outcome.costMicroUsd, facts: {}, ...(outcome.steps === undefined ? {} : { steps: outcome.steps }) };
  if (outcome.status === 'failed') return { ...base, status: outcome.error.code === 'AIOS_BUDGET_EXCEEDED' ? 'over-budget' : 'failed', error: errorIn(outcome.error) };
  if (outcome.costMicroUsd > capability.budget.microUsdMax) return { ...base, status: 'over-budget', error: bodyOf(fail('AIOS_BUDGET_EXCEEDED')) };
  if (outcome.status === 'step') return { ...base, status: 'step', walk: { step: outcome.step, facts: outcome.facts, seen: outcome.seen } };
  try {
    const output = parseValue(capability.output, outcome.output);
    const effect = outcome.effect === undefined ? undefined : declared(capability, outcome.effect);
    const facts = factsOf(capability, input, output, effect);
    return { ...base, status: 'done', output, facts, ...(effect === undefined ? {} : { effect }) };
  } catch (thrown) {
    return { ...base, status: 'malformed', error: bodyOf(thrown) };
  }
}

/** zod spells an absent field as undefined; the contract leaves it out. */
function errorIn(error: Extract<Outcome, { status: 'failed' }>['error']): ErrorBody {
  const { code, message, retryAfterMs } = error;
  return retryAfterMs === undefined ? { code, message } : { code, message, retryAfterMs };
}

/** Declared facts of the capability, and those every capability has. */
export function factsOf(capability: Capability, input: unknown, output: unknown, effect: ProposedEffect | undefined): Facts {
  const declaredFacts = parseValue(factsSchema, capability.facts({ input, output, effect }));
  return { ...declaredFacts, effectKind: effect?.kind ?? 'none', amountMicroUsd: effect?.amountMicroUsd ?? 0 };
}

function declared(capability: Capability, effect: ProposedEffect): ProposedEffect {
  if (!capability.effects.includes(effect.kind)) throw fail('AIOS_EFFECT_UNKNOWN', `${capability.id} does not declare ${effect.kind}.`);
  return effect;
}

export function capabilityOf(registry: { readonly registry: Pick<CapabilityRegistry, 'get'> }, name: string): Capability {
  const capability = registry.registry.get(name);
  if (capability === undefined) throw fail('AIOS_CAPABILITY_UNKNOWN', name);
  return capability;
}

/** A person's words as an output of the capability. @throws AIOS_APPROVAL_MALFORMED when its schema has no place for them */
export function outputFromWords(capability: Capability, input: unknown, output: unknown, text: string): unknown {
  const candidates = capability.answered === undefined
    ? [typeof output === 'object' && output !== null && !Array.isArray(output) ? { ...output, text } : { text }, { text }, text]
    : [capability.answered({ input, output, text })];
  for (const candidate of candidates) {
    const parsed = capability.output.safeParse(candidate);
    if (parsed.success) return parsed.data;
  }
  throw fail('AIOS_APPROVAL_MALFORMED', `${capability.id} has no place for a written answer.`);
}

export const bodyOf = (thrown: unknown): ErrorBody => toErrorBody(thrown);
