// Keys on disk and in memory: Ed25519 as JWK files that only their owner reads, and the public ring that everybody may.
// Owns: the key directory. The brain's key signs roots of mandates, bundles and ledger heads.
// Never prints or returns a stored private key as text. A host that lacks the private file gets no signer, not an error.
// Others may assume: creating is race-free between processes, and a private file that others can read is refused.

import type { KeyObject } from 'node:crypto';
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { fail } from '../../contracts/errors.ts';
import { parseJson, parseValue } from '../../contracts/parse.ts';
import type { Clock } from '../../contracts/ports.ts';
import { createWhole, readIfThere, replaceWhole } from '../files/whole-file.ts';

const KEYS_WAIT_MS_MAX = 30_000;

export interface KeyPair {
  /** `brain-` and the first 16 characters of the key's SHA-256, base64url. */
  readonly kid: string;
  /** Raw Ed25519 public key, base64url. */
  readonly publicKey: string;
  readonly privateKey: KeyObject;
}
export interface RingKey { readonly kid: string; readonly publicKey: string }
/** Public keys of the brain: the first is in force, others are kept to verify what they signed. */
export interface Keyring { readonly keys: readonly RingKey[] }
export interface Keys {
  /** Absent on hosts that only verify. */
  readonly brain: KeyPair | undefined;
  readonly keyring: Keyring;
}
export interface BrainKeys extends Keys { readonly brain: KeyPair }

const rawKey = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
const jwkSchema = z.strictObject({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), x: rawKey, d: rawKey, kid: z.string().max(64) });
const ringSchema = z.strictObject({ v: z.literal(1), keys: z.array(z.strictObject({ kid: z.string().max(64), publicKey: rawKey })).max(64) });

/** In memory, for tests and for embedded hosts that keep no state. */
export function createKeys(): BrainKeys {
  const brain = pairOf(generateKeyPairSync('ed25519').privateKey);
  return { brain, keyring: { keys: [ringKey(brain)] } };
}

/** Reads the directory, creating what is missing. @throws AIOS_CONFIG_INVALID for a file that others can read or that is no key */
export async function loadOrCreateKeys(dir: string): Promise<BrainKeys> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const brain = await loadOrCreate(dir);
  return { brain, keyring: await extendRing(dir, ringKey(brain)) };
}

/** Reads what is there and creates nothing: how a host that only verifies starts, with the ring alone. */
export async function loadKeys(dir: string): Promise<Keys> {
  return { brain: await readPair(dir), keyring: await readRing(dir) };
}

/** The public ring is written by whoever starts first with the brain's keys; every other host waits for it. @throws AIOS_CONFIG_INVALID when it does not come */
export async function waitForKeys(dir: string, clock: Clock): Promise<Keys> {
  const giveUpAt = clock.monotonic() + KEYS_WAIT_MS_MAX;
  for (;;) {
    const keys = await loadKeys(dir).catch((error: unknown) => { if (clock.monotonic() >= giveUpAt) throw error; });
    if (keys !== undefined && keys.keyring.keys.length > 0) return keys;
    if (clock.monotonic() >= giveUpAt) throw fail('AIOS_CONFIG_INVALID', 'There is no key ring in AIOS_HOME; start the brain once, or copy keys/keyring.json from it.');
    await clock.sleep(200);
  }
}

/** A new pair. The old public key stays in the ring, so that what it signed still verifies. */
export async function rotateKeys(dir: string): Promise<BrainKeys> {
  await rm(pairFile(dir), { force: true });
  return loadOrCreateKeys(dir);
}

// ---- raw keys

/** PKCS#8 and SubjectPublicKeyInfo of Ed25519 are these prefixes and 32 raw bytes (RFC 8410). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
const SPKI_PREFIX_TEXT = SPKI_PREFIX.toString('base64');

/**
 * As PEM text: Node first asks of anything that is no text whether it is a key already, by an exception, and that costs three
 * times the import. @throws the vendor's error when it is not 32 bytes
 */
export const importPublicKey = (raw: string): KeyObject => createPublicKey(pem('PUBLIC', `${SPKI_PREFIX_TEXT}${raw.replaceAll('-', '+').replaceAll('_', '/')}=`));
export const importSecretKey = (raw: string): KeyObject => createPrivateKey(pem('PRIVATE', Buffer.concat([PKCS8_PREFIX, Buffer.from(raw, 'base64url')]).toString('base64')));
const pem = (kind: 'PUBLIC' | 'PRIVATE', base64: string): string => `-----BEGIN ${kind} KEY-----\n${base64}\n-----END ${kind} KEY-----\n`;
export const publicKeyOf = (privateKey: KeyObject): string => createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(SPKI_PREFIX.length).toString('base64url');

/** A fresh pair, both halves raw and base64url. Generating is twice as quick as importing bytes that somebody else drew. */
export function newRawPair(): { readonly secret: string; readonly publicKey: string } {
  const { d = '', x = '' } = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
  return { secret: d, publicKey: x };
}

function pairOf(privateKey: KeyObject): KeyPair {
  const publicKey = publicKeyOf(privateKey);
  const kid = `brain-${createHash('sha256').update(Buffer.from(publicKey, 'base64url')).digest('base64url').slice(0, 16)}`;
  return { kid, publicKey, privateKey };
}

// ---- files

const pairFile = (dir: string): string => join(dir, 'brain.jwk.json');
const ringFile = (dir: string): string => join(dir, 'keyring.json');
const ringKey = ({ kid, publicKey }: KeyPair): RingKey => ({ kid, publicKey });

async function loadOrCreate(dir: string): Promise<KeyPair> {
  const known = await readPair(dir);
  if (known !== undefined) return known;
  const pair = pairOf(generateKeyPairSync('ed25519').privateKey);
  const { kty, crv, x, d } = pair.privateKey.export({ format: 'jwk' });
  await createWhole(pairFile(dir), JSON.stringify({ kty, crv, x, d, kid: pair.kid }));
  // Another process may have been first: the file decides, not what we made.
  return (await readPair(dir)) ?? pair;
}

async function readPair(dir: string): Promise<KeyPair | undefined> {
  const file = pairFile(dir);
  const text = await readIfThere(file, 'A key file');
  if (text === undefined) return undefined;
  if (((await stat(file)).mode & 0o077) !== 0) throw fail('AIOS_CONFIG_INVALID', 'brain.jwk.json can be read by others: run chmod 600 on it.');
  try {
    const { kty, crv, x, d } = parseValue(jwkSchema, parseJson(text));
    return pairOf(createPrivateKey({ key: { kty, crv, x, d }, format: 'jwk' }));
  } catch (cause) {
    throw fail('AIOS_CONFIG_INVALID', 'brain.jwk.json is not an Ed25519 private key.', { cause });
  }
}

async function readRing(dir: string): Promise<Keyring> {
  const text = await readIfThere(ringFile(dir), 'A key file');
  if (text === undefined) return { keys: [] };
  try {
    return { keys: parseValue(ringSchema, parseJson(text)).keys };
  } catch (cause) {
    throw fail('AIOS_CONFIG_INVALID', 'keyring.json is not a key ring.', { cause });
  }
}

/** Puts the key in force first. Writers race harmlessly: each writes the same keys of the same directory. */
async function extendRing(dir: string, first: RingKey): Promise<Keyring> {
  const before = await readRing(dir);
  if (before.keys[0]?.kid === first.kid) return before;
  const keys = [first, ...before.keys.filter(({ kid }) => kid !== first.kid)];
  await replaceWhole(ringFile(dir), JSON.stringify({ v: 1, keys }, null, 2), 0o644);
  return { keys };
}
