// Durable timers: scheduled messages of JetStream (2.12), moved into the mailbox when they are due.
// Owns: the subjects of the timer stream and the mover, which any number of processes may run.
// Never keeps a timer in memory. Others may assume: a due message reaches its mailbox at least once, deduplicated by its id,
// however long every process was away; the same key replaces; a cancelled key that has not fired never does.

import { STREAMS, SUBJECT_ROOT } from '../../contracts/address.ts';
import { digestOfText } from '../../contracts/canonical.ts';
import type { Timers } from '../../contracts/ports.ts';
import type { NatsLink } from './connect.ts';
import { convertNatsError, isNotFound } from './errors.ts';
import { superviseConsumer } from './supervise.ts';

const NS = 1_000_000;
const TARGET = 'Aios-Target';
const MESSAGE_ID = 'Aios-Message-Id';
const waitingSubject = (key: string): string => `${SUBJECT_ROOT}.sys.tmr.at.${tokenOf(key)}`;
const dueSubject = (key: string): string => `${SUBJECT_ROOT}.sys.tmr.due.${tokenOf(key)}`;
/** Keys are free text of the runtime; as a subject they are their hash. */
const tokenOf = (key: string): string => digestOfText(key).slice('sha256:'.length, 'sha256:'.length + 40);

export function createTimers(link: NatsLink): Timers {
  return {
    async schedule({ key, subject, at, data, messageId }) {
      const headers = { 'Nats-Schedule': `@at ${new Date(at).toISOString()}`, 'Nats-Schedule-Target': dueSubject(key), [TARGET]: subject, [MESSAGE_ID]: messageId };
      await link.store(waitingSubject(key), data, { headers });
    },
    async cancel(key) {
      try {
        await link.jsm.streams.purge(STREAMS.timers.name, { filter: waitingSubject(key) });
      } catch (error) {
        throw convertNatsError(error, 'cancelling a timer');
      }
    },
  };
}

/** Moves due messages into their mailboxes. A full mailbox makes it wait and try again. */
export function moveDueTimers(link: NatsLink): Promise<AsyncDisposable> {
  return superviseConsumer(link, {
    stream: STREAMS.timers.name,
    config: { durable_name: 'timers', filter_subject: `${SUBJECT_ROOT}.sys.tmr.due.>`, ack_policy: 'explicit', deliver_policy: 'all', ack_wait: 10_000 * NS, max_deliver: 1_000, max_ack_pending: 128 },
    inFlightMax: 32,
    workingMs: 3_000,
    async handle(message) {
      const subject = message.headers?.get(TARGET) ?? '';
      if (subject === '') return message.term('no target');
      await link.store(subject, message.data, { messageId: message.headers?.get(MESSAGE_ID) ?? '' });
      await link.jsm.streams.deleteMessage(STREAMS.timers.name, message.seq).catch((error: unknown) => { if (!isNotFound(error)) throw error; });
      message.ack();
    },
  });
}
