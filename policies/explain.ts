// A verdict in words: which policies decided, and which single fact, had it been another, would have changed it.
// Owns: the search for such facts. Values tried are those the policies themselves name, one to either side of each number, and the other truth.
// Never guesses about policies it does not evaluate. Others may assume: every change listed was decided by `decide`.

import type { PolicySlice } from '../contracts/bundle.ts';
import type { Fact, PolicyRequest, Verdict } from '../contracts/verdict.ts';
import { expand } from './cedar/compact.ts';
import type { PolicyTrace } from './evaluate.ts';
import { decide, traceOf } from './evaluate.ts';

export interface FactChange {
  readonly fact: string;
  readonly from: Fact;
  readonly to: Fact;
  readonly verdict: Verdict['kind'];
  readonly deciding: readonly string[];
}
export interface Explanation {
  readonly verdict: Verdict;
  /** Every policy in whose scope the request is. */
  readonly policies: readonly PolicyTrace[];
  /** The nearest change of each fact that leads to another kind of verdict. */
  readonly changes: readonly FactChange[];
}

export function explain(slice: PolicySlice, request: PolicyRequest): Explanation {
  const verdict = decide(slice, request);
  const policies = traceOf(slice, request).filter(({ status }) => status !== 'out-of-scope');
  const named = literalsOf(slice.policies);
  const changes = Object.entries(request.context).flatMap(([fact, from]) => changesOf(slice, request, verdict, fact, from, named));
  return { verdict, policies, changes };
}

function changesOf(slice: PolicySlice, request: PolicyRequest, verdict: Verdict, fact: string, from: Fact, named: Literals): readonly FactChange[] {
  const kinds = new Map<Verdict['kind'], FactChange>();
  for (const to of candidatesFor(from, named)) {
    const other = decide(slice, { ...request, context: { ...request.context, [fact]: to } });
    if (other.kind !== verdict.kind && !kinds.has(other.kind)) kinds.set(other.kind, { fact, from, to, verdict: other.kind, deciding: other.deciding });
  }
  return [...kinds.values()];
}

interface Literals { readonly numbers: readonly number[]; readonly strings: readonly string[] }

/** Nearest first, so that the change that is found is the smallest. */
function candidatesFor(from: Fact, { numbers, strings }: Literals): readonly Fact[] {
  if (typeof from === 'boolean') return [!from];
  if (typeof from === 'number') return numbers.flatMap((n) => [n - 1, n, n + 1]).filter((n) => n !== from && n >= 0).sort((a, b) => Math.abs(a - from) - Math.abs(b - from));
  return typeof from === 'string' ? strings.filter((text) => text !== from) : [];
}

/** Numbers and tokens that conditions compare with, also inside literal sets. */
function literalsOf(policies: PolicySlice['policies']): Literals {
  const found = Object.values(policies).flatMap(({ conditions }) => conditions.flatMap(({ body }) => valuesIn(expand(body))));
  const numbers = new Set(found.filter((value) => typeof value === 'number'));
  const strings = new Set(found.filter((value) => typeof value === 'string'));
  return { numbers: [...numbers], strings: [...strings].sort() };
}

function valuesIn(expression: unknown): readonly unknown[] {
  if (typeof expression !== 'object' || expression === null) return [];
  return Object.entries(expression).flatMap(([name, inner]) => (name === 'Value' ? [inner].flat() : valuesIn(inner)));
}

const SAYS: Readonly<Record<Verdict['kind'], string>> = { allow: 'This is allowed', deny: 'This is refused', escalate: 'A person decides', degrade: 'The next rung is tried' };

/** For people. */
export function explanationText({ verdict, policies, changes }: Explanation): string {
  const why = 'reason' in verdict ? `: ${verdict.reason}` : '';
  const who = verdict.kind === 'escalate' ? ` (${verdict.approval.quorum} of ${verdict.approval.approvers}, within ${Math.round(verdict.approval.expiresMs / 3_600_000)} h)` : verdict.kind === 'degrade' ? ` (${verdict.rung})` : '';
  const decided = verdict.deciding.length === 0 ? 'No policy decided it; what nothing permits is refused.' : `Decided by ${verdict.deciding.join(', ')}.`;
  const looked = policies.map(({ id, effect, status, fault }) => `  ${status === 'satisfied' ? '*' : ' '} ${id} (${effect}): ${status}${fault === undefined ? '' : `, ${fault}`}`);
  const other = changes.map(({ fact, from, to, verdict: kind, deciding }) => `  ${fact} ${JSON.stringify(to)} instead of ${JSON.stringify(from)}: ${kind}${deciding.length === 0 ? '' : ` by ${deciding.join(', ')}`}`);
  return [`${SAYS[verdict.kind]}${who}${why}.`, decided, '', 'Policies that apply:', ...looked, ...(other.length === 0 ? [] : ['', 'It would have been otherwise with:', ...other])].join('\n');
}
