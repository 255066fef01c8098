// Dead letters: one stream over every way a message can be lost, each entry replayable, until a person decides.
// Owns: the stream's records (id = sequence), and closing the hole that JetStream leaves: a work queue keeps a message that
// was delivered too often for ever; the advisory about it is itself stored, so that no process has to be listening.
// Never deletes a letter by itself before its age. Others may assume: the task of a stuck message gets a failed outcome.

import { z } from 'zod';
import { STREAMS, SUBJECT_ROOT, parseMailboxSubject, subjects, tenantOf } from '../../contracts/address.ts';
import { digestOfText } from '../../contracts/canonical.ts';
import { ERRORS, fail, isErrorCode } from '../../contracts/errors.ts';
import { isId, parseId } from '../../contracts/ids.ts';
import { envelopeSchema, type Envelope, HEADERS, type Outcome } from '../../contracts/message.ts';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import type { DeadLetter, DeadLetters } from '../../contracts/ports.ts';
import { CLAIM_HEADER, type Blobs } from './blobs.ts';
import type { NatsLink, StoredMessage } from './connect.ts';
import { convertNatsError, isNotFound } from './errors.ts';
import { newest } from './stored.ts';
import { superviseConsumer } from './supervise.ts';
import { ADVISORIES } from './topology.ts';

const BYTES_MAX = 16 * 1024 * 1024;
const LIST_MAX = 1_000;
const NS = 1_000_000;

const letterSchema = z.strictObject({
  at: z.number(), tenant: z.string(), reason: z.enum(['overflow', 'expired', 'malformed', 'policy', 'max-deliveries', 'unknown-kind', 'poison']),
  code: z.string(), subject: z.string(), trace: z.string().optional(), task: z.string().optional(), attempts: z.number(), replayOf: z.string().optional(), data: z.string(),
});

export function createDeadLetters(link: NatsLink, blobs: Blobs): DeadLetters {
  const get = async (id: string): Promise<DeadLetter | undefined> => {
    const found = await link.at(STREAMS.deadLetters.name, sequenceOf(id));
    return found === undefined ? undefined : toLetter(blobs, found);
  };
  const discard = async (id: string): Promise<void> => {
    try {
      await link.jsm.streams.deleteMessage(STREAMS.deadLetters.name, sequenceOf(id));
    } catch (error) {
      if (!isNotFound(error)) throw convertNatsError(error, 'discarding a dead letter');
    }
  };

  return {
    async add(letter) {
      const tenant = isId(letter.tenant) ? letter.tenant : 'sys';
      const record = { ...letter, tenant, at: link.clock.now() };
      const data = toBytes(record);
      const messageId = `dl-${digestOfText(`${letter.subject} ${letter.reason} ${letter.replayOf ?? ''} ${letter.data}`)}`;
      const headers = data.byteLength <= blobs.inlineBytesMax ? undefined : { [CLAIM_HEADER]: await blobs.put(data) };
      const { sequence } = await link.store(subjects.deadLetter(parseId('tenant', tenant), letter.reason), headers === undefined ? data : EMPTY, { messageId, headers });
      link.metrics.count('aios_dead_letters_total', { reason: letter.reason, code: isErrorCode(letter.code) ? letter.code : 'other' });
      return String(sequence);
    },
    async list({ tenant, limit }) {
      const filter = `${SUBJECT_ROOT}.${tenant === undefined ? '*' : parseId('tenant', tenant)}.dlq.>`;
      const found = await newest(link, STREAMS.deadLetters.name, filter, Math.min(limit, LIST_MAX));
      return Promise.all(found.map((message) => toLetter(blobs, message)));
    },
    get,
    async replay(id) {
      const letter = await get(id);
      if (letter === undefined) throw fail('AIOS_INPUT_INVALID', `There is no dead letter ${id}.`);
      const address = parseMailboxSubject(letter.subject);
      if (address === undefined) throw fail('AIOS_INPUT_INVALID', 'Only messages of a mailbox can be replayed.');
      const data = Buffer.from(letter.data, 'base64');
      await link.store(letter.subject, data, { messageId: `replay-${id}-${letter.at}`, headers: { [HEADERS.replay]: id } });
      await discard(id);
    },
    discard,
  };
}

interface Closer { readonly deadLetters: DeadLetters; readonly blobs: Blobs; publishOutcome(outcome: Outcome): Promise<void> }

/** Moves messages that were delivered too often from the work queue into the dead letters. Any number of processes may run it. */
export function closeMaxDeliveries(link: NatsLink, { deadLetters, blobs, publishOutcome }: Closer): Promise<AsyncDisposable> {
  return superviseConsumer(link, {
    stream: ADVISORIES.name,
    config: { durable_name: 'dead-letters', ack_policy: 'explicit', deliver_policy: 'all', ack_wait: 30_000 * NS, max_deliver: 100, max_ack_pending: 64 },
    inFlightMax: 8,
    async handle(message) {
      const advisory = tryParse(advisorySchema, message.data);
      if (advisory === undefined) return message.term('not an advisory');
      const { stream_seq: sequence, deliveries } = advisory;
      const stuck = await link.at(STREAMS.mailbox.name, sequence);
      if (stuck === undefined || stuck.sequence !== sequence) return message.ack();
      const claim = stuck.header(CLAIM_HEADER);
      const data = claim === '' ? stuck.data : await blobs.get(claim);
      const envelope = tryParse(envelopeSchema, data);
      await deadLetters.add({
        tenant: tenantOf(stuck.subject) ?? 'sys', reason: 'max-deliveries', code: 'AIOS_QUARANTINED', subject: stuck.subject, attempts: deliveries, data: Buffer.from(data).toString('base64'),
        ...(envelope === undefined ? {} : { task: envelope.task, ...(envelope.trace === undefined ? {} : { trace: envelope.trace.traceparent }) }),
      });
      if (envelope !== undefined && envelope.tenant === tenantOf(stuck.subject)) await publishOutcome(failedOutcome(envelope));
      await link.jsm.streams.deleteMessage(STREAMS.mailbox.name, sequence).catch((error: unknown) => { if (!isNotFound(error)) throw error; });
      message.ack();
    },
  });
}

const advisorySchema = z.looseObject({ stream_seq: z.number().int().positive(), deliveries: z.number().int() });

function tryParse<T>(schema: z.ZodType<T>, data: Uint8Array): T | undefined {
  try {
    return parseBytes(schema, data, BYTES_MAX);
  } catch {
    return undefined;
  }
}

const failedOutcome = ({ id, task, tenant }: Envelope): Outcome => ({ v: 1, status: 'failed', id, task, tenant, error: { code: 'AIOS_QUARANTINED', message: ERRORS.AIOS_QUARANTINED.message }, receipts: [], costMicroUsd: 0 });

async function toLetter(blobs: Blobs, message: StoredMessage): Promise<DeadLetter> {
  const claim = message.header(CLAIM_HEADER);
  const { trace, task, replayOf, ...rest } = parseBytes(letterSchema, claim === '' ? message.data : await blobs.get(claim), BYTES_MAX);
  return { id: String(message.sequence), ...rest, ...(trace === undefined ? {} : { trace }), ...(task === undefined ? {} : { task }), ...(replayOf === undefined ? {} : { replayOf }) };
}

function sequenceOf(id: string): number {
  const sequence = Number(id);
  if (/^[1-9][0-9]{0,15}$/.test(id) && Number.isSafeInteger(sequence)) return sequence;
  throw fail('AIOS_INPUT_INVALID', 'the id of a dead letter is a number');
}

const EMPTY = new Uint8Array(0);
