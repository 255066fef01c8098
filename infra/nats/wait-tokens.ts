// Task tokens of activities that wait for an outcome, so that the bridge can complete them.
// Owns: the bucket of tokens. Never completes anything. Others may assume: a token put before the store was searched for the
// outcome is seen by whoever handles the outcome later; between the two orders nothing is lost. A watch lags: who was told of an
// outcome first and of the wait after it looks at the store when the wait is reported.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { BUCKETS } from '../../contracts/address.ts';
import { parseId } from '../../contracts/ids.ts';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import type { KeyValue, Wait, WaitTokens } from '../../contracts/ports.ts';

/** The envelope id is part of the value since the key holds only its hash. */
const tokenSchema = z.strictObject({ envelopeId: z.string().max(96), token: z.base64() });

export function createWaitTokens(keyValue: KeyValue): WaitTokens {
  return {
    async put(tenant, task, envelopeId, token) {
      await keyValue.put(BUCKETS.tokens, keyOf(tenant, task, envelopeId), toBytes({ envelopeId, token: Buffer.from(token).toString('base64') }));
    },
    async get(tenant, task, envelopeId) {
      const found = await keyValue.get(BUCKETS.tokens, keyOf(tenant, task, envelopeId));
      return found === undefined ? undefined : new Uint8Array(Buffer.from(parseBytes(tokenSchema, found.value).token, 'base64'));
    },
    delete: (tenant, task, envelopeId) => keyValue.delete(BUCKETS.tokens, keyOf(tenant, task, envelopeId)),
    async watch(handle) {
      const waits = new Map<string, Wait>();
      return keyValue.watch(BUCKETS.tokens, '>', (key, value) => {
        const wait = value === undefined ? waits.get(key) : waitOf(key, value);
        if (wait === undefined) return;
        if (value === undefined) waits.delete(key);
        else waits.set(key, wait);
        handle(wait, value !== undefined);
      });
    },
  };
}

/** Undefined for what an earlier version put there: its wait asks again within half a minute. */
function waitOf(key: string, value: Uint8Array): Wait | undefined {
  const [tenant, task] = key.split('.');
  const parsed = readable(value);
  return tenant === undefined || task === undefined || parsed === undefined ? undefined : { tenant, task, envelopeId: parsed.envelopeId };
}

function readable(value: Uint8Array): z.infer<typeof tokenSchema> | undefined {
  try {
    return parseBytes(tokenSchema, value);
  } catch {
    return undefined;
  }
}

/** Envelope ids may hold characters that subjects may not. */
const keyOf = (tenant: string, task: string, envelopeId: string): string =>
  `${parseId('tenant', tenant)}.${parseId('task', task)}.${createHash('sha256').update(envelopeId).digest('hex').slice(0, 32)}`;
