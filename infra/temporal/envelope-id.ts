// Envelope ids and seals: the same on every brain, and nobody without the brain's signing key can make one.
// Owns: the derivation: HMAC-SHA-256 under a key that only holders of the brain's signing key can compute.
// Never stores anything. Others may assume: 22 characters of base64url, fit for a message id.

import { createHash, createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import type { Signer } from '../../contracts/ports.ts';

export function createEnvelopeIds(signer: Signer): (tenant: string, task: string, attempt: number, rung: string) => string {
  const key = keyFor(signer, 'aios-envelope-ids/v1');
  return (tenant, task, attempt, rung) => createHmac('sha256', key).update(JSON.stringify([tenant, task, attempt, rung])).digest('base64url').slice(0, 22);
}

export function createSeals(signer: Signer): (sliceDigest: string) => string {
  const key = keyFor(signer, 'aios-slice-seals/v1');
  return (sliceDigest) => createHmac('sha256', key).update(sliceDigest).digest('base64url');
}

/** As a key object: bytes would be looked at anew for each message. */
const keyFor = (signer: Signer, use: string): KeyObject => createSecretKey(createHash('sha256').update(signer.sign(new TextEncoder().encode(use))).digest());
