// In-memory stores: state log, leases, keys and values, outcomes, dead letters.
// Owns: compare-and-set, lease time and fences, exactly as the real ones promise them. Never shared between tests by accident:
// a server half is made once per test, a port per process. Others may assume: revisions and fences only grow.

import { fail } from '../../contracts/errors.ts';
import { readableId } from '../../contracts/ids.ts';
import { HEADERS, type Outcome } from '../../contracts/message.ts';
import type { Clock, DeadLetter, DeadLetters, KeyValue, Lease, Leases, Outcomes, Random, StateLog } from '../../contracts/ports.ts';
import type { Link } from './link.ts';
import type { MailboxServer } from './mailboxes.ts';

// ---- state log

export interface StateServer {
  readonly last: Map<string, { readonly revision: number; readonly data: Uint8Array }>;
  append(subject: string, expected: number, data: Uint8Array): number;
}

export function createStateServer(onAppend: (subject: string, data: Uint8Array) => void = () => undefined): StateServer {
  const last = new Map<string, { revision: number; data: Uint8Array }>();
  let revision = 0;
  return {
    last,
    append(subject, expected, data) {
      if ((last.get(subject)?.revision ?? 0) !== expected) throw fail('AIOS_STATE_CONFLICT');
      last.set(subject, { revision: ++revision, data });
      onAppend(subject, data);
      return revision;
    },
  };
}

export function createMemoryStateLog(server: StateServer, link: Link): StateLog {
  return {
    read: (subject) => link.call('state.read', () => server.last.get(subject)),
    append: (subject, expected, data) => link.call('state.append', () => server.append(subject, expected, data)),
  };
}

// ---- leases

export interface LeaseServer {
  /** The fence, when it was free. */
  take(name: string, owner: string, ttlMs: number): { readonly fence: number; readonly orphaned: boolean } | undefined;
  /** False when it is not this holder's any more. */
  renew(name: string, fence: number, ttlMs: number): boolean;
  free(name: string, fence: number): void;
  /** Ends what this owner holds. */
  endAll(owner: string): void;
  holders(): Map<string, { owner: string; fence: number }>;
  /** Called when a lease was given back or ran out. */
  readonly watchers: Set<() => void>;
}

export function createLeaseServer(clock: Clock): LeaseServer {
  const held = new Map<string, { owner: string; fence: number; until: number }>();
  const watchers = new Set<() => void>();
  /** Given back, and not taken since. */
  const released = new Set<string>();
  let fences = 0;
  const tellAll = (): void => watchers.forEach((tell) => tell());
  /** Looks again when the lease was renewed meanwhile. */
  function expireLater(name: string, fence: number): void {
    const entry = held.get(name);
    if (entry?.fence !== fence) return;
    const left = entry.until - clock.monotonic();
    if (left > 0) clock.after(left, () => expireLater(name, fence));
    else {
      held.delete(name);
      tellAll();
    }
  }
  const current = (name: string): { owner: string; fence: number; until: number } | undefined => {
    const entry = held.get(name);
    return entry !== undefined && entry.until > clock.monotonic() ? entry : undefined;
  };
  return {
    take(name, owner, ttlMs) {
      if (current(name) !== undefined) return undefined;
      const fence = ++fences;
      held.set(name, { owner, fence, until: clock.monotonic() + ttlMs });
      expireLater(name, fence);
      return { fence, orphaned: !released.delete(name) };
    },
    renew(name, fence, ttlMs) {
      const entry = current(name);
      if (entry?.fence !== fence) return false;
      entry.until = clock.monotonic() + ttlMs;
      return true;
    },
    free(name, fence) {
      if (held.get(name)?.fence !== fence) return;
      held.delete(name);
      released.add(name);
      tellAll();
    },
    endAll(owner) {
      const theirs = [...held].filter(([, entry]) => entry.owner === owner);
      for (const [name] of theirs) held.delete(name);
      if (theirs.length > 0) tellAll();
    },
    watchers,
    holders: () => new Map([...held.keys()].flatMap((name) => {
      const entry = current(name);
      return entry === undefined ? [] : [[name, { owner: entry.owner, fence: entry.fence }] as const];
    })),
  };
}

