// Sabotage of approvals: rules that break one promise each, to show that the simulation notices.
// Owns: the broken rules. They live in tests only; nothing in the product can be switched to behave like this.
// Others may assume: a simulation that passes with one of these in place is worth nothing.

import type { ActivityPorts } from '../../activities/ports.ts';
import type { ApprovalInput } from '../../contracts/task.ts';
import { expire, openApproval, type ApprovalState } from '../../policies/approval.ts';
import { RULES, type Rules } from './approvals.ts';

type Attempt = Rules['attempt'];
const attempting = (change: (input: ApprovalInput, state: ApprovalState) => { readonly input?: ApprovalInput; readonly state?: ApprovalState }): Attempt => (input, state, raw, now, proven) => {
  const changed = change(input, state);
  return RULES.attempt(changed.input ?? input, changed.state ?? state, raw, now, proven);
};
const settling = (change: (ports: ActivityPorts) => Partial<ActivityPorts>): Rules['settle'] => (ports, args) => RULES.settle({ ...ports, ...change(ports) }, args);
const ungoverned = ({ outcome: _outcome, ...open }: ApprovalState): ApprovalState => open;

export const APPROVAL_SABOTAGES: Readonly<Record<string, Partial<Rules>>> = {
  'no separation of duties: who asked may decide': { attempt: attempting((input) => ({ input: { ...input, requester: { ...input.requester, id: 'nobody' } } })) },
  'no four eyes: the same person counts as often as they click': { attempt: attempting((_input, state) => ({ state: { ...state, seats: state.seats.map((seat, i) => ({ ...seat, seat: `s${i}`, by: `b${i}` })) } })) },
  'no single use: a closed approval takes further decisions': { attempt: attempting((_input, state) => ({ state: ungoverned(state) })) },
  'no expiry: an attempt after the time counts': { attempt: attempting((_input, state) => ({ state: { ...state, expiresAt: Number.MAX_SAFE_INTEGER } })) },
  'no quorum: one is enough': { attempt: attempting((input) => ({ input: { ...input, verdict: { ...input.verdict, approval: { ...input.verdict.approval, quorum: 1 } } } })) },
  'no end of delegations': { attempt: attempting((_input, state) => ({ state: { ...state, delegations: state.delegations.map(({ until: _until, ...one }) => one) } })) },
  'no proof: a claimed name counts': { attempt: attempting((input) => ({ input: { ...input, requireVerified: false } })) },
  'any group: a member of another group counts': { attempt: attempting((input) => ({ input: { ...input, members: Object.fromEntries(Object.keys(input.members).map((group) => [group, Object.values(input.members).flat()])) } })) },
  'no lapse: approvals of the group before count for the next': { expire: (input, state, now) => ({ ...expire(input, state, now), seats: state.seats }) },
  'amnesia: a crash opens the approval again': { replay: (input, history) => openApproval(input, history[0]?.at ?? 1_000_000) },
  'no re-check: what stood after the pause stands for ever': { settle: (ports, args) => RULES.settle(ports, { ...args, members: args.members.map(({ approvals: _approvals, ...member }) => member) }) },
  'stale groups: the re-check asks the groups of the start': { settle: settling(({ policies }) => ({ policies: { ...policies, slice: async (name) => ({ ...(await policies.slice(name)), groups: { desk: ['ana', 'ben', 'cem'], board: ['dora', 'ben', 'ana'], owners: ['olga', 'dora', 'cem'] } }) } })) },
  'no policy at the effect': { settle: (ports, args) => RULES.settle(ports, { ...args, members: args.members.map(({ request: _request, ...member }) => member) }) },
  'no money at the effect': { settle: settling(({ budgets }) => ({ budgets: { ...budgets, view: async (tenant) => ({ tenant, capMicroUsd: 10, spentMicroUsd: 0, reservedMicroUsd: 0 }) } })) },
  'no memory of intents: a settlement driven again refuses what it did': { settle: settling(({ ledger }) => ({ ledger: { ...ledger, append: ledger.append, find: async (task) => (await ledger.find(task)).filter(({ record }) => record.kind !== 'intent') } })) },
  'no seals: whoever can send a signal has approved': { recheck: (ports, { approved: _approved, ...args }) => RULES.recheck(ports, args) },
};
