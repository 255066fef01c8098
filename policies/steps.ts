// Steps of a team and policy: which of them come back to the brain before they are taken, and the verdict on one.
// Owns: the reading of `@steps("a b")` and what each way of orchestrating makes of it. Pure; never takes a step.
// Others may assume: the same slice names the same steps in the workflow and in an agent host, and a verdict names its step.

import type { PolicySlice } from '../contracts/bundle.ts';
import type { Orchestration } from '../contracts/capability.ts';
import type { Walk } from '../contracts/message.ts';
import type { PolicyRequest, Verdict } from '../contracts/verdict.ts';
import { type Asked, requestOf } from './context.ts';
import { decide } from './evaluate.ts';

/** Centralised: every step comes back; hybrid: those that a policy of the slice names; distributed: none by itself. */
const RETURNS: Readonly<Record<Orchestration, (slice: PolicySlice) => Walk['returns']>> = {
  centralised: () => 'all',
  hybrid: namedSteps,
  distributed: () => [],
};

export const returnsOf = (slice: PolicySlice): Walk['returns'] => RETURNS[slice.capability.orchestration](slice);

function namedSteps({ policies }: PolicySlice): string[] {
  const named = new Set(Object.values(policies).flatMap(({ annotations }) => (annotations?.['steps'] ?? '').split(' ')));
  return [...named].filter((step) => step !== '').sort().slice(0, 32);
}

/** Whether the step may be taken: the policy of `dispatch` is asked, with the step among its facts. */
export const stepRequest = (step: string, asked: Omit<Asked, 'action' | 'step'>): PolicyRequest => requestOf({ ...asked, action: 'dispatch', step });

export function decideStep(slice: PolicySlice, request: PolicyRequest): Verdict {
  return { ...decide(slice, request), step: String(request.context['step']) };
}
