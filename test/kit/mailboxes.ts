// In-memory mailboxes: a work queue per partition with acknowledgement, redelivery, dedup window and a bound per agent.
// Owns: what a durable stream does, in memory and on any clock. Keeps everything that was accepted until it is ended.
// Others may assume: at least once, in order of storing while nothing fails, and never two live deliveries of one message.

import { parseMailboxSubject } from '../../contracts/address.ts';
import { fail } from '../../contracts/errors.ts';
import type { Clock, Mailboxes, MailboxDelivery, Random, Timers } from '../../contracts/ports.ts';
import type { Link } from './link.ts';

export interface MailboxOptions {
  /** Messages one agent's mailbox keeps; past it publishing is refused. */
  readonly perSubjectMax: number;
  readonly ackWaitMs: number;
  readonly dedupWindowMs: number;
  /** Deliveries after which the server gives up and reports. */
  readonly deliverMax: number;
}
export const MAILBOX_DEFAULTS: MailboxOptions = Object.freeze({ perSubjectMax: 1_000, ackWaitMs: 15_000, dedupWindowMs: 120_000, deliverMax: 25 });

interface Stored {
  readonly sequence: number;
  readonly subject: string;
  readonly partition: number;
  readonly data: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
  attempt: number;
  /** Of the live delivery; a new one makes the acknowledgement of the old one void. */
  token: number;
  cancel: (() => void) | undefined;
}
interface Consumer {
  readonly partition: number | '*';
  readonly inFlightMax: number;
  readonly link: Link;
  readonly handle: (delivery: MailboxDelivery) => Promise<void>;
  inFlight: number;
  closed: boolean;
}

export interface MailboxServer {
  publish(subject: string, data: Uint8Array, messageId: string, headers: Readonly<Record<string, string>>): { sequence: number; duplicate: boolean };
  attach(consumer: Consumer): void;
  detach(consumer: Consumer): void;
  schedule(timer: Parameters<Timers['schedule']>[0]): void;
  cancelTimer(key: string): void;
  /** Stored and not ended yet. */
  readonly waiting: number;
  /** Scheduled and not fired yet. */
  readonly timersWaiting: number;
}
export interface MailboxEvents {
  /** The server gave a message up: the port's owner must dead-letter it. */
  readonly onMaxDeliveries?: (message: { readonly subject: string; readonly data: Uint8Array; readonly attempts: number }) => void;
}

