// Budgets on the wire and in bundles: caps by level and period, limits by capability, changes an operator makes, and what is shown.
// Owns: the schemas of all of them. Never decides: the rules are policies/budget.ts, the state is held by agents/budget.
// Others may assume: money is integer micro-USD, names of levels are `tenant`, `team/<id>`, `agent/<kind>`, `task` and
// `capability/<name>`, and the tightest level decides.

import { z } from 'zod';
import { errorBodySchema } from './message.ts';

export const PERIODS = ['hour', 'day', 'month'] as const;
/** Calendar periods, UTC. */
export type BudgetPeriod = (typeof PERIODS)[number];

const micro = z.number().int().nonnegative().safe();
const id = '[A-Za-z0-9_-]{1,64}';
const capabilityName = '[a-z][a-z0-9.-]{0,63}';

/** Most that may be spent and reserved in one period. The period of `task` is the task's life, whatever is written. */
export const capSchema = z.strictObject({ microUsdMax: micro, period: z.enum(PERIODS).default('month') });
export type Cap = z.infer<typeof capSchema>;

/** How many tasks of one capability a tenant may start: by rate, at once, or both. */
export const capabilityLimitSchema = z.strictObject({
  perMinuteMax: z.number().int().min(1).max(1_000_000).optional(),
  /** How many may come at the same moment; a tenth of the rate when absent, at least 1. */
  burstMax: z.number().int().min(1).max(1_000_000).optional(),
  concurrentMax: z.number().int().min(1).max(900).optional(),
}).refine((limit) => limit.perMinuteMax !== undefined || limit.concurrentMax !== undefined, 'perMinuteMax or concurrentMax is needed')
  .refine((limit) => limit.burstMax === undefined || limit.perMinuteMax !== undefined, 'burstMax belongs to perMinuteMax');
export type CapabilityLimit = z.infer<typeof capabilityLimitSchema>;

/** What a bundle says of one tenant besides the cap in `budgets`. */
export const tenantTermsSchema = z.strictObject({
  /** Of the tenant's own cap. */
  period: z.enum(PERIODS).optional(),
  teams: z.record(z.string().regex(new RegExp(`^${id}$`)), capSchema).optional(),
  agents: z.record(z.string().regex(new RegExp(`^${id}$`)), capSchema).optional(),
  /** Of every task alike. */
  taskMicroUsdMax: micro.optional(),
  /** By capability; `*` for those that are not named. */
  capabilities: z.record(z.string().regex(new RegExp(`^(\\*|${capabilityName})$`)), capabilityLimitSchema).optional(),
});
export type TenantTerms = z.infer<typeof tenantTermsSchema>;

/** Flat, as the reducer reads them: caps by level, limits by capability. */
export interface BudgetTerms {
  readonly caps: Readonly<Record<string, Cap>>;
  readonly limits: Readonly<Record<string, CapabilityLimit>>;
}

export const CAP_LEVEL = new RegExp(`^(tenant|task|team/${id}|agent/${id})$`);
export const LIMIT_LEVEL = new RegExp(`^capability/(\\*|${capabilityName})$`);

/** One change by an operator; it holds over the bundle's value until it is taken back. */
export const budgetChangeSchema = z.union([
  z.strictObject({ level: z.string().regex(CAP_LEVEL), cap: capSchema }),
  z.strictObject({ level: z.string().regex(LIMIT_LEVEL), limit: capabilityLimitSchema }),
  z.strictObject({ level: z.union([z.string().regex(CAP_LEVEL), z.string().regex(LIMIT_LEVEL)]), unset: z.literal(true) }),
]);
export type BudgetChange = z.infer<typeof budgetChangeSchema>;

// ---- what people are shown

export interface LevelView {
  readonly level: string;
  readonly microUsdMax: number;
  readonly period: BudgetPeriod | 'life';
  readonly spentMicroUsd: number;
  readonly reservedMicroUsd: number;
  readonly leftMicroUsd: number;
  /** Spent when there was no room for it any more: late, or past a reservation. */
  readonly unfundedMicroUsd: number;
  /** An operator set it; otherwise it is the bundle's. */
  readonly set: boolean;
}
export interface LimitView extends CapabilityLimit {
  readonly level: string;
  readonly running: number;
  readonly set: boolean;
}
export interface LeaseView {
  readonly lease: string;
  readonly holder: string;
  readonly microUsd: number;
  readonly expiresAt: number;
  /** Past its end: charged in full until its holder reports. */
  readonly lapsed: boolean;
}
export interface BudgetDetail {
  readonly tenant: string;
  readonly levels: readonly LevelView[];
  readonly limits: readonly LimitView[];
  readonly leases: readonly LeaseView[];
  readonly openReservations: number;
}

// ---- between the processes that share a root

const text = z.string().min(1).max(128);
export const reserveRequestSchema = z.strictObject({
  tenant: z.string().regex(new RegExp(`^${id}$`)), task: text, attempt: text, capability: z.string().max(64), microUsd: micro, expiresAt: micro,
  team: text.optional(), agent: text.optional(), kind: z.enum(['work', 'admission', 'lease']).optional(),
});
export const settleRequestSchema = z.strictObject({ tenant: z.string().regex(new RegExp(`^${id}$`)), reservation: text, spentMicroUsd: micro, void: z.literal(true).optional() });

const OPS_PER_CALL_MAX = 256;
export const budgetOpSchema = z.discriminatedUnion('op', [
  z.strictObject({ op: z.literal('reserve'), requests: z.array(reserveRequestSchema).min(1).max(OPS_PER_CALL_MAX) }),
  z.strictObject({ op: z.literal('settle'), requests: z.array(settleRequestSchema).min(1).max(OPS_PER_CALL_MAX) }),
  z.strictObject({ op: z.literal('configure'), change: budgetChangeSchema }),
]);
export type BudgetOp = z.infer<typeof budgetOpSchema>;
export const budgetCallSchema = z.strictObject({ v: z.literal(1), ops: z.array(budgetOpSchema).min(1).max(OPS_PER_CALL_MAX) });

export const reserveAnswerSchema = z.union([
  z.strictObject({ granted: z.literal(true), reservation: z.string(), leftMicroUsd: micro }),
  z.strictObject({ granted: z.literal(false), leftMicroUsd: micro, by: z.string(), retryAfterMs: micro.optional() }),
]);
/** `moved`: this process does not hold the root; ask again whoever does. */
export const budgetReplySchema = z.union([
  z.strictObject({ v: z.literal(1), answers: z.array(z.array(reserveAnswerSchema)) }),
  z.strictObject({ v: z.literal(1), moved: z.literal(true) }),
  z.looseObject({ v: z.literal(1), error: errorBodySchema }),
]);
