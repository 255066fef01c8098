// Revoked mandates: prefixes of block ids, and tasks that were cancelled, in a bucket that every process that verifies watches.
// Owns: the bucket's layout. Never decides who may revoke. Others may assume: a prefix that was revoked is refused by
// every connected process at once, and after a broken watch within half a minute; entries go after 30 days, mandates long before.

import { BUCKETS } from '../../contracts/address.ts';
import { fail } from '../../contracts/errors.ts';
import { parseId } from '../../contracts/ids.ts';
import { decodeText } from '../../contracts/parse.ts';
import type { KeyValue } from '../../contracts/ports.ts';
import { createRevocations, taskName, type Revocations } from '../../policies/mandate.ts';

const PREFIX = /^[A-Za-z0-9_.-]{4,128}$/;
/** A host that was away for a moment still hears of a task that had little time left. */
const LIFE_MS_MIN = 60_000;
const encoder = new TextEncoder();
const keyOf = (name: string): string => Buffer.from(name).toString('base64url');
/** No prefix holds a slash. */
const isTaskName = (name: string): boolean => name.includes('/');

/** Refuses every mandate with a block whose id begins so. At least four characters, so that a slip does not stop the world. */
export async function revoke(keyValue: KeyValue, prefix: string): Promise<void> {
  if (!PREFIX.test(prefix)) throw fail('AIOS_INPUT_INVALID', 'a prefix of block ids has 4 to 128 characters of A-Z a-z 0-9 _ . -');
  await keyValue.put(BUCKETS.revoked, keyOf(prefix), encoder.encode(prefix));
}

/** Refuses every mandate of a task until `untilMs`, after which none of them holds anyway. */
export async function revokeTask(keyValue: KeyValue, tenant: string, task: string, untilMs: number, now: number): Promise<void> {
  const name = taskName(parseId('tenant', tenant), parseId('task', task));
  await keyValue.create(BUCKETS.revoked, keyOf(name), encoder.encode(name), Math.max(LIFE_MS_MIN, untilMs - now));
}

export async function watchRevocations(keyValue: KeyValue): Promise<{ readonly revocations: Revocations } & AsyncDisposable> {
  const revocations = createRevocations();
  const known = new Map<string, string>();
  const watch = await keyValue.watch(BUCKETS.revoked, '*', (key, value) => {
    if (value === undefined) known.delete(key);
    else known.set(key, decodeText(value, 1_024));
    const all = [...known.values()];
    revocations.replace(all.filter((name) => !isTaskName(name)), all.filter(isTaskName));
  });
  return { revocations, [Symbol.asyncDispose]: () => watch[Symbol.asyncDispose]() };
}
