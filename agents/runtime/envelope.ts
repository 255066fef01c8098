// Envelopes at the border of an agent host: bytes in, a checked envelope out.
// Owns: the version check (an unknown version is refused by name), the schema, and that subject and content agree.
// Never trusts the subject or the content alone. Others may assume: a returned envelope is addressed to the subject it came on.

import type { MailboxAddress } from '../../contracts/address.ts';
import { fail } from '../../contracts/errors.ts';
import { type Envelope, envelopeSchema } from '../../contracts/message.ts';
import { decodeText, parseFresh, parseJson } from '../../contracts/parse.ts';

/** @throws AIOS_INPUT_*, AIOS_VERSION_UNKNOWN */
export function parseEnvelope(data: Uint8Array): Envelope {
  const value = parseJson(decodeText(data));
  const version = (value as { v?: unknown } | null)?.v;
  if (typeof version === 'number' && version !== 1) throw fail('AIOS_VERSION_UNKNOWN', `envelope version ${version}`);
  return parseFresh(envelopeSchema, value) as Envelope;
}

/** @throws AIOS_TENANT_MISMATCH, AIOS_INPUT_INVALID */
export function checkAddressed(envelope: Envelope, address: MailboxAddress): void {
  if (envelope.tenant !== address.tenant) throw fail('AIOS_TENANT_MISMATCH');
  if (envelope.actor !== address.id) throw fail('AIOS_INPUT_INVALID', 'actor: not the agent of this mailbox');
}

/** Base64 of the bytes, for letters that keep what arrived. */
export function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 8_192) text += String.fromCharCode(...bytes.subarray(i, i + 8_192));
  return btoa(text);
}

export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
