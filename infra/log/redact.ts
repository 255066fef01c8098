// Redaction: the one function every log line, trace attribute and metric label passes before it leaves the process.
// Owns: the list of field names that are secret by nature; what is secret or personal by form is found by policies/redaction.ts.
// Never tries to be clever about prose: content is not logged at all, so this is the second wall, not the first.
// Others may assume: the result is plain data, bounded in depth, width and length.

import { redactText as redacted } from '../../policies/redaction.ts';

const SECRET_NAME = /^(authorization|cookie|set-cookie|password|passwd|secret|token|api[-_]?key|key|credentials?|private[-_]?key|mandate|signature|input|output|text|question|prompt|content|body|quote|by)$/i;

const DEPTH_MAX = 6;
const ITEMS_MAX = 64;
const TEXT_MAX = 2_048;

/** A copy that is safe to write. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return redactText(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null) return typeof value === 'function' || typeof value === 'symbol' ? undefined : value;
  if (depth >= DEPTH_MAX) return '[too deep]';
  if (value instanceof Error) return redactError(value, depth);
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (Array.isArray(value)) return value.slice(0, ITEMS_MAX).map((item) => redact(item, depth + 1));
  return redactObject(value as Record<string, unknown>, depth);
}

export function redactText(text: string): string {
  return redacted(text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text).text;
}

function redactObject(value: Record<string, unknown>, depth: number): Record<string, unknown> {
  const safe: Record<string, unknown> = {};
  for (const key of Object.keys(value).slice(0, ITEMS_MAX)) safe[key] = SECRET_NAME.test(key) ? '[redacted]' : redact(value[key], depth + 1);
  return safe;
}

function redactError(error: Error, depth: number): Record<string, unknown> {
  const { code } = error as { code?: unknown };
  return {
    name: error.name,
    message: redactText(error.message),
    ...(code === undefined ? {} : { code }),
    stack: redactText(error.stack ?? ''),
    ...(error.cause === undefined ? {} : { cause: redact(error.cause, depth + 1) }),
  };
}
