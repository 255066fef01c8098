// The ledger's entries: one record for everything that informed a decision, chained by hash, with signed heads.
// Owns: record kinds and the chained entry. The algebra (append, verify) lives in policies/ledger, the files in infra/files.
// Never holds content or personal data: digests, ids, facts, scores, counters.
// Others may assume: intent stands before effect, outcome after, and an index is never used twice in one log.

import type { ErrorCode } from './errors.ts';
import type { Receipt } from './receipt.ts';
import type { AppliedEffect, HumanDecision, Proof } from './task.ts';
import type { Facts, Principal, RecordDetail, Retention, Verdict } from './verdict.ts';

interface RecordBase {
  readonly tenant: string;
  readonly task: string;
}

/** Who asked and about what, and the facts of each decision that are not plain (policies/asked). */
export interface Asked {
  readonly type: Principal['type'];
  readonly roles: readonly string[];
  readonly dataClass: string;
  readonly sla: string;
  /** `verdict` is the place among the verdicts of the record. */
  readonly contexts: readonly AskedFacts[];
}
export interface AskedFacts { readonly verdict: number; readonly facts: Facts }

/** The whole of one task: written once, at settlement. */
export interface DecisionRecord extends RecordBase {
  readonly kind: 'decision';
  readonly capability: string;
  readonly workflowId: string;
  readonly runId: string;
  readonly principal: string;
  readonly state: string;
  readonly rung: string;
  readonly degraded: readonly string[];
  readonly inputDigest: string;
  readonly outputDigest?: string;
  readonly mandateDigest?: string;
  readonly bundle: string;
  readonly verdicts: readonly Verdict[];
  /** What policy was asked: with it every decision of the task can be asked again. Absent in records of before it was kept. */
  readonly asked?: Asked;
  readonly facts: Facts;
  readonly receipts: readonly Receipt[];
  readonly costMicroUsd: number;
  readonly reservedMicroUsd: number;
  readonly effect?: AppliedEffect;
  readonly human?: HumanDecision;
  /** What a person wrote or changed, as a digest; the words stay in the workflow. */
  readonly feedbackDigest?: string;
  readonly error?: ErrorCode;
  readonly latencyMs: number;
  /** How long what the task left behind is kept. Absent in records from before there were classes. */
  readonly retention?: Retention;
  /** Present when the record shows less than all of it; `whole` is the digest of the record with everything. */
  readonly detail?: Exclude<RecordDetail, 'full'>;
  readonly whole?: string;
  /** The task was a test of its approvers, with a made-up outcome. */
  readonly canary?: boolean;
}
export interface IntentRecord extends RecordBase { readonly kind: 'intent'; readonly effectKind: string; readonly effectKey: string; readonly amountMicroUsd: number; readonly actionDigest: string }
export interface EffectRecord extends RecordBase { readonly kind: 'effect'; readonly effectKind: string; readonly effectKey: string; readonly applied: boolean; readonly detail: string }
/** Every try to decide an approval, refused ones too. */
export interface AttemptRecord extends RecordBase { readonly kind: 'attempt'; readonly approval: string; readonly by: string; readonly via: 'update' | 'signal' | 'expiry'; readonly accepted: boolean; readonly code?: ErrorCode; readonly decision: string; readonly verified: boolean;
  readonly proof?: Proof;
  /** Group that was asked, and how long it had been when this attempt came, ms. */
  readonly group?: string; readonly waitedMs?: number;
  /** Set by the attempt that ended the approval. */
  readonly outcome?: string;
  /** The action was made up to see whether it would be refused; nothing hangs on it. */
  readonly canary?: boolean;
}
export interface RefusalRecord extends RecordBase { readonly kind: 'refusal'; readonly border: string; readonly code: ErrorCode; readonly bytesDigest: string }
export interface BundleRecord extends RecordBase { readonly kind: 'bundle'; readonly digest: string; readonly version: number; readonly by: string }
/** An operator changed a budget, or handed out part of it. Written before the change is made; `task` is the id of the change or of the lease. */
export interface BudgetRecord extends RecordBase {
  readonly kind: 'budget';
  readonly change: 'set' | 'unset' | 'lease' | 'return';
  /** `tenant`, `team/…`, `agent/…`, `task`, `capability/…`, or `lease/<holder>`. */
  readonly level: string;
  readonly microUsd?: number;
  /** What holds from now on, as a token such as `5000000/month` or `60/min`. */
  readonly value: string;
  readonly by: string;
}

/** What a task left behind was deleted, because its time was over; the decision itself stays. */
export interface ErasureRecord extends RecordBase { readonly kind: 'erasure'; readonly retention: Retention; readonly removed: readonly string[]; readonly by: string }

export type LedgerRecord = BudgetRecord | DecisionRecord | IntentRecord | EffectRecord | AttemptRecord | RefusalRecord | BundleRecord | ErasureRecord;

/** One line of a log. `hash` = SHA-256 over the canonical JSON of {log, index, at, prev, record}. */
export interface LedgerEntry {
  readonly log: string;
  readonly index: number;
  /** ms since 1970 by the writer's clock; order is by index, never by time */
  readonly at: number;
  readonly prev: string;
  readonly record: LedgerRecord;
  readonly hash: string;
}

/** Signed statement of how far a log reaches. */
export interface SignedHead {
  readonly log: string;
  readonly index: number;
  readonly head: string;
  readonly at: number;
  readonly kid: string;
  readonly signature: string;
}
