// Facts in, verdict out: the two ends of a policy decision.
// Owns: the four actions, the four verdicts, and the obligations a verdict carries.
// Never holds content: facts are integers, booleans, short tokens and sets of them.
// Others may assume: every verdict names the bundle and the policies that decided.

import { z } from 'zod';
import type { Rung } from './capability.ts';
import type { Digest } from './ids.ts';

/** Integers are safe integers (units in the name: `confidenceBp`, `amountMicroUsd`); strings are tokens of at most 64 characters. */
export type Fact = number | boolean | string | readonly string[];
export type Facts = Readonly<Record<string, Fact>>;

export const factsSchema: z.ZodType<Facts> = z.record(
  z.string().regex(/^[a-z][A-Za-z0-9]{0,63}$/),
  z.union([z.number().int().safe(), z.boolean(), z.string().max(64), z.array(z.string().max(64)).max(64)]),
);

/** `admit` before anything, `dispatch` before work goes out, `invoke` at the gateway, `commit` on the outcome. */
export const ACTIONS = ['admit', 'dispatch', 'invoke', 'commit'] as const;
export type Action = (typeof ACTIONS)[number];

export const principalSchema = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/),
  type: z.enum(['user', 'service', 'agent', 'team']),
  tenant: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/),
  roles: z.array(z.string().max(64)).max(32),
});
/** Who asks. Roles are what policies and approver groups look at. */
export interface Principal {
  readonly id: string;
  readonly type: 'user' | 'service' | 'agent' | 'team';
  readonly tenant: string;
  readonly roles: readonly string[];
}

export interface Approval {
  /** Group whose members may decide. */
  readonly approvers: string;
  readonly quorum: number;
  readonly expiresMs: number;
  /** After the first expiry: the declared default at once, or ask this group for as long again. */
  readonly onExpiry: 'deny' | { readonly escalate: string };
  /** Groups asked after that one, each for as long, in order. */
  readonly chain?: readonly string[];
  /** The declared default when nobody decided: refuse when absent, else go down to this rung. */
  readonly degrade?: Rung;
}

/** What is taken out of text before a model sees it: nothing; secrets, numbers and addresses of people; or names and dates too. */
export const REDACTIONS = ['none', 'standard', 'strict'] as const;
export type Redaction = (typeof REDACTIONS)[number];
/** How long what a task left behind is kept; `hold` until a person lifts it. Sorted: the later one keeps longer. */
export const RETENTIONS = ['brief', 'standard', 'long', 'legal', 'hold'] as const;
export type Retention = (typeof RETENTIONS)[number];
/** What a decision record shows of its receipts and facts. Sorted: the later one shows more. */
export const RECORD_DETAILS = ['minimal', 'facts', 'full'] as const;
export type RecordDetail = (typeof RECORD_DETAILS)[number];

/** What a decision binds whoever acts on it to do; absent members are the deployment's default. */
export interface Obligations {
  readonly redact?: Redaction;
  readonly retention?: Retention;
  readonly record?: RecordDetail;
}

export interface VerdictBase {
  readonly action: Action;
  readonly bundle: Digest;
  /** Ids of the policies that determined the answer, sorted. */
  readonly deciding: readonly string[];
  /** Ids of policies that raised an error; any makes the verdict `deny`. */
  readonly erroring: readonly string[];
  /** The step of a team it is about; absent: the task as a whole. */
  readonly step?: string;
  /** `team`: given by the team's own copy of the policy before the step, and by the brain again when the outcome arrived. Absent: by the brain alone, before. */
  readonly by?: 'team';
  /** Of every satisfied policy, permit or forbid; absent when none has any. */
  readonly obligations?: Obligations;
}
export type Verdict =
  | (VerdictBase & { readonly kind: 'allow' })
  | (VerdictBase & { readonly kind: 'deny'; readonly reason: string })
  | (VerdictBase & { readonly kind: 'escalate'; readonly approval: Approval; readonly reason: string })
  | (VerdictBase & { readonly kind: 'degrade'; readonly rung: Rung; readonly reason: string });


/** Everything a decision looks at. The same shape at the centre, in the gateway and on an edge box. */
export interface PolicyRequest {
  readonly action: Action;
  readonly principal: Principal;
  readonly resource: { readonly capability: string; readonly dataClass: string; readonly sla: string };
  readonly context: Facts;
}
