// What must hold of a simulated approval, judged from what people really said and what was in force, and from nothing else.
// Owns: the invariants: one transition, one seal, one decision, at most one effect, and none without a valid decision at its moment.
// Never calls the reducer or the re-check. Others may assume: an empty list means that nothing was broken.

import type { ApprovalRun, World } from './approvals.ts';
import { GROUPS, type GroupName } from './approvals-world.ts';

export function broken(run: ApprovalRun): readonly string[] {
  const wrong: string[] = [];
  const must = (holds: boolean, words: string): void => { if (!holds) wrong.push(words); };
  must(run.outcomes.length <= 1, `${run.outcomes.length} transitions: ${run.outcomes.join(', ')}`);
  must(run.sealed <= 1, `${run.sealed} different results were sealed`);
  must(run.decisions <= 1, `${run.decisions} decisions on record`);
  must(run.effects.length <= 1, `${run.effects.length} effects`);
  must(run.diverged === 0, 'a replay came to another state');
  must(!run.forgedBelieved, 'a forged result was believed');
  must(run.outcomes.length === 1, 'the approval never ended');
  must(run.answer !== undefined, 'the task never ended');
  if (run.outcomes.includes('approved')) must(validDecision(run), 'approved without a valid decision');
  for (const at of run.effects) {
    must(run.intents.some((intent) => intent.at <= at), 'an effect before its intent');
    must(run.state.outcome === 'approved' && validDecision(run), 'an effect without a valid decision');
    must(stoodIn(run, run.intents[0]?.world), 'an effect after the right, the policy or the money for it was gone');
  }
  must((run.effects.length === 1) === (run.decidedState === 'done' && run.state.outcome === 'approved'), `the effect happened ${run.effects.length} times and the task is said to be ${run.decidedState}`);
  return wrong;
}

interface Round {
  readonly group: GroupName;
  readonly approvals: { readonly by: string; readonly at: number; readonly honest: boolean }[];
  readonly lent: Map<string, { readonly from: string; readonly until: number; readonly honest: boolean }>;
  other: boolean;
}

/** The last round: what was said since the group that decided was asked, told by who spoke and when. */
function lastRound(run: ApprovalRun): Round {
  const { onExpiry, chain, expiresMs } = run.input.verdict.approval;
  const groups = ['desk', ...(onExpiry === 'deny' ? [] : [onExpiry.escalate, ...(chain ?? [])])] as GroupName[];
  let stage = 0;
  let deadline = 1_000_000 + expiresMs;
  const lent: Round['lent'] = new Map();
  let round: Round = { group: groups[0] ?? 'desk', approvals: [], lent, other: false };
  for (const one of run.heard) {
    if (one.raw === undefined) {
      stage += 1;
      if (groups[stage] === undefined) break;
      deadline = one.at + expiresMs;
      round = { group: groups[stage] ?? 'desk', approvals: [], lent, other: false };
      continue;
    }
    if (!one.accepted || one.at >= deadline) continue;
    const { decision, by, to, until } = one.raw;
    if (decision === 'delegate') lent.set(`${by} ${to}`, { from: by, until: until ?? Number.POSITIVE_INFINITY, honest: one.honest });
    else if (decision === 'approve') round.approvals.push({ by, at: one.at, honest: one.honest });
    else round.other = true;
  }
  return round;
}

/** Enough different people, each with a right of their own or a living one lent by a member, none of whom asked for the task. */
function validDecision(run: ApprovalRun): boolean {
  return seatsOf(run) !== undefined;
}

function seatsOf(run: ApprovalRun): readonly string[] | undefined {
  const round = lastRound(run);
  if (round.other) return undefined;
  const strict = run.input.requireVerified === true;
  const members: readonly string[] = GROUPS[round.group];
  const asker = run.input.requester.id;
  const seats: string[] = [];
  const people = new Set<string>();
  for (const { by, at, honest } of round.approvals) {
    if (by === asker || people.has(by) || (strict && !honest)) continue;
    const lenders = [...round.lent].filter(([pair, one]) => pair.endsWith(` ${by}`) && at < one.until && (!strict || one.honest) && members.includes(one.from)).map(([, one]) => one.from);
    const seat = members.includes(by) ? by : lenders.find((from) => !people.has(from) && from !== asker);
    if (seat === undefined || people.has(seat)) continue;
    people.add(by).add(seat);
    seats.push(seat);
  }
  return seats.length >= run.input.verdict.approval.quorum ? seats : undefined;
}

/** When the effect was settled on, everybody whose seat counted still belonged to the group, policy did not refuse and there was money. */
function stoodIn(run: ApprovalRun, world: World | undefined): boolean {
  const { group } = lastRound(run);
  return world !== undefined && !world.denies && !world.broke && (seatsOf(run) ?? []).every((seat) => (world.groups[group] as readonly string[]).includes(seat));
}
