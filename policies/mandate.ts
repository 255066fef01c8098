// Mandates as algebra: reading a chain of blocks, holding each block to the one before, and what remains when all are met.
// Owns: the wire form, the narrowing rules per caveat, the chain of keys, time and revocation. Signatures come in as functions.
// The wire form is root~block~…~end. The end is `k.<secret>` (the last key itself: may be delegated further), `s.<signature>` (sealed
// by the last key) or `p.<time>.<signature>` (shown for one call, which the last key signed). Without it blocks could be cut off.
// Never repairs or ignores: a widening, forged, misplaced or unreadable block makes the whole mandate invalid.
// Others may assume: `meet` of a valid chain is never wider than any of its blocks, and what a mandate does not name it does not grant.

import { z } from 'zod';
import { canonicalJson, digestOfText } from '../contracts/canonical.ts';
import type { DataClass } from '../contracts/capability.ts';
import { covers } from '../contracts/capability.ts';
import type { AiosError } from '../contracts/errors.ts';
import { fail, hasCode } from '../contracts/errors.ts';
import type { Digest } from '../contracts/ids.ts';
import type { Grant, MandateBlock, MandateToken, PresentedCall, VerifiedMandate } from '../contracts/mandate.ts';
import type { Envelope } from '../contracts/message.ts';
import { grantSchema } from '../contracts/mandate.ts';
import { decodeText, parseJson, parseValue } from '../contracts/parse.ts';
import type { SignatureVerifier } from '../contracts/ports.ts';
import { decodeBase64Url, encodeBase64Url } from './base64url.ts';

/** The envelope's bound; three to five blocks of a usual grant. */
export const MANDATE_CHARS_MAX = 8_192;
export const BLOCKS_MAX = 17;
/** A mandate minted by a clock that runs ahead of ours by no more than this is taken. Expiry has no grace. */
export const SKEW_MS_DEFAULT = 5_000;
const TYPE = 'mandate+jwt';

const rawKey = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
const headerSchema = z.strictObject({ alg: z.literal('EdDSA'), kid: z.string().min(1).max(64), typ: z.literal(TYPE) });
const blockSchema = z.strictObject({
  v: z.literal(1),
  id: z.string().regex(/^[A-Za-z0-9_.-]{16,128}$/),
  parent: z.string().regex(/^sha256:[0-9a-f]{64}$/).optional(),
  grant: grantSchema.partial(),
  next: rawKey,
  hold: z.string().regex(/^sha256:[0-9a-f]{64}$/).optional(),
  kid: z.string().min(1).max(64),
});

/** One block as it stood on the wire. */
export interface MandateLink {
  readonly jws: string;
  readonly signed: Uint8Array;
  readonly signature: string;
  readonly block: MandateBlock;
}

/** How a token ends: with the last block's private key, with its signature over all blocks, or with one over blocks and a call. */
export type MandateEnd = { readonly kind: 'secret' | 'seal'; readonly value: string } | { readonly kind: 'proof'; readonly value: string; readonly at: number };

/** Verifies under a raw Ed25519 public key, base64url. */
export type RawKeyVerifier = (publicKey: string, bytes: Uint8Array, signature: string) => boolean;
export interface ChainVerifiers {
  /** Who may sign roots, by key id. */
  readonly root: SignatureVerifier;
  readonly raw: RawKeyVerifier;
  /** The raw public key of a raw private key, both base64url; asked only for blocks that do not say `hold`. */
  readonly publicOf: (secret: string) => string;
  /** SHA-256 as `sha256:<hex>` of a text; a native one is several times quicker than ours. */
  readonly digest?: (text: string) => Digest;
}

// ---- reading and verifying

/** Everything but time and revocation. The digest names the blocks, not the end, so it may be recorded. @throws AIOS_MANDATE_INVALID */
export function verifyChain(token: MandateToken, verifiers: ChainVerifiers): VerifiedMandate {
  const { blocksText, end } = splitEnd(token);
  if (end.kind === 'proof') throw invalid('the end proves one call and nothing else');
  const { verified, last } = openBlocks(blocksText, verifiers);
  const held = end.kind === 'secret' ? holdsSecret(last, end.value, verifiers.publicOf, verifiers.digest ?? digestOfText) : verifiers.raw(verified.holder, sealedBytes(verified.digest), end.value);
  if (!held) throw invalid('the end does not belong to the last block');
  return verified;
}

