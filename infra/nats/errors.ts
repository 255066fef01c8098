// NATS failures in our words: the one function that turns what the client or the server says into the error table.
// Owns: the mapping by error name and by JetStream error code. Never retries and never logs.
// Others may assume: whatever leaves infra/nats has a code of the table; an error that already has one passes unchanged.

import { fail, isAiosError, type AiosError } from '../../contracts/errors.ts';

/** Codes of nats-server/server/errors.json that callers act on. */
const JETSTREAM = {
  streamNotFound: 10059,
  consumerNotFound: 10014,
  wrongLastSequence: 10071,
  wrongLastSequenceUnknown: 10164,
  storeFailed: 10077,
  messageTooLarge: 10054,
  resourcesExceeded: 10023,
  storageExceeded: 10047,
  consumerNotUnique: 10100,
  consumerFilterOverlaps: 10138,
  messageNotFound: 10037,
  consumerNameInUse: 10013,
  consumerExists: 10148,
  messageDeleteFailed: 10057,
} as const;

/** What the server sends inside a JetStream answer. */
export interface ApiFailure {
  readonly code: number;
  readonly err_code: number;
  readonly description: string;
}

/** @param what the operation in words for an operator, without content */
export function convertNatsError(thrown: unknown, what: string): AiosError {
  if (isAiosError(thrown)) return thrown;
  const name = thrown instanceof Error ? thrown.name : '';
  if (name.startsWith('JetStreamApi') || name === 'ConsumerNotFoundError' || name === 'StreamNotFoundError') {
    return convertApiFailure(apiFailureOf(thrown), what, thrown);
  }
  const convert = BY_NAME[name];
  return convert === undefined ? fail('AIOS_INTERNAL', `${what} failed in the NATS client.`, { cause: thrown }) : convert(thrown, what);
}

/** The same for the `error` member of a JetStream answer that we parsed ourselves. */
export function convertApiFailure(failure: ApiFailure, what: string, cause?: unknown): AiosError {
  const detail = `${what}: ${failure.description}.`;
  switch (failure.err_code) {
    case JETSTREAM.wrongLastSequence:
    case JETSTREAM.wrongLastSequenceUnknown:
      return fail('AIOS_STATE_CONFLICT', detail, { cause });
    case JETSTREAM.messageTooLarge:
      return fail('AIOS_INPUT_TOO_LARGE', detail, { cause });
    case JETSTREAM.storeFailed:
      return failure.description.includes('per subject') ? fail('AIOS_MAILBOX_FULL', detail, { cause, retryAfterMs: 1_000 }) : fail('AIOS_OVERLOADED', detail, { cause, retryAfterMs: 1_000 });
    case JETSTREAM.resourcesExceeded:
    case JETSTREAM.storageExceeded:
      return fail('AIOS_OVERLOADED', detail, { cause, retryAfterMs: 5_000 });
    case JETSTREAM.consumerNotUnique:
    case JETSTREAM.consumerFilterOverlaps:
      return fail('AIOS_CONFIG_INVALID', `${detail} One deployment consumes mailboxes either by partition or all at once, never both.`, { cause });
    default:
      return failure.code === 429 ? fail('AIOS_OVERLOADED', detail, { cause, retryAfterMs: 250 }) : fail('AIOS_UNAVAILABLE', detail, { cause, retryAfterMs: 250 });
  }
}

/** True for a JetStream error that says the stream, consumer or message is not there. */
export const isNotFound = (thrown: unknown): boolean => {
  const { err_code: code, description } = apiFailureOf(thrown);
  return (code === JETSTREAM.messageDeleteFailed && description.includes('no message')) || code === JETSTREAM.streamNotFound || code === JETSTREAM.consumerNotFound || code === JETSTREAM.messageNotFound;
};

/** A consumer of that name is there with other settings. */
export const isConsumerExists = (thrown: unknown): boolean => {
  const code = apiFailureOf(thrown).err_code;
  return code === JETSTREAM.consumerExists || code === JETSTREAM.consumerNameInUse;
};

type Convert = (thrown: unknown, what: string) => AiosError;
const disconnected: Convert = (cause, what) => fail('AIOS_DISCONNECTED', `${what} was not done.`, { cause });
const unavailable: Convert = (cause, what) => fail('AIOS_UNAVAILABLE', `${what}: nobody listens.`, { cause });
const BY_NAME: Readonly<Record<string, Convert>> = {
  TimeoutError: (cause, what) => fail('AIOS_DEADLINE_EXCEEDED', `${what} got no answer in time.`, { cause }),
  NoRespondersError: unavailable,
  RequestError: (cause, what) => (cause instanceof Error && (cause.cause as Error | undefined)?.name === 'NoRespondersError' ? unavailable(cause, what) : disconnected(cause, what)),
  ClosedConnectionError: disconnected,
  DrainingConnectionError: disconnected,
  ConnectionError: disconnected,
  PermissionViolationError: (cause, what) => fail('AIOS_FORBIDDEN', `${what} is not permitted by the message server.`, { cause }),
  AuthorizationError: (cause, what) => fail('AIOS_UNAUTHENTICATED', `${what}: the message server refused the credentials.`, { cause }),
  UserAuthenticationExpiredError: (cause, what) => fail('AIOS_UNAUTHENTICATED', `${what}: the credentials have expired.`, { cause }),
  InvalidSubjectError: (cause, what) => fail('AIOS_INPUT_INVALID', `${what}: illegal subject.`, { cause }),
  InvalidArgumentError: (cause, what) => (String((cause as Error).message).includes('payload') ? fail('AIOS_INPUT_TOO_LARGE', `${what}: larger than the message server accepts.`, { cause }) : fail('AIOS_INPUT_INVALID', `${what}: illegal argument.`, { cause })),
  JetStreamNotEnabled: unavailable,
  JetStreamError: unavailable,
  JetStreamStatusError: unavailable,
};

function apiFailureOf(thrown: unknown): ApiFailure {
  const api = (thrown as { apiError?: () => ApiFailure }).apiError?.();
  return api ?? { code: 500, err_code: 0, description: thrown instanceof Error ? thrown.message : 'unknown failure' };
}
