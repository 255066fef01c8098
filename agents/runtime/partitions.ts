// Partitions: which of the 64 this host owns, and for how long.
// Owns: membership, the fair share, taking and giving back, tenure. Renewal and self-fencing are inside the Leases port.
// Never serves a partition without a lease; never keeps one it was told is lost. Others may assume: `onGained` runs before the first
// delivery of a tenure, `onLost` after its last, and a partition given back by choice was drained first.

import type { Bus, Clock, Lease, Leases, Logger, Metrics, Random } from '../../contracts/ports.ts';
import { openNeighbours } from './neighbours.ts';
import type { Tenure } from './turn.ts';

export interface PartitionPorts {
  readonly bus: Bus;
  readonly leases: Leases;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
}
export interface PartitionOptions {
  readonly name: string;
  readonly leaseMs: number;
  readonly acquireStepMax: number;
  /** Partitions this host may own: all 64, or those an edge box is pinned to. */
  readonly eligible: readonly number[];
  /** Starts consuming; the returned function stops it and resolves when the running turns have ended or `patienceMs` has passed. */
  readonly serve: (partition: number, tenure: Tenure) => Promise<(patienceMs: number) => Promise<void>>;
  readonly drainMs: number;
  /** Told after these partitions were taken from an owner that did not give them back. */
  readonly onOrphaned: (partitions: ReadonlySet<number>) => void;
}
export interface Partitions {
  start(): Promise<void>;
  /** Drains and gives back everything. */
  stop(): Promise<void>;
  readonly held: readonly number[];
}

interface Held {
  readonly lease: Lease;
  readonly stop: (patienceMs: number) => Promise<void>;
}

const TAKEN_AT_ONCE = 8;
export const HOST_LEASE = 'host.';
export const PARTITION_LEASE = 'partition.';