/** The blocks alone, which anybody may have seen: whoever calls this must see a proof by `holder` as well. @throws AIOS_MANDATE_INVALID */
export const verifyBlocks = (blocksText: string, verifiers: ChainVerifiers): VerifiedMandate => openBlocks(blocksText, verifiers).verified;

function openBlocks(blocksText: string, verifiers: ChainVerifiers): { readonly verified: VerifiedMandate; readonly last: MandateBlock } {
  const digest = verifiers.digest ?? digestOfText;
  const links = parseBlocks(blocksText);
  links.forEach((link, i) => verifyLink(link, links[i - 1], verifiers, digest));
  const blocks = links.map(({ block }) => block);
  const last = blocks[blocks.length - 1] as MandateBlock;
  return { last, verified: { digest: digest(blocksText), grant: meet(blocks), root: meet(blocks.slice(0, 1)), blockIds: blocks.map(({ id }) => id), holder: last.next, depth: blocks.length - 1 } };
}

/**
 * Whether a private key is the one the block stands for: by the block's own commitment to it, which costs a hash, or by making
 * the public key from it, which costs as much as a signature.
 */
const holdsSecret = (block: MandateBlock, secret: string, publicOf: ChainVerifiers['publicOf'], digest: (text: string) => Digest): boolean =>
  (block.hold === undefined ? publicOf(secret) === block.next : digest(holdText(secret)) === block.hold);

/** What a block commits to in `hold`: nothing else is ever hashed under this prefix. */
export const holdText = (secret: string): string => `aios-hold\n${secret}`;

export interface ParsedMandate {
  readonly links: readonly MandateLink[];
  readonly end: MandateEnd;
  /** The token without its end. */
  readonly blocksText: string;
}

/** @throws AIOS_MANDATE_INVALID */
export function parseMandate(token: MandateToken): ParsedMandate {
  const { blocksText, end } = splitEnd(token);
  return { links: parseBlocks(blocksText), end, blocksText };
}

function parseBlocks(blocksText: string): readonly MandateLink[] {
  if (blocksText.length > MANDATE_CHARS_MAX) throw invalid('it is too long');
  const parts = blocksText.split('~');
  if (parts.length > BLOCKS_MAX) throw invalid('it has too many blocks');
  return parts.map(parseLink);
}