export function createMemoryLeases(server: LeaseServer, link: Link): Leases {
  const { clock } = link;
  function hold(name: string, { fence, orphaned }: { readonly fence: number; readonly orphaned: boolean }, ttlMs: number, askedAt: number): Lease {
    const lost = new AbortController();
    let proven = askedAt;
    let cancel = nothing;
    const lose = (): void => {
      cancel();
      lost.abort();
    };
    /** Counted from before the request was sent: the server's time started no earlier. */
    const expired = (): boolean => clock.monotonic() - proven >= (ttlMs * 2) / 3;
    async function renew(): Promise<void> {
      if (lost.signal.aborted) return;
      if (expired()) return lose();
      const sentAt = clock.monotonic();
      cancel = clock.after(ttlMs / 6, () => void renew());
      try {
        if (!(await link.call('lease.renew', () => server.renew(name, fence, ttlMs)))) return lose();
        proven = Math.max(proven, sentAt);
        cancel();
        if (!lost.signal.aborted) cancel = clock.after(ttlMs / 3, () => void renew());
      } catch {
        // Not renewed: the next try comes by itself until two thirds of the lease's life are over.
      }
    }
    cancel = clock.after(ttlMs / 3, () => void renew());
    if (expired()) lose();
    return {
      name,
      fence,
      orphaned,
      lost: lost.signal,
      async release() {
        const was = lost.signal.aborted;
        lose();
        if (!was) await link.call('lease.release', () => server.free(name, fence));
      },
    };
  }
  return {
    async acquire(name, owner, ttlMs) {
      const askedAt = clock.monotonic();
      const taken = await link.call('lease.acquire', () => server.take(name, owner, ttlMs));
      return taken === undefined ? undefined : hold(name, taken, ttlMs, askedAt);
    },
    holders: () => link.call('lease.holders', () => server.holders()),
    endAll: (owner) => link.call('lease.endAll', () => server.endAll(owner)),
    async watch(run) {
      const tell = (): void => link.push('lease.ended', run);
      await link.call('lease.watch', () => server.watchers.add(tell));
      return { [Symbol.asyncDispose]: async () => void server.watchers.delete(tell) };
    },
  };
}

const nothing = (): void => undefined;

// ---- keys and values

interface KeyEntry {
  readonly value: Uint8Array;
  readonly revision: number;
  readonly until: number;
}
export interface KeyServer {
  readonly buckets: Map<string, Map<string, KeyEntry>>;
  readonly watchers: Set<{ readonly bucket: string; readonly filter: string; readonly tell: (key: string, value: Uint8Array | undefined) => void }>;
  revision: number;
}
export const createKeyServer = (): KeyServer => ({ buckets: new Map(), watchers: new Set(), revision: 0 });

export function createMemoryKeyValue(server: KeyServer, link: Link): KeyValue {
  const { clock } = link;
  const bucketOf = (bucket: string): Map<string, KeyEntry> => {
    const known = server.buckets.get(bucket) ?? new Map<string, KeyEntry>();
    server.buckets.set(bucket, known);
    return known;
  };
  const read = (bucket: string, key: string): KeyEntry | undefined => {
    const entry = bucketOf(bucket).get(key);
    return entry !== undefined && entry.until > clock.monotonic() ? entry : undefined;
  };
  function write(bucket: string, key: string, value: Uint8Array | undefined, ttlMs?: number): number {
    const revision = ++server.revision;
    if (value === undefined) bucketOf(bucket).delete(key);
    else bucketOf(bucket).set(key, { value, revision, until: ttlMs === undefined ? Number.POSITIVE_INFINITY : clock.monotonic() + ttlMs });
    for (const watcher of server.watchers) if (watcher.bucket === bucket && keyMatches(watcher.filter, key)) watcher.tell(key, value);
    return revision;
  }
  return {
    get: (bucket, key) => link.call('kv.get', () => {
      const entry = read(bucket, key);
      return entry === undefined ? undefined : { value: entry.value, revision: entry.revision };
    }),
    create: (bucket, key, value, ttlMs) => link.call('kv.create', () => (read(bucket, key) === undefined ? write(bucket, key, value, ttlMs) : undefined)),
    update: (bucket, key, value, revision, ttlMs) => link.call('kv.update', () => {
      if (read(bucket, key)?.revision !== revision) throw fail('AIOS_STATE_CONFLICT');
      return write(bucket, key, value, ttlMs);
    }),
    put: (bucket, key, value) => link.call('kv.put', () => write(bucket, key, value)),
    delete: (bucket, key) => link.call('kv.delete', () => void write(bucket, key, undefined)),
    keys: (bucket, filter = '>') => link.call('kv.keys', () => [...bucketOf(bucket).keys()].filter((key) => keyMatches(filter, key) && read(bucket, key) !== undefined)),
    async watch(bucket, filter, handle) {
      const watcher = { bucket, filter, tell: (key: string, value: Uint8Array | undefined) => link.push('kv.watch', () => handle(key, value)) };
      await link.call('kv.watch', () => {
        for (const [key, { value }] of bucketOf(bucket)) if (keyMatches(filter, key) && read(bucket, key) !== undefined) watcher.tell(key, value);
        server.watchers.add(watcher);
      });
      return { [Symbol.asyncDispose]: async () => void server.watchers.delete(watcher) };
    },
  };
}

/** Keys are dotted; `*` is one part, `>` the rest. */
function keyMatches(filter: string, key: string): boolean {
  const wanted = filter.split('.');
  const parts = key.split('.');
  for (let i = 0; i < wanted.length; i++) {
    if (wanted[i] === '>') return parts.length > i;
    if (parts[i] === undefined || (wanted[i] !== '*' && wanted[i] !== parts[i])) return false;
  }
  return wanted.length === parts.length;
}

