// Requests over one reply subscription: our own multiplexer, because the client's neither fails on disconnect nor cancels.
// Owns: the table of requests in flight, their timers and the private reply subject. Bound: `inFlightMax`, past it AIOS_OVERLOADED.
// Never parses an answer. Others may assume: every request settles, at the latest at its timeout,
// and all of them fail at once with AIOS_DISCONNECTED when `failAll` is called.

import type { Msg, MsgHdrs, NatsConnection } from '@nats-io/nats-core';
import { createDeadlines, type Due } from '../../agents/runtime/deadlines.ts';
import { fail } from '../../contracts/errors.ts';
import type { Clock } from '../../contracts/ports.ts';
import { convertNatsError } from './errors.ts';

export interface RequestCall {
  readonly timeoutMs: number;
  readonly headers?: MsgHdrs | undefined;
  readonly signal?: AbortSignal | undefined;
  /** For the error text: the operation in words. */
  readonly what: string;
}
export interface Requests {
  /** @throws AIOS_UNAVAILABLE when nobody listens, AIOS_DEADLINE_EXCEEDED, AIOS_DISCONNECTED, AIOS_TASK_CANCELLED on abort, AIOS_FORBIDDEN */
  request(subject: string, data: Uint8Array, call: RequestCall): Promise<Msg>;
  failAll(): void;
  /** The server refused to carry messages to this subject: whoever waits for an answer from there is told so. */
  forbid(subject: string): void;
  readonly inFlight: number;
}

interface Waiting {
  readonly subject: string;
  readonly call: RequestCall;
  readonly due: Due;
  resolve(message: Msg): void;
  reject(error: Error): void;
  onAbort?: () => void;
}

/**
 * @param inbox a subject prefix nobody else can subscribe to
 * @param together runs writes of one turn of the event loop in one go
 */
export function createRequests(nc: NatsConnection, inbox: string, together: (write: () => void) => void, clock: Clock, inFlightMax = 8_192): Requests {
  const deadlines = createDeadlines(clock);
  const waiting = new Map<string, Waiting>();
  const prefix = `${inbox}.`;
  let counter = 0;

  nc.subscribe(`${prefix}*`, {
    callback: (error, message) => {
      if (error !== null) return failAll();
      const entry = take(message.subject.slice(prefix.length));
      if (entry === undefined) return;
      if (message.data.length === 0 && message.headers?.code === 503) entry.reject(fail('AIOS_UNAVAILABLE', `${entry.call.what}: nobody listens.`));
      else entry.resolve(message);
    },
  });

  function take(token: string): Waiting | undefined {
    const entry = waiting.get(token);
    if (entry === undefined) return undefined;
    waiting.delete(token);
    deadlines.cancel(entry.due);
    if (entry.onAbort !== undefined) entry.call.signal?.removeEventListener('abort', entry.onAbort);
    return entry;
  }

  function failAll(): void {
    for (const token of waiting.keys()) {
      const entry = take(token);
      entry?.reject(fail('AIOS_DISCONNECTED', `${entry.call.what} was in flight; its result is unknown.`));
    }
  }

  function forbid(subject: string): void {
    for (const [token, entry] of waiting) if (entry.subject === subject) take(token)?.reject(fail('AIOS_FORBIDDEN', `${entry.call.what}: the message server does not let this host do that.`));
  }

  function start(token: string, subject: string, call: RequestCall, resolve: (message: Msg) => void, reject: (error: Error) => void): void {
    const due = deadlines.after(call.timeoutMs, () => take(token)?.reject(fail('AIOS_DEADLINE_EXCEEDED', `${call.what} got no answer within ${call.timeoutMs} ms.`)));
    const entry: Waiting = { subject, call, due, resolve, reject };
    waiting.set(token, entry);
    if (call.signal === undefined) return;
    entry.onAbort = () => take(token)?.reject(fail('AIOS_TASK_CANCELLED', `${call.what} was given up.`));
    call.signal.addEventListener('abort', entry.onAbort, { once: true });
  }

  return {
    request(subject, data, call) {
      if (waiting.size >= inFlightMax) return Promise.reject(fail('AIOS_OVERLOADED', `${inFlightMax} requests are in flight.`, { retryAfterMs: 100 }));
      if (call.signal?.aborted === true) return Promise.reject(fail('AIOS_TASK_CANCELLED', `${call.what} was given up.`));
      const token = (counter++).toString(36);
      return new Promise<Msg>((resolve, reject) => {
        start(token, subject, call, resolve, reject);
        together(() => {
          if (!waiting.has(token)) return;
          try {
            nc.publish(subject, data, call.headers === undefined ? { reply: prefix + token } : { reply: prefix + token, headers: call.headers });
          } catch (error) {
            take(token);
            reject(convertNatsError(error, call.what));
          }
        });
      });
    },
    failAll,
    forbid,
    get inFlight() {
      return waiting.size;
    },
  };
}
