// Messages on the wire, version 1: the envelope that carries work to an agent and the outcome that comes back.
// Owns: both schemas and the header names. Deadline, tenant, idempotency key, mandate and trace travel in the envelope.
// Others may assume: whoever consumes a subject parses with these schemas first; an unknown version is refused by name.

import { z } from 'zod';
import { RUNGS } from './capability.ts';
import type { ErrorCode } from './errors.ts';
import { isErrorCode } from './errors.ts';
import { factsSchema, principalSchema } from './verdict.ts';
import { receiptSchema } from './receipt.ts';

const id = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);
const capability = z.string().max(64).regex(/^[a-z][a-z0-9.-]*$/);
/** W3C trace context, as it travels in headers too. */
export const traceSchema = z.strictObject({ traceparent: z.string().max(64), tracestate: z.string().max(256).optional() });
export type Trace = z.infer<typeof traceSchema>;

/** Steps of a team at most, in one walk and in one report. */
export const WALK_STEPS_MAX = 32;
/** Canonical size of the answers that travel between the steps of a walk. */
export const WALK_BYTES_MAX = 96 * 1024;
const stepName = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/);
const seenSchema = z.record(stepName, z.unknown());

/** How far a team may walk its steps in one dispatch, and where it stands. Absent: from the start, as far as it goes. */
export const walkSchema = z.strictObject({
  /** Steps that come back for the brain's verdict before they are taken. */
  returns: z.union([z.literal('all'), z.array(stepName).max(WALK_STEPS_MAX)]),
  /** The step that the brain has allowed. */
  granted: stepName.optional(),
  /** Answers of the steps taken so far. */
  seen: seenSchema,
});
export type Walk = z.infer<typeof walkSchema>;

/** A step that a team took by itself, with what its own policy looked at; the brain judges it again when the outcome arrives. */
export const stepReportSchema = z.strictObject({
  step: stepName,
  facts: factsSchema,
  /** What the attempt had spent by then, micro-USD, and the time it had left. */
  costMicroUsd: z.number().int().nonnegative().safe(),
  deadlineMsLeft: z.number().int().nonnegative().safe(),
});
export type StepReport = z.infer<typeof stepReportSchema>;
const steps = z.array(stepReportSchema).max(WALK_STEPS_MAX).optional();

export const envelopeSchema = z.strictObject({
  v: z.literal(1),
  /** Unguessable, deterministic per attempt: the dedup key of the mailbox and of the actor's processed ids. */
  id: z.string().min(16).max(96),
  tenant: id,
  task: id,
  capability,
  /** The agent instance; the task's id unless the capability shares state between tasks. */
  actor: id,
  principal: principalSchema,
  rung: z.enum(RUNGS),
  /** Milliseconds since 1970 after which nobody wants the answer. */
  deadline: z.number().int().positive().safe(),
  mandate: z.string().max(8_192),
  trace: traceSchema.optional(),
  /** How deep in a delegation this is; the task itself is 0. */
  depth: z.number().int().min(0).max(16),
  walk: walkSchema.optional(),
  input: z.unknown(),
});
export type Envelope = z.infer<typeof envelopeSchema>;

export const errorBodySchema = z.strictObject({
  code: z.custom<ErrorCode>(isErrorCode, 'unknown error code'),
  message: z.string().max(1_024),
  retryAfterMs: z.number().int().nonnegative().optional(),
});

/** An action on an outside system that the agent proposes and the brain alone commits. */
export const effectSchema = z.strictObject({
  kind: z.string().regex(/^[a-z][a-z0-9.-]{0,63}$/),
  /** At most once under this key, within the tenant. */
  key: z.string().regex(/^[A-Za-z0-9_.:-]{1,128}$/),
  amountMicroUsd: z.number().int().nonnegative().safe(),
  params: z.record(z.string(), z.union([z.string().max(512), z.number().safe(), z.boolean()])),
});
export type ProposedEffect = z.infer<typeof effectSchema>;

export const outcomeSchema = z.discriminatedUnion('status', [
  z.strictObject({
    v: z.literal(1), status: z.literal('done'), id: z.string(), task: id, tenant: id,
    output: z.unknown(),
    effect: effectSchema.optional(),
    steps,
    receipts: z.array(receiptSchema).max(128),
    /** Sum of what the gateway metered for this task, micro-USD. */
    costMicroUsd: z.number().int().nonnegative().safe(),
  }),
  z.strictObject({
    v: z.literal(1), status: z.literal('failed'), id: z.string(), task: id, tenant: id,
    error: errorBodySchema,
    steps,
    receipts: z.array(receiptSchema).max(128),
    costMicroUsd: z.number().int().nonnegative().safe(),
  }),
  /** The team stands before a step that is the brain's to allow; it goes on in another dispatch, or not at all. */
  z.strictObject({
    v: z.literal(1), status: z.literal('step'), id: z.string(), task: id, tenant: id,
    step: stepName, facts: factsSchema, seen: seenSchema,
    steps,
    receipts: z.array(receiptSchema).max(128),
    costMicroUsd: z.number().int().nonnegative().safe(),
  }),
]);
export type Outcome = z.infer<typeof outcomeSchema>;

/** Reply of an ephemeral ask (`cap.*` and agents asked in place). */
export const replySchema = z.discriminatedUnion('status', [
  z.strictObject({ v: z.literal(1), status: z.literal('done'), output: z.unknown(), receipts: z.array(receiptSchema).max(64), costMicroUsd: z.number().int().nonnegative().safe() }),
  z.strictObject({ v: z.literal(1), status: z.literal('failed'), error: errorBodySchema, receipts: z.array(receiptSchema).max(64), costMicroUsd: z.number().int().nonnegative().safe() }),
]);
export type Reply = z.infer<typeof replySchema>;

export const HEADERS = {
  traceparent: 'traceparent',
  tenant: 'Aios-Tenant',
  deadline: 'Aios-Deadline',
  task: 'Aios-Task',
  reason: 'Aios-Reason',
  /** The letter that a person replayed; on a message of an event, which may then be handled although it was given up before. */
  replay: 'Aios-Replay',
} as const;
