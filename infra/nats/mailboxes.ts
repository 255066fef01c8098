// Durable mailboxes: a work queue in 64 partitions, one pull consumer a partition, never one an agent.
// Owns: the consumers' settings and the claim check of large messages; the pull loop is in supervise.ts.
// Never decides what a failure means: the handler acks, naks or terminates; one that throws without doing so is retried.
// Others may assume: a stored message is delivered at least once, at most `inFlightMax` are handled at a time, a message
// being handled is not redelivered while this process lives, and one whose process died is redelivered within ACK_WAIT_MS.

import type { ConsumerConfig, JsMsg } from '@nats-io/jetstream';
import { PARTITIONS, STREAMS, SUBJECT_ROOT, patterns } from '../../contracts/address.ts';
import type { MailboxDelivery, Mailboxes } from '../../contracts/ports.ts';
import { CLAIM_HEADER, type Blobs } from './blobs.ts';
import { fromHeaders, type NatsLink } from './connect.ts';
import { convertNatsError } from './errors.ts';
import { respond, superviseConsumer } from './supervise.ts';

/** Together with PULL_MS this bounds how long a message can lie with a host that was paused or lost. */
export const ACK_WAIT_MS = 2_000;
/** A pull that outlives its host by longer would draw messages away from the next owner. */
const PULL_MS = 1_000;
/** The host decides that a message is poison after fewer deliveries; this is the wall behind it. */
export const MAX_DELIVER = 24;
const BACKOFF_MS = [ACK_WAIT_MS, ACK_WAIT_MS, ACK_WAIT_MS, 3_000, 5_000, 10_000] as const;
/** In the all-partitions mode several hosts share one consumer, so the server's bound is a multiple of each host's. */
const SHARED_HOSTS = 8;
const NS = 1_000_000;

export function createMailboxes(link: NatsLink, blobs: Blobs): Mailboxes {
  return {
    async publish(subject, data, { messageId, headers }) {
      if (data.byteLength <= blobs.inlineBytesMax) return link.store(subject, data, { messageId, headers });
      const claim = await blobs.put(data);
      return link.store(subject, EMPTY, { messageId, headers: { ...headers, [CLAIM_HEADER]: claim } });
    },
    consume: (partition, { inFlightMax }, handle) => superviseConsumer(link, {
      stream: STREAMS.mailbox.name,
      config: consumerConfig(partition, inFlightMax),
      inFlightMax,
      workingMs: ACK_WAIT_MS / 3,
      pullMs: PULL_MS,
      makeRoom: (error) => removeIdle(link, partition, error),
      handle: async (message) => handle(await toDelivery(link, blobs, message)),
    }),
  };
}

/** Settings of the consumer of one partition, or of the one over all of them. */
export function consumerConfig(partition: number | '*', inFlightMax: number): Partial<ConsumerConfig> {
  return {
    durable_name: consumerName(partition),
    filter_subject: partition === '*' ? `${SUBJECT_ROOT}.*.mbx.>` : patterns.partition(partition),
    ack_policy: 'explicit',
    deliver_policy: 'all',
    ack_wait: ACK_WAIT_MS * NS,
    max_deliver: MAX_DELIVER,
    backoff: BACKOFF_MS.map((ms) => ms * NS),
    max_ack_pending: partition === '*' ? inFlightMax * SHARED_HOSTS : inFlightMax,
    max_waiting: 128,
  };
}

const consumerName = (partition: number | '*'): string => (partition === '*' ? 'mailboxes-all' : `mailboxes-p${partition}`);

/** Work queues allow one consumer a subject, so switching between the two modes removes the idle consumers of the other. */
async function removeIdle(link: NatsLink, partition: number | '*', error: unknown): Promise<void> {
  if (convertNatsError(error, '').code !== 'AIOS_CONFIG_INVALID') throw error;
  const others = partition === '*' ? Array.from({ length: PARTITIONS }, (_, index) => consumerName(index)) : [consumerName('*')];
  await Promise.all(others.map(async (name) => {
    const info = await link.jsm.consumers.info(STREAMS.mailbox.name, name).catch(() => undefined);
    if (info !== undefined && info.num_waiting === 0) await link.jsm.consumers.delete(STREAMS.mailbox.name, name).catch(() => undefined);
  }));
}

/** A message of a durable stream as its handler sees it, its content fetched where it travelled by claim check. */
export async function toDelivery(link: NatsLink, blobs: Blobs, message: JsMsg): Promise<MailboxDelivery> {
  const claim = message.headers?.get(CLAIM_HEADER) ?? '';
  const data = claim === '' ? message.data : await blobs.get(claim);
  let headers: Readonly<Record<string, string>> | undefined;
  const end = (run: () => void): void => {
    respond(link, run);
    if (claim !== '') void blobs.delete(claim);
  };
  return {
    subject: message.subject,
    data,
    get headers() {
      return (headers ??= fromHeaders(message.headers));
    },
    attempt: message.info.deliveryCount,
    sequence: message.seq,
    ack: async () => end(() => message.ack()),
    nak: (delayMs) => respond(link, () => message.nak(Math.max(1, Math.round(delayMs)))),
    term: (reason) => end(() => message.term(reason.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 128))),
    working: () => respond(link, () => message.working()),
  };
}

const EMPTY = new Uint8Array(0);
