// Group commit of governance: one start in flight per (tenant, capability); what arrives meanwhile forms the next group.
// Owns: who shares a workflow with whom, the caps on size and bytes, the bounded queue and fairness between tenants.
// Never starts a workflow itself and never mixes keys. Others may assume: idle, a task starts alone and at once; after a group
// that was shared, the next one lingers for company, at most LINGER_MS_MAX; past the bound a place is refused with
// AIOS_OVERLOADED and a time to wait; every place is filled or left.

import { fail } from '../../contracts/errors.ts';
import type { Clock } from '../../contracts/ports.ts';
import { GROUP_BYTES_MAX, GROUP_TASKS_MAX, type TaskMember } from '../../contracts/task.ts';

export interface FormedGroup {
  readonly tenant: string;
  readonly capability: string;
  readonly workflowId: string;
  /** What the members' claims say; differs from `workflowId` when a group turned out to be one task. */
  readonly claimedAs: string;
  readonly members: readonly TaskMember[];
}
export interface GroupFormerOptions {
  readonly clock: Clock;
  /** Resolves when the workflow is started, durably. `release` lets the next group of the key go; it may be called early and twice. */
  readonly launch: (group: FormedGroup, release: () => void) => Promise<void>;
  readonly groupId: () => string;
  readonly tasksMax?: number;
  readonly bytesMax?: number;
  /** Groups waiting per key, the forming one among them. */
  readonly groupsMax?: number;
  /** Groups in flight over all keys. */
  readonly inFlightMax?: number;
  /** A group that nobody releases lets the next one go after this. */
  readonly holdMsMax?: number;
  /** How long a group after a shared one waits for company at most. */
  readonly lingerMsMax?: number;
}
export interface Place {
  readonly workflowId: string;
  /** Resolves when the workflow that governs the member is started, with its id: a group that turned out to be one task has another than was claimed. */
  fill(member: TaskMember): Promise<string>;
  leave(): void;
}
export interface GroupFormer {
  /** @throws AIOS_OVERLOADED with the time after which a place is likely */
  reserve(tenant: string, capability: string, taskId: string, bytes: number): Place;
  /** A workflow left the fast lane: its key need not wait for it any longer. */
  release(workflowId: string): void;
  readonly waiting: number;
}

const GROUPS_MAX = 16;
const IN_FLIGHT_MAX = 8;
const HOLD_MS_MAX = 2_500;
/**
 * A shared group's callers come back together, and the first of them must not leave alone and make the others wait for it. So the
 * next group lingers until as many have come as were there before, until nobody came for a while, or for a part of the time
 * that a group keeps the key: what is lost by waiting is bounded by what is won, one transaction fewer.
 */
const LINGER_SHARE = 0.33;
const LINGER_MS_MAX = 200;
/** Share of the whole linger that nobody came after the first: it ends then. */
const LINGER_GAP_SHARE = 0.5;

interface Group {
  readonly key: Key;
  readonly workflowId: string;
  readonly places: Promise<TaskMember | undefined>[];
  readonly started: Promise<string>;
  readonly settle: { resolve: (workflowId: string) => void; reject: (error: unknown) => void };
  bytes: number;
}
interface Key {
  readonly name: string;
  readonly tenant: string;
  readonly capability: string;
  flying: boolean;
  /** Set while the next group waits for company; called when somebody joins. */
  lingering: (() => void) | undefined;
  queue: Group[];
  /** Smoothed time one group keeps the key, for the time a refused caller is told to wait. */
  holdMs: number;
}

