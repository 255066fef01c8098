// The walk of a team in one turn: step after step by its plan, as far as the envelope and policy allow.
// Owns: when a step may be taken here, and when the walk comes back to the brain with the answers so far.
// Never decides against policy: what the local copy does not plainly allow is the brain's to say.
// Others may assume: the same answers lead to the same steps in one turn or in several, every step taken here is reported,
// and only the brain's workflow can grant one that comes back.

import type { AnyTeam } from '../../contracts/agent.ts';
import { canonicalBytes } from '../../contracts/canonical.ts';
import type { Capability } from '../../contracts/capability.ts';
import { fail, hasCode } from '../../contracts/errors.ts';
import type { VerifiedMandate } from '../../contracts/mandate.ts';
import { type Envelope, type StepReport, WALK_BYTES_MAX } from '../../contracts/message.ts';
import type { Clock, PolicyStore } from '../../contracts/ports.ts';
import type { WalkPoint } from '../../contracts/task.ts';
import type { Facts } from '../../contracts/verdict.ts';
import { decideStep, stepRequest } from '../../policies/steps.ts';
import { follow } from '../teams/follow.ts';
import type { OpenContext } from './context.ts';

export interface WalkPorts {
  readonly clock: Clock;
  readonly policies?: Pick<PolicyStore, 'slice'> | undefined;
}
export interface Walking {
  readonly capability: Capability;
  readonly envelope: Envelope;
  readonly mandate: VerifiedMandate;
  readonly opened: OpenContext;
}

/** The output; undefined when the walk came back, with where it stands in what the turn gathered. */
export async function walk(ports: WalkPorts, team: AnyTeam, input: unknown, walking: Walking): Promise<unknown> {
  const { envelope, opened } = walking;
  let granted = envelope.walk?.granted;
  const gate = (step: string, facts: Facts): Promise<boolean> | boolean => {
    const isGranted = step === granted;
    granted = undefined;
    return isGranted || mayTake(ports, walking, step, facts);
  };
  const followed = await follow(team, input, opened.context, gate, envelope.walk?.seen);
  if ('output' in followed) return followed.output;
  opened.gathered.stand = checkedStand(walking, followed.held);
  return undefined;
}

/** Reported before it is taken: a step that fails was allowed all the same. */
async function mayTake(ports: WalkPorts, walking: Walking, step: string, facts: Facts): Promise<boolean> {
  const { gathered } = walking.opened;
  const returns = walking.envelope.walk?.returns ?? [];
  if (returns === 'all' || returns.includes(step)) return false;
  const report: StepReport = { step, facts, costMicroUsd: gathered.costMicroUsd, deadlineMsLeft: Math.max(0, walking.envelope.deadline - ports.clock.now()) };
  if (!(await isAllowed(ports, walking, report))) return false;
  gathered.steps.push(report);
  return true;
}

/** By the bundle in force here. A host that has none leaves every step to the brain. */
async function isAllowed(ports: WalkPorts, { capability, envelope, mandate }: Walking, { step, facts, costMicroUsd, deadlineMsLeft }: StepReport): Promise<boolean> {
  const slice = await ports.policies?.slice(capability.id).catch((thrown: unknown) => {
    if (hasCode(thrown, 'AIOS_POLICY_MISSING') || hasCode(thrown, 'AIOS_CAPABILITY_UNKNOWN')) return undefined;
    throw thrown;
  });
  if (slice === undefined) return false;
  const standing = { costMicroUsd, reservedMicroUsd: mandate.grant.budgetMicroUsd, rung: envelope.rung, deadlineMsLeft, approved: false };
  return decideStep(slice, stepRequest(step, { principal: envelope.principal, capability, facts, standing })).kind === 'allow';
}

/** Only a task itself can come back; a team that another agent asked has nobody to come back to. */
function checkedStand({ capability, envelope }: Walking, held: WalkPoint): WalkPoint {
  if (envelope.depth > 0) throw fail('AIOS_POLICY_DENIED', `The step ${held.step} of ${capability.id} needs a verdict of the brain.`);
  const bytes = canonicalBytes(held.seen).byteLength;
  if (bytes > WALK_BYTES_MAX) throw fail('AIOS_AGENT_FAULT', `the answers before the step ${held.step} take ${bytes} bytes, at most ${WALK_BYTES_MAX}.`);
  return held;
}
