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
  /** After expiry: refuse, or ask this group once and then refuse. */
  readonly onExpiry: 'deny' | { readonly escalate: string };
}

export interface VerdictBase {
  readonly action: Action;
  readonly bundle: Digest;
  /** Ids of the policies that determined the answer, sorted. */
  readonly deciding: readonly string[];
  /** Ids of policies that raised an error; any makes the verdict `deny`. */
  readonly erroring: readonly string[];
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
