// The one place where an error of the table becomes a Temporal failure.
// Owns: the mapping of `retry` to retryable or not. Never lets a stack, a cause or content into history.
// Others may assume: the failure's type is the error code, and only what can never succeed is not tried again.

import { ApplicationFailure } from '@temporalio/activity';
import { ERRORS, toErrorBody } from '../contracts/errors.ts';

export function asFailure(thrown: unknown): Error {
  if (thrown instanceof Error && (thrown.name === 'CompleteAsyncError' || thrown.name === 'CancelledFailure')) return thrown;
  const body = toErrorBody(thrown);
  const retry = ERRORS[body.code].retry;
  return ApplicationFailure.create({ message: body.message, type: body.code, nonRetryable: retry === 'never', ...(body.retryAfterMs === undefined ? {} : { nextRetryDelay: body.retryAfterMs }) });
}

/** Runs an activity's work; whatever it throws leaves as a failure of the table. */
export async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    throw asFailure(thrown);
  }
}
