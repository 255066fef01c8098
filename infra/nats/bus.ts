// Core messages: request and reply, publish and subscribe, at most once.
// Owns: bounded concurrency of handlers and the answer of a handler that failed.
// Never stores anything. Others may assume: a sender who waits gets an answer from every subscriber that received the message,
// even when the handler throws (its error as a failed Reply) or when too many are running (AIOS_OVERLOADED with retryAfterMs).

import type { Msg } from '@nats-io/nats-core';
import { fail, toErrorBody } from '../../contracts/errors.ts';
import type { Reply } from '../../contracts/message.ts';
import { toBytes } from '../../contracts/parse.ts';
import type { Bus, BusMessage } from '../../contracts/ports.ts';
import { fromHeaders, toHeaders, type NatsLink } from './connect.ts';

const CONCURRENCY_MAX = 256;
const RETRY_AFTER_MS = 50;

export function createBus(link: NatsLink): Bus {
  const open = new Set<AsyncDisposable>();
  let closed = false;
  const refuseClosed = (): void => {
    if (closed) throw fail('AIOS_DISCONNECTED', 'This bus was closed.');
  };
  return {
    get connected() {
      return link.connected && !closed;
    },
    async request(subject, data, { timeoutMs, headers, signal }) {
      refuseClosed();
      return new Received(link, await link.request(subject, data, { timeoutMs: Math.max(1, Math.ceil(timeoutMs)), headers: toHeaders(headers), signal, what: `asking ${planeOf(subject)}` }));
    },
    publish(subject, data, headers) {
      refuseClosed();
      link.send(subject, data, headers);
    },
    async subscribe(subject, { queue, concurrencyMax = CONCURRENCY_MAX }, handle) {
      refuseClosed();
      const subscription = subscribe(link, subject, queue, concurrencyMax, handle);
      open.add(subscription);
      await link.nc.flush().catch(() => undefined);
      return { async [Symbol.asyncDispose]() { open.delete(subscription); await subscription[Symbol.asyncDispose](); } };
    },
    async [Symbol.asyncDispose]() {
      closed = true;
      await Promise.all([...open].map((one) => one[Symbol.asyncDispose]()));
      open.clear();
    },
  };
}

function subscribe(link: NatsLink, subject: string, queue: string | undefined, concurrencyMax: number, handle: (message: BusMessage) => void | Promise<void>): AsyncDisposable {
  const { metrics, logger } = link;
  let running = 0;
  let idle = nothing;
  const labels = { plane: planeOf(subject) };

  const subscription = link.nc.subscribe(subject, {
    ...(queue === undefined ? {} : { queue }),
    callback: (error, message) => {
      if (error !== null) return logger.error({ plane: labels.plane, error: error.message }, 'a subscription ended');
      if (running >= concurrencyMax) return refuse(message);
      run(message);
    },
  });

  function refuse(message: Msg): void {
    metrics.count('aios_bus_overloaded_total', labels);
    answerFailure(link, message, fail('AIOS_OVERLOADED', `${concurrencyMax} messages are being handled.`, { retryAfterMs: RETRY_AFTER_MS }));
  }

  function run(message: Msg): void {
    running++;
    try {
      const result = handle(new Received(link, message));
      if (result instanceof Promise) return void result.then(ended, (thrown: unknown) => (broke(message, thrown), ended()));
    } catch (thrown) {
      broke(message, thrown);
    }
    ended();
  }

  function ended(): void {
    if (--running === 0) idle();
  }

  function broke(message: Msg, thrown: unknown): void {
    const { code } = toErrorBody(thrown);
    metrics.count('aios_bus_handler_failed_total', { ...labels, code });
    logger.warn({ plane: labels.plane, code }, 'a message handler failed');
    answerFailure(link, message, thrown);
  }

  return {
    async [Symbol.asyncDispose]() {
      if (!subscription.isClosed()) await subscription.drain().catch(() => undefined);
      if (running > 0) await new Promise<void>((resolve) => (idle = resolve));
    },
  };
}

function answerFailure(link: NatsLink, message: Msg, thrown: unknown): void {
  if (message.reply === undefined || message.reply === '') return;
  const reply: Reply = { v: 1, status: 'failed', error: toErrorBody(thrown), receipts: [], costMicroUsd: 0 };
  respond(link, message, toBytes(reply));
}

/** A message as its handler sees it. A class, since one is made for each message: its members are made once. */
class Received implements BusMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly respond?: (data: Uint8Array, headers?: Readonly<Record<string, string>>) => void;
  readonly #message: Msg;
  #headers: Readonly<Record<string, string>> | undefined;

  constructor(link: NatsLink, message: Msg) {
    this.subject = message.subject;
    this.data = message.data;
    this.#message = message;
    if (message.reply !== undefined && message.reply !== '') this.respond = (data, extra) => respond(link, message, data, extra);
  }

  get headers(): Readonly<Record<string, string>> {
    return (this.#headers ??= fromHeaders(this.#message.headers));
  }
}

/** An answer that cannot be sent any more is counted: who asked has a timeout. */
function respond(link: NatsLink, message: Msg, data: Uint8Array, extra?: Readonly<Record<string, string>>): void {
  const headers = toHeaders(extra);
  link.together(() => {
    try {
      message.respond(data, headers === undefined ? undefined : { headers });
    } catch {
      link.metrics.count('aios_bus_answer_lost_total', { plane: planeOf(message.subject) });
    }
  });
}

const nothing = (): void => undefined;

/** The fourth token (`cap`, `mbx`, …): safe as a metric label, never holds a tenant or an id. */
function planeOf(subject: string): string {
  return subject.split('.', 4)[3] ?? 'other';
}
