// Reading what is stored: the last value of every key, the newest messages of a filter, and what a deletion looks like.
// Owns: the bounded walks over a stream that ports share. Never writes.
// Others may assume: a walk ends after `limit` messages or at the stream's first one, and a vanished stream is an error of the table.

import type { StoredMsg } from '@nats-io/jetstream';
import type { NatsLink, StoredMessage } from './connect.ts';
import { convertNatsError, isNotFound } from './errors.ts';

/** Deleted, purged or expired: the key has no value. */
export const isMarker = (message: Pick<StoredMessage, 'header'>): boolean => message.header('KV-Operation') !== '' || message.header('Nats-Marker-Reason') !== '';

const FETCH_MS = 5_000;
const WINDOW_MIN = 256;

/** Last message of every subject that matches, markers left out. */
export async function lastOfEach(link: NatsLink, stream: string, filter: string, limit: number): Promise<StoredMessage[]> {
  try {
    const consumer = await link.js.consumers.get(stream, { filter_subjects: filter, deliver_policy: 'last_per_subject', inactive_threshold: 10_000 });
    const { num_pending: pending } = await consumer.info(true);
    if (pending === 0) return [];
    const found: StoredMessage[] = [];
    const batch = await consumer.fetch({ max_messages: Math.min(pending, limit), expires: FETCH_MS });
    for await (const message of batch) {
      const stored = { subject: message.subject, sequence: message.seq, data: message.data, header: (name: string) => message.headers?.get(name) ?? '' };
      if (!isMarker(stored)) found.push(stored);
    }
    return found;
  } catch (error) {
    throw convertNatsError(error, `reading ${stream}`);
  }
}

/** Newest first, at most `limit`, by walking back in growing windows. */
export async function newest(link: NatsLink, stream: string, filter: string, limit: number): Promise<StoredMessage[]> {
  const { state } = await link.jsm.streams.info(stream).catch((error: unknown) => {
    throw convertNatsError(error, `reading ${stream}`);
  });
  const found: StoredMessage[] = [];
  // An empty stream says that its first sequence is 0; sequences begin at 1.
  const first = Math.max(1, state.first_seq);
  let end = state.last_seq + 1;
  for (let window = Math.max(WINDOW_MIN, limit * 2); found.length < limit && end > first; window *= 2) {
    const start = Math.max(first, end - window);
    const part = await between(link, stream, filter, start, end);
    found.push(...part.toReversed());
    end = start;
  }
  return found.slice(0, limit);
}

/** Messages of a filter with start <= sequence < end, oldest first. */
async function between(link: NatsLink, stream: string, filter: string, start: number, end: number): Promise<StoredMessage[]> {
  const found: StoredMessage[] = [];
  if (end <= start) return found;
  try {
    const batch = await link.jsm.direct.getBatch(stream, { seq: start, batch: Math.min(end - start, 1_000), next_by_subj: filter });
    for await (const message of batch) {
      if (message.seq >= end) break;
      const stored = toStored(message);
      if (!isMarker(stored)) found.push(stored);
    }
  } catch (error) {
    if (isEmpty(error)) return found;
    throw convertNatsError(error, `reading ${stream}`);
  }
  const last = found.at(-1);
  return found.length >= 1_000 && last !== undefined ? [...found, ...(await between(link, stream, filter, last.sequence + 1, end))] : found;
}

const isEmpty = (error: unknown): boolean => isNotFound(error) || (error as { code?: number }).code === 404;
const toStored = (message: StoredMsg): StoredMessage => ({ subject: message.subject, sequence: message.seq, data: message.data, header: (name) => message.header.get(name) });
