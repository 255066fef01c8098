// The Mandates port: minting with the brain's key, delegating offline, sealing, verifying once and remembering.
// Owns: the cache by digest and the making of keys. The rules are in policies/mandate.
// How the holder's key travels: as the end of the token. The brain makes a fresh key for every mandate and hands its private
// half to the agent inside the envelope; each delegation makes the next one and leaves the old behind, so that nobody further
// down can cut blocks off. What leaves for a party that must not delegate is sealed first. Treat an unsealed token as a secret.
// Others may assume: a verified mandate is inside its time and not revoked at the moment of the call.

import { createHash, hash, sign } from 'node:crypto';
import { fail } from '../../contracts/errors.ts';
import type { Digest } from '../../contracts/ids.ts';
import type { MandateBlock, MandateToken, VerifiedMandate } from '../../contracts/mandate.ts';
import { grantSchema } from '../../contracts/mandate.ts';
import { parseValue } from '../../contracts/parse.ts';
import type { Clock, Mandates, Random, Signer } from '../../contracts/ports.ts';
import type { Heir, RawKeyVerifier, Revocations } from '../../policies/mandate.ts';
import { MANDATE_CHARS_MAX, SKEW_MS_DEFAULT, ascii, checkPresentedAt, checkRevoked, checkTime, createRevocations, holdText, nextBlock, presentedBytes, rootBlock, sealedBytes, signingInput, splitEnd, verifyBlocks, verifyChain } from '../../policies/mandate.ts';
import type { Keyring, Keys } from './keys.ts';
import { importSecretKey, newRawPair, publicKeyOf } from './keys.ts';
import { createRawVerifier, createSigner, createVerifier } from './signer.ts';

export interface MandatesOptions {
  /** The brain's; absent on hosts that never mint. */
  readonly signer?: Signer | undefined;
  readonly keyring: Keyring;
  readonly clock: Pick<Clock, 'now'>;
  /** Must be cryptographically strong outside of tests: block ids come from it. Keys come from OpenSSL. */
  readonly random: Pick<Random, 'bytes'>;
  readonly revocations?: Revocations | undefined;
  readonly skewMs?: number;
}

export interface HeldMandates extends Mandates {
  /** The same mandate without the power to delegate it: for the gateway, a log of calls, another firm. */
  seal(token: MandateToken): MandateToken;
  /** Signs `bytes` with the last key: proof that the caller holds the mandate and did not only see it sealed. */
  prove(token: MandateToken, bytes: Uint8Array): string;
  verifyProof(verified: VerifiedMandate, bytes: Uint8Array, proof: string): boolean;
}

/** Verified mandates remembered at once, oldest forgotten first; about 2 KB each. */
export const CACHE_MAX = 4_096;

export function createMandates(options: MandatesOptions): HeldMandates {
  const { signer, keyring, clock, random, skewMs = SKEW_MS_DEFAULT } = options;
  const root = createVerifier(keyring);
  const verifiers = { root: { verify: remembering(root.verify) }, raw: remembering(createRawVerifier()), publicOf, digest: digestOf };
  const caching = { clock, revocations: options.revocations ?? createRevocations(), skewMs };
  const verify = createCache((token) => verifyChain(token, verifiers), caching);
  const verifyShown = createCache((blocksText) => verifyBlocks(blocksText, verifiers), caching);
  const provenOnce = createRawVerifier();
  const blockId = (task: string): string => `${task}.${Buffer.from(random.bytes(12)).toString('base64url')}`;

  return {
    verify,
    mint: (grant) => {
      if (signer === undefined) throw fail('AIOS_FORBIDDEN', 'This host has no key to mint mandates with.');
      const { heir, secret } = newHeir();
      const block = rootBlock(parseValue(grantSchema, grant), blockId(grant.task), heir, signer.kid);
      return bounded(`${signed(block, signer.sign)}~k.${secret}`);
    },
    attenuate: (token, caveat) => {
      const { blocksText, secret } = heldOf(token);
      const verified = verify(token);
      const { heir, secret: next } = newHeir();
      const block = nextBlock(blocksText, verified, caveat, blockId(verified.grant.task), heir, digestOf);
      return bounded(`${blocksText}~${signed(block, (bytes) => signWith(secret, bytes))}~k.${next}`);
    },
    seal: (token) => {
      const { blocksText, secret } = heldOf(token);
      return `${blocksText}~s.${signWith(secret, sealedBytes(digestOf(blocksText)))}`;
    },
    present: (token, { audience, content }) => {
      const { blocksText, secret } = heldOf(token);
      const at = clock.now();
      return bounded(`${blocksText}~p.${at}.${signWith(secret, presentedBytes(digestOf(blocksText), audience, at, digestOf(content)))}`);
    },
    verifyPresented: (token, { audience, content }) => {
      const { blocksText, end } = splitEnd(token);
      if (end.kind !== 'proof') throw fail('AIOS_MANDATE_INVALID', 'It has to be shown for this call, with a proof by its last key.');
      checkPresentedAt(end.at, clock.now(), skewMs);
      const verified = verifyShown(blocksText);
      if (!provenOnce(verified.holder, presentedBytes(verified.digest, audience, end.at, digestOf(content)), end.value)) throw fail('AIOS_MANDATE_INVALID', 'The proof is not of its last key, or not for this call.');
      return verified;
    },
    prove: (token, bytes) => {
      const { secret } = heldOf(token);
      return signWith(secret, proofBytes(verify(token), bytes));
    },
    verifyProof: (verified, bytes, proof) => verifiers.raw(verified.holder, proofBytes(verified, bytes), proof),
  };
}

