// Base64url without padding, strict: one text for one byte string, so that a token cannot be respelled.
// Owns: both directions. Never accepts padding, white space or stray bits.
// Others may assume: `encode(decode(text)) === text` for every text that decodes.

import { fail } from '../contracts/errors.ts';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const VALUES = new Int16Array(128).fill(-1);
for (let i = 0; i < ALPHABET.length; i++) VALUES[ALPHABET.charCodeAt(i)] = i;

/** @throws AIOS_INPUT_INVALID */
export function decodeBase64Url(text: string): Uint8Array {
  if (text.length % 4 === 1) throw refused();
  const bytes = new Uint8Array(Math.floor((text.length * 3) / 4));
  let at = 0;
  let bits = 0;
  let held = 0;
  for (let i = 0; i < text.length; i++) {
    const value = VALUES[text.charCodeAt(i)] ?? -1;
    if (value < 0) throw refused();
    bits = ((bits << 6) | value) & 0xffff;
    held += 6;
    if (held >= 8) bytes[at++] = (bits >> (held -= 8)) & 255;
  }
  if ((bits & ((1 << held) - 1)) !== 0) throw refused();
  return bytes;
}

export function encodeBase64Url(bytes: Uint8Array): string {
  let text = '';
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    bits = ((bits << 8) | byte) & 0xffff;
    for (held += 8; held >= 6; ) text += ALPHABET[(bits >> (held -= 6)) & 63];
  }
  return held === 0 ? text : text + ALPHABET[(bits << (6 - held)) & 63];
}

const refused = (): Error => fail('AIOS_INPUT_INVALID', 'not base64url.');
