// Outcomes of dispatches: stored once, heard at once by who waits, found later by who comes late.
// Owns: the one shared subscription of a process and its table of waiters (bounded), and the durable reader for the bridge.
// Never creates a consumer for a task. Others may assume: a waiter registered before the publish misses nothing:
// what the live message does not bring, a last look at the store brings, after a reconnect and at the timeout.

import type { Subscription } from '@nats-io/nats-core';
import { STREAMS, subjects, tenantOf } from '../../contracts/address.ts';
import { fail, toErrorBody } from '../../contracts/errors.ts';
import { parseId } from '../../contracts/ids.ts';
import { outcomeSchema, type Outcome } from '../../contracts/message.ts';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import type { DeadLetters, Outcomes } from '../../contracts/ports.ts';
import type { NatsLink } from './connect.ts';
import { CLAIM_HEADER, type Blobs } from './blobs.ts';
import { OUTCOMES_PER_TASK_MAX } from './topology.ts';
import { superviseConsumer } from './supervise.ts';

const WAITERS_MAX = 16_384;
const BYTES_MAX = 8 * 1024 * 1024;
/** Redelivery to a durable reader: waits grow to a minute, so the bound lies beyond half a day. */
const MAX_DELIVER = 1_000;
const NS = 1_000_000;

export interface NatsOutcomes extends Outcomes, AsyncDisposable {}

interface Waiter { readonly tenant: string; readonly task: string; settle(outcome: Outcome | undefined): void }

export function createOutcomes(link: NatsLink, blobs: Blobs, deadLetters: DeadLetters): NatsOutcomes {
  const waiters = new Map<string, Set<Waiter>>();
  let count = 0;

  const read = async (data: Uint8Array, claim: string): Promise<Outcome> => parseBytes(outcomeSchema, claim === '' ? data : await blobs.get(claim), BYTES_MAX);

  /** Opened by the first who waits: most hosts never do, and may not listen. It reaches the server before whatever is published after. */
  let subscription: Subscription | undefined;
  const listen = (): Subscription => link.nc.subscribe(STREAMS.outcomes.subjects[0] ?? '', {
    callback: (error, message) => {
      if (error !== null) return link.logger.error({ error: error.message }, 'outcomes are not heard any more');
      const id = idOf(message.headers?.get('Nats-Msg-Id') ?? '');
      if (id === undefined || !waiters.has(id)) return;
      void read(message.data, message.headers?.get(CLAIM_HEADER) ?? '').then((outcome) => hear(outcome, tenantOf(message.subject)), (thrown: unknown) => refused(thrown));
    },
  });
  const refused = (thrown: unknown): void => link.metrics.count('aios_outcome_refused_total', { code: toErrorBody(thrown).code });
  const hear = (outcome: Outcome, tenant: string | undefined): void => {
    if (outcome.tenant !== tenant) return refused(fail('AIOS_TENANT_MISMATCH'));
    for (const waiter of waiters.get(outcome.id) ?? []) if (waiter.tenant === outcome.tenant && waiter.task === outcome.task) waiter.settle(outcome);
  };

  /** An outcome published while we were away is in the store. */
  const offReconnect = link.onReconnect(() => {
    for (const [id, set] of waiters) {
      for (const waiter of set) void find(waiter.tenant, waiter.task, id).then((outcome) => outcome !== undefined && waiter.settle(outcome), () => undefined);
    }
  });

  const find = async (tenant: string, task: string, envelopeId: string): Promise<Outcome | undefined> => {
    const subject = subjectFor(tenant, task);
    const last = await link.last(STREAMS.outcomes.name, subject);
    if (last === undefined) return undefined;
    if (idOf(last.header('Nats-Msg-Id')) === envelopeId) return read(last.data, last.header(CLAIM_HEADER));
    return findEarlier(subject, envelopeId, last.sequence);
  };
  const findEarlier = async (subject: string, envelopeId: string, end: number): Promise<Outcome | undefined> => {
    let sequence = 1;
    for (let step = 0; step < OUTCOMES_PER_TASK_MAX && sequence < end; step++) {
      const found = await link.at(STREAMS.outcomes.name, sequence, subject);
      if (found === undefined) return undefined;
      if (idOf(found.header('Nats-Msg-Id')) === envelopeId) return read(found.data, found.header(CLAIM_HEADER));
      sequence = found.sequence + 1;
    }
    return undefined;
  };

  return {
    async publish(outcome) {
      const data = toBytes(outcome);
      const subject = subjectFor(outcome.tenant, outcome.task);
      const messageId = ID_PREFIX + outcome.id;
      if (data.byteLength <= blobs.inlineBytesMax) return void (await link.store(subject, data, { messageId }));
      await link.store(subject, EMPTY, { messageId, headers: { [CLAIM_HEADER]: await blobs.put(data) } });
    },
    find,
    wait(tenant, task, envelopeId, timeoutMs, signal) {
      if (count >= WAITERS_MAX) return Promise.reject(fail('AIOS_OVERLOADED', `${WAITERS_MAX} outcomes are waited for.`, { retryAfterMs: 1_000 }));
      subscription ??= listen();
      return new Promise((resolve) => {
        const waiter: Waiter = { tenant, task, settle };
        const set = waiters.get(envelopeId) ?? new Set<Waiter>();
        waiters.set(envelopeId, set.add(waiter));
        count++;
        const cancelTimer = link.clock.after(timeoutMs, () => void find(tenant, task, envelopeId).then(settle, () => settle(undefined)));
        const onAbort = (): void => settle(undefined);
        signal?.addEventListener('abort', onAbort, { once: true });
        if (signal?.aborted === true) settle(undefined);

        function settle(outcome: Outcome | undefined): void {
          if (!set.delete(waiter)) return;
          count--;
          if (set.size === 0 && waiters.get(envelopeId) === set) waiters.delete(envelopeId);
          cancelTimer();
          signal?.removeEventListener('abort', onAbort);
          resolve(outcome);
        }
      });
    },
    consume: (durable, handle) => consume(link, durable, read, deadLetters, handle),
    async [Symbol.asyncDispose]() {
      offReconnect();
      if (subscription?.isClosed() === false) subscription.unsubscribe();
      for (const set of waiters.values()) for (const waiter of set) waiter.settle(undefined);
    },
  };
}

