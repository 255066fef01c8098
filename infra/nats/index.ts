// The door of infra/nats: one call opens the connection, makes sure the streams exist and returns every port.
// Owns: the order of opening and closing. Never reads settings: the process passes what it read.
// Others may assume: `connectPorts` resolves when every port works, and disposing it drains and closes the one connection.

import { startBudgetRoots } from '../../agents/budget/roots.ts';
import type { BudgetTerms } from '../../contracts/budget.ts';
import type { PolicyBundle } from '../../contracts/bundle.ts';
import type { BudgetRoots, Bus, CapabilityRegistry, DeadLetters, Dispatcher, KeyValue, Leases, Mailboxes, Outcomes, SignatureVerifier, StateLog, TaskDirectory, Timers, Topics, WaitTokens } from '../../contracts/ports.ts';
import { termsOf } from '../../policies/budget.ts';
import { createBlobs } from './blobs.ts';
import { createBus } from './bus.ts';
import { connectNats, type ConnectOptions, type NatsLink } from './connect.ts';
import { closeMaxDeliveries, createDeadLetters } from './dead-letters.ts';
import { createDispatcher } from './dispatcher.ts';
import { createKeyValue } from './key-value.ts';
import { createLeases } from './leases.ts';
import { createMailboxes } from './mailboxes.ts';
import { createOutcomes } from './outcomes.ts';
import { createPolicyStore, type NatsPolicyStore } from './policy-store.ts';
import { createStateLog } from './state-log.ts';
import { createTaskDirectory } from './task-directory.ts';
import { createTimers, moveDueTimers } from './timers.ts';
import { createTopics } from './topics.ts';
import { awaitTopology, ensureTopology } from './topology.ts';
import { createWaitTokens } from './wait-tokens.ts';

export interface NatsPorts extends AsyncDisposable {
  readonly link: NatsLink;
  readonly bus: Bus;
  readonly mailboxes: Mailboxes;
  readonly topics: Topics;
  readonly stateLog: StateLog;
  readonly leases: Leases;
  readonly keyValue: KeyValue;
  readonly outcomes: Outcomes;
  readonly deadLetters: DeadLetters;
  readonly timers: Timers;
  readonly taskDirectory: TaskDirectory;
  readonly waitTokens: WaitTokens;
  dispatcher(registry: CapabilityRegistry): Dispatcher;
  /** Believes bundles signed by keys this verifier knows; dispose it before the ports. */
  policyStore(verifier: SignatureVerifier): NatsPolicyStore;
  /** Caps and limits come from the bundle in force: `budgets[tenant]`, else `budgets['*']`, else nothing may be spent. `holds: false` only asks who holds a root. */
  budgets(policies: Pick<NatsPolicyStore, 'bundle'>, options?: { readonly name?: string; readonly holds?: boolean }): Promise<BudgetRoots>;
  /** Housekeeping that some process must do: due timers into mailboxes, stuck messages into dead letters. The agent host runs it. */
  startKeepers(): Promise<AsyncDisposable>;
}

export interface PortsOptions extends ConnectOptions {
  /** False where the host's role may not create streams: they must be there, or come. */
  readonly provision?: boolean;
}

/** @throws AIOS_DISCONNECTED, AIOS_SERVER_TOO_OLD, AIOS_UNAUTHENTICATED, AIOS_CONFIG_INVALID, AIOS_UNAVAILABLE */
export async function connectPorts(options: PortsOptions): Promise<NatsPorts> {
  const link = await connectNats(options);
  try {
    await (options.provision === false ? awaitTopology(link) : ensureTopology(link));
    return createPorts(link);
  } catch (error) {
    await link[Symbol.asyncDispose]();
    throw error;
  }
}

export function createPorts(link: NatsLink): NatsPorts {
  const blobs = createBlobs(link);
  const keyValue = createKeyValue(link);
  const bus = createBus(link);
  const mailboxes = createMailboxes(link, blobs);
  const deadLetters = createDeadLetters(link, blobs);
  const outcomes = createOutcomes(link, blobs, deadLetters);
  const stateLog = createStateLog(link);
  const leases = createLeases(link, keyValue);
  return {
    link, bus, mailboxes, keyValue, deadLetters, outcomes, stateLog,
    leases,
    timers: createTimers(link),
    topics: createTopics(link, blobs),
    taskDirectory: createTaskDirectory(link, keyValue),
    waitTokens: createWaitTokens(keyValue),
    dispatcher: (registry) => createDispatcher(mailboxes, registry),
    policyStore: (verifier) => createPolicyStore(link, keyValue, verifier),
    budgets: (policies, { name = link.name, holds = true } = {}) => startBudgetRoots({ stateLog, bus, leases, clock: link.clock, random: link.random, metrics: link.metrics, logger: link.logger, name, holds, termsOf: async (tenant) => cachedTerms(await policies.bundle(), tenant) }),
    async startKeepers() {
      const keepers = await Promise.all([moveDueTimers(link), closeMaxDeliveries(link, { deadLetters, blobs, publishOutcome: (outcome) => outcomes.publish(outcome) })]);
      return { async [Symbol.asyncDispose]() { await Promise.all(keepers.map((keeper) => keeper[Symbol.asyncDispose]())); } };
    },
    async [Symbol.asyncDispose]() {
      await outcomes[Symbol.asyncDispose]();
      await bus[Symbol.asyncDispose]();
      await link[Symbol.asyncDispose]();
    },
  };
}

/** A bundle in force is one object for as long as it is, so each tenant's terms are too. */
const termsByBundle = new WeakMap<PolicyBundle, Map<string, BudgetTerms>>();
function cachedTerms(bundle: PolicyBundle, tenant: string): BudgetTerms {
  const known = termsByBundle.get(bundle) ?? new Map<string, BudgetTerms>();
  termsByBundle.set(bundle, known);
  const terms = known.get(tenant) ?? termsOf(bundle, tenant);
  if (known.size < TERMS_MAX) known.set(tenant, terms);
  return terms;
}
const TERMS_MAX = 4_096;
