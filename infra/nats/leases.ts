// Leases: who may serve a partition, with a fence that grows with every change of owner.
// Owns: renewal at a third of the life and giving up at two thirds of it on the monotonic clock.
// Never trusts the calendar. Others may assume: after `lost` aborts, or when a pause hid it, writes under the old fence
// still fail at the state log; the lease only decides who tries.

import { BUCKETS } from '../../contracts/address.ts';
import { hasCode, isAiosError } from '../../contracts/errors.ts';
import { z } from 'zod';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import type { KeyValue, Lease, Leases } from '../../contracts/ports.ts';
import type { NatsLink } from './connect.ts';
import { DELETE, storeIf, streamOf, subjectOf } from './key-value.ts';
import { isMarker, lastOfEach } from './stored.ts';

const LEASES_MAX = 4_096;
/** The first record cannot know its own sequence, so only renewals carry the fence. */
const recordSchema = z.strictObject({ owner: z.string().max(128), fence: z.number().int().positive().optional() });

export function createLeases(link: NatsLink, keyValue: KeyValue): Leases {
  return {
    async acquire(name, owner, ttlMs) {
      const askedAt = link.clock.monotonic();
      const taken = (await takeFree(link, name, owner, ttlMs)) ?? (await takeAgain(link, name, owner, ttlMs));
      return taken === undefined ? undefined : hold(link, { name, owner, ttlMs, ...taken, provenAt: askedAt });
    },
    async holders() {
      const found = await lastOfEach(link, streamOf(BUCKETS.leases), `$KV.${BUCKETS.leases}.>`, LEASES_MAX);
      return new Map(found.map((message) => {
        const { owner, fence } = parseBytes(recordSchema, message.data);
        return [message.subject.slice(`$KV.${BUCKETS.leases}.`.length), { owner, fence: fence ?? message.sequence }];
      }));
    },
    async endAll(owner) {
      const found = await lastOfEach(link, streamOf(BUCKETS.leases), `$KV.${BUCKETS.leases}.>`, LEASES_MAX);
      const theirs = found.filter((message) => parseBytes(recordSchema, message.data).owner === owner);
      await Promise.all(theirs.map((message) => link.store(message.subject, EMPTY, { expectedLast: message.sequence, headers: ENDED }).catch(unlessConflict)));
    },
    async watch(run) {
      const watch = await keyValue.watch(BUCKETS.leases, '>', (_key, value) => { if (value === undefined) run(); });
      // Leases may have ended while we were away, our own among them.
      const offReconnect = link.onReconnect(run);
      return { async [Symbol.asyncDispose]() { offReconnect(); await watch[Symbol.asyncDispose](); } };
    },
  };
}

interface Taken { readonly fence: number; readonly orphaned: boolean }

/** Nothing on record, or nothing any more: it was never held, or it expired. Only a release leaves a plain deletion. */
async function takeFree(link: NatsLink, name: string, owner: string, ttlMs: number): Promise<Taken | undefined> {
  const subject = subjectOf(BUCKETS.leases, name);
  const value = toBytes({ owner });
  const first = await storeIf(link, subject, value, { expectedLast: 0, ttlMs });
  if (first !== undefined) return { fence: first, orphaned: true };
  const found = await link.last(streamOf(BUCKETS.leases), subject);
  if (found !== undefined && !isMarker(found)) return undefined;
  const fence = await storeIf(link, subject, value, { expectedLast: found?.sequence ?? 0, ttlMs });
  const released = found !== undefined && found.header('KV-Operation') === 'DEL' && found.header('Aios-Reason') === '';
  return fence === undefined ? undefined : { fence, orphaned: !released };
}

/** The owner on record gave the lease up without releasing it, after a stall or while disconnected: it need not wait for its own past. */
async function takeAgain(link: NatsLink, name: string, owner: string, ttlMs: number): Promise<Taken | undefined> {
  const subject = subjectOf(BUCKETS.leases, name);
  const found = await link.last(streamOf(BUCKETS.leases), subject);
  if (found === undefined || isMarker(found) || parseBytes(recordSchema, found.data).owner !== owner) return undefined;
  try {
    return { fence: (await link.store(subject, toBytes({ owner }), { expectedLast: found.sequence, ttlMs })).sequence, orphaned: true };
  } catch (error) {
    if (hasCode(error, 'AIOS_STATE_CONFLICT')) return undefined;
    throw error;
  }
}

interface Holding extends Taken { readonly name: string; readonly owner: string; readonly ttlMs: number; readonly provenAt: number }

function hold(link: NatsLink, { name, owner, ttlMs, fence, orphaned, provenAt }: Holding): Lease {
  const { clock, metrics } = link;
  const subject = subjectOf(BUCKETS.leases, name);
  const value = toBytes({ owner, fence });
  const lost = new AbortController();
  const state = { revision: fence, provenAt, released: false, cancelRenew: () => {}, cancelFence: () => {} };

  const end = (why: 'released' | 'taken' | 'unproven'): void => {
    state.cancelRenew();
    state.cancelFence();
    if (lost.signal.aborted || (state.released && why !== 'released')) return;
    if (why !== 'released') metrics.count('aios_lease_lost_total', { why });
    lost.abort(why);
  };
  const watchProof = (): void => {
    state.cancelFence();
    const left = (ttlMs * 2) / 3 - (clock.monotonic() - state.provenAt);
    state.cancelFence = left <= 0 ? () => {} : clock.after(left, () => end('unproven'));
    if (left <= 0) end('unproven');
  };
  const plan = (ms: number): void => {
    if (!lost.signal.aborted) state.cancelRenew = clock.after(ms, () => void renew());
  };
  const renew = async (): Promise<void> => {
    const startedAt = clock.monotonic();
    try {
      state.revision = (await link.store(subject, value, { expectedLast: state.revision, ttlMs })).sequence;
      state.provenAt = startedAt;
      if (state.released) return;
      watchProof();
      plan(ttlMs / 3);
    } catch (error) {
      if (!isAiosError(error) || lost.signal.aborted) return;
      if (hasCode(error, 'AIOS_STATE_CONFLICT') && !(await stillOurs())) return end('taken');
      plan(Math.max(50, ttlMs / 12));
    }
  };
  /** A renewal whose acknowledgement was lost looks like a conflict; the record says whose it is. */
  const stillOurs = async (): Promise<boolean> => {
    const found = await link.last(streamOf(BUCKETS.leases), subject).catch(() => undefined);
    if (found === undefined || found.data.length === 0) return false;
    const record = parseBytes(recordSchema, found.data);
    if (record.owner !== owner || record.fence !== fence) return false;
    state.revision = found.sequence;
    return true;
  };

  watchProof();
  plan(ttlMs / 3);
  return {
    name,
    fence,
    orphaned,
    lost: lost.signal,
    async release() {
      if (state.released || lost.signal.aborted) return;
      state.released = true;
      end('released');
      await link.store(subject, EMPTY, { expectedLast: state.revision, headers: DELETE }).catch(() => undefined);
    },
  };
}

/** A deletion that does not look like a release: whoever takes the lease next can tell that its owner was lost. */
const ENDED: Readonly<Record<string, string>> = { ...DELETE, 'Aios-Reason': 'owner-gone' };
/** Renewed, released or ended by somebody else meanwhile. */
function unlessConflict(error: unknown): void {
  if (!hasCode(error, 'AIOS_STATE_CONFLICT')) throw error;
}
const EMPTY = new Uint8Array(0);