/** What cannot be parsed is dead-lettered at once; what cannot be handled is tried again with growing pauses. */
function consume(link: NatsLink, durable: string, read: (data: Uint8Array, claim: string) => Promise<Outcome>, deadLetters: DeadLetters, handle: (outcome: Outcome) => Promise<void>): Promise<AsyncDisposable> {
  return superviseConsumer(link, {
    stream: STREAMS.outcomes.name,
    config: { durable_name: durable, ack_policy: 'explicit', deliver_policy: 'all', ack_wait: 30_000 * NS, max_deliver: MAX_DELIVER, max_ack_pending: 256 },
    inFlightMax: 64,
    async handle(message) {
      let outcome: Outcome;
      try {
        outcome = await read(message.data, message.headers?.get(CLAIM_HEADER) ?? '');
        if (outcome.tenant !== tenantOf(message.subject)) throw fail('AIOS_TENANT_MISMATCH');
      } catch (thrown) {
        const { code } = toErrorBody(thrown);
        if (code === 'AIOS_DISCONNECTED' || code === 'AIOS_UNAVAILABLE') return message.nak(1_000);
        link.metrics.count('aios_outcome_refused_total', { code });
        await deadLetters.add({ tenant: tenantOf(message.subject) ?? 'sys', reason: 'malformed', code, subject: message.subject, attempts: message.info.deliveryCount, data: Buffer.from(message.data).toString('base64') });
        return message.term(code);
      }
      try {
        await handle(outcome);
        message.ack();
      } catch {
        message.nak(Math.min(60_000, 250 * 2 ** Math.min(message.info.deliveryCount, 8)));
      }
    },
  });
}

const ID_PREFIX = 'out-';
const idOf = (messageId: string): string | undefined => (messageId.startsWith(ID_PREFIX) ? messageId.slice(ID_PREFIX.length) : undefined);
const subjectFor = (tenant: string, task: string): string => subjects.outcome(parseId('tenant', tenant), parseId('task', task));
const EMPTY = new Uint8Array(0);
