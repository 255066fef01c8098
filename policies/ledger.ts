// The ledger's algebra: how an entry is chained, how a head is signed, and how a log is verified without trusting its writer.
// Owns: canonical form, chain rule, head statement, verifier. Never touches a file, a clock or a key.
// Others may assume: two logs with the same head hash at the same index hold the same records in the same order.

import { canonicalBytes, digestOf } from '../contracts/canonical.ts';
import type { SignatureVerifier } from '../contracts/ports.ts';
import type { LedgerEntry, LedgerRecord, SignedHead } from '../contracts/record.ts';
import type { LedgerAnchor } from '../contracts/task.ts';

/** What stands before the first entry of a log: the digest of its name, so that no two logs share a prefix. */
export const genesisOf = (log: string): string => digestOf({ genesis: log });

/** Chains one record behind `prev`. */
export function chain(log: string, index: number, at: number, prev: string, record: LedgerRecord): LedgerEntry {
  return { log, index, at, prev, record, hash: digestOf({ log, index, at, prev, record }) };
}

/** The bytes a head signature is over. */
export const headBytes = (head: Pick<SignedHead, 'log' | 'index' | 'head' | 'at' | 'kid'>): Uint8Array =>
  canonicalBytes({ aios: 'ledger-head/1', log: head.log, index: head.index, head: head.head, at: head.at, kid: head.kid });

export type Finding =
  | { readonly kind: 'edited'; readonly index: number; readonly why: string }
  | { readonly kind: 'dropped'; readonly index: number; readonly why: string }
  | { readonly kind: 'reordered'; readonly index: number; readonly why: string }
  | { readonly kind: 'cut'; readonly index: number; readonly why: string }
  | { readonly kind: 'forged'; readonly index: number; readonly why: string }
  | { readonly kind: 'unreadable'; readonly index: number; readonly why: string };

export interface Verification {
  readonly log: string;
  readonly entries: number;
  readonly head: string;
  readonly heads: number;
  readonly anchors: number;
  readonly findings: readonly Finding[];
}

/** A line of a log as it was read: an entry, or the words why it is none. */
export type ReadLine = { readonly entry: LedgerEntry } | { readonly broken: string };

/**
 * Checks one whole log: every hash, every link, every index, every signed head and every outside anchor.
 * The first break in the chain is reported once; what follows it is checked against itself, so one edit is one finding.
 */
export function verifyLog(log: string, lines: readonly ReadLine[], heads: readonly SignedHead[], anchors: readonly LedgerAnchor[], verifier: SignatureVerifier): Verification {
  const findings: Finding[] = [];
  const hashes = new Map<number, string>();
  let prev = genesisOf(log);
  let expected = 0;
  for (const line of lines) {
    if ('broken' in line) {
      findings.push({ kind: 'unreadable', index: expected, why: line.broken });
      expected++;
      prev = '';
      continue;
    }
    const finding = checkEntry(log, line.entry, expected, prev);
    if (finding !== undefined) findings.push(finding);
    hashes.set(line.entry.index, line.entry.hash);
    expected = line.entry.index + 1;
    prev = line.entry.hash;
  }
  findings.push(...checkHeads(heads, hashes, expected, verifier), ...checkAnchors(log, anchors, hashes, expected));
  return { log, entries: lines.length, head: prev, heads: heads.length, anchors: anchors.length, findings };
}

function checkEntry(log: string, entry: LedgerEntry, expected: number, prev: string): Finding | undefined {
  const { index } = entry;
  const recomputed = chain(log, index, entry.at, entry.prev, entry.record).hash;
  if (entry.log !== log || recomputed !== entry.hash) return { kind: 'edited', index, why: 'the record does not match its hash' };
  if (index > expected) return { kind: 'dropped', index: expected, why: `record ${expected} is missing, ${index} follows` };
  if (index < expected) return { kind: 'reordered', index, why: `record ${index} stands where ${expected} belongs` };
  if (prev !== '' && entry.prev !== prev) return { kind: 'edited', index, why: 'the record does not follow the one before it' };
  return undefined;
}

function checkHeads(heads: readonly SignedHead[], hashes: ReadonlyMap<number, string>, length: number, verifier: SignatureVerifier): Finding[] {
  const findings: Finding[] = [];
  for (const head of heads) {
    if (!verifier.verify(head.kid, headBytes(head), head.signature)) findings.push({ kind: 'forged', index: head.index, why: 'the signature of the head is not by a known key' });
    else if (head.index >= length) findings.push({ kind: 'cut', index: length, why: `a signed head names record ${head.index}, the log ends before it` });
    else if (hashes.get(head.index) !== head.head) findings.push({ kind: 'edited', index: head.index, why: 'a signed head names another hash' });
  }
  return dedupe(findings);
}

function checkAnchors(log: string, anchors: readonly LedgerAnchor[], hashes: ReadonlyMap<number, string>, length: number): Finding[] {
  const findings: Finding[] = [];
  for (const anchor of anchors) {
    if (anchor.log !== log) continue;
    if (anchor.index >= length) findings.push({ kind: 'cut', index: length, why: `a workflow result names record ${anchor.index}, the log ends before it` });
    else if (hashes.get(anchor.index) !== anchor.head) findings.push({ kind: 'edited', index: anchor.index, why: 'a workflow result names another hash' });
  }
  return dedupe(findings);
}

/** Many heads past one cut tell the same story: keep one finding per kind and place. */
function dedupe(findings: readonly Finding[]): Finding[] {
  const seen = new Map<string, Finding>();
  for (const finding of findings) seen.set(`${finding.kind}:${finding.index}`, seen.get(`${finding.kind}:${finding.index}`) ?? finding);
  return [...seen.values()];
}