export function createPartitions(ports: PartitionPorts, options: PartitionOptions): Partitions {
  const { leases, clock, random, logger, metrics } = ports;
  const held = new Map<number, Held>();
  const orphaned = new Set<number>();
  const stopping = new AbortController();
  let membership: Lease | undefined;
  let loop: Promise<void> | undefined;
  let tick = Promise.resolve();
  let overSince: number | undefined;
  let wake = new AbortController();
  let members: readonly string[] = [];
  let neighbours: Awaited<ReturnType<typeof openNeighbours>> | undefined;
  let looking: Promise<void> | undefined;
  let watching: AsyncDisposable | undefined;

  /** One look at who holds what, then at most a step towards the fair share. */
  async function rebalance(): Promise<void> {
    if (membership === undefined || membership.lost.aborted) membership = await leases.acquire(`${HOST_LEASE}${options.name}`, options.name, options.leaseMs);
    const holders = await leases.holders();
    const hosts = new Set([options.name]);
    const taken = new Set<number>();
    for (const [name, { owner }] of holders) {
      if (name.startsWith(HOST_LEASE)) hosts.add(owner);
      // A lease of our own that we gave up (a stall, a broken connection) is ours to take again, under a new fence.
      else if (name.startsWith(PARTITION_LEASE) && owner !== options.name) taken.add(Number(name.slice(PARTITION_LEASE.length)));
    }
    members = [...hosts];
    const share = Math.ceil(options.eligible.length / hosts.size);
    if (held.size > share) return giveBackInTime(held.size - share);
    overSince = undefined;
    const free = options.eligible.filter((partition) => !taken.has(partition) && !held.has(partition));
    await take(shuffled(free, random).slice(0, Math.min(options.acquireStepMax, share - held.size)));
  }

  /** A host that died and came back counts twice until its old membership expires; nobody should move partitions for that. */
  async function giveBackInTime(count: number): Promise<void> {
    overSince ??= clock.monotonic();
    if (clock.monotonic() - overSince < options.leaseMs) return;
    overSince = undefined;
    await giveBack(count);
  }

  /** A few at a time: one by one a takeover would take as long as a hundred round trips. */
  async function take(partitions: readonly number[]): Promise<void> {
    for (let at = 0; at < partitions.length && !stopping.signal.aborted; at += TAKEN_AT_ONCE) {
      const results = await Promise.allSettled(partitions.slice(at, at + TAKEN_AT_ONCE).map(takeOne));
      const failed = results.find((result) => result.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
    }
    metrics.gauge('aios_agent_partitions', held.size);
    if (orphaned.size > 0) options.onOrphaned(new Set(orphaned));
    orphaned.clear();
  }

  async function takeOne(partition: number): Promise<void> {
    const lease = await leases.acquire(`${PARTITION_LEASE}${partition}`, options.name, options.leaseMs);
    if (lease === undefined || lease.lost.aborted) return;
    const stop = await serveOrRelease(partition, lease);
    held.set(partition, { lease, stop });
    if (lease.orphaned) orphaned.add(partition);
    if (lease.lost.aborted) await lost(partition, lease);
    else lease.lost.addEventListener('abort', () => void lost(partition, lease), { once: true });
  }

  /** A lease nobody serves under must not be kept alive. */
  async function serveOrRelease(partition: number, lease: Lease): Promise<Held['stop']> {
    try {
      return await options.serve(partition, tenureOf(lease));
    } catch (error) {
      await letGo(lease);
      throw error;
    }
  }

  /** When the server cannot be told, the lease ends by its time: it is not renewed any more. */
  async function letGo(lease: Lease): Promise<void> {
    await lease.release().catch((error: unknown) => logger.warn({ lease: lease.name, error: error instanceof Error ? error.name : 'unknown' }, 'lease left to expire'));
  }

  /** No patience: another host may own it already, and what runs here cannot be written any more. */
  async function lost(partition: number, lease: Lease): Promise<void> {
    const entry = held.get(partition);
    if (entry?.lease !== lease) return;
    held.delete(partition);
    logger.warn({ partition, fence: lease.fence }, 'partition lost');
    await entry.stop(0).catch((error: unknown) => logger.warn({ partition, error: error instanceof Error ? error.name : 'unknown' }, 'partition not closed cleanly'));
  }

  async function giveBack(count: number): Promise<void> {
    const leaving = shuffled([...held.keys()], random).slice(0, count);
    await Promise.all(leaving.map(release));
    metrics.gauge('aios_agent_partitions', held.size);
  }

  async function release(partition: number): Promise<void> {
    const entry = held.get(partition);
    if (entry === undefined) return;
    held.delete(partition);
    await entry.stop(options.drainMs);
    await letGo(entry.lease);
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      tick = rebalance().catch((error: unknown) => logger.warn({ error: error instanceof Error ? error.name : 'unknown' }, 'rebalance failed'));
      await tick;
      // A third of a lease's life, spread, so that hosts do not all reach for the same free partitions at once.
      await clock.sleep((options.leaseMs / 3) * (0.75 + 0.5 * random.next()), wake.signal);
      if (wake.signal.aborted) wake = new AbortController();
    }
  }

  return {
    async start() {
      neighbours = await openNeighbours(ports, { name: options.name, members: () => members, quietMs: options.leaseMs, signal: stopping.signal });
      await rebalance();
      // A lease that ended wakes every host at once; the server lets one of them have it.
      watching = await leases.watch?.(() => wake.abort()).catch(() => undefined);
      loop = run();
      looking = neighbours.run();
    },
    async stop() {
      stopping.abort();
      wake.abort();
      await watching?.[Symbol.asyncDispose]();
      await loop;
      await tick;
      await looking;
      await Promise.all([...held.keys()].map(release));
      if (membership !== undefined) await letGo(membership);
      membership = undefined;
      await neighbours?.[Symbol.asyncDispose]();
    },
    get held() {
      return [...held.keys()].sort((a, b) => a - b);
    },
  };
}

/** Of a lease. Listeners are few: one per running turn of the partition. */
function tenureOf(lease: Lease): Tenure {
  const listeners = new Set<() => void>();
  lease.lost.addEventListener('abort', () => listeners.forEach((run) => run()), { once: true });
  return {
    fence: lease.fence,
    get lost() {
      return lease.lost.aborted;
    },
    onLost(run) {
      listeners.add(run);
      return () => listeners.delete(run);
    },
  };
}

/** The only host: no fence, no lease, never lost. */
export const LEASELESS: Tenure = Object.freeze({ fence: undefined, lost: false, onLost: () => () => undefined });

function shuffled<T>(items: readonly T[], random: Random): T[] {
  const copy = [...items];
  for (let i = copy.length - 1; i > 0; i--) {
    const j = Math.floor(random.next() * (i + 1));
    [copy[i], copy[j]] = [copy[j] as T, copy[i] as T];
  }
  return copy;
}
