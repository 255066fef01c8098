// Keys of approvers: each person's own Ed25519 key as a JWK file, and the ring that says which key is whose.
// Owns: `approvers.json` and the folder `approvers/` of a key directory. Never sends a private key anywhere.
// Others may assume: a key proves the one person it was enrolled for, and a key taken off the ring proves nobody from then on,
// in every process that reads the same directory.

import { createHash, createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { fail } from '../../contracts/errors.ts';
import { parseJson, parseValue } from '../../contracts/parse.ts';
import type { SignatureVerifier } from '../../contracts/ports.ts';
import { replaceWhole } from '../files/whole-file.ts';
import { publicKeyOf, type KeyPair } from './keys.ts';
import { createVerifier } from './signer.ts';

export interface ApproverKey extends KeyPair { readonly person: string }

const rawKey = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
const person = z.string().regex(/^[A-Za-z0-9_.@-]{1,64}$/);
const jwkSchema = z.strictObject({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), x: rawKey, d: rawKey, kid: z.string().max(64), person });
const ringSchema = z.strictObject({ v: z.literal(1), keys: z.array(z.strictObject({ person, kid: z.string().max(64), publicKey: rawKey })).max(10_000) });
type Ring = z.infer<typeof ringSchema>;

const ringFile = (dir: string): string => join(dir, 'approvers.json');
export const approverKeyFile = (dir: string, who: string): string => join(dir, 'approvers', `${who}.jwk.json`);

/** A new key for a person, on the ring from now on; further keys of the same person stay. @throws AIOS_INPUT_INVALID */
export async function enrolApprover(dir: string, who: string): Promise<{ readonly file: string; readonly kid: string }> {
  const name = parseValue(person, who);
  const { privateKey } = generateKeyPairSync('ed25519');
  const publicKey = publicKeyOf(privateKey);
  const kid = `person-${createHash('sha256').update(Buffer.from(publicKey, 'base64url')).digest('base64url').slice(0, 16)}`;
  const { kty, crv, x, d } = privateKey.export({ format: 'jwk' });
  const file = approverKeyFile(dir, name);
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await writeFile(file, JSON.stringify({ kty, crv, x, d, kid, person: name }), { mode: 0o600 });
  await change(dir, (keys) => [...keys, { person: name, kid, publicKey }]);
  return { file, kid };
}

/** Takes every key of the person off the ring. Decisions they signed before stop counting for effects that have not happened. */
export async function revokeApprover(dir: string, who: string): Promise<number> {
  let removed = 0;
  await change(dir, (keys) => {
    const kept = keys.filter((key) => key.person !== who);
    removed = keys.length - kept.length;
    return kept;
  });
  return removed;
}

/** @throws AIOS_CONFIG_INVALID for a file that is none, or that others can read */
export async function loadApproverKey(file: string): Promise<ApproverKey> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => { throw fail('AIOS_CONFIG_INVALID', `There is no approver's key at ${file}.`, { cause }); });
  if (((await stat(file)).mode & 0o077) !== 0) throw fail('AIOS_CONFIG_INVALID', `${file} can be read by others: run chmod 600 on it.`);
  try {
    const { kty, crv, x, d, kid, person: who } = parseValue(jwkSchema, parseJson(text));
    const privateKey = createPrivateKey({ key: { kty, crv, x, d }, format: 'jwk' });
    return { kid, person: who, privateKey, publicKey: publicKeyOf(privateKey) };
  } catch (cause) {
    throw fail('AIOS_CONFIG_INVALID', `${file} is not an approver's key.`, { cause });
  }
}

/** Reads the ring at every call: decisions come at the pace of people, and a key that was taken off must not linger. */
export function approverVerifier(dir: string): (who: string) => SignatureVerifier {
  return (who) => createVerifier({ keys: readRing(dir).keys.filter((key) => key.person === who) });
}

function readRing(dir: string): Ring {
  let text: string;
  try {
    text = readFileSync(ringFile(dir), 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return { v: 1, keys: [] };
    throw fail('AIOS_CONFIG_INVALID', 'approvers.json cannot be read.', { cause: thrown });
  }
  try {
    return parseValue(ringSchema, parseJson(text));
  } catch (cause) {
    throw fail('AIOS_CONFIG_INVALID', 'approvers.json is not a ring of approvers.', { cause });
  }
}

async function change(dir: string, edit: (keys: Ring['keys']) => Ring['keys']): Promise<void> {
  const next: Ring = { v: 1, keys: edit(readRing(dir).keys) };
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await replaceWhole(ringFile(dir), JSON.stringify(next, undefined, 2), 0o644);
}
