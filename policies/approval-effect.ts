// Before an approved effect happens: does what people decided still carry it, by the rules in force at this moment?
// Owns: the re-check of seats (group now, distinct people, never the requester, quorum, proof); pure.
// Never asks policy, money or mandate: the caller does, beside this. Never reads a clock: rights are those of the bundle in force.
// Others may assume: it trusts nothing that the reducer concluded; it counts again from the seats.

import { digestOf } from '../contracts/canonical.ts';
import { fail, type AiosError } from '../contracts/errors.ts';
import type { Approved, Proven, Seat } from '../contracts/task.ts';

export interface EffectTime {
  /** Groups of the bundle in force now. */
  readonly groups: Readonly<Record<string, readonly string[]>>;
  /** Decisions without proof count for nothing. */
  readonly requireVerified: boolean;
  /** Does this token prove that this person said this? */
  readonly tokenHolds: (claim: DecisionClaim, token: string) => boolean;
}
/** What a decision token is over. */
export interface DecisionClaim {
  readonly tenant: string;
  readonly task: string;
  readonly approval: string;
  /** Digest of the action as it stood when it was decided about. */
  readonly action: string;
  readonly by: string;
  readonly decision: string;
  /** Digest of the whole decision without its token. */
  readonly said: string;
}

/** Why the approval does not carry the action any more; `undefined` when it does. */
export function fallen(approved: Approved, now: EffectTime): AiosError | undefined {
  const { result, input } = approved;
  const seats = result.seats ?? [];
  if (result.outcome !== 'approved' && result.outcome !== 'answered') return unauthorised('Nobody approved it.');
  if (seats.length < input.verdict.approval.quorum) return unauthorised('The quorum was not reached.');
  const people = seats.flatMap(({ seat, by }) => [...new Set([seat, by])]);
  if (new Set(people).size < people.length) return unauthorised('One person decided twice.');
  if (people.includes(input.requester.id)) return unauthorised('Who asked for the task never decides it.');
  const members = now.groups[result.group ?? ''] ?? [];
  if (seats.some(({ seat }) => !members.includes(seat))) return unauthorised('An approver lost the right to decide before the effect.');
  return unproven(approved, seats, now) ? unauthorised('It is not proven who decided.') : undefined;
}

/** The action that the seats had to be about: the machine's, or the words that a person put in its place. */
export const decidedAction = ({ input, result }: Approved): string => (result.text === undefined ? input.actionDigest : digestOf({ action: input.actionDigest, text: result.text }));

/** Who wrote the words decided about what stood before; everybody else about the words. */
function unproven(approved: Approved, seats: readonly Seat[], now: EffectTime): boolean {
  return seats.some((seat) => !holds(approved, seat, seat.by, seat.decision, now) || (seat.lent !== undefined && !holds(approved, seat.lent, seat.seat, 'delegate', now))
    || (seat.decision === 'approve' && seat.proof !== 'none' && seat.action !== decidedAction(approved)));
}

function holds({ approval, input }: Approved, proven: Proven, by: string, decision: string, now: EffectTime): boolean {
  if (proven.proof === 'none') return !now.requireVerified;
  if (proven.proof === 'server') return true;
  return now.tokenHolds({ tenant: input.tenant, task: input.taskId, approval, action: proven.action, by, decision, said: proven.said }, proven.token ?? '');
}

const unauthorised = (detail: string): AiosError => fail('AIOS_APPROVAL_UNAUTHORISED', detail);
