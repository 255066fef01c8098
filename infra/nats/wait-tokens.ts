// Task tokens of activities that wait for an outcome, so that the bridge can complete them.
// Owns: the bucket of tokens. Never completes anything. Others may assume: a token put before the store was searched for the
// outcome is seen by whoever handles the outcome later; between the two orders nothing is lost.

import { createHash } from 'node:crypto';
import { BUCKETS } from '../../contracts/address.ts';
import { parseId } from '../../contracts/ids.ts';
import type { KeyValue, WaitTokens } from '../../contracts/ports.ts';

export function createWaitTokens(keyValue: KeyValue): WaitTokens {
  return {
    async put(tenant, task, envelopeId, token) {
      await keyValue.put(BUCKETS.tokens, keyOf(tenant, task, envelopeId), token);
    },
    async get(tenant, task, envelopeId) {
      return (await keyValue.get(BUCKETS.tokens, keyOf(tenant, task, envelopeId)))?.value;
    },
    delete: (tenant, task, envelopeId) => keyValue.delete(BUCKETS.tokens, keyOf(tenant, task, envelopeId)),
  };
}

/** Envelope ids may hold characters that subjects may not. */
const keyOf = (tenant: string, task: string, envelopeId: string): string =>
  `${parseId('tenant', tenant)}.${parseId('task', task)}.${createHash('sha256').update(envelopeId).digest('hex').slice(0, 32)}`;