export function createMailboxServer(clock: Clock, random: Random, options: MailboxOptions = MAILBOX_DEFAULTS, events: MailboxEvents = {}): MailboxServer {
  const stored = new Map<number, Stored>();
  const ready = new Map<number, Stored[]>();
  const perSubject = new Map<string, number>();
  const seen = new Map<string, { readonly sequence: number; readonly at: number }>();
  const consumers = new Set<Consumer>();
  const timers = new Map<string, () => void>();
  let sequence = 0;

  function publish(subject: string, data: Uint8Array, messageId: string, headers: Readonly<Record<string, string>>): { sequence: number; duplicate: boolean } {
    forgetOld(seen, clock.now() - options.dedupWindowMs);
    const before = seen.get(messageId);
    if (before !== undefined) return { sequence: before.sequence, duplicate: true };
    const partition = parseMailboxSubject(subject)?.partition ?? misaddressed(subject);
    if ((perSubject.get(subject) ?? 0) >= options.perSubjectMax) throw fail('AIOS_MAILBOX_FULL', undefined, { retryAfterMs: 1_000 });
    sequence++;
    seen.set(messageId, { sequence, at: clock.now() });
    perSubject.set(subject, (perSubject.get(subject) ?? 0) + 1);
    const message: Stored = { sequence, subject, partition, data, headers, attempt: 0, token: 0, cancel: undefined };
    stored.set(sequence, message);
    makeReady(message);
    return { sequence, duplicate: false };
  }

  function makeReady(message: Stored): void {
    message.cancel = undefined;
    const queue = ready.get(message.partition);
    if (queue === undefined) ready.set(message.partition, [message]);
    else queue.push(message);
    pump(message.partition);
  }

  function pump(partition: number): void {
    const queue = ready.get(partition) ?? [];
    for (let consumer = choose(partition); queue.length > 0 && consumer !== undefined; consumer = choose(partition)) {
      deliver(queue.shift() as Stored, consumer);
    }
  }

  function choose(partition: number): Consumer | undefined {
    const able = [...consumers].filter((consumer) => !consumer.closed && (consumer.partition === '*' || consumer.partition === partition) && consumer.inFlight < consumer.inFlightMax && consumer.link.connected);
    return able.length < 2 ? able[0] : able[Math.floor(random.next() * able.length)];
  }

  function deliver(message: Stored, consumer: Consumer): void {
    const token = ++message.token;
    message.attempt++;
    consumer.inFlight++;
    const live = (): boolean => message.token === token && stored.has(message.sequence);
    /** Ends this delivery; the message goes on or not. */
    function release(again: number | undefined): void {
      message.cancel?.();
      message.cancel = undefined;
      message.token++;
      consumer.inFlight--;
      if (again === undefined) remove(message);
      else redeliver(message, again);
      if (consumer.partition === '*') for (const partition of ready.keys()) pump(partition);
      else pump(consumer.partition);
    }
    const arm = (): void => {
      message.cancel = clock.after(options.ackWaitMs, () => live() && release(0));
    };
    arm();
    const delivery: MailboxDelivery = {
      subject: message.subject,
      data: message.data,
      headers: message.headers,
      attempt: message.attempt,
      sequence: message.sequence,
      ack: () => consumer.link.call('mailbox.ack', () => void (live() && release(undefined))),
      nak: (delayMs) => void consumer.link.call('mailbox.nak', () => live() && release(delayMs)).catch(() => undefined),
      term: () => void consumer.link.call('mailbox.term', () => live() && release(undefined)).catch(() => undefined),
      working: () => void consumer.link.call('mailbox.working', () => {
        if (!live()) return;
        message.cancel?.();
        arm();
      }).catch(() => undefined),
    };
    consumer.link.push('mailbox.deliver', () => {
      if (!consumer.closed) void consumer.handle(delivery).catch(() => undefined);
    });
  }

  function redeliver(message: Stored, delayMs: number): void {
    if (message.attempt >= options.deliverMax) {
      events.onMaxDeliveries?.({ subject: message.subject, data: message.data, attempts: message.attempt });
      remove(message);
    } else message.cancel = clock.after(delayMs, () => makeReady(message));
  }

  function remove(message: Stored): void {
    if (!stored.delete(message.sequence)) return;
    const left = (perSubject.get(message.subject) ?? 1) - 1;
    if (left === 0) perSubject.delete(message.subject);
    else perSubject.set(message.subject, left);
  }

  return {
    publish,
    attach(consumer) {
      consumers.add(consumer);
      for (const partition of ready.keys()) pump(partition);
    },
    detach(consumer) {
      consumer.closed = true;
      consumers.delete(consumer);
    },
    schedule(timer) {
      timers.get(timer.key)?.();
      timers.set(timer.key, clock.after(timer.at - clock.now(), () => {
        timers.delete(timer.key);
        publish(timer.subject, timer.data, timer.messageId, {});
      }));
    },
    cancelTimer(key) {
      timers.get(key)?.();
      timers.delete(key);
    },
    get waiting() {
      return stored.size;
    },
    get timersWaiting() {
      return timers.size;
    },
  };
}

/** Entries are in order of time. */
function forgetOld(seen: Map<string, { readonly at: number }>, before: number): void {
  for (const [id, { at }] of seen) {
    if (at > before) return;
    seen.delete(id);
  }
}

/** A mailbox subject whose partition is wrong is stored where it says, as a server would; other subjects have one queue. */
function misaddressed(subject: string): number {
  const [, , , plane, partition] = subject.split('.');
  return plane === 'mbx' ? Number(partition) : 0;
}

export function createMemoryMailboxes(server: MailboxServer, link: Link): Mailboxes {
  return {
    publish: (subject, data, { messageId, headers = {} }) => link.call('mailbox.publish', () => server.publish(subject, data, messageId, headers)),
    async consume(partition, { inFlightMax }, handle) {
      const consumer: Consumer = { partition, inFlightMax, link, handle, inFlight: 0, closed: false };
      await link.call('mailbox.consume', () => server.attach(consumer)).catch((error: unknown) => {
        server.detach(consumer);
        throw error;
      });
      return { [Symbol.asyncDispose]: async () => server.detach(consumer) };
    },
  };
}

export function createMemoryTimers(server: MailboxServer, link: Link): Timers {
  return {
    schedule: (timer) => link.call('timers.schedule', () => server.schedule(timer)),
    cancel: (key) => link.call('timers.cancel', () => server.cancelTimer(key)),
  };
}