const END = /^([ks])\.([A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{86})$/;
const PROOF = /^p\.([0-9]{13})\.([A-Za-z0-9_-]{86})$/;

/** @throws AIOS_MANDATE_INVALID for a token without an end */
export function splitEnd(token: MandateToken): { readonly blocksText: string; readonly end: MandateEnd } {
  if (token.length > MANDATE_CHARS_MAX) throw invalid('it is too long');
  const cut = token.lastIndexOf('~');
  const [, at, proof] = PROOF.exec(token.slice(cut + 1)) ?? [];
  if (cut > 0 && at !== undefined && proof !== undefined) return { blocksText: token.slice(0, cut), end: { kind: 'proof', value: proof, at: Number(at) } };
  const [, kind, value] = END.exec(token.slice(cut + 1)) ?? [];
  if (cut < 0 || value === undefined || (kind === 'k') !== (value.length === 43)) throw invalid('the end is missing');
  return { blocksText: token.slice(0, cut), end: { kind: kind === 'k' ? 'secret' : 'seal', value } };
}

/** The digest `verify` would give, for who just minted or holds the mandate and needs only its name: no signature is checked. @throws AIOS_MANDATE_INVALID */
export const mandateDigest = (token: MandateToken): Digest => digestOfText(splitEnd(token).blocksText);

/** How long a proof for one call is believed, and how far its clock may be ahead. */
export const PRESENTED_MS_MAX = 30_000;

/** True for a token that was shown for one call. */
export const isPresented = (token: MandateToken): boolean => token.startsWith('p.', token.lastIndexOf('~') + 1);

/** What a call is, for the proof: who is asked for what, and everything that is asked. The mandate and the trace are left out. */
export function presentedCall({ id, tenant, task, capability, actor, principal, rung, deadline, depth, input }: Omit<Envelope, 'mandate'>): PresentedCall {
  return { audience: `${tenant}/${capability}`, content: canonicalJson({ id, task, actor, principal, rung, deadline, depth, input }) };
}

/** What the last key signs to show a chain for one call. */
export const presentedBytes = (blocksDigest: Digest, audience: string, at: number, content: Digest): Uint8Array => ascii(`aios-present\n${blocksDigest}\n${audience}\n${at}\n${content}`);

/** @throws AIOS_MANDATE_INVALID for a proof from another time */
export function checkPresentedAt(at: number, now: number, skewMs = SKEW_MS_DEFAULT): void {
  if (at > now + skewMs) throw invalid('the proof is from a time that has not come');
  if (at < now - PRESENTED_MS_MAX) throw invalid('the proof is too old');
}

/** What the last key signs to seal a chain. */
export const sealedBytes = (blocksDigest: Digest): Uint8Array => ascii(`aios-seal\n${blocksDigest}`);

function parseLink(jws: string, i: number): MandateLink {
  try {
    const [header, payload, signature, ...rest] = jws.split('.');
    if (header === undefined || payload === undefined || signature === undefined || rest.length > 0) throw invalid('a block is not a compact JWS');
    const { kid } = parseValue(headerSchema, parseJson(decodeText(decodeBase64Url(header))));
    const block = parseValue(blockSchema, parseJson(decodeText(decodeBase64Url(payload)))) as MandateBlock;
    if (block.kid !== kid) throw invalid('header and block name different keys');
    if (decodeBase64Url(signature).length !== 64) throw invalid('a signature has 64 bytes');
    return { jws, signed: ascii(jws.slice(0, header.length + 1 + payload.length)), signature, block };
  } catch (cause) {
    if (hasCode(cause, 'AIOS_MANDATE_INVALID')) throw cause;
    throw fail('AIOS_MANDATE_INVALID', `Block ${i} cannot be read.`, { cause });
  }
}

/** The root is signed by a key of the ring, each further block by the key that the block before names. */
function verifyLink(link: MandateLink, before: MandateLink | undefined, { root, raw }: ChainVerifiers, digest: (text: string) => Digest): void {
  const { block, signed, signature } = link;
  if (before === undefined) {
    if (block.parent !== undefined) throw invalid('the root hangs on another block');
    if (!root.verify(block.kid, signed, signature)) throw invalid('the root is not signed by a known key');
    return;
  }
  if (block.parent !== digest(before.jws)) throw invalid('a block hangs on another parent');
  if (block.kid !== before.block.next) throw invalid('a block is signed by another key than its parent names');
  if (!raw(before.block.next, signed, signature)) throw invalid('a block is not signed by its key');
}

const invalid = (why: string): AiosError => fail('AIOS_MANDATE_INVALID', `In this mandate ${why}.`);

// ---- the meet

/** What all blocks together grant. @throws AIOS_MANDATE_INVALID for a root that lacks what it must name, and for any widening */
export function meet(blocks: readonly MandateBlock[]): Grant {
  const [root, ...rest] = blocks;
  if (root === undefined) throw invalid('there is no block');
  return rest.reduce((parent, block, i) => narrow(parent, block.grant, i + 1, 'AIOS_MANDATE_INVALID'), rootGrant(root.grant));
}

function rootGrant(grant: Partial<Grant>): Grant {
  const { tenant, task, expiresAt, policy } = grant;
  if (tenant === undefined || task === undefined || expiresAt === undefined || policy === undefined) throw invalid('the root lacks tenant, task, expiry or policy');
  return {
    capabilities: [], dataClass: 'public', regions: [], models: [], spaces: [],
    budgetMicroUsd: 0, callsMax: 0, depthMax: 0, notBefore: 0, offline: false,
    ...grant, tenant, task, expiresAt, policy,
  };
}

/** The parent's grant under one more caveat, as the block `depth` below the root. @throws `code` naming the widened members */
export function narrow(parent: Grant, caveat: Partial<Grant>, depth: number, code: 'AIOS_MANDATE_INVALID' | 'AIOS_MANDATE_EXCEEDED' = 'AIOS_MANDATE_EXCEEDED'): Grant {
  const widened = wideningsOf(parent, caveat, depth);
  if (widened.length > 0) throw fail(code, `A delegation may only narrow: ${widened.join(', ')}.`);
  return { ...parent, ...caveat };
}

/** The members of a caveat that would grant more than the parent does; `depth` when the parent may not be delegated so deep. */
export function wideningsOf(parent: Grant, caveat: Partial<Grant>, depth: number): readonly string[] {
  const widened = (Object.keys(caveat) as (keyof Grant)[]).filter((name) => !NARROWER[name](parent, caveat as Grant));
  return depth > Math.min(parent.depthMax, caveat.depthMax ?? parent.depthMax) ? [...widened, 'depth'] : widened;
}

type Narrower = (parent: Grant, caveat: Grant) => boolean;
const bound = (name: 'action' | 'principal'): Narrower => (parent, caveat) => parent[name] === undefined || caveat[name] === parent[name];
const same = (name: 'tenant' | 'task' | 'policy'): Narrower => (parent, caveat) => caveat[name] === parent[name];
const subset = (name: 'capabilities' | 'regions' | 'models' | 'spaces'): Narrower => (parent, caveat) => caveat[name].every((wanted) => matches(parent[name], wanted));
const atMost = (name: 'budgetMicroUsd' | 'callsMax' | 'depthMax' | 'expiresAt'): Narrower => (parent, caveat) => caveat[name] <= parent[name];

/** One rule per member; a new member of the grammar does not compile until its rule stands here. */
const NARROWER: Readonly<Record<keyof Grant, Narrower>> = {
  tenant: same('tenant'),
  task: same('task'),
  policy: same('policy'),
  capabilities: subset('capabilities'),
  regions: subset('regions'),
  models: subset('models'),
  spaces: subset('spaces'),
  dataClass: (parent, caveat) => covers(parent.dataClass, caveat.dataClass),
  budgetMicroUsd: atMost('budgetMicroUsd'),
  callsMax: atMost('callsMax'),
  expiresAt: atMost('expiresAt'),
  notBefore: (parent, caveat) => caveat.notBefore >= parent.notBefore,
  depthMax: atMost('depthMax'),
  offline: (parent, caveat) => parent.offline || !caveat.offline,
  action: bound('action'),
  principal: bound('principal'),
};

/** `*` is everything, `text.*` everything that starts with `text.`; a star anywhere else stands for itself. */
export function matches(patterns: readonly string[], wanted: string): boolean {
  return patterns.some((pattern) => pattern === wanted || (pattern.endsWith('*') && wanted.startsWith(pattern.slice(0, -1))));
}

// ---- writing

/** Whoever holds the new block: the public key that signs the next one, and the digest of `holdText` of its private half. */
export type Heir = Pick<MandateBlock, 'next' | 'hold'>;

/** The payload of a root. */
export const rootBlock = (grant: Grant, id: string, heir: Heir, kid: string): MandateBlock => ({ v: 1, id, grant, ...heir, kid });

const caveatSchema = grantSchema.partial();

/** The payload of the next block. `kid` is the last block's `next`. @throws AIOS_MANDATE_EXCEEDED for a wider caveat */
export function nextBlock(blocksText: string, verified: Pick<VerifiedMandate, 'grant' | 'holder' | 'depth'>, caveat: Partial<Grant>, id: string, heir: Heir, digest: (text: string) => Digest = digestOfText): MandateBlock {
  narrow(verified.grant, parseValue(caveatSchema, caveat) as Partial<Grant>, verified.depth + 1);
  const parent = digest(blocksText.slice(blocksText.lastIndexOf('~') + 1));
  return { v: 1, id, parent, grant: caveat, ...heir, kid: verified.holder };
}

/** What a signer signs, and the text that goes before its signature. */
export function signingInput(block: MandateBlock): string {
  const header = JSON.stringify({ alg: 'EdDSA', kid: block.kid, typ: TYPE });
  return `${encodeBase64Url(utf8.encode(header))}.${encodeBase64Url(utf8.encode(JSON.stringify(block)))}`;
}

const utf8 = new TextEncoder();
export const ascii = (text: string): Uint8Array => utf8.encode(text);

// ---- using

/** @throws AIOS_MANDATE_INVALID outside its time */
export function checkTime(grant: Grant, now: number, skewMs = SKEW_MS_DEFAULT): void {
  if (now >= grant.expiresAt) throw invalid('the time has run out');
  if (now + skewMs < grant.notBefore) throw invalid('the time has not come');
}

/** What a call is about to do; absent members are not asked about. */
export interface MandatedCall {
  readonly tenant: string;
  readonly task: string;
  readonly capability?: string;
  readonly dataClass?: DataClass;
  readonly region?: string;
  readonly model?: string;
  readonly space?: string;
  /** Micro-USD spent under this mandate so far plus the worst case of this call. */
  readonly microUsd?: number;
  /** Calls made under this mandate, this one included. */
  readonly calls?: number;
  readonly action?: Digest;
  /** `digestOf(principal)` of who asks. */
  readonly principal?: Digest;
  /** True where the brain cannot be reached: only grants that say so hold. */
  readonly offline?: boolean;
}

/** @throws AIOS_TENANT_MISMATCH, AIOS_MANDATE_INVALID for another task's mandate, AIOS_MANDATE_EXCEEDED naming what is not covered */
export function requireCover(grant: Grant, call: MandatedCall): void {
  if (grant.tenant !== call.tenant) throw fail('AIOS_TENANT_MISMATCH', 'The mandate belongs to another tenant.');
  if (grant.task !== call.task) throw invalid('another task is named');
  const missing = missingFor(grant, call);
  if (missing.length > 0) throw fail('AIOS_MANDATE_EXCEEDED', `Not covered: ${missing.join(', ')}.`);
}

function missingFor(grant: Grant, call: MandatedCall): readonly string[] {
  const checks: Readonly<Record<string, boolean>> = {
    capability: call.capability === undefined || matches(grant.capabilities, call.capability),
    dataClass: call.dataClass === undefined || covers(grant.dataClass, call.dataClass),
    region: call.region === undefined || matches(grant.regions, call.region),
    model: call.model === undefined || matches(grant.models, call.model),
    space: call.space === undefined || matches(grant.spaces, call.space),
    budget: call.microUsd === undefined || call.microUsd <= grant.budgetMicroUsd,
    calls: call.calls === undefined || call.calls <= grant.callsMax,
    action: grant.action === undefined || call.action === undefined || call.action === grant.action,
    principal: grant.principal === undefined || call.principal === undefined || call.principal === grant.principal,
    offline: call.offline !== true || grant.offline,
  };
  return Object.keys(checks).filter((name) => checks[name] === false);
}

// ---- revocation

/** Revoked block ids by prefix, and tasks that were cancelled. The epoch grows with every change, so that cached verifications are looked at again. */
export interface Revocations {
  readonly epoch: number;
  has(blockId: string): boolean;
  hasTask(tenant: string, task: string): boolean;
  /** Runs after every change; returns the way to stop. */
  onChange(run: () => void): () => void;
}
export interface MutableRevocations extends Revocations {
  /** Tasks as `taskName` spells them. */
  replace(prefixes: Iterable<string>, tasks?: Iterable<string>): void;
  add(prefix: string): void;
}
export const taskName = (tenant: string, task: string): string => `${tenant}/${task}`;

/** In memory; whoever watches the store calls `replace`. Since every block of a chain is asked for, a subtree falls with its root. */
export function createRevocations(prefixes: Iterable<string> = []): MutableRevocations {
  const listeners = new Set<() => void>();
  let known = new Set(prefixes);
  let cancelled: ReadonlySet<string> = new Set();
  let epoch = 0;
  const changed = (): void => {
    epoch += 1;
    for (const run of listeners) run();
  };
  return {
    get epoch() { return epoch; },
    has: (blockId) => { for (const prefix of known) if (blockId.startsWith(prefix)) return true; return false; },
    hasTask: (tenant, task) => cancelled.has(taskName(tenant, task)),
    onChange: (run) => { listeners.add(run); return () => listeners.delete(run); },
    replace: (next, tasks = []) => { known = new Set(next); cancelled = new Set(tasks); changed(); },
    add: (prefix) => { known = new Set(known).add(prefix); changed(); },
  };
}

/** Any block of the chain was revoked, or the task it was minted for was cancelled. */
export const isRevoked = ({ blockIds, grant }: Pick<VerifiedMandate, 'blockIds' | 'grant'>, revocations: Revocations): boolean =>
  revocations.hasTask(grant.tenant, grant.task) || blockIds.some((id) => revocations.has(id));

/** @throws AIOS_MANDATE_INVALID for a mandate that `isRevoked` */
export function checkRevoked(verified: Pick<VerifiedMandate, 'blockIds' | 'grant'>, revocations: Revocations): void {
  if (isRevoked(verified, revocations)) throw invalid('a block was revoked');
}
