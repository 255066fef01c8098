// What an agent host needs from the world, and the bounds it works within.
// Owns: the list of ports and the defaults of every limit. No behaviour.
// Others may assume: limits are complete and frozen after `compileLimits`; each says what happens at it.

import type { MailboxBounds, Passivation, Supervision } from '../../contracts/agent.ts';
import type { Bus, Clock, DeadLetters, KeyValue, Leases, Logger, Mailboxes, Mandates, Metrics, Outcomes, PolicyStore, Random, StateLog, Timers, Topics, Tracer } from '../../contracts/ports.ts';
import type { Revocations } from '../../policies/mandate.ts';

export interface AgentPorts {
  readonly bus: Bus;
  readonly mailboxes: Mailboxes;
  readonly topics: Topics;
  readonly stateLog: StateLog;
  readonly keyValue: KeyValue;
  readonly leases: Leases;
  readonly outcomes: Outcomes;
  readonly deadLetters: DeadLetters;
  readonly mandates: Mandates;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly tracer: Tracer;
  /** Absent: agents that set durable timers get AIOS_UNAVAILABLE. */
  readonly timers?: Timers;
  /** Absent: a running turn whose mandate is revoked goes on to its end, and everything it asks is refused. */
  readonly revocations?: Revocations;
  /** The policy a team's own steps are judged by. Absent: every step comes back to the brain. */
  readonly policies?: Pick<PolicyStore, 'slice'>;
}

export interface HostLimits {
  /** Turns running at once over all agents; more wait in memory, unacknowledged. */
  readonly turnsMax: number;
  /** Deliveries held per partition (per stream with `'*'`: `turnsMax`); more stay in the mailbox. */
  readonly partitionInFlightMax: number;
  /** Events of one topic that this host passes on at once, for each kind that listens. */
  readonly topicInFlightMax: number;
  /** Asks served at once per ephemeral capability; more are answered AIOS_OVERLOADED. */
  readonly ephemeralMax: number;
  /** A turn takes no longer, however far away its deadline is; then it ends like one whose deadline passed. */
  readonly turnMsMax: number;
  /** Agents in memory; past it the longest idle ones leave it. */
  readonly agentsMax: number;
  /** A delivery seen more often than this is a dead letter before it is handled: it may be what kills the process. */
  readonly deliveriesMax: number;
  /** Tries of a message after transient failures of what it needs; then the failure is the outcome and the brain's ladder goes on. */
  readonly transientTriesMax: number;
  /** Writers that got there first; past it the message goes back to its mailbox. */
  readonly conflictsMax: number;
  /** How often a held delivery says it is still at it; at most a third of the ack wait. */
  readonly progressMs: number;
  /** Life of leases; renewed by the port, lost for good when the port says so. */
  readonly leaseMs: number;
  /** How long a drain waits for running turns before it gives their messages back. */
  readonly drainMs: number;
  /** Partitions taken in one step, so that a joining or surviving host does not take all at once. */
  readonly acquireStepMax: number;
}

export const DEFAULT_LIMITS: HostLimits = Object.freeze({
  turnsMax: 256,
  partitionInFlightMax: 16,
  topicInFlightMax: 16,
  ephemeralMax: 64,
  turnMsMax: 900_000,
  agentsMax: 100_000,
  deliveriesMax: 10,
  transientTriesMax: 4,
  conflictsMax: 3,
  progressMs: 5_000,
  leaseMs: 3_000,
  drainMs: 4_000,
  acquireStepMax: 16,
});
export const DEFAULT_SUPERVISION: Supervision = Object.freeze({ onFault: 'restart', faultsMax: 3, restartsMax: 3, withinMs: 30_000, backoffMs: 100, backoffMsMax: 5_000 });
/** Agents with state are worth keeping; one that lives for a task is not. */
export const DEFAULT_PASSIVATION: { readonly stateful: Passivation; readonly stateless: Passivation } = Object.freeze({ stateful: { idleMs: 120_000 }, stateless: { idleMs: 5_000 } });
export const DEFAULT_MAILBOX: MailboxBounds = Object.freeze({ messagesMax: 64 });

export const compileLimits = (limits: Partial<HostLimits> = {}): HostLimits => Object.freeze({ ...DEFAULT_LIMITS, ...limits });
