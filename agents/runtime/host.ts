// The agent host: agents, mailboxes and ephemeral capabilities of one process, wired over the ports.
// Owns: start, drain, what is in hand, and the routing of a delivery to its agent. Knows no vendor and opens nothing but subscriptions.
// Never drops a message: each delivery ends in an outcome, a dead letter, or back in its mailbox.
// Others may assume: after `drain` nothing is held, nothing is subscribed and every lease is given back.

import type { AnyAgent } from '../../contracts/agent.ts';
import { parseMailboxSubject, PARTITIONS, patterns, tenantOf } from '../../contracts/address.ts';
import { fail, isAiosError, toErrorBody } from '../../contracts/errors.ts';
import type { CapabilityRegistry, DeadLetterReason, MailboxDelivery } from '../../contracts/ports.ts';
import type { Envelope } from '../../contracts/message.ts';
import { createRegistry } from '../registry.ts';
import { type Cells, compileKind, createCells, type Kind } from './cells.ts';
import { composeChain, type Interceptor, metering, tracing } from './chain.ts';
import { createDeadlines } from './deadlines.ts';
import { checkAddressed, parseEnvelope } from './envelope.ts';
import { createPartitions, LEASELESS, type Partitions } from './partitions.ts';
import { type AgentPorts, compileLimits, type HostLimits } from './ports.ts';
import { serveAsk, type Served } from './serve.ts';
import { listeningOf, subscribeTopic } from './topics.ts';
import { backoffMs } from './supervision.ts';
import { tellLost } from './watches.ts';
import { addLetter, runTurn, type Tenure, type TurnPorts } from './turn.ts';

export interface AgentHostOptions {
  readonly agents: readonly AnyAgent[];
  /** Unique among the hosts of a deployment; the owner of its leases. */
  readonly name: string;
  /** `'*'`: the only host, no leases. `'leased'`: shares the 64 partitions with the other hosts. */
  readonly partitions: '*' | 'leased';
  /** Only these partitions, for a host that is pinned by placement; all when absent. Hosts that share must agree. */
  readonly eligible?: readonly number[];
  /** Which kind handles which capability, beyond this host's own agents; for durable asks. */
  readonly registry?: CapabilityRegistry;
  /** Policy and budget hooks; run inside tracing and metering, around every turn, ask served and ask sent. */
  readonly intercept?: readonly Interceptor[];
  readonly limits?: Partial<HostLimits>;
  /** Told about faults that an agent's supervision escalates, and about poison. */
  readonly onEscalation?: (agent: string, id: string, thrown: unknown) => void;
}

export interface HostView {
  readonly name: string;
  readonly partitions: '*' | readonly number[];
  readonly agents: number;
  readonly running: number;
  readonly inHand: number;
  readonly draining: boolean;
}

export interface AgentHost extends AsyncDisposable {
  start(): Promise<void>;
  /** Stops taking work, lets running turns end within `drainMs`, gives everything else back. */
  drain(): Promise<void>;
  inspect(): HostView;
  /** The agents in memory, for people: `kind/id`, partition, turns, queue. At most `limit`. */
  agents(limit: number): readonly AgentView[];
}
export interface AgentView {
  readonly tenant: string;
  readonly kind: string;
  readonly id: string;
  readonly partition: number;
  readonly turns: number;
  readonly queued: number;
  readonly running: boolean;
  readonly restarts: number;
  readonly stoppedUntil: number;
  /** `kind/id` of those it spawned, in memory or not. */
  readonly children: readonly string[];
  /** What it has become; empty: nothing. */
  readonly behaviour: string;
  readonly stashed: number;
}

const ALL_PARTITIONS: readonly number[] = Array.from({ length: PARTITIONS }, (_, partition) => partition);

