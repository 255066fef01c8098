// Mandates: the signed, expiring grant the brain mints for a task, narrowed at each delegation.
// Owns: the closed caveat grammar and the wire form. Signing lives in infra, the meet of blocks in policies.
// Never carries content. A token that ends with its holder's key is itself a secret. Others may assume: what a mandate does not name, it does not grant.

import { z } from 'zod';
import { DATA_CLASSES } from './capability.ts';
import type { Digest } from './ids.ts';

const token = z.string().regex(/^[A-Za-z0-9_.:*-]{1,96}$/);
const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);

/** Absent means "as the block before"; in the root block absent means "none". Money in micro-USD, time in ms since 1970. */
export const grantSchema = z.strictObject({
  tenant: token,
  task: token,
  capabilities: z.array(token).max(64),
  dataClass: z.enum(DATA_CLASSES),
  regions: z.array(token).max(16),
  models: z.array(token).max(32),
  spaces: z.array(token).max(32),
  budgetMicroUsd: z.number().int().nonnegative().safe(),
  callsMax: z.number().int().nonnegative().max(1_000_000),
  depthMax: z.number().int().nonnegative().max(16),
  notBefore: z.number().int().nonnegative().safe(),
  expiresAt: z.number().int().nonnegative().safe(),
  offline: z.boolean(),
  policy: digest,
  action: digest.optional(),
  /** Digest of the principal it was minted for (`digestOf(principal)`): roles in an envelope are believed only where they match. */
  principal: digest.optional(),
});
export type Grant = z.infer<typeof grantSchema>;

/** One link: what it grants, who may extend it, and where it hangs. */
export interface MandateBlock {
  readonly v: 1;
  /** Unguessable id; revocation names a prefix of it. */
  readonly id: string;
  /** Digest of the block before; absent in the root. */
  readonly parent?: Digest;
  readonly grant: Partial<Grant>;
  /** Raw Ed25519 public key, base64url: who may sign the next block and prove possession. */
  readonly next: string;
  /** Digest of the private half of `next`, so that holding it is shown by a hash; absent in mandates of an earlier version. */
  readonly hold?: Digest;
  /** Key id of the signer: the brain's for the root, otherwise the `next` of the block before. */
  readonly kid: string;
}

/** Wire form: compact JWS blocks joined with `~`, root first. */
export type MandateToken = string;

/** One call that a mandate is shown for, to one audience: the proof holds for exactly this. */
export interface PresentedCall {
  readonly audience: string;
  /** Everything the call asks, in one canonical text. */
  readonly content: string;
}

export interface VerifiedMandate {
  readonly digest: Digest;
  /** The meet of all blocks. */
  readonly grant: Grant;
  /** What the brain granted at first: the class of the task's data, which narrowing never lowers. */
  readonly root?: Grant;
  readonly blockIds: readonly string[];
  readonly holder: string;
  readonly depth: number;
}