// ---- outcomes

const OUTCOMES_PER_TASK_MAX = 64;

export interface OutcomeServer {
  readonly log: Outcome[];
  readonly byTask: Map<string, Outcome[]>;
  readonly waiting: Map<string, Set<(outcome: Outcome) => void>>;
  readonly durables: Map<string, { next: number; readonly wake: Set<() => void> }>;
}
const taskOf = (tenant: string, task: string): string => `${tenant}/${task}`;
export const createOutcomeServer = (): OutcomeServer => ({ log: [], byTask: new Map(), waiting: new Map(), durables: new Map() });

export function createMemoryOutcomes(server: OutcomeServer, link: Link): Outcomes {
  function store(outcome: Outcome): void {
    const key = taskOf(outcome.tenant, outcome.task);
    const known = server.byTask.get(key) ?? [];
    server.byTask.set(key, [...known.slice(1 - OUTCOMES_PER_TASK_MAX), outcome]);
    server.log.push(outcome);
    for (const tell of server.waiting.get(`${key}/${outcome.id}`) ?? []) tell(outcome);
    for (const durable of server.durables.values()) for (const wake of durable.wake) wake();
  }
  const find = (tenant: string, task: string, id: string): Outcome | undefined => server.byTask.get(taskOf(tenant, task))?.find((outcome) => outcome.id === id);

  return {
    publish: (outcome) => link.call('outcomes.publish', () => store(outcome)),
    find: (tenant, task, id) => link.call('outcomes.find', () => find(tenant, task, id)),
    wait(tenant, task, id, timeoutMs, signal) {
      const key = `${taskOf(tenant, task)}/${id}`;
      return new Promise((resolve) => {
        const tell = (outcome: Outcome): void => link.push('outcomes.heard', () => end(outcome));
        const giveUp = (): void => end(undefined);
        const cancel = link.clock.after(timeoutMs, giveUp);
        function end(outcome: Outcome | undefined): void {
          cancel();
          signal?.removeEventListener('abort', giveUp);
          const waiting = server.waiting.get(key);
          waiting?.delete(tell);
          if (waiting?.size === 0) server.waiting.delete(key);
          resolve(outcome);
        }
        if (signal?.aborted === true) return giveUp();
        signal?.addEventListener('abort', giveUp, { once: true });
        server.waiting.set(key, (server.waiting.get(key) ?? new Set()).add(tell));
      });
    },
    async consume(durable, handle) {
      const cursor = server.durables.get(durable) ?? { next: 0, wake: new Set<() => void>() };
      server.durables.set(durable, cursor);
      const reader = { closed: false };
      let running = false;
      const drain = async (): Promise<void> => {
        if (running) return;
        running = true;
        while (!reader.closed && cursor.next < server.log.length) {
          try {
            await handle(server.log[cursor.next] as Outcome);
            cursor.next++;
          } catch {
            await link.clock.sleep(100);
          }
        }
        running = false;
      };
      const wake = (): void => link.push('outcomes.deliver', () => void drain());
      cursor.wake.add(wake);
      wake();
      return {
        async [Symbol.asyncDispose]() {
          reader.closed = true;
          cursor.wake.delete(wake);
        },
      };
    },
  };
}

// ---- dead letters

export interface LetterServer {
  readonly letters: Map<string, DeadLetter>;
  add(letter: Omit<DeadLetter, 'id' | 'at'>): string;
}
export function createLetterServer(clock: Clock, random: Random): LetterServer {
  const letters = new Map<string, DeadLetter>();
  return {
    letters,
    add(letter) {
      const id = readableId('dl', random.bytes(10));
      letters.set(id, { ...letter, id, at: clock.now() });
      return id;
    },
  };
}

export function createMemoryDeadLetters(server: LetterServer, mailboxes: MailboxServer, link: Link): DeadLetters {
  return {
    add: (letter) => link.call('letters.add', () => server.add(letter)),
    list: ({ tenant, limit }) => link.call('letters.list', () => [...server.letters.values()].filter((letter) => tenant === undefined || letter.tenant === tenant).slice(-limit).toReversed()),
    get: (id) => link.call('letters.get', () => server.letters.get(id)),
    replay: (id) => link.call('letters.replay', () => {
      const letter = server.letters.get(id);
      if (letter === undefined) throw fail('AIOS_INPUT_INVALID', 'there is no dead letter with this id.');
      // A message id of its own: the broker must not take the replay for a duplicate of what it replays.
      mailboxes.publish(letter.subject, Buffer.from(letter.data, 'base64'), `replay-${id}`, { [HEADERS.replay]: id });
      server.letters.delete(id);
    }),
    discard: (id) => link.call('letters.discard', () => void server.letters.delete(id)),
  };
}
