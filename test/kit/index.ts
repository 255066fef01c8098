// The test kit: every port of the engine in memory, deterministic under a simulated clock. Exported as `aios/testing`.
// Owns: `createKit` and the door to its parts. Never opens a socket, a file or a timer that keeps a process alive.
// Others may assume: two kits share nothing; two processes on one kit share its servers and nothing else;
// the same seed, clock and calls give the same run.

import { subjects } from '../../contracts/address.ts';
import type { Capability } from '../../contracts/capability.ts';
import type { AgentId, AgentKind, TenantId } from '../../contracts/ids.ts';
import type { Grant } from '../../contracts/mandate.ts';
import type { Envelope, Outcome } from '../../contracts/message.ts';
import { digestOfText } from '../../contracts/canonical.ts';
import { toBytes } from '../../contracts/parse.ts';
import type { Clock, KeyValue, Random, Timers } from '../../contracts/ports.ts';
import { toBase64 } from '../../agents/runtime/envelope.ts';
import type { AgentPorts } from '../../agents/runtime/ports.ts';
import { type BusServer, createBusServer, createMemoryBus } from './bus.ts';
import { realClock } from './clock.ts';
import { directLink, type Link } from './link.ts';
import { createMailboxServer, createMemoryMailboxes, createMemoryTimers, MAILBOX_DEFAULTS, type MailboxOptions, type MailboxServer } from './mailboxes.ts';
import { createTestMandates } from './mandates.ts';
import { createSeededRandom } from './random.ts';
import { createMemoryTopics, createTopicServer, type TopicServer } from './topics.ts';
import { silentLogger, silentMetrics, silentTracer } from './silent.ts';
import { createKeyServer, createLeaseServer, createLetterServer, createMemoryDeadLetters, createMemoryKeyValue, createMemoryLeases, createMemoryOutcomes, createMemoryStateLog, createOutcomeServer, createStateServer, type KeyServer, type LeaseServer, type LetterServer, type OutcomeServer, type StateServer } from './stores.ts';

export * from './bus.ts';
export * from './clock.ts';
export * from './link.ts';
export * from './mailboxes.ts';
export * from './mandates.ts';
export * from './random.ts';
export * from './scripted-model.ts';
export * from './silent.ts';
export * from './stores.ts';
export * from './topics.ts';

export interface KitOptions {
  readonly clock?: Clock;
  readonly seed?: number;
  readonly mailboxes?: Partial<MailboxOptions>;
  /** Sees every appended record, in order. */
  readonly onAppend?: (subject: string, data: Uint8Array) => void;
}
export interface KitServers {
  readonly bus: BusServer;
  readonly mailboxes: MailboxServer;
  readonly topics: TopicServer;
  readonly state: StateServer;
  readonly leases: LeaseServer;
  readonly keys: KeyServer;
  readonly outcomes: OutcomeServer;
  readonly letters: LetterServer;
}
export interface KitPorts extends AgentPorts {
  readonly keyValue: KeyValue;
  readonly timers: Timers;
}
export interface Kit extends KitPorts {
  readonly servers: KitServers;
  /** The ports of one more process, over its own link. */
  connect(link?: Link, random?: Random): KitPorts;
  /** A grant for everything in tests; name what should be narrower. */
  grant(task: string, over?: Partial<Grant>): Grant;
  /** An envelope for a capability with a fresh mandate. */
  envelope(capability: Capability | { readonly id: string }, input: unknown, over?: Partial<Envelope> & { readonly grant?: Partial<Grant> }): Envelope;
  /** Publishes an envelope to the mailbox of an agent and waits for its outcome. */
  dispatch(kind: string, envelope: Envelope, timeoutMs?: number): Promise<Outcome | undefined>;
}

export const TEST_TENANT = 'acme';

export function createKit(options: KitOptions = {}): Kit {
  const clock = options.clock ?? realClock;
  const random = createSeededRandom(options.seed ?? 1);
  const letters = createLetterServer(clock, random);
  const mailboxes = createMailboxServer(clock, random, { ...MAILBOX_DEFAULTS, ...options.mailboxes }, {
    onMaxDeliveries: ({ subject, data, attempts }) => letters.add({ tenant: subject.split('.')[2] ?? 'unknown', reason: 'max-deliveries', code: 'AIOS_QUARANTINED', subject, attempts, data: toBase64(data) }),
  });
  const servers: KitServers = { bus: createBusServer(random), mailboxes, topics: createTopicServer(clock, random, { ...MAILBOX_DEFAULTS, ...options.mailboxes }), state: createStateServer(options.onAppend), leases: createLeaseServer(clock), keys: createKeyServer(), outcomes: createOutcomeServer(), letters };
  const connect = (link: Link = directLink(clock), own: Random = random): KitPorts => portsOver(servers, link, own);
  const ports = connect();
  let made = 0;

  function grant(task: string, over: Partial<Grant> = {}): Grant {
    const now = clock.now();
    return { tenant: TEST_TENANT, task, capabilities: ['*'], dataClass: 'restricted', regions: ['*'], models: ['*'], spaces: ['*'], budgetMicroUsd: 1_000_000, callsMax: 1_000, depthMax: 8, notBefore: now - 1_000, expiresAt: now + 3_600_000, offline: false, policy: digestOfText('policy'), ...over };
  }
  function envelope(capability: { readonly id: string }, input: unknown, over: Partial<Envelope> & { readonly grant?: Partial<Grant> } = {}): Envelope {
    const { grant: narrower, ...rest } = over;
    const n = ++made;
    const task = rest.task ?? `t-${String(n).padStart(10, '0')}`;
    const tenant = rest.tenant ?? TEST_TENANT;
    return {
      v: 1, id: digestOfText(`${task}/${n}`).slice(7, 47), tenant, task, capability: capability.id, actor: task, principal: { id: 'tester', type: 'service', tenant, roles: [] }, rung: 'model',
      deadline: clock.now() + 30_000, mandate: ports.mandates.mint(grant(task, { tenant, ...narrower })), depth: 0, input, ...rest,
    };
  }
  async function dispatch(kind: string, sent: Envelope, timeoutMs = 10_000): Promise<Outcome | undefined> {
    const outcome = ports.outcomes.wait(sent.tenant, sent.task, sent.id, timeoutMs);
    await ports.mailboxes.publish(subjects.mailbox(sent.tenant as TenantId, kind as AgentKind, sent.actor as AgentId), toBytes(sent), { messageId: sent.id });
    return outcome;
  }
  return { ...ports, servers, connect, grant, envelope, dispatch };
}

function portsOver(servers: KitServers, link: Link, random: Random): KitPorts {
  return {
    bus: createMemoryBus(servers.bus, link),
    mailboxes: createMemoryMailboxes(servers.mailboxes, link),
    topics: createMemoryTopics(servers.topics, link),
    stateLog: createMemoryStateLog(servers.state, link),
    leases: createMemoryLeases(servers.leases, link),
    outcomes: createMemoryOutcomes(servers.outcomes, link),
    deadLetters: createMemoryDeadLetters(servers.letters, servers.mailboxes, link),
    keyValue: createMemoryKeyValue(servers.keys, link),
    timers: createMemoryTimers(servers.mailboxes, link),
    mandates: createTestMandates(link.clock),
    clock: link.clock,
    random,
    logger: silentLogger,
    metrics: silentMetrics,
    tracer: silentTracer,
  };
}