/** @throws AIOS_CONFIG_INVALID when two agents share a kind or a capability, or listen to too many events */
export function createAgentHost(ports: AgentPorts, options: AgentHostOptions): AgentHost {
  const limits = compileLimits(options.limits);
  const kinds = compileKinds(options.agents);
  const registry = options.registry ?? createRegistry(options.agents);
  const chain = composeChain([tracing(ports.tracer), metering(ports.metrics, ports.clock), ...(options.intercept ?? [])]);
  const onEscalation = options.onEscalation ?? (() => undefined);
  const host: TurnPorts = { ...ports, timers: ports.timers, registry, chain, limits, deadlines: createDeadlines(ports.clock), onEscalation };
  const cells = createCells({ turnsMax: limits.turnsMax, agentsMax: limits.agentsMax, now: () => ports.clock.now() });
  const inHand = new Map<MailboxDelivery, Tenure>();
  const heard = listeningOf(options.agents);
  let asks = 0;
  const router: Router = { host, kinds, cells, inHand };
  const subscriptions: AsyncDisposable[] = [];
  const cancels: (() => void)[] = [];
  let partitions: Partitions | undefined;
  let draining = false;
  let drained: Promise<void> | undefined;

  /** One loop over all held deliveries is cheaper than a timer for each. */
  function every(ms: number, run: () => void): void {
    let cancel = nothing;
    const again = (): void => {
      run();
      cancel = ports.clock.after(ms, again);
    };
    cancel = ports.clock.after(ms, again);
    cancels.push(() => cancel());
  }

  /** Mailboxes last: a turn that waited in one may ask a capability, or publish an event, before this function is through. */
  async function serveAll(): Promise<void> {
    for (const served of ephemeralOf(options.agents)) {
      subscriptions.push(await ports.bus.subscribe(patterns.capability(served.capability.id), { queue: 'agents', concurrencyMax: limits.ephemeralMax }, (message) => {
        asks++;
        return serveAsk(host, served, message).finally(() => asks--);
      }));
    }
    for (const listening of heard) subscriptions.push(await subscribeTopic(host, listening));
    await serveMailboxes();
  }

  async function serveMailboxes(): Promise<void> {
    if (options.partitions === '*') {
      subscriptions.push(await ports.mailboxes.consume('*', { inFlightMax: limits.turnsMax }, (delivery) => route(router, delivery, LEASELESS)));
      return;
    }
    partitions = createPartitions(ports, { name: options.name, leaseMs: limits.leaseMs, acquireStepMax: limits.acquireStepMax, eligible: options.eligible ?? ALL_PARTITIONS, drainMs: limits.drainMs, serve: servePartition, onOrphaned });
    await partitions.start();
  }

  function onOrphaned(lost: ReadonlySet<number>): void {
    void tellLost(host, lost).catch((error: unknown) => ports.logger.warn({ error: toErrorBody(error).code }, 'watchers are not told'));
  }

  async function servePartition(partition: number, tenure: Tenure): Promise<(patienceMs: number) => Promise<void>> {
    const mine = new Set<Promise<void>>();
    const subscription = await ports.mailboxes.consume(partition, { inFlightMax: limits.partitionInFlightMax }, (delivery) => {
      const turn = route(router, delivery, tenure).finally(() => mine.delete(turn));
      mine.add(turn);
      return turn;
    });
    return async (patienceMs) => {
      await subscription[Symbol.asyncDispose]();
      if (patienceMs > 0) await within(ports, patienceMs, Promise.all(mine));
      cells.forget(partition);
    };
  }

  async function drain(): Promise<void> {
    draining = true;
    await Promise.all(subscriptions.splice(0).map((subscription) => subscription[Symbol.asyncDispose]()));
    await partitions?.stop();
    const rest = (): boolean => inHand.size === 0 && asks === 0;
    if (!rest()) await within(ports, limits.drainMs, idle(ports, rest));
    for (const cancel of cancels.splice(0)) cancel();
    cells.forget('*');
  }

  return {
    async start() {
      every(limits.progressMs, () => inHand.forEach((tenure, delivery) => tenure.lost || delivery.working()));
      every(1_000, () => sweep(host, cells));
      await serveAll();
    },
    drain: () => (drained ??= drain()),
    [Symbol.asyncDispose]: () => (drained ??= drain()),
    inspect: () => ({ name: options.name, partitions: options.partitions === '*' ? '*' : (partitions?.held ?? []), agents: cells.size, running: cells.running, inHand: inHand.size + asks, draining }),
    agents: (limit) => viewOf(cells, limit),
  };
}

interface Router {
  readonly host: TurnPorts;
  readonly kinds: ReadonlyMap<string, Kind>;
  readonly cells: Cells;
  readonly inHand: Map<MailboxDelivery, Tenure>;
}

/** From the mailbox to the agent's queue. Never rejects. */
async function route(router: Router, delivery: MailboxDelivery, tenure: Tenure): Promise<void> {
  const { host, inHand } = router;
  inHand.set(delivery, tenure);
  try {
    await deliver(router, delivery, tenure);
  } catch (error) {
    host.logger.warn({ subject: delivery.subject, error: isAiosError(error) ? error.code : 'unknown' }, 'delivery given back');
    delivery.nak(backoffMs({ backoffMs: 100, backoffMsMax: 5_000 }, delivery.attempt, host.random.next()));
  } finally {
    inHand.delete(delivery);
  }
}