export function createGroupFormer(options: GroupFormerOptions): GroupFormer {
  const { clock } = options;
  const tasksMax = options.tasksMax ?? GROUP_TASKS_MAX;
  const bytesMax = options.bytesMax ?? GROUP_BYTES_MAX;
  const groupsMax = options.groupsMax ?? GROUPS_MAX;
  const inFlightMax = options.inFlightMax ?? IN_FLIGHT_MAX;
  const keys = new Map<string, Key>();
  const ready = createTurns();
  const releases = new Map<string, () => void>();
  let inFlight = 0;
  let waiting = 0;

  function keyOf(tenant: string, capability: string): Key {
    const name = `${tenant}/${capability}`;
    const found = keys.get(name);
    if (found !== undefined) return found;
    const fresh: Key = { name, tenant, capability, flying: false, lingering: undefined, queue: [], holdMs: 100 };
    keys.set(name, fresh);
    return fresh;
  }

  function reserve(tenant: string, capability: string, taskId: string, bytes: number): Place {
    if (bytes > bytesMax) throw fail('AIOS_INPUT_TOO_LARGE', `${bytes} bytes, at most ${bytesMax}.`);
    const key = keyOf(tenant, capability);
    const idle = !key.flying && key.lingering === undefined && key.queue.length === 0 && inFlight < inFlightMax;
    if (idle) return placeIn(fly(key, groupOf(key, `${capability}/${taskId}`)), bytes);
    return placeIn(forming(key, bytes), bytes);
  }

  /** The last group of the queue takes the member unless it is full. */
  function forming(key: Key, bytes: number): Group {
    const last = key.queue.at(-1);
    key.lingering?.();
    if (last !== undefined && last.places.length < tasksMax && last.bytes + bytes <= bytesMax) return last;
    if (key.queue.length >= groupsMax) throw fail('AIOS_OVERLOADED', undefined, { retryAfterMs: Math.ceil(key.holdMs * key.queue.length) });
    const group = groupOf(key, `${key.capability}/group-${options.groupId()}`);
    key.queue.push(group);
    if (!key.flying && key.lingering === undefined && key.queue.length === 1) ready.add(key);
    queueMicrotask(pump);
    return group;
  }

  function groupOf(key: Key, workflowId: string): Group {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    promise.catch(() => undefined);
    return { key, workflowId, places: [], started: promise, settle: { resolve, reject }, bytes: 0 };
  }

  function placeIn(group: Group, bytes: number): Place {
    const { promise, resolve } = Promise.withResolvers<TaskMember | undefined>();
    group.places.push(promise);
    group.bytes += bytes;
    waiting += 1;
    let open = true;
    const once = (member: TaskMember | undefined): void => {
      if (!open) return;
      open = false;
      waiting -= 1;
      resolve(member);
    };
    return {
      workflowId: group.workflowId,
      fill(member) {
        once(member);
        return group.started;
      },
      leave: () => once(undefined),
    };
  }

  /** From here nobody joins the group; it starts when each of its places is filled or left. */
  function fly(key: Key, group: Group): Group {
    key.flying = true;
    inFlight += 1;
    const from = clock.monotonic();
    let landed = false;
    const land = (): void => {
      if (landed) return;
      landed = true;
      cancelHold();
      inFlight -= 1;
      key.flying = false;
      key.holdMs = key.holdMs * 0.8 + (clock.monotonic() - from) * 0.2;
      linger(key, group.places.length + waitingIn(key));
      pump();
    };
    const cancelHold = clock.after(options.holdMsMax ?? HOLD_MS_MAX, land);
    queueMicrotask(() => void depart(group, land));
    return group;
  }

  /** Lets the next group of the key go when it is worth no more waiting; `expected` is how many were there at once just now. */
  function linger(key: Key, expected: number): void {
    const lingerMs = Math.min(options.lingerMsMax ?? LINGER_MS_MAX, key.holdMs * LINGER_SHARE);
    const until = clock.monotonic() + lingerMs;
    let cancelGap = (): void => undefined;
    const enough = (): boolean => expected <= 1 || key.queue.length > 1 || waitingIn(key) >= Math.min(expected, tasksMax) || clock.monotonic() >= until;
    const over = (): void => {
      cancelGap();
      key.lingering = undefined;
      if (key.queue.length > 0) ready.add(key);
      else if (!key.flying) keys.delete(key.name);
      pump();
    };
    const again = (): void => {
      cancelGap();
      if (enough()) return over();
      const leftMs = until - clock.monotonic();
      cancelGap = clock.after(waitingIn(key) === 0 ? leftMs : Math.min(leftMs, lingerMs * LINGER_GAP_SHARE), over);
    };
    // Asked before the newcomer has its place, so the look comes after.
    key.lingering = () => queueMicrotask(() => key.lingering !== undefined && again());
    again();
  }

  async function depart(group: Group, land: () => void): Promise<void> {
    const members = (await Promise.all(group.places)).filter((member) => member !== undefined);
    const [first] = members;
    if (first === undefined) return land();
    const workflowId = members.length === 1 ? `${group.key.capability}/${first.taskId}` : group.workflowId;
    const release = (): void => {
      releases.delete(workflowId);
      land();
    };
    releases.set(workflowId, release);
    try {
      await options.launch({ tenant: group.key.tenant, capability: group.key.capability, workflowId, claimedAs: group.workflowId, members }, release);
      group.settle.resolve(workflowId);
    } catch (thrown) {
      group.settle.reject(thrown);
      release();
    }
  }

  function pump(): void {
    while (inFlight < inFlightMax) {
      const key = ready.next();
      if (key === undefined) return;
      if (key.flying) continue;
      const group = key.queue.shift();
      if (group !== undefined) fly(key, group);
    }
  }

  return {
    reserve,
    release: (workflowId) => releases.get(workflowId)?.(),
    get waiting() {
      return waiting;
    },
  };
}

const waitingIn = (key: Key): number => key.queue[0]?.places.length ?? 0;

/** Tenants take turns, and the capabilities of one tenant take turns within its own. */
function createTurns(): { add(key: Key): void; next(): Key | undefined } {
  const tenants = new Map<string, Set<Key>>();
  return {
    add(key) {
      const keys = tenants.get(key.tenant) ?? new Set<Key>();
      tenants.set(key.tenant, keys.add(key));
    },
    next() {
      for (const [tenant, keys] of tenants) {
        tenants.delete(tenant);
        const [key] = keys;
        if (key === undefined) continue;
        keys.delete(key);
        if (keys.size > 0) tenants.set(tenant, keys);
        return key;
      }
      return undefined;
    },
  };
}
