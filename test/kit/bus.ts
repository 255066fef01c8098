// An in-memory message bus: core messages, queue groups, request and reply, nobody-listens answered at once.
// Owns: subject matching with the two wildcards and fair choice inside a queue group. Keeps nothing: who is not there misses it.
// Others may assume: the same errors as the real bus, and delivery in the order of publishing per subscriber.

import { fail } from '../../contracts/errors.ts';
import { toBytes } from '../../contracts/parse.ts';
import type { Bus, BusMessage, Random } from '../../contracts/ports.ts';
import type { Link } from './link.ts';

interface Subscription {
  /** False while the subscriber's process is dead or cut off: the server has noticed. */
  readonly there: () => boolean;
  readonly pattern: readonly string[];
  readonly queue: string | undefined;
  deliver(message: BusMessage): void;
}
/** The server half, shared by every process of a test. */
export interface BusServer {
  readonly subscriptions: Set<Subscription>;
  /** One receiver per queue group, all plain subscribers. */
  receivers(subject: string): readonly Subscription[];
}

export function createBusServer(random: Random): BusServer {
  const subscriptions = new Set<Subscription>();
  return {
    subscriptions,
    receivers(subject) {
      const tokens = subject.split('.');
      const plain: Subscription[] = [];
      const groups = new Map<string, Subscription[]>();
      for (const subscription of subscriptions) {
        if (!subscription.there() || !matches(subscription.pattern, tokens)) continue;
        if (subscription.queue === undefined) plain.push(subscription);
        else groups.set(subscription.queue, [...(groups.get(subscription.queue) ?? []), subscription]);
      }
      return [...plain, ...[...groups.values()].map((group) => group[Math.floor(random.next() * group.length)] as Subscription)];
    },
  };
}

export function createMemoryBus(server: BusServer, link: Link): Bus {
  const mine = new Set<Subscription>();
  let closed = false;
  const open = (): void => {
    if (closed || !link.connected) throw fail('AIOS_DISCONNECTED');
  };

  function request(subject: string, data: Uint8Array, options: Parameters<Bus['request']>[2]): Promise<BusMessage> {
    return new Promise((resolve, reject) => {
      const stop = (error: unknown): void => {
        cancel();
        options.signal?.removeEventListener('abort', abort);
        reject(error);
      };
      const abort = (): void => stop(fail('AIOS_DEADLINE_EXCEEDED', 'the caller gave up.'));
      const cancel = link.clock.after(options.timeoutMs, () => stop(fail('AIOS_DEADLINE_EXCEEDED')));
      if (options.signal?.aborted === true) return abort();
      options.signal?.addEventListener('abort', abort, { once: true });
      const respond = (reply: Uint8Array, headers = {}): void => {
        link.push('bus.reply', () => {
          cancel();
          options.signal?.removeEventListener('abort', abort);
          resolve({ subject, data: reply, headers });
        });
      };
      link.call('bus.request', () => {
        const receivers = server.receivers(subject);
        if (receivers.length === 0) throw fail('AIOS_UNAVAILABLE', 'nobody listens.');
        for (const receiver of receivers) receiver.deliver({ subject, data, headers: options.headers ?? {}, respond });
      }).catch(stop);
    });
  }

  return {
    async request(subject, data, options) {
      open();
      return request(subject, data, options);
    },
    publish(subject, data, headers = {}) {
      open();
      link.call('bus.publish', () => {
        for (const receiver of server.receivers(subject)) receiver.deliver({ subject, data, headers });
      }).catch(() => undefined);
    },
    async subscribe(pattern, { queue, concurrencyMax = Number.POSITIVE_INFINITY }, handle) {
      open();
      let running = 0;
      const subscription: Subscription = {
        there: () => link.connected,
        pattern: pattern.split('.'),
        queue,
        deliver: (message) => link.push('bus.deliver', () => {
          if (!mine.has(subscription)) return;
          if (running >= concurrencyMax) return message.respond?.(OVERLOADED);
          running++;
          void Promise.resolve(handle(message)).catch(() => undefined).finally(() => running--);
        }),
      };
      await link.call('bus.subscribe', () => server.subscriptions.add(subscription));
      mine.add(subscription);
      return {
        async [Symbol.asyncDispose]() {
          mine.delete(subscription);
          server.subscriptions.delete(subscription);
        },
      };
    },
    get connected() {
      return !closed && link.connected;
    },
    async [Symbol.asyncDispose]() {
      closed = true;
      for (const subscription of mine) server.subscriptions.delete(subscription);
      mine.clear();
    },
  };
}

const OVERLOADED = toBytes({ v: 1, status: 'failed', error: { code: 'AIOS_OVERLOADED', message: 'Too many asks at once.', retryAfterMs: 100 }, receipts: [], costMicroUsd: 0 });

export function matches(pattern: readonly string[], tokens: readonly string[]): boolean {
  for (let i = 0; i < pattern.length; i++) {
    if (pattern[i] === '>') return tokens.length > i;
    if (tokens[i] === undefined || (pattern[i] !== '*' && pattern[i] !== tokens[i])) return false;
  }
  return pattern.length === tokens.length;
}
