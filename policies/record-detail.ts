// How much a decision record shows: everything, the facts without the pages they rest on, or the bare decision.
// Owns: what each detail leaves out, and the digest of the whole that takes its place. Pure.
// Never leaves out who decided, which policies, by which bundle, what it cost and what it committed to.
// Others may assume: whoever kept the whole record elsewhere can prove it against `whole`; an audit needs nothing that is left out.

import { digestOf } from '../contracts/canonical.ts';
import type { DecisionRecord } from '../contracts/record.ts';
import type { Receipt } from '../contracts/receipt.ts';
import type { Facts, Obligations, Redaction } from '../contracts/verdict.ts';
import { redactText } from './redaction.ts';

/** The record as its obligations want it. */
export function shown(record: DecisionRecord, { redact, retention, record: detail }: Required<Obligations>): DecisionRecord {
  const kept: DecisionRecord = { ...record, facts: withoutPeople(record.facts, redact), ...contextsOf(record, redact), retention };
  if (detail === 'full') return kept;
  const whole = digestOf(kept);
  if (detail === 'facts') return { ...kept, receipts: kept.receipts.map(withoutSources), detail, whole };
  const { asked: _contexts, ...bare } = kept;
  return { ...bare, facts: {}, receipts: [], detail, whole };
}

/** Tokens among the facts come from records and models; where text is redacted, so are they. */
function withoutPeople(facts: Facts, level: Redaction): Facts {
  if (level === 'none') return facts;
  const clean = (fact: string): string => redactText(fact, level).text.slice(0, 64);
  return Object.fromEntries(Object.entries(facts).map(([name, fact]) => [name, typeof fact === 'string' ? clean(fact) : Array.isArray(fact) ? fact.map((one) => clean(String(one))) : fact]));
}

function contextsOf({ asked }: DecisionRecord, level: Redaction): Pick<DecisionRecord, 'asked'> {
  if (asked === undefined) return {};
  return { asked: { ...asked, contexts: asked.contexts.map((one) => ({ ...one, facts: withoutPeople(one.facts, level) })) } };
}

/** Which model and which index, but not which pages and which local decisions. */
function withoutSources(receipt: Receipt): Receipt {
  if (receipt.kind === 'retrieval') return { ...receipt, fragments: [] };
  return receipt.kind === 'turn' ? { ...receipt, local: [] } : receipt;
}
