// What the hands of the governing workflow need: ports only, handed in by the composition root.
// Owns: the list. Never opens anything.
// Others may assume: an activity touches nothing that is not named here.

import type { Budgets, CapabilityRegistry, Clock, Dispatcher, Effects, Ledger, Logger, Mandates, Metrics, Outcomes, PolicyStore, Random, TaskDirectory, Tracer, WaitTokens } from '../contracts/ports.ts';
import type { AttestArgs } from '../contracts/governed.ts';
import type { Obligations } from '../contracts/verdict.ts';
import type { TaskResult } from '../contracts/task.ts';
import type { Principal, Verdict } from '../contracts/verdict.ts';
import type { DecisionClaim } from '../policies/approval-effect.ts';

/** Made-up approvals that should be refused, beside real ones, to see whether people look. */
export interface Canaries {
  /** Of 10,000 approvals, how many get one beside them. */
  readonly rateBp: number;
  readonly random: Random;
  /** Where a canary says it came from: nobody without the brain's key can make one up, and nobody can tell it from a group's id. */
  from(capability: string, taskId: string): string;
  /** Starts one that looks like the approval it stands beside. */
  open(beside: { readonly tenant: string; readonly capability: string; readonly requester: Principal; readonly verdict: Extract<Verdict, { readonly kind: 'escalate' }> }): Promise<void>;
}

export interface ApprovalPorts {
  /** Decisions count only where it is proven who made them. */
  readonly provenOnly: boolean;
  /** Who the server says sent an Update or Signal of an approval; absent where the server attests nobody. */
  readonly principalOf?: (args: AttestArgs) => Promise<string | undefined>;
  readonly canaries: Canaries;
}

export interface ActivityPorts {
  readonly budgets: Budgets;
  readonly mandates: Mandates;
  readonly dispatcher: Dispatcher;
  readonly outcomes: Outcomes;
  readonly ledger: Ledger;
  readonly effects: Effects;
  readonly policies: PolicyStore;
  readonly registry: CapabilityRegistry;
  readonly directory: TaskDirectory;
  readonly tokens: WaitTokens;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly tracer: Tracer;
  /** Deterministic and unguessable: the same attempt always has the same envelope id, on every brain. */
  readonly envelopeId: (tenant: string, task: string, attempt: number, rung: string) => string;
  /** Proof that the brain issued a slice with this digest; the same on every brain. */
  readonly sealOf: (sliceDigest: string) => string;
  /** Verifies a signed decision token. */
  readonly decisionToken: (claim: DecisionClaim, token: string) => boolean;
  readonly approvals: ApprovalPorts;
  /** Whoever works on the task is told to stop, and its mandates are refused everywhere, until `untilMs` since 1970. */
  readonly revokeTask: (tenant: string, taskId: string, untilMs: number) => Promise<void>;
  /** What every decision of this deployment binds to at least. */
  readonly obligations?: Required<Obligations>;
  /** Told when tasks are settled and on record, a transaction before their workflow's end is stored. */
  readonly settled: (workflowId: string, results: readonly TaskResult[]) => void;
  /** Told when a workflow leaves the fast lane, so that the next group need not wait for it. */
  readonly leftFastLane: (workflowId: string) => void;
}
