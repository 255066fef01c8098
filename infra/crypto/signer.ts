// Ed25519 over bytes through node:crypto, synchronous because a signature is 50 µs and a queue would cost more.
// Owns: the Signer and SignatureVerifier ports. Never holds a key as text.
// Others may assume: an unknown key id and a wrong signature look the same, and a respelled signature is wrong.

import type { KeyObject } from 'node:crypto';
import { sign, verify } from 'node:crypto';
import type { SignatureVerifier, Signer } from '../../contracts/ports.ts';
import type { RawKeyVerifier } from '../../policies/mandate.ts';
import type { KeyPair, Keyring } from './keys.ts';
import { importPublicKey } from './keys.ts';

export function createSigner(pair: KeyPair): Signer {
  return { kid: pair.kid, sign: (bytes) => sign(null, bytes, pair.privateKey).toString('base64url') };
}

/** Trusts the keys of a ring: roots of mandates, bundles, ledger heads. */
export function createVerifier(keyring: Keyring): SignatureVerifier {
  const keys = new Map(keyring.keys.map(({ kid, publicKey }) => [kid, importPublicKey(publicKey)]));
  return {
    verify: (kid, bytes, signature) => {
      const key = keys.get(kid);
      return key !== undefined && verifies(key, bytes, signature);
    },
  };
}

/** Imported keys kept at once; the oldest goes first. Importing again costs 20 µs. */
const IMPORTED_MAX = 1_024;

/** Verifies under keys that arrive inside mandates. */
export function createRawVerifier(): RawKeyVerifier {
  const imported = new Map<string, KeyObject>();
  return (publicKey, bytes, signature) => {
    let key = imported.get(publicKey);
    if (key === undefined) {
      if (imported.size >= IMPORTED_MAX) imported.delete(imported.keys().next().value as string);
      imported.set(publicKey, (key = importPublicKey(publicKey)));
    }
    return verifies(key, bytes, signature);
  };
}

function verifies(key: KeyObject, bytes: Uint8Array, signature: string): boolean {
  const raw = Buffer.from(signature, 'base64url');
  return raw.length === 64 && raw.toString('base64url') === signature && verify(null, bytes, key, raw);
}