/** Everything from one key directory. */
export function mandatesOf(keys: Keys, options: Omit<MandatesOptions, 'signer' | 'keyring'>): HeldMandates {
  return createMandates({ ...options, signer: keys.brain === undefined ? undefined : createSigner(keys.brain), keyring: keys.keyring });
}

const digestOf = (text: string): Digest => `sha256:${hash('sha256', text)}` as Digest;
const publicOf = (secret: string): string => publicKeyOf(importSecretKey(secret));

function newHeir(): { readonly heir: Heir; readonly secret: string } {
  const { secret, publicKey } = newRawPair();
  return { secret, heir: { next: publicKey, hold: digestOf(holdText(secret)) } };
}
const signWith = (secret: string, bytes: Uint8Array): string => sign(null, bytes, importSecretKey(secret)).toString('base64url');

function signed(block: MandateBlock, signBytes: (bytes: Uint8Array) => string): string {
  const input = signingInput(block);
  return `${input}.${signBytes(ascii(input))}`;
}

/** @throws AIOS_MANDATE_EXCEEDED for a sealed mandate */
function heldOf(token: MandateToken): { readonly blocksText: string; readonly secret: string } {
  const { blocksText, end } = splitEnd(token);
  if (end.kind !== 'secret') throw fail('AIOS_MANDATE_EXCEEDED', 'A mandate without its key can be shown, not delegated and not shown to others.');
  return { blocksText, secret: end.value };
}

function bounded(token: MandateToken): MandateToken {
  if (token.length <= MANDATE_CHARS_MAX) return token;
  throw fail('AIOS_MANDATE_EXCEEDED', `A mandate has at most ${MANDATE_CHARS_MAX} characters; grant fewer names or delegate less deep.`);
}

/** Bound to one mandate and one purpose, so that a proof can be neither moved nor mistaken for another signature. */
const proofBytes = (verified: VerifiedMandate, bytes: Uint8Array): Uint8Array => ascii(`aios-proof\n${verified.digest}\n${createHash('sha256').update(bytes).digest('hex')}`);

/** Signatures found right are kept: each delegation of a mandate that was seen costs one new block, not the whole chain again. */
const SIGNATURES_MAX = 8_192;
function remembering(check: RawKeyVerifier): RawKeyVerifier {
  const right = new Set<string>();
  return (key, bytes, signature) => {
    const name = createHash('sha256').update(`${key}\n${signature}\n`).update(bytes).digest('base64url');
    if (right.has(name)) return true;
    if (!check(key, bytes, signature)) return false;
    if (right.size >= SIGNATURES_MAX) right.delete(right.values().next().value as string);
    right.add(name);
    return true;
  };
}

interface Remembered { readonly key: string; readonly verified: VerifiedMandate; epoch: number }
interface CacheOptions { readonly clock: Pick<Clock, 'now'>; readonly revocations: Revocations; readonly skewMs: number }

/** Tokens of the last few tasks find their entry by themselves: a digest of a thousand characters costs more than all other checks. */
const RECENT_MAX = 64;

/** Signatures are checked once per token; time on every call; revocation again whenever its epoch has moved. */
function createCache(check: (token: MandateToken) => VerifiedMandate, { clock, revocations, skewMs }: CacheOptions): (token: MandateToken) => VerifiedMandate {
  const known = new Map<string, Remembered>();
  const recent = new Map<MandateToken, Remembered>();
  const entryOf = (token: MandateToken): Remembered => {
    const key = hash('sha256', token, 'base64url');
    const found = known.get(key);
    const entry = found ?? { key, verified: check(token), epoch: -1 };
    if (found === undefined) remember(known, key, entry, CACHE_MAX);
    remember(recent, token, entry, RECENT_MAX);
    return entry;
  };
  return (token) => {
    const entry = recent.get(token) ?? entryOf(token);
    const now = clock.now();
    if (entry.verified.grant.expiresAt <= now) {
      known.delete(entry.key);
      recent.delete(token);
    }
    checkTime(entry.verified.grant, now, skewMs);
    if (entry.epoch !== revocations.epoch) checkRevoked(entry.verified, revocations);
    entry.epoch = revocations.epoch;
    return entry.verified;
  };
}

/** Oldest out. */
function remember<T>(entries: Map<string, T>, key: string, entry: T, max: number): void {
  if (entries.size >= max) entries.delete(entries.keys().next().value as string);
  entries.set(key, entry);
}
