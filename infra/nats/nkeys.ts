// Keys of NATS identities: Ed25519 seeds and public keys in the form the server writes them (base 32, a type letter, a checksum).
// Owns: the encoding and signing with node:crypto. The client's own library signs the same in pure JavaScript and takes 11-19 ms.
// Never prints a seed. Others may assume: what is made here any NATS tool reads, and a mistyped key is refused by its checksum.
// Source of the form: nats-io/nkeys, strkey.go (prefix bytes, CRC-16/XMODEM little endian, RFC 4648 base 32 without padding).

import { randomBytes, sign, verify } from 'node:crypto';
import { fail } from '../../contracts/errors.ts';
import { importPublicKey, importSecretKey, publicKeyOf } from '../crypto/keys.ts';

const PREFIX = { server: 13 << 3, account: 0, user: 20 << 3 } as const;
const SEED = 18 << 3;
export type NkeyKind = keyof typeof PREFIX;

export interface Nkey {
  readonly kind: NkeyKind;
  /** `U…`, `A…`: may be shown. */
  readonly publicKey: string;
  sign(bytes: Uint8Array): Buffer;
}

/** A new seed, `SU…` or `SA…`: a secret. */
export function createSeed(kind: Exclude<NkeyKind, 'server'>, random: (count: number) => Uint8Array = randomBytes): string {
  const prefix = PREFIX[kind];
  return withChecksum(Buffer.from([SEED | (prefix >> 5), (prefix & 31) << 3, ...random(32)]));
}

/** @throws AIOS_CONFIG_INVALID for anything that is not a user's or an account's seed */
export function openSeed(seed: string): Nkey {
  const raw = decode(seed.trim());
  const kind = (['user', 'account'] as const).find((one) => raw[0] === (SEED | (PREFIX[one] >> 5)) && raw[1] === (PREFIX[one] & 31) << 3);
  if (kind === undefined || raw.length !== 34) throw fail('AIOS_CONFIG_INVALID', 'A NATS key file holds no seed of a user or an account.');
  const secret = importSecretKey(raw.subarray(2).toString('base64url'));
  const publicKey = withChecksum(Buffer.concat([Buffer.from([PREFIX[kind]]), Buffer.from(publicKeyOf(secret), 'base64url')]));
  return { kind, publicKey, sign: (bytes) => sign(null, bytes, secret) };
}

/** False for a wrong signature as for a text that is no public key of this kind. */
export function verifiesNkey(kind: NkeyKind, publicKey: string, bytes: Uint8Array, signature: Uint8Array): boolean {
  try {
    const raw = decode(publicKey);
    return raw.length === 33 && raw[0] === PREFIX[kind] && verify(null, bytes, importPublicKey(raw.subarray(1).toString('base64url')), signature);
  } catch {
    return false;
  }
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

function withChecksum(bytes: Buffer): string {
  const whole = Buffer.alloc(bytes.length + 2);
  bytes.copy(whole);
  whole.writeUInt16LE(crc16(bytes), bytes.length);
  return encode(whole);
}

function encode(bytes: Uint8Array): string {
  let text = '';
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xffff;
    for (bits += 8; bits >= 5; bits -= 5) text += ALPHABET.charAt((value >> (bits - 5)) & 31);
  }
  return bits === 0 ? text : text + ALPHABET.charAt((value << (5 - bits)) & 31);
}

/** The bytes before the checksum. */
function decode(text: string): Buffer {
  const bytes: number[] = [];
  let bits = 0;
  let value = 0;
  for (const letter of text) {
    const digit = ALPHABET.indexOf(letter);
    if (digit < 0) throw fail('AIOS_CONFIG_INVALID', 'A NATS key has a letter that is not of its alphabet.');
    value = ((value << 5) | digit) & 0xffff;
    bits += 5;
    if (bits >= 8) bytes.push((value >> (bits -= 8)) & 255);
  }
  const whole = Buffer.from(bytes);
  const content = whole.subarray(0, -2);
  if (whole.length < 35 || whole.readUInt16LE(content.length) !== crc16(content)) throw fail('AIOS_CONFIG_INVALID', 'A NATS key does not match its checksum.');
  return content;
}

/** Polynomial 0x1021, start 0, most significant bit first. */
function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc;
}
