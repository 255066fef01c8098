// The one table of errors: code, message, whether a retry can succeed, who is to blame, what to do next.
// Owns: every code the engine answers with. Codes are never reused and never renamed.
// Others may assume: errors are recognised by `code` (workflow sandboxes are other realms, so never by `instanceof`),
// and that `docs/errors.md` is generated from this table and proven equal by a test.

export type Blame = 'caller' | 'operator' | 'system' | 'provider' | 'policy';
/** `never`: the same request cannot succeed. `later`: it may, after a pause. `again`: at once, under the same key. */
export type Retry = 'never' | 'later' | 'again';

export interface ErrorEntry {
  readonly message: string;
  readonly retry: Retry;
  readonly blame: Blame;
  readonly http: number;
  readonly todo: string;
}

const entry = (http: number, retry: Retry, blame: Blame, message: string, todo: string): ErrorEntry => ({ message, retry, blame, http, todo });

export const ERRORS = {
  // input at a border
  AIOS_INPUT_INVALID: entry(400, 'never', 'caller', 'The input does not match its schema.', 'Correct the field the message names and send it again.'),
  AIOS_INPUT_TOO_LARGE: entry(413, 'never', 'caller', 'The input is larger than this border accepts.', 'Send less, or put the content into the object store and send its digest.'),
  AIOS_INPUT_TOO_DEEP: entry(400, 'never', 'caller', 'The input is nested more deeply than 32 levels.', 'Flatten the structure.'),
  AIOS_INPUT_NOT_UTF8: entry(400, 'never', 'caller', 'The input is not valid UTF-8.', 'Encode the text as UTF-8.'),
  AIOS_INPUT_NOT_JSON: entry(400, 'never', 'caller', 'The input is not valid JSON.', 'Send one JSON document without duplicate or trailing content.'),
  AIOS_VERSION_UNKNOWN: entry(400, 'never', 'caller', 'The message has a format version this process does not know.', 'Upgrade the older side.'),
  // identity and authority
  AIOS_UNAUTHENTICATED: entry(401, 'never', 'caller', 'No valid credentials were presented.', 'Send a valid key as "Authorization: Bearer <key>".'),
  AIOS_FORBIDDEN: entry(403, 'never', 'caller', 'The principal may not do this.', 'Ask an operator for the role, or use another principal.'),
  AIOS_TENANT_MISMATCH: entry(403, 'never', 'caller', 'The message names another tenant than its sender belongs to.', 'Use credentials of that tenant.'),
  AIOS_MANDATE_INVALID: entry(403, 'never', 'caller', 'The mandate is malformed, forged, expired, revoked or wider than its parent.', 'Ask the brain for a mandate of this task; a mandate is never repaired.'),
  AIOS_MANDATE_EXCEEDED: entry(403, 'never', 'policy', 'The mandate does not cover this call.', 'Declare the capability, class, region or depth in the task, or ask for less.'),
  // task and capability
  AIOS_CAPABILITY_UNKNOWN: entry(404, 'never', 'caller', 'No agent of this deployment handles the capability.', 'See "aios doctor" for the capabilities on offer.'),
  AIOS_TASK_UNKNOWN: entry(404, 'never', 'caller', 'There is no task with this id in this tenant.', 'See "aios tasks".'),
  AIOS_KEY_CONFLICT: entry(409, 'never', 'caller', 'The idempotency key was used before with another input.', 'Use a new key for a new request.'),
  AIOS_TASK_CANCELLED: entry(409, 'never', 'caller', 'The task was cancelled.', 'Start a new task if it is still wanted.'),
  AIOS_DEADLINE_EXCEEDED: entry(504, 'later', 'system', 'The deadline passed before the work was done.', 'Allow more time, or accept a lower rung of the ladder.'),
  AIOS_DEADLINE_INFEASIBLE: entry(503, 'later', 'system', 'The work cannot be finished before its deadline.', 'Allow more time or try again when the queue is shorter.'),
  AIOS_OVERLOADED: entry(429, 'later', 'system', 'A bounded queue is full.', 'Wait for the time given in retryAfterMs.'),
  AIOS_UNAVAILABLE: entry(503, 'later', 'system', 'Nobody is there to answer.', 'See "aios doctor"; the part restarts by itself.'),
  AIOS_LADDER_EXHAUSTED: entry(503, 'later', 'system', 'Every rung of the capability failed.', 'See the reasons in "aios lineage <task>".'),
  // policy and budget
  AIOS_POLICY_DENIED: entry(403, 'never', 'policy', 'Policy refuses this.', 'See the deciding policies in "aios lineage <task>".'),
  AIOS_POLICY_INVALID: entry(422, 'never', 'operator', 'The policy bundle cannot be published.', 'Correct the policy the message names.'),
  AIOS_POLICY_MISSING: entry(503, 'later', 'operator', 'No valid policy bundle is in force.', 'Publish one with "aios policy publish".'),
  AIOS_BUDGET_EXCEEDED: entry(402, 'never', 'policy', 'The budget does not cover the worst case of this call.', 'Raise the budget, or accept a cheaper rung.'),
  AIOS_RATE_LIMITED: entry(429, 'later', 'policy', 'The tenant may not start more tasks of this capability now.', 'Wait for the time given in retryAfterMs, or ask an operator to raise the limit with "aios budget set".'),
  AIOS_PRICE_UNKNOWN: entry(422, 'never', 'operator', 'The price table has no entry for this model.', 'Add the price to the bundle; unknown prices are never counted as zero.'),
  AIOS_CLASS_REFUSED: entry(403, 'never', 'policy', 'The provider may not see data of this class.', 'Use a provider inside the boundary, or redact first.'),
  // approvals
  AIOS_APPROVAL_MALFORMED: entry(400, 'never', 'caller', 'The decision is not of the accepted form.', 'Copy the JSON shown on the card.'),
  AIOS_APPROVAL_UNAUTHORISED: entry(403, 'never', 'caller', 'This person may not decide this approval.', 'Ask a member of the group named on the card.'),
  AIOS_APPROVAL_CLOSED: entry(409, 'never', 'caller', 'The approval was already decided or has expired.', 'Nothing more to do; see the card for the decision.'),
  AIOS_APPROVAL_REFUSED: entry(403, 'never', 'policy', 'A person refused the task.', 'See the reason on the approval.'),
  AIOS_APPROVAL_EXPIRED: entry(403, 'never', 'policy', 'Nobody decided in time and the declared default is to refuse.', 'Start the task again when somebody is there.'),
  // models and retrieval
  AIOS_MODEL_UNKNOWN: entry(404, 'never', 'caller', 'No worker offers this model.', 'See "aios doctor" for the models on offer.'),
  AIOS_MODEL_UNAVAILABLE: entry(503, 'later', 'provider', 'The model cannot be reached.', 'The ladder goes on; see "aios doctor".'),
  AIOS_MODEL_FAULT: entry(502, 'later', 'provider', 'The model returned something unusable.', 'See the worker log; the slot is restarted.'),
  AIOS_SPACE_UNKNOWN: entry(404, 'never', 'caller', 'There is no retrieval space of this name for this tenant.', 'Index the documents first.'),
  AIOS_RETRIEVAL_FAULT: entry(502, 'later', 'provider', 'The retrieval engine failed.', 'See "aios doctor".'),
  // effects and ledger
  AIOS_EFFECT_REFUSED: entry(409, 'never', 'system', 'The system of record refused the effect.', 'See the reason; the record is unchanged.'),
  AIOS_EFFECT_UNKNOWN: entry(404, 'never', 'caller', 'The proposed effect is of a kind nobody applies.', 'Register the effect, or correct the agent.'),
  AIOS_LEDGER_BROKEN: entry(500, 'never', 'operator', 'The audit ledger does not verify.', 'Run "aios audit verify" and restore the record it names.'),
  AIOS_LEDGER_UNAVAILABLE: entry(503, 'later', 'operator', 'The ledger cannot be written, so no effect may happen.', 'Free the disk; work resumes by itself.'),
  // data protection
  AIOS_PAYLOAD_KEY_MISSING: entry(503, 'later', 'operator', 'There is no key for an encrypted payload.', 'Put the key with the id the message names back into the payload key ring ("aios keys list" shows what is there); nothing is lost meanwhile.'),
  AIOS_PAYLOAD_UNREADABLE: entry(500, 'never', 'operator', 'An encrypted payload does not open with the key it names.', 'The payload was changed, or the key ring holds another key under this id: restore the ring from its backup.'),
  AIOS_RETENTION_HOLDS: entry(409, 'never', 'policy', 'The retention class of the task keeps its data.', 'Wait until the date the message names, or lift the hold by policy.'),
  // actor runtime and servers
  AIOS_STATE_CONFLICT: entry(409, 'again', 'system', 'Another owner wrote the state first.', 'The turn is run again on the new state.'),
  AIOS_FENCED: entry(409, 'never', 'system', 'The lease of this partition belongs to another host.', 'The new owner serves the message.'),
  AIOS_MAILBOX_FULL: entry(429, 'later', 'system', 'The mailbox of this agent is full.', 'Wait for the time given in retryAfterMs.'),
  AIOS_AGENT_FAULT: entry(500, 'again', 'system', 'The agent failed while it handled the message.', 'It was restarted; see the dead letters if it happens again.'),
  AIOS_QUARANTINED: entry(500, 'never', 'system', 'The agent failed every time it handled the message, which is kept as a dead letter.', 'A person decides: try again, discard it, or write the answer.'),
  AIOS_AGENT_UNKNOWN: entry(404, 'never', 'caller', 'No agent of this kind is deployed.', 'Add the agent to agents/index.ts.'),
  AIOS_DISCONNECTED: entry(503, 'later', 'system', 'The message server is not connected.', 'The client reconnects by itself.'),
  AIOS_SERVER_TOO_OLD: entry(500, 'never', 'operator', 'The server is older than this engine supports.', 'Install the version the message names.'),
  AIOS_CONFIG_INVALID: entry(500, 'never', 'operator', 'A setting is missing or wrong.', 'Correct the setting the message names.'),
  AIOS_INTERNAL: entry(500, 'later', 'system', 'Something failed that should not have.', 'See the log of the process with the trace id.'),
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERRORS;

/** What crosses a border: no stack, no secret, no content. */
export interface ErrorBody {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryAfterMs?: number;
}

export interface AiosError extends Error {
  readonly code: ErrorCode;
  readonly retryAfterMs?: number;
}

export interface FailOptions {
  readonly cause?: unknown;
  readonly retryAfterMs?: number;
}

/** Builds an error of the table. `detail` says what exactly; it must hold no content and no secret. */
export function fail(code: ErrorCode, detail?: string, options: FailOptions = {}): AiosError {
  const text = detail === undefined ? ERRORS[code].message : `${ERRORS[code].message} ${detail}`;
  const error = new Error(text, options.cause === undefined ? undefined : { cause: options.cause });
  error.name = 'AiosError';
  const extra = options.retryAfterMs === undefined ? {} : { retryAfterMs: options.retryAfterMs };
  return Object.assign(error, { code, ...extra });
}

export const isErrorCode = (value: unknown): value is ErrorCode => typeof value === 'string' && Object.hasOwn(ERRORS, value);

/** Recognises an error of the table from any realm. */
export function isAiosError(value: unknown): value is AiosError {
  return typeof value === 'object' && value !== null && isErrorCode((value as { code?: unknown }).code);
}

export const hasCode = (value: unknown, code: ErrorCode): boolean => isAiosError(value) && value.code === code;

/** The single funnel from whatever was thrown to what may cross a border. */
export function toErrorBody(thrown: unknown): ErrorBody {
  if (!isAiosError(thrown)) return { code: 'AIOS_INTERNAL', message: ERRORS.AIOS_INTERNAL.message };
  const { code, message, retryAfterMs } = thrown;
  return retryAfterMs === undefined ? { code, message } : { code, message, retryAfterMs };
}

/** The way back: an error body received from another process becomes a throwable again, message unchanged. */
export function fromErrorBody(body: ErrorBody): AiosError {
  const error = fail(body.code, undefined, body.retryAfterMs === undefined ? {} : { retryAfterMs: body.retryAfterMs });
  error.message = body.message;
  return error;
}
