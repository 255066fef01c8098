// Revoked mandates: prefixes of block ids in a bucket, watched by every process that verifies.
// Owns: the bucket's layout. Never decides who may revoke. Others may assume: a prefix that was revoked is refused by
// every connected process at once, and after a broken watch within half a minute; entries go after 30 days, mandates long before.

import { BUCKETS } from '../../contracts/address.ts';
import { fail } from '../../contracts/errors.ts';
import { decodeText } from '../../contracts/parse.ts';
import type { KeyValue } from '../../contracts/ports.ts';
import { createRevocations, type Revocations } from '../../policies/mandate.ts';

const PREFIX = /^[A-Za-z0-9_.-]{4,128}$/;

/** Refuses every mandate with a block whose id begins so. At least four characters, so that a slip does not stop the world. */
export async function revoke(keyValue: KeyValue, prefix: string): Promise<void> {
  if (!PREFIX.test(prefix)) throw fail('AIOS_INPUT_INVALID', 'a prefix of block ids has 4 to 128 characters of A-Z a-z 0-9 _ . -');
  const bytes = new TextEncoder().encode(prefix);
  await keyValue.put(BUCKETS.revoked, Buffer.from(bytes).toString('base64url'), bytes);
}

export async function watchRevocations(keyValue: KeyValue): Promise<{ readonly revocations: Revocations } & AsyncDisposable> {
  const revocations = createRevocations();
  const known = new Map<string, string>();
  const watch = await keyValue.watch(BUCKETS.revoked, '*', (key, value) => {
    if (value === undefined) known.delete(key);
    else known.set(key, decodeText(value, 1_024));
    revocations.replace(known.values());
  });
  return { revocations, [Symbol.asyncDispose]: () => watch[Symbol.asyncDispose]() };
}
