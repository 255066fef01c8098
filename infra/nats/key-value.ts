// Keys and values with compare-and-set, over buckets laid out as every NATS client expects them.
// Owns: key checks, creation over a tombstone, and watches that survive a restart of the server.
// Never keeps a copy. Others may assume: `create` wins for exactly one of many callers, and a watch reports every key's
// present value first and, whatever breaks, its present value again within half a minute.

import type { ConsumerMessages } from '@nats-io/jetstream';
import { fail, hasCode } from '../../contracts/errors.ts';
import type { KeyValue } from '../../contracts/ports.ts';
import type { NatsLink } from './connect.ts';
import { convertNatsError } from './errors.ts';
import { isMarker, lastOfEach } from './stored.ts';

const KEY = /^[A-Za-z0-9_=/-]+(\.[A-Za-z0-9_=/-]+)*$/;
const FILTER = /^([A-Za-z0-9_=/-]+|\*)(\.([A-Za-z0-9_=/-]+|\*))*(\.>)?$|^>$/;
const KEYS_MAX = 100_000;
const REREAD_MS = 30_000;
/** So long a deletion can be read; who watches has heard of it or reads all keys again long before. */
const TOMBSTONE_MS = 3_600_000;
const REOPEN_MS = 1_000;

export function createKeyValue(link: NatsLink): KeyValue {
  const put = async (bucket: string, key: string, value: Uint8Array, expectedLast?: number, ttlMs?: number) => {
    const { sequence } = await link.store(subjectOf(bucket, key), value, { ...(expectedLast === undefined ? {} : { expectedLast }), ...(ttlMs === undefined ? {} : { ttlMs }) });
    return sequence;
  };

  return {
    async get(bucket, key) {
      const found = await link.last(streamOf(bucket), subjectOf(bucket, key));
      return found === undefined || isMarker(found) ? undefined : { value: found.data, revision: found.sequence };
    },
    create: (bucket, key, value, ttlMs) => createKey(link, bucket, key, value, ttlMs),
    update: (bucket, key, value, revision, ttlMs) => put(bucket, key, value, revision, ttlMs),
    put: (bucket, key, value) => put(bucket, key, value),
    async delete(bucket, key) {
      await link.store(subjectOf(bucket, key), EMPTY, { headers: DELETE, ttlMs: TOMBSTONE_MS });
    },
    async keys(bucket, filter = '>') {
      const found = await lastOfEach(link, streamOf(bucket), filterOf(bucket, filter), KEYS_MAX);
      return found.map((message) => keyOf(bucket, message.subject));
    },
    watch: (bucket, filter, handle) => watch(link, bucket, filter, handle),
  };
}

export const DELETE: Readonly<Record<string, string>> = { 'KV-Operation': 'DEL' };
export const streamOf = (bucket: string): string => `KV_${bucket}`;

export function subjectOf(bucket: string, key: string): string {
  if (KEY.test(key)) return `$KV.${bucket}.${key}`;
  throw fail('AIOS_INPUT_INVALID', 'a key is dotted tokens of A-Z a-z 0-9 _ = / -');
}

/** One attempt on an empty key, one over a tombstone; `undefined` when a value is there. */
export async function createKey(link: NatsLink, bucket: string, key: string, value: Uint8Array, ttlMs?: number): Promise<number | undefined> {
  const subject = subjectOf(bucket, key);
  const ttl = ttlMs === undefined ? {} : { ttlMs };
  const first = await storeIf(link, subject, value, { expectedLast: 0, ...ttl });
  if (first !== undefined) return first;
  const found = await link.last(streamOf(bucket), subject);
  if (found === undefined || isMarker(found)) return storeIf(link, subject, value, { expectedLast: found?.sequence ?? 0, ...ttl });
  return undefined;
}

/** `undefined` when the last message of the subject is not the one expected. */
export async function storeIf(link: NatsLink, subject: string, value: Uint8Array, options: { readonly expectedLast: number; readonly ttlMs?: number }): Promise<number | undefined> {
  try {
    return (await link.store(subject, value, options)).sequence;
  } catch (error) {
    if (hasCode(error, 'AIOS_STATE_CONFLICT')) return undefined;
    throw error;
  }
}

/** An ordered consumer for speed, and a full read after each break and every half minute for truth. */
async function watch(link: NatsLink, bucket: string, filter: string, handle: (key: string, value: Uint8Array | undefined) => void): Promise<AsyncDisposable> {
  const subject = filterOf(bucket, filter);
  const known = new Map<string, number>();
  const state: { messages?: ConsumerMessages; stopped: boolean; cancel?: () => void } = { stopped: false };

  const report = (message: { readonly subject: string; readonly sequence: number; readonly data: Uint8Array }, gone: boolean): void => {
    const key = keyOf(bucket, message.subject);
    if ((known.get(key) ?? 0) >= message.sequence) return;
    known.set(key, message.sequence);
    handle(key, gone ? undefined : message.data);
  };

  const open = async (): Promise<void> => {
    const consumer = await link.js.consumers.get(streamOf(bucket), { filter_subjects: subject, deliver_policy: 'last_per_subject' });
    state.messages = await consumer.consume({
      max_messages: 256, expires: 5_000, idle_heartbeat: 1_000,
      callback: (message) => report({ subject: message.subject, sequence: message.seq, data: message.data }, isMarker({ header: (name) => message.headers?.get(name) ?? '' })),
    });
  };

  const reread = async (): Promise<void> => {
    const present = await lastOfEach(link, streamOf(bucket), subject, KEYS_MAX);
    for (const message of present) report(message, false);
    const keys = new Set(present.map((message) => keyOf(bucket, message.subject)));
    for (const key of known.keys()) {
      if (keys.has(key)) continue;
      known.delete(key);
      handle(key, undefined);
    }
  };

  const tick = async (): Promise<void> => {
    if (state.stopped) return;
    try {
      await reread();
      if (state.messages === undefined || (await Promise.race([state.messages.closed().then(() => true), link.clock.sleep(0).then(() => false)]))) await open();
      plan(REREAD_MS);
    } catch (error) {
      link.logger.warn({ bucket, error: convertNatsError(error, 'watching').code }, 'a watch broke; it is opened again');
      plan(REOPEN_MS);
    }
  };
  const plan = (ms: number): void => {
    state.cancel?.();
    if (!state.stopped) state.cancel = link.clock.after(ms, () => void tick());
  };

  await reread();
  await open().catch((error: unknown) => { throw convertNatsError(error, 'watching'); });
  plan(REREAD_MS);
  const offReconnect = link.onReconnect(() => plan(REOPEN_MS));
  return {
    async [Symbol.asyncDispose]() {
      state.stopped = true;
      state.cancel?.();
      offReconnect();
      await state.messages?.close();
    },
  };
}

function filterOf(bucket: string, filter: string): string {
  if (FILTER.test(filter)) return `$KV.${bucket}.${filter}`;
  throw fail('AIOS_INPUT_INVALID', 'a key filter is dotted tokens, * or a final >');
}

const keyOf = (bucket: string, subject: string): string => subject.slice(`$KV.${bucket}.`.length);
const EMPTY = new Uint8Array(0);
