// What the HTTP API takes and answers, as zod schemas: one source for parsing, for the OpenAPI description and for the client.
// Owns: the wire form of requests and answers. Never parses input of capabilities (their own schemas do).
// Others may assume: request schemas are strict; answer schemas let unknown members pass, so that an older client reads a newer server.

import { z } from 'zod';
import { DATA_CLASSES, RUNGS, SLA_TIERS } from '../../contracts/capability.ts';
import { isErrorCode, type ErrorCode } from '../../contracts/errors.ts';
import { TASK_STATES } from '../../contracts/task.ts';

const id = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);
export const WAIT_MS_MAX = 60_000;
const DEADLINE_MS_MAX = 30 * 86_400_000;

export const startBodySchema = z.strictObject({
  capability: z.string().max(64).describe('Name of the capability, such as support.answer'),
  input: z.unknown().describe('Input of the capability; see /v1/capabilities for its schema'),
  key: z.string().min(1).max(128).optional().describe('Idempotency key within tenant and capability; the header Idempotency-Key does the same'),
  deadlineMs: z.number().int().min(1).max(DEADLINE_MS_MAX).optional().describe('Milliseconds from now after which the answer is not wanted any more'),
  waitMs: z.number().int().min(0).max(WAIT_MS_MAX).optional().describe('Wait this long for the result before answering'),
});
export const decideBodySchema = z.strictObject({
  decision: z.enum(['approve', 'reject', 'answer', 'delegate']),
  by: z.string().regex(/^[A-Za-z0-9_.@-]{1,64}$/).optional().describe('Who decides, where a token proves it; otherwise the principal of the key'),
  token: z.string().max(4_096).optional().describe('The decision signed with the approver\'s own key'),
  to: z.string().regex(/^[A-Za-z0-9_.@-]{1,64}$/).optional().describe('With "delegate": who may decide in your place'),
  until: z.number().int().positive().safe().optional().describe('With "delegate": until when, milliseconds since 1970'),
  reason: z.string().max(2_000).optional(),
  text: z.string().max(8_000).optional().describe('The answer in a person\'s words, with the decision "answer"'),
  action: z.string().max(80).optional().describe('First hex digits of the action digest; refused when it names another action'),
});

export const errorAnswerSchema = z.looseObject({
  code: z.custom<ErrorCode>(isErrorCode).meta({ type: 'string', pattern: '^AIOS_[A-Z_]+$' }),
  message: z.string(),
  retryAfterMs: z.number().int().nonnegative().optional(),
});
const wireError = z.looseObject({ code: z.string(), message: z.string(), retryAfterMs: z.number().int().nonnegative().optional() });

const verdictSchema = z.looseObject({ kind: z.enum(['allow', 'deny', 'escalate', 'degrade']), action: z.string(), bundle: z.string(), deciding: z.array(z.string()), erroring: z.array(z.string()) });
export const resultSchema = z.looseObject({
  taskId: id,
  state: z.enum(['done', 'refused', 'failed', 'cancelled']),
  output: z.unknown().optional(),
  error: wireError.optional(),
  rung: z.enum(RUNGS),
  degraded: z.array(z.string()),
  verdicts: z.array(verdictSchema),
  effect: z.looseObject({ kind: z.string(), key: z.string(), applied: z.boolean() }).optional(),
  human: z.looseObject({ decision: z.string(), by: z.string(), verified: z.boolean(), at: z.number() }).optional(),
  receipts: z.array(z.looseObject({ kind: z.string() })),
  costMicroUsd: z.number().int().nonnegative(),
  ledger: z.looseObject({ log: z.string(), index: z.number().int(), head: z.string() }).optional(),
});
export const entrySchema = z.looseObject({ taskId: id, tenant: z.string(), capability: z.string(), principal: z.string(), key: z.string(), workflowId: z.string(), acceptedAt: z.number(), summary: z.string() });
export const waitingSchema = z.looseObject({
  approvers: z.string(),
  quorum: z.number().int(),
  expiresAt: z.number(),
  workflowId: z.string(),
  card: z.string().describe('What the approver reads, Markdown'),
  json: z.string().describe('The exact JSON to send as the Update "decide"'),
});
export const viewSchema = z.looseObject({ entry: entrySchema, state: z.enum(TASK_STATES), waiting: waitingSchema.optional(), result: resultSchema.optional() });
export const startedSchema = z.looseObject({ taskId: id, workflowId: z.string(), replayed: z.boolean(), result: resultSchema.optional() });
export const listSchema = z.looseObject({ tasks: z.array(viewSchema) });
export const decidedSchema = z.looseObject({ accepted: z.boolean(), message: z.string() });
export const capabilitySchema = z.looseObject({
  id: z.string(),
  dataClass: z.enum(DATA_CLASSES),
  sla: z.enum(SLA_TIERS),
  budget: z.looseObject({ latencyMsMax: z.number(), microUsdMax: z.number() }),
  ladder: z.array(z.enum(RUNGS)),
  input: z.unknown().describe('JSON Schema of the input'),
  output: z.unknown().describe('JSON Schema of the output'),
});
export const capabilitiesSchema = z.looseObject({ capabilities: z.array(capabilitySchema) });
export const healthSchema = z.looseObject({ status: z.literal('ok') });

const period = z.enum(['hour', 'day', 'month', 'life']);
const amount = z.number().int();
export const budgetSchema = z.looseObject({
  tenant: z.string(),
  levels: z.array(z.looseObject({ level: z.string(), microUsdMax: amount, period, spentMicroUsd: amount, reservedMicroUsd: amount, leftMicroUsd: amount, unfundedMicroUsd: amount, set: z.boolean() })),
  limits: z.array(z.looseObject({ level: z.string(), perMinuteMax: amount.optional(), burstMax: amount.optional(), concurrentMax: amount.optional(), running: amount, set: z.boolean() })),
  leases: z.array(z.looseObject({ lease: z.string(), holder: z.string(), microUsd: amount, expiresAt: amount, lapsed: z.boolean() })),
  openReservations: amount,
});
export const moneyEntriesSchema = z.looseObject({
  entries: z.array(z.looseObject({ at: amount, log: z.string(), index: amount, kind: z.enum(['task', 'change']), task: z.string(), what: z.string(), state: z.string(), reservedMicroUsd: amount, spentMicroUsd: amount, degraded: z.array(z.string()), by: z.string() })),
});
const usage = z.looseObject({ inputTokens: amount, cacheReadTokens: amount, cacheWriteTokens: amount, outputTokens: amount, reasoningTokens: amount, deviceUs: amount });
export const costReportSchema = z.looseObject({
  by: z.string(), tasks: amount, effectiveTasks: amount, costMicroUsd: amount, microUsdPerEffectiveTask: amount.optional(),
  rows: z.array(z.looseObject({ key: z.string(), tasks: amount, effectiveTasks: amount, calls: amount, costMicroUsd: amount, microUsdPerEffectiveTask: amount.optional(), usage, prices: z.array(z.string()) })),
});
export const leaseSchema = z.looseObject({ v: z.literal(1), tenant: z.string(), lease: z.string(), holder: z.string(), microUsd: amount, expiresAt: amount });