async function deliver({ host, kinds, cells }: Router, delivery: MailboxDelivery, tenure: Tenure): Promise<void> {
  const address = parseMailboxSubject(delivery.subject);
  if (address === undefined) return refuse(host, delivery, 'malformed', fail('AIOS_INPUT_INVALID', 'the subject is no mailbox.'));
  let envelope: Envelope;
  try {
    envelope = parseEnvelope(delivery.data);
    checkAddressed(envelope, address);
  } catch (error) {
    return refuse(host, delivery, toErrorBody(error).code === 'AIOS_TENANT_MISMATCH' ? 'policy' : 'malformed', error);
  }
  const kind = kinds.get(address.kind);
  if (kind === undefined) return refuse(host, delivery, 'unknown-kind', fail('AIOS_AGENT_UNKNOWN'), envelope);
  const cell = cells.ensure(address, kind);
  const turn = cells.enqueue(cell, () => runTurn(host, { cell, delivery, envelope, tenure }));
  if (turn !== undefined) return turn;
  host.metrics.count('aios_agent_mailbox_full_total', { agent: address.kind });
  delivery.nak(backoffMs({ backoffMs: 200, backoffMsMax: 5_000 }, delivery.attempt, host.random.next()));
}

/** What no agent can be asked: a letter for a person, and a failed outcome when somebody who can be named waits. */
async function refuse(host: TurnPorts, delivery: MailboxDelivery, reason: DeadLetterReason, error: unknown, envelope?: Envelope): Promise<void> {
  const body = toErrorBody(error);
  await addLetter(host, delivery, reason, body.code, envelope, tenantOf(delivery.subject));
  if (envelope !== undefined) await host.outcomes.publish({ v: 1, status: 'failed', id: envelope.id, task: envelope.task, tenant: envelope.tenant, error: { ...body }, receipts: [], costMicroUsd: 0 });
  delivery.term(reason);
}

function compileKinds(agents: readonly AnyAgent[]): ReadonlyMap<string, Kind> {
  const kinds = new Map<string, Kind>();
  for (const agent of agents) {
    if (kinds.has(agent.kind)) throw fail('AIOS_CONFIG_INVALID', `two agents are named ${agent.kind}.`);
    if (agent.onStart !== undefined && !hasMailbox(agent)) throw fail('AIOS_CONFIG_INVALID', `${agent.kind} has onStart but is never activated: all it handles is ephemeral.`);
    kinds.set(agent.kind, compileKind(agent));
  }
  return kinds;
}

const hasMailbox = (agent: AnyAgent): boolean => (agent.events?.size ?? 0) > 0 || [...agent.handlers.values()].some(({ capability }) => capability.delivery === 'durable');

function* ephemeralOf(agents: readonly AnyAgent[]): Iterable<Served> {
  for (const agent of agents) {
    for (const { capability, handle } of agent.handlers.values()) {
      if (capability.delivery === 'ephemeral') yield { agent, capability, handle };
    }
  }
}

function sweep(host: TurnPorts, cells: Cells): void {
  const left = cells.sweep(host.clock.now());
  if (left > 0) host.metrics.count('aios_agents_passivated_total', {}, left);
  host.metrics.gauge('aios_agents_active', cells.size);
}

function viewOf(cells: Cells, limit: number): AgentView[] {
  const views: AgentView[] = [];
  for (const cell of cells.all()) {
    if (views.length >= limit) break;
    const { tenant, kind, id, partition } = cell.address;
    views.push({ tenant, kind, id, partition, turns: cell.record?.turn ?? 0, queued: cell.queue?.length ?? 0, running: cell.running, restarts: cell.intensity?.count ?? 0, stoppedUntil: cell.stoppedUntil, children: cell.record?.children ?? [], behaviour: cell.record?.behaviour ?? '', stashed: cell.record?.stash?.length ?? 0 });
  }
  return views;
}

async function within(ports: Pick<AgentPorts, 'clock'>, ms: number, work: Promise<unknown>): Promise<void> {
  const enough = new AbortController();
  await Promise.race([work.finally(() => enough.abort()), ports.clock.sleep(ms, enough.signal)]);
}

/** Polls: a drain happens once in the life of a host. */
async function idle(ports: Pick<AgentPorts, 'clock'>, done: () => boolean): Promise<void> {
  for (let i = 0; i < 10_000 && !done(); i++) await ports.clock.sleep(10);
}

const nothing = (): void => undefined;
