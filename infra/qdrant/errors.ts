// The one place where failures of the Qdrant client become errors of the table.
// Owns: the mapping. Never lets a client error or its text past: a response body can hold payload.
// Others may assume: "not found" is recognised here and nowhere else.

import { fail, isAiosError } from '../../contracts/errors.ts';

interface Foreign {
  readonly status?: unknown;
  readonly name?: unknown;
  readonly message?: unknown;
  readonly retry_after?: unknown;
}

export function convertQdrantError(thrown: unknown): Error {
  if (isAiosError(thrown)) return thrown;
  const error = (thrown ?? {}) as Foreign;
  const status = statusOf(error);
  const options = { cause: thrown };
  if (error.name === 'QdrantClientTimeoutError' || error.name === 'AbortError') return fail('AIOS_DEADLINE_EXCEEDED', 'Qdrant did not answer in time.', options);
  if (status === 429 || error.name === 'QdrantClientResourceExhaustedError') return fail('AIOS_OVERLOADED', 'Qdrant asks to wait.', { ...options, retryAfterMs: retryAfterMs(error) });
  if (status === 401 || status === 403) return fail('AIOS_CONFIG_INVALID', 'Qdrant refuses the key of AIOS_QDRANT_KEY.', options);
  if (status === undefined || status >= 500) return fail('AIOS_UNAVAILABLE', 'Qdrant cannot be reached or failed.', options);
  return fail('AIOS_RETRIEVAL_FAULT', `Qdrant answered ${status}.`, options);
}

export const isNotFound = (thrown: unknown): boolean => statusOf((thrown ?? {}) as Foreign) === 404;

/** The client puts the status into the text of some errors only. */
function statusOf({ status, message }: Foreign): number | undefined {
  if (typeof status === 'number') return status;
  const found = typeof message === 'string' ? /Unexpected Response: (\d{3})/.exec(message)?.[1] : undefined;
  return found === undefined ? undefined : Number(found);
}

/** Seconds. The client keeps the first digit of the header only, so this may be too short a wait, never too long a one. */
function retryAfterMs({ retry_after: seconds }: Foreign): number {
  const found = Number(seconds);
  return Number.isFinite(found) && found > 0 ? found * 1_000 : 1_000;
}
