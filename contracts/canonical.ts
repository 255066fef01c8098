// Canonical bytes and digests: the same value gives the same bytes in the workflow sandbox, on an edge box and in a test.
// Owns: canonical JSON (RFC 8785 for the values we allow: no floats beyond what JSON.stringify prints, no undefined) and SHA-256.
// Never reads a clock or a file. Others may assume: `digestOf(a) === digestOf(b)` if and only if a and b are the same JSON value.

import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { fail } from './errors.ts';
import type { Digest } from './ids.ts';

/** Keys sorted by UTF-16 code unit, no white space, undefined members left out. Refuses non-finite numbers and functions. */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') return finite(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object') return canonicalObject(value as Record<string, unknown>);
  throw fail('AIOS_INPUT_INVALID', `a ${typeof value} has no canonical form`);
}

const encoder = new TextEncoder();

export const canonicalBytes = (value: unknown): Uint8Array => encoder.encode(canonicalJson(value));
export const digestOf = (value: unknown): Digest => digestOfBytes(canonicalBytes(value));
export const digestOfText = (text: string): Digest => digestOfBytes(encoder.encode(text));
export const digestOfBytes = (bytes: Uint8Array): Digest => `sha256:${bytesToHex(sha256(bytes))}` as Digest;

function finite(value: number): string {
  if (!Number.isFinite(value)) throw fail('AIOS_INPUT_INVALID', 'a non-finite number has no canonical form');
  return JSON.stringify(value);
}

function canonicalObject(value: Record<string, unknown>): string {
  const parts: string[] = [];
  for (const key of Object.keys(value).sort()) {
    const member = value[key];
    if (member !== undefined) parts.push(`${JSON.stringify(key)}:${canonicalJson(member)}`);
  }
  return `{${parts.join(',')}}`;
}
