// What the ledger's attempts say about the people who decide: how long, how often refused, and whether they look.
// Owns: the sums. Pure: whoever has the ledger brings the records. Never holds a word that anybody wrote.
// Others may assume: a canary counts among canaries only, and never among decisions or turnaround.

import type { AttemptRecord } from '../contracts/record.ts';

export interface Turnaround { readonly count: number; readonly p50Ms: number; readonly p95Ms: number; readonly maxMs: number }
export interface ApprovalStats {
  /** Approvals that ended, by outcome. */
  readonly outcomes: Readonly<Record<string, number>>;
  readonly attempts: { readonly accepted: number; readonly refused: number; readonly unverified: number };
  readonly refusedBy: Readonly<Record<string, number>>;
  readonly escalations: number;
  /** From the question to the decision that ended it; expiries apart, since nobody decided. */
  readonly turnaround: Turnaround;
  readonly byGroup: Readonly<Record<string, Turnaround>>;
  readonly byPerson: Readonly<Record<string, { readonly decided: number; readonly canariesApproved: number; readonly canariesRefused: number }>>;
  /** `approved` is what must not happen: somebody let pass what was known to be bad. */
  readonly canaries: { readonly ended: number; readonly approved: number; readonly refused: number; readonly expired: number };
}

export function approvalStats(records: readonly AttemptRecord[]): ApprovalStats {
  const real = records.filter(({ canary }) => canary !== true);
  const people = real.filter(({ via }) => via !== 'expiry');
  const ended = real.filter(({ outcome }) => outcome !== undefined);
  const decided = ended.filter(({ outcome }) => outcome !== 'expired');
  const canaries = records.filter(({ canary, outcome }) => canary === true && outcome !== undefined);
  return {
    outcomes: tally(ended.map(({ outcome }) => outcome ?? '')),
    attempts: { accepted: people.filter(({ accepted }) => accepted).length, refused: people.filter(({ accepted }) => !accepted).length, unverified: people.filter(({ verified }) => !verified).length },
    refusedBy: tally(people.flatMap(({ accepted, code }) => (accepted ? [] : [code ?? 'unknown']))),
    escalations: real.filter(({ decision }) => decision === 'escalated').length,
    turnaround: turnaroundOf(decided),
    byGroup: Object.fromEntries([...groupBy(decided, ({ group }) => group ?? 'unknown')].map(([group, members]) => [group, turnaroundOf(members)])),
    byPerson: Object.fromEntries([...groupBy(records.filter(({ via, accepted }) => via !== 'expiry' && accepted), ({ by }) => by)].map(([by, said]) => [by, {
      decided: said.filter(({ canary }) => canary !== true).length, canariesApproved: lookedAway(said, 'approve'), canariesRefused: lookedAway(said, 'reject'),
    }])),
    canaries: { ended: canaries.length, approved: count(canaries, 'approved') + count(canaries, 'answered'), refused: count(canaries, 'rejected'), expired: count(canaries, 'expired') },
  };
}

const count = (records: readonly AttemptRecord[], outcome: string): number => records.filter((one) => one.outcome === outcome).length;
const lookedAway = (said: readonly AttemptRecord[], decision: string): number => said.filter((one) => one.canary === true && one.decision === decision).length;

function turnaroundOf(records: readonly AttemptRecord[]): Turnaround {
  const waits = records.flatMap(({ waitedMs }) => (waitedMs === undefined ? [] : [waitedMs])).sort((a, b) => a - b);
  const at = (share: number): number => waits[Math.min(waits.length - 1, Math.ceil(waits.length * share) - 1)] ?? 0;
  return { count: waits.length, p50Ms: at(0.5), p95Ms: at(0.95), maxMs: waits.at(-1) ?? 0 };
}

function tally(names: readonly string[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}
