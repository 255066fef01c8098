// The one function that turns what Temporal throws into an error of the table.
// Owns: the reading of gRPC codes and failure types, by name and code: two copies of the SDK share no classes.
// Never lets a server's text across a border: it may name hosts. Others may assume: every error out of infra/temporal came through here.

import { fail, isAiosError, isErrorCode, type AiosError } from '../../contracts/errors.ts';

const GRPC = { invalid: 3, deadline: 4, notFound: 5, exists: 6, forbidden: 7, exhausted: 8, unavailable: 14, unauthenticated: 16 } as const;

export function convertTemporalError(thrown: unknown): AiosError {
  const ours = ourErrorIn(thrown);
  if (ours !== undefined) return ours;
  const seen = read(thrown);
  if (seen.failure !== undefined) return fromFailure(seen.failure, thrown);
  if (seen.name === 'WorkflowNotFoundError' || seen.grpc === GRPC.notFound) return fail('AIOS_TASK_UNKNOWN', undefined, { cause: thrown });
  if (isAlreadyStarted(thrown)) return fail('AIOS_STATE_CONFLICT', undefined, { cause: thrown });
  if (seen.grpc === GRPC.exhausted) return fail('AIOS_OVERLOADED', 'Temporal is at its limit.', { cause: thrown, retryAfterMs: 1_000 });
  if (seen.grpc === GRPC.deadline) return fail('AIOS_DEADLINE_EXCEEDED', 'Temporal did not answer.', { cause: thrown });
  if (seen.grpc === GRPC.unavailable || seen.name === 'TransportError' || seen.name === 'IllegalStateError') return fail('AIOS_UNAVAILABLE', 'Temporal cannot be reached.', { cause: thrown });
  if (seen.grpc === GRPC.forbidden || seen.grpc === GRPC.unauthenticated) return fail('AIOS_CONFIG_INVALID', 'Temporal refuses the credentials.', { cause: thrown });
  if (seen.grpc === GRPC.invalid) return fail('AIOS_INPUT_INVALID', 'Temporal refuses the request.', { cause: thrown });
  return fail('AIOS_INTERNAL', undefined, { cause: thrown });
}

/** The SDK wraps what a payload codec throws. */
function ourErrorIn(thrown: unknown): AiosError | undefined {
  let at = thrown;
  for (let depth = 0; depth < 8 && typeof at === 'object' && at !== null; depth++) {
    if (isAiosError(at)) return at;
    at = (at as { cause?: unknown }).cause;
  }
  return undefined;
}

export const isNotFound = (thrown: unknown): boolean => {
  const seen = read(thrown);
  return seen.name === 'WorkflowNotFoundError' || seen.grpc === GRPC.notFound;
};
export const isAlreadyStarted = (thrown: unknown): boolean => {
  const seen = read(thrown);
  return seen.name === 'WorkflowExecutionAlreadyStartedError' || seen.grpc === GRPC.exists;
};
/** The workflow itself ended badly, as opposed to the call. */
export const isWorkflowFailure = (thrown: unknown): boolean => read(thrown).name === 'WorkflowFailedError';
/** Nothing is known about the call; the same call may work a moment later. */
export const isTransient = (thrown: unknown): boolean => {
  const { grpc, name } = read(thrown);
  return grpc === GRPC.unavailable || grpc === GRPC.deadline || grpc === GRPC.exhausted || name === 'TransportError';
};

interface Seen {
  readonly name: string;
  readonly grpc: number | undefined;
  /** The innermost failure a workflow, update or activity ended with. */
  readonly failure: { readonly name: string; readonly type: unknown; readonly message: string } | undefined;
}

function read(thrown: unknown): Seen {
  let grpc: number | undefined;
  let failure: Seen['failure'];
  let name = '';
  let at: unknown = thrown;
  for (let depth = 0; depth < 8 && typeof at === 'object' && at !== null; depth++) {
    const one = at as { name?: unknown; code?: unknown; type?: unknown; message?: unknown; cause?: unknown };
    if (name === '' && typeof one.name === 'string' && one.name !== 'ServiceError') name = one.name;
    if (grpc === undefined && typeof one.code === 'number') grpc = one.code;
    if (typeof one.name === 'string' && FAILURES.has(one.name)) failure = { name: one.name, type: one.type, message: String(one.message ?? '') };
    at = one.cause;
  }
  return { name, grpc, failure };
}

const FAILURES = new Set(['ApplicationFailure', 'CancelledFailure', 'TerminatedFailure', 'TimeoutFailure']);

function fromFailure(failure: NonNullable<Seen['failure']>, cause: unknown): AiosError {
  if (failure.name === 'CancelledFailure') return fail('AIOS_TASK_CANCELLED', undefined, { cause });
  if (failure.name === 'TimeoutFailure') return fail('AIOS_DEADLINE_EXCEEDED', undefined, { cause });
  if (!isErrorCode(failure.type)) return fail('AIOS_INTERNAL', undefined, { cause });
  const error = fail(failure.type, undefined, { cause });
  error.message = failure.message;
  return error;
}
