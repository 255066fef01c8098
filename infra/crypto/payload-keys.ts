// The key ring of encrypted payloads: the first key encrypts, every key decrypts; a key per tenant is derived from each.
// Owns: the file and the environment form of the ring, rotation, and the derivation (HKDF-SHA-256, RFC 5869).
// Never prints a key. Losing a key loses what it encrypted: that is what erasing by key means too.
// Others may assume: a ring read from a file is read again when a key id is not in it, so a rotation reaches running
// processes by the first payload of the new key; a file that others can read is refused.

import { createHash, hkdfSync, randomBytes } from 'node:crypto';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { fail } from '../../contracts/errors.ts';
import { parseJson, parseValue } from '../../contracts/parse.ts';
import { replaceWhole } from '../files/whole-file.ts';

export interface PayloadKeyRing {
  /** The key in force for a tenant. */
  current(tenant: string): { readonly id: string; readonly key: Uint8Array };
  /** The key a payload names. @throws AIOS_PAYLOAD_KEY_MISSING */
  find(id: string, tenant: string): Promise<Uint8Array>;
  /** Ids, the one in force first. */
  ids(): readonly string[];
}
export interface PayloadKey { readonly id: string; readonly key: string }

const KEY_BYTES = 32;
const KEYS_MAX = 64;
/** Derived keys kept; one per key and tenant. */
const DERIVED_MAX = 4_096;
/** A missing key makes the file be read again at most this often. */
const REREAD_MS = 1_000;

const idPattern = /^pk-[A-Za-z0-9_-]{1,32}$/;
const keySchema = z.strictObject({ id: z.string().regex(idPattern), key: z.string().refine((text) => Buffer.from(text, 'base64').byteLength === KEY_BYTES, `${KEY_BYTES} bytes in base64`) });
const ringSchema = z.strictObject({ v: z.literal(1), keys: z.array(keySchema).min(1).max(KEYS_MAX) });

export interface RingSource {
  /** `id:base64,id:base64`, from an environment's secret; goes before the file. */
  readonly text?: string | undefined;
  readonly file: string;
}

/** @throws AIOS_CONFIG_INVALID when there is no ring, or it is malformed or readable by others */
export async function openPayloadKeys(source: RingSource): Promise<PayloadKeyRing> {
  if (source.text !== undefined) return createRing(parseText(source.text));
  return createRing(await readRing(source.file), () => readRing(source.file));
}

/** In memory; `reread` is asked when a payload names a key that is not there. */
export function createRing(first: readonly PayloadKey[], reread?: () => Promise<readonly PayloadKey[]>): PayloadKeyRing {
  let keys = first;
  let readAt = Number.NEGATIVE_INFINITY;
  const derived = new Map<string, Uint8Array>();
  const derive = ({ id, key }: PayloadKey, tenant: string): Uint8Array => {
    const name = `${id} ${tenant}`;
    const known = derived.get(name);
    if (known !== undefined) return known;
    const made = new Uint8Array(hkdfSync('sha256', Buffer.from(key, 'base64'), '', `aios-payload/v1 ${tenant}`, KEY_BYTES));
    if (derived.size >= DERIVED_MAX) derived.clear();
    derived.set(name, made);
    return made;
  };
  const named = (id: string): PayloadKey | undefined => keys.find((one) => one.id === id);
  return {
    ids: () => keys.map(({ id }) => id),
    current(tenant) {
      const key = keys[0] as PayloadKey;
      return { id: key.id, key: derive(key, tenant) };
    },
    async find(id, tenant) {
      const known = named(id);
      if (known !== undefined) return derive(known, tenant);
      if (reread !== undefined && performance.now() - readAt > REREAD_MS) {
        readAt = performance.now();
        keys = await reread();
      }
      const found = named(id);
      if (found === undefined) throw fail('AIOS_PAYLOAD_KEY_MISSING', `Its id is ${idPattern.test(id) ? id : 'unreadable'}; the ring holds ${keys.map((one) => one.id).join(', ')}.`);
      return derive(found, tenant);
    },
  };
}

/** Makes the ring of a home where there is none. Two processes that start at once agree on the file. */
export async function ensurePayloadKeys(source: RingSource): Promise<void> {
  if (source.text !== undefined || (await exists(source.file))) return;
  await writeRing(source.file, [newPayloadKey()], 'wx');
}

/** Puts a new key first and keeps the others. @throws AIOS_CONFIG_INVALID when the ring comes from the environment or is full */
export async function rotatePayloadKeys(source: RingSource): Promise<string> {
  if (source.text !== undefined) throw fail('AIOS_CONFIG_INVALID', 'The ring comes from AIOS_PAYLOAD_KEYS: put the new key first in that secret and start the processes again.');
  const keys = await readRing(source.file);
  if (keys.length >= KEYS_MAX) throw fail('AIOS_CONFIG_INVALID', `The ring holds ${KEYS_MAX} keys; take out those that nothing uses any more.`);
  const fresh = newPayloadKey();
  await writeRing(source.file, [fresh, ...keys]);
  return fresh.id;
}

export function newPayloadKey(): PayloadKey {
  const bytes = randomBytes(KEY_BYTES);
  return { id: `pk-${createHash('sha256').update('aios-payload-key-id').update(bytes).digest('base64url').slice(0, 12)}`, key: bytes.toString('base64') };
}

// ---- forms

function parseText(text: string): readonly PayloadKey[] {
  const keys = text.split(',').map((one) => one.trim()).filter((one) => one !== '').map((one) => ({ id: one.slice(0, one.indexOf(':')), key: one.slice(one.indexOf(':') + 1) }));
  const parsed = ringSchema.safeParse({ v: 1, keys });
  if (!parsed.success) throw fail('AIOS_CONFIG_INVALID', 'AIOS_PAYLOAD_KEYS: expected "pk-name:base64 of 32 bytes", several separated by commas.');
  return parsed.data.keys;
}

async function readRing(file: string): Promise<readonly PayloadKey[]> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw fail('AIOS_CONFIG_INVALID', `The payload key ring cannot be read: ${file}. Make one with "aios keys rotate", restore it, or set AIOS_PAYLOAD_KEYS.`, { cause });
  });
  if (((await stat(file)).mode & 0o077) !== 0) throw fail('AIOS_CONFIG_INVALID', `${file} can be read by others: run chmod 600 on it.`);
  try {
    return parseValue(ringSchema, parseJson(text)).keys;
  } catch {
    throw fail('AIOS_CONFIG_INVALID', `${file} is not a payload key ring.`);
  }
}

async function writeRing(file: string, keys: readonly PayloadKey[], flag: 'w' | 'wx' = 'w'): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const text = `${JSON.stringify({ v: 1, keys }, null, 2)}\n`;
  if (flag === 'wx') return writeFile(file, text, { mode: 0o600, flag }).catch((thrown: unknown) => { if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown; });
  await replaceWhole(file, text, 0o600);
}

const exists = (file: string): Promise<boolean> => stat(file).then(() => true, () => false);
