// What every policy decision about a task looks at: neutral facts, what is known, and where the task stands.
// Owns: what an outcome cannot overwrite. No policy errs on an absent fact but scores: a policy that asks for one refuses.
// Never holds content. Others may assume: pure, and the brain and a team at the edge build the same request from the same facts.

import type { Action, Facts, PolicyRequest, Principal } from '../contracts/verdict.ts';
import { BARE_FACTS } from './asked.ts';

/** What is true of a task whatever an outcome says; an outcome cannot overwrite it. Money in micro-USD. */
export interface Standing {
  readonly costMicroUsd: number;
  readonly reservedMicroUsd: number;
  readonly rung: string;
  readonly deadlineMsLeft: number;
  /** A person approved exactly this action. */
  readonly approved: boolean;
}
export interface Asked {
  readonly action: Action;
  readonly principal: Principal;
  /** The one asked for: a slice of another decides nothing about it. */
  readonly capability: { readonly id: string; readonly dataClass: string; readonly sla: string };
  /** What the outcome, or the step, says of itself. */
  readonly facts: Facts;
  readonly standing: Standing;
  /** The step of a team; absent when it is about the task as a whole. */
  readonly step?: string | undefined;
}

export function requestOf({ action, principal, capability, facts, standing, step }: Asked): PolicyRequest {
  const { id, dataClass, sla } = capability;
  const { costMicroUsd, reservedMicroUsd, rung, deadlineMsLeft, approved } = standing;
  const context: Facts = { ...BARE_FACTS, ...facts, costMicroUsd, reservedMicroUsd, rung, dataClass, deadlineMsLeft, approved, ...(step === undefined ? {} : { step }) };
  return { action, principal, resource: { capability: id, dataClass, sla }, context };
}
