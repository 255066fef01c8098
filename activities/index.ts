// The hands of the governing workflow: `createHands(ports)` gives Temporal the functions it calls by name.
// Owns: which port each activity touches, tracing, and the funnel of errors. The work is in open, dispatch, settle, approve.
// Never decides: verdicts are made in the workflow. Others may assume: every activity may run again and answers the same.

import { CompleteAsyncError, Context } from '@temporalio/activity';
import type { GovernedActivities, OpenedGroup, OpenedMember } from '../contracts/governed.ts';
import { prepareApproval, recheck, recordAttempt } from './approve.ts';
import { collectOutcome, dispatchGroup, publishAgain } from './dispatch.ts';
import { guarded } from './failure.ts';
import { openGroup, pin } from './open.ts';
import { createPatience, type Patience } from './patience.ts';
import type { ActivityPorts } from './ports.ts';
import { settleGroup } from './settle.ts';

export type { ActivityPorts } from './ports.ts';

export interface Hands {
  readonly activities: GovernedActivities;
  /** For the brain that starts a group: what `openGroup` would answer, without a step of the workflow. */
  readonly pin: (capability: string, members: readonly OpenedMember[]) => Promise<OpenedGroup>;
}

export function createHands(ports: ActivityPorts): Hands {
  const patience = createPatience();
  return { activities: createActivities(ports, patience), pin: (capability, members) => pin(ports, patience, capability, members) };
}

export function createActivities(ports: ActivityPorts, patience: Patience = createPatience()): GovernedActivities {
  return {
    openGroup: (args) => guarded(() => openGroup(ports, patience, args)),
    dispatchGroup: (args) => guarded(() => ports.tracer.span('dispatch', { parent: args.members[0]?.trace, attributes: { capability: args.capability, members: args.members.length } }, () => dispatchGroup(ports, patience, args, Context.current().cancellationSignal))),
    collectOutcome: (args) => guarded(() => collectOutcome(ports, patience, args)),
    prepareApproval: (args) => guarded(() => {
      ports.leftFastLane(Context.current().info.workflowExecution?.workflowId ?? '');
      return prepareApproval(ports, args);
    }),
    recheck: (args) => guarded(() => recheck(ports, args)),
    settleGroup: (args) => guarded(() => ports.tracer.span('settle', { parent: args.members[0]?.trace, attributes: { capability: args.capability, members: args.members.length } }, () => settleGroup(ports, args))),
    checkDecision: (args) => guarded(async () => ({ verified: ports.decisionToken({ tenant: args.tenant, task: args.taskId, approval: args.approval, action: args.actionDigest, by: args.by, decision: args.decision, said: args.said }, args.token) })),
    recordAttempt: (args) => guarded(() => recordAttempt(ports, args)),
    attestDecision: (args) => guarded(async () => {
      const principal = await ports.approvals.principalOf?.(args);
      return principal === undefined ? {} : { principal };
    }),
    awaitOutcome: (args) => guarded(() => awaitOutcome(args)),
  };

  /** Registers the token, then looks: an outcome that came between `pending` and here is found, one that comes later finds the token. */
  async function awaitOutcome(args: Parameters<GovernedActivities['awaitOutcome']>[0]): Promise<{ readonly arrived: string }> {
    const { info } = Context.current();
    const envelopeId = ports.envelopeId(args.tenant, args.member.taskId, args.member.attempt, args.member.rung);
    if (info.attempt > 1) await publishAgain(ports, args);
    await ports.tokens.put(args.tenant, args.member.taskId, envelopeId, info.taskToken);
    const stored = await ports.outcomes.find(args.tenant, args.member.taskId, envelopeId);
    if (stored === undefined) throw new CompleteAsyncError();
    await ports.tokens.delete(args.tenant, args.member.taskId, envelopeId);
    return { arrived: envelopeId };
  }
}
