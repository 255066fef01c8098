// The border parser: bytes cap, strict UTF-8, depth cap, JSON, strict schema, in that order, once.
// Owns: the only way from bytes to a domain value. Never throws anything but errors of the table.
// Others may assume: a parsed value is well formed, has no unknown keys (schemas here are strict objects),
// no lone surrogates and no number that JSON could not carry.

import type { z } from 'zod';
import { acceptorOf } from './accept.ts';
import { fail } from './errors.ts';

export const MESSAGE_BYTES_MAX = 256 * 1024;
export const DEPTH_MAX = 32;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** @throws AIOS_INPUT_TOO_LARGE, AIOS_INPUT_NOT_UTF8, AIOS_INPUT_TOO_DEEP, AIOS_INPUT_NOT_JSON, AIOS_INPUT_INVALID */
export function parseBytes<T>(schema: z.ZodType<T>, bytes: Uint8Array, bytesMax = MESSAGE_BYTES_MAX): T {
  return parseFresh(schema, parseJson(decodeText(bytes, bytesMax)));
}

export function decodeText(bytes: Uint8Array, bytesMax = MESSAGE_BYTES_MAX): string {
  if (bytes.byteLength > bytesMax) throw fail('AIOS_INPUT_TOO_LARGE', `${bytes.byteLength} bytes, at most ${bytesMax}.`);
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw fail('AIOS_INPUT_NOT_UTF8', undefined, { cause });
  }
}

/** Text to plain JSON data, with the depth scanned before the parse: a parser stalls on deep input, a scan does not. */
export function parseJson(text: string): unknown {
  if (depthOf(text) > DEPTH_MAX) throw fail('AIOS_INPUT_TOO_DEEP');
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw fail('AIOS_INPUT_NOT_JSON', undefined, { cause });
  }
}

export function parseValue<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? 'the input' : issue.path.map(String).join('.');
  throw fail('AIOS_INPUT_INVALID', `${where}: ${issue?.message ?? 'invalid'}`);
}

/** `parseValue` for JSON data that nobody else holds: what the schema would only copy is returned as it is. */
export function parseFresh<T>(schema: z.ZodType<T>, value: unknown): T {
  return acceptorOf(schema)?.(value) === true ? (value as T) : parseValue(schema, value);
}

/** The deepest nesting of brackets outside strings; stops counting one past the cap. Strings are jumped over: most of a message is one. */
export function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 34) i = endOfString(text, i + 1);
    else if (c === 123 || c === 91) {
      if (++depth > deepest) deepest = depth;
      if (deepest > DEPTH_MAX) return deepest;
    } else if (c === 125 || c === 93) depth--;
  }
  return deepest;
}

/** Where the string that starts at `from` ends: at the first quote with an even number of backslashes before it. */
function endOfString(text: string, from: number): number {
  for (let at = text.indexOf('"', from); at >= 0; at = text.indexOf('"', at + 1)) {
    let slashes = 0;
    while (at - slashes > from && text.charCodeAt(at - slashes - 1) === 92) slashes++;
    if (slashes % 2 === 0) return at;
  }
  return text.length;
}

const encoder = new TextEncoder();

export const toBytes = (value: unknown): Uint8Array => encoder.encode(JSON.stringify(value));
