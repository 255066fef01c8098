// Death watch: who wants to be told when an agent's activation ends without its will, and the telling.
// Owns: the durable list of watches (one key a pair, by the partition of the watched) and what each end leads to.
// Moving to another host and leaving memory are no end. Without leases nobody can tell that a host was lost: then only stops are told.
// Others may assume: a watch is told once, as a message under the id it got when it was set, so that telling twice is harmless;
// it ends with the mandate it was set under.

import { z } from 'zod';
import { BUCKETS, type MailboxAddress, partitionOf } from '../../contracts/address.ts';
import type { AgentAddress } from '../../contracts/agent.ts';
import { hasCode, toErrorBody } from '../../contracts/errors.ts';
import type { Envelope } from '../../contracts/message.ts';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import type { Clock, KeyValue, Logger, Mailboxes, Metrics, Random } from '../../contracts/ports.ts';
import type { WatchChange } from './record.ts';
import { backoffMs } from './supervision.ts';

/** `host-lost`: nobody released the partition; `stopped`: its supervision gave it up. */
export type DownReason = 'host-lost' | 'stopped';

export interface WatchPorts {
  readonly keyValue: KeyValue;
  readonly mailboxes: Mailboxes;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

const BUCKET = BUCKETS.watches;
/** Tries to tell one watcher; it is told at the next end otherwise. */
const TRIES_MAX = 8;
const PAUSES = { backoffMs: 200, backoffMsMax: 5_000 } as const;
const AT_ONCE = 16;

const storedSchema = z.strictObject({ id: z.string().max(96), subject: z.string().max(256), until: z.number().int(), text: z.string() });

/** The pair as a key: watches of one agent, and of one partition, are next to each other. */
export const watchKey = (tenant: string, watched: AgentAddress, watcher: AgentAddress): string => `${placeOf(tenant, watched)}.${watcher.kind}.${watcher.id}`;
const placeOf = (tenant: string, { kind, id }: AgentAddress): string => `${partitionOf(kind, id)}.${tenant}.${kind}.${id}`;

/** The same watch again replaces; set again after a crash it is the same. */
export async function setWatch({ keyValue, clock }: WatchPorts, { key, ...stored }: WatchChange): Promise<void> {
  const value = toBytes(stored);
  if ((await keyValue.create(BUCKET, key, value, Math.max(1_000, stored.until - clock.now()))) !== undefined) return;
  const found = await keyValue.get(BUCKET, key);
  if (found === undefined) return setWatch({ keyValue, clock } as WatchPorts, { key, ...stored });
  if (parseBytes(storedSchema, found.value).id !== stored.id) await keyValue.update(BUCKET, key, value, found.revision);
}

export const clearWatch = ({ keyValue }: WatchPorts, key: string): Promise<void> => keyValue.delete(BUCKET, key);

/** Partitions whose owner was lost: every watch on an agent of theirs is told. */
export async function tellLost(host: WatchPorts, partitions: ReadonlySet<number>): Promise<void> {
  const keys = await host.keyValue.keys(BUCKET, '>');
  await tellAll(host, keys.filter((key) => partitions.has(Number(key.split('.', 1)[0]))), 'host-lost');
}

export async function tellStopped(host: WatchPorts, { tenant, kind, id }: MailboxAddress): Promise<void> {
  await tellAll(host, await host.keyValue.keys(BUCKET, `${placeOf(tenant, { kind, id })}.>`), 'stopped');
}

async function tellAll(host: WatchPorts, keys: readonly string[], why: DownReason): Promise<void> {
  for (let at = 0; at < keys.length; at += AT_ONCE) await Promise.all(keys.slice(at, at + AT_ONCE).map((key) => tell(host, key, why)));
}

async function tell(host: WatchPorts, key: string, why: DownReason): Promise<void> {
  for (let tries = 1; tries <= TRIES_MAX; tries++) {
    try {
      return await tellOnce(host, key, why);
    } catch (error) {
      host.logger.warn({ error: toErrorBody(error).code, tries }, 'a watcher is not told yet');
      await host.clock.sleep(backoffMs(PAUSES, tries, host.random.next()));
    }
  }
}

async function tellOnce({ keyValue, mailboxes, clock, metrics }: WatchPorts, key: string, why: DownReason): Promise<void> {
  const found = await keyValue.get(BUCKET, key);
  if (found === undefined) return;
  const { id, subject, until, text } = parseBytes(storedSchema, found.value);
  if (clock.now() < until) {
    const envelope = JSON.parse(text) as Envelope & { readonly input: object };
    await mailboxes.publish(subject, toBytes({ ...envelope, input: { ...envelope.input, why } }), { messageId: id });
    metrics.count('aios_agent_watches_told_total', { why });
  }
  await keyValue.delete(BUCKET, key).catch((error: unknown) => { if (!hasCode(error, 'AIOS_STATE_CONFLICT')) throw error; });
}
