// The approval reducer: who may decide, quorum, delegation, expiry, single use; and that no order of attempts breaks it.
// Owns: rules only; the workflow around them is tested on real servers. Others may assume: time is an argument everywhere.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ApprovalInput, Proven } from '../../../contracts/task.ts';
import { actionOf, attempt, expire, openApproval, parseDecision, resultOf, shortAction, type ApprovalState } from '../../../policies/approval.ts';

const input = (over: { readonly quorum?: number; readonly onExpiry?: 'deny' | { readonly escalate: string }; readonly chain?: readonly string[]; readonly proposal?: boolean; readonly requireVerified?: boolean } = {}): ApprovalInput => ({
  v: 1, taskId: 't-1', tenant: 'demo', capability: 'line.work', requester: { id: 'asker', type: 'user', tenant: 'demo', roles: [] },
  verdict: { kind: 'escalate', action: 'commit', bundle: 'sha256:00' as never, deciding: ['p'], erroring: [], reason: 'r', approval: { approvers: 'desk', quorum: over.quorum ?? 1, expiresMs: 1_000, onExpiry: over.onExpiry ?? 'deny', ...(over.chain === undefined ? {} : { chain: over.chain }) } },
  members: { desk: ['ana', 'ben', 'cem', 'asker'], board: ['dora', 'ana'], owners: ['olga'] }, actionDigest: `sha256:${'ab'.repeat(32)}`, facts: {}, summary: 's', citations: [], costMicroUsd: 0, graceMs: 1_000,
  ...(over.proposal === false ? {} : { proposal: 'words' }), ...(over.requireVerified === undefined ? {} : { requireVerified: over.requireVerified }),
});
const claimed = (of: ApprovalInput, state: ApprovalState): Proven => ({ proof: 'none', action: actionOf(of, state), said: 'sha256:00' });
const say = (state: ApprovalState, of: ApprovalInput, decision: unknown, now = 10, proven: Partial<Proven> = {}) => attempt(of, state, decision, now, { ...claimed(of, state), ...proven });
const seatsOf = ({ seats }: ApprovalState): string[] => seats.map(({ seat }) => seat);

describe('approval', () => {
  test('approval - one member approves, and everybody after that is told it is closed', () => {
    const of = input();
    const first = say(openApproval(of, 0), of, { decision: 'approve', by: 'ana' });
    expect(first).toMatchObject({ accepted: true, state: { outcome: 'approved' } });
    expect(say(first.state, of, { decision: 'reject', by: 'ben' })).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_CLOSED', state: { outcome: 'approved' } });
  });

  test('approval - who asked never decides, not even by delegation', () => {
    const of = input();
    const open = openApproval(of, 0);
    expect(say(open, of, { decision: 'approve', by: 'asker' })).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_UNAUTHORISED' });
    expect(say(open, of, { decision: 'delegate', by: 'ana', to: 'asker' })).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_UNAUTHORISED' });
  });

  test('approval - a quorum of two needs two people; a seat and its delegate are one', () => {
    const of = input({ quorum: 2 });
    const lent = say(openApproval(of, 0), of, { decision: 'delegate', by: 'ana', to: 'guest' }).state;
    const one = say(lent, of, { decision: 'approve', by: 'guest' });
    expect(one).toMatchObject({ accepted: true, message: 'Accepted: 1 of 2; 1 more of desk needed.' });
    expect(say(one.state, of, { decision: 'approve', by: 'ana' })).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_UNAUTHORISED' });
    expect(say(one.state, of, { decision: 'approve', by: 'ben' })).toMatchObject({ accepted: true, state: { outcome: 'approved', seats: [{ seat: 'ana', by: 'guest' }, { seat: 'ben', by: 'ben' }] } });
  });

  test('approval - a delegation ends on its date', () => {
    const of = input();
    const lent = say(openApproval(of, 0), of, { decision: 'delegate', by: 'ana', to: 'guest', until: 100 }).state;
    expect(say(lent, of, { decision: 'approve', by: 'guest' }, 99).accepted).toBe(true);
    expect(say(lent, of, { decision: 'approve', by: 'guest' }, 100)).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_UNAUTHORISED' });
  });

  test('approval - words that somebody wrote undo the approvals of the words before', () => {
    const of = input({ quorum: 2 });
    const one = say(openApproval(of, 0), of, { decision: 'approve', by: 'ana' }).state;
    const written = say(one, of, { decision: 'answer', by: 'ben', text: 'better' });
    expect(written.state).toMatchObject({ seats: [{ seat: 'ben' }], text: 'better' });
    expect(written.state.outcome).toBeUndefined();
    expect(say(written.state, of, { decision: 'approve', by: 'cem', action: shortAction(of, written.state) }).state).toMatchObject({ outcome: 'answered', text: 'better' });
  });

  test('approval - who saw the card before somebody else wrote an answer does not approve that answer by accident', () => {
    const of = input({ quorum: 2 });
    const written = say(openApproval(of, 0), of, { decision: 'answer', by: 'ana', text: 'send them the money' }).state;
    for (const decision of [{ decision: 'approve', by: 'ben' }, { decision: 'approve', by: 'ben', action: shortAction(of) }]) {
      expect(say(written, of, decision)).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_MALFORMED' });
    }
    expect(say(written, of, { decision: 'approve', by: 'ben', action: shortAction(of, written) }, 10, { proof: 'token', action: of.actionDigest }).accepted).toBe(false);
    expect(say(written, of, { decision: 'reject', by: 'ben', action: shortAction(of, written) }).state.outcome).toBe('rejected');
  });

  test('approval - without a proposal there is nothing to approve', () => {
    const of = input({ proposal: false });
    expect(say(openApproval(of, 0), of, { decision: 'approve', by: 'ana' })).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_MALFORMED' });
    expect(say(openApproval(of, 0), of, { decision: 'answer', by: 'ana', text: 'so' })).toMatchObject({ accepted: true, state: { outcome: 'answered' } });
  });

  test('approval - a decision that names another action is refused', () => {
    const of = input();
    expect(say(openApproval(of, 0), of, { decision: 'approve', by: 'ana', action: 'ab'.repeat(6) }).accepted).toBe(true);
    expect(say(openApproval(of, 0), of, { decision: 'approve', by: 'ana', action: 'cd'.repeat(6) })).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_MALFORMED' });
    expect(say(openApproval(of, 0), of, { decision: 'approve', by: 'ana', action: 'ab' }).accepted).toBe(false);
  });

  test('approval - expiry escalates once, then takes the declared default', () => {
    const of = input({ onExpiry: { escalate: 'board' } });
    const open = openApproval(of, 0);
    expect(expire(of, open, 999)).toBe(open);
    const escalated = expire(of, open, 1_000);
    expect(escalated).toMatchObject({ group: 'board', stage: 1, expiresAt: 2_000 });
    expect(say(escalated, of, { decision: 'approve', by: 'ben' }, 1_100)).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_UNAUTHORISED' });
    expect(say(escalated, of, { decision: 'approve', by: 'dora' }, 1_100).accepted).toBe(true);
    expect(expire(of, escalated, 2_000)).toMatchObject({ outcome: 'expired' });
  });

  test('approval - a chain asks group after group for as long each, and only then takes the default', () => {
    const of = input({ onExpiry: { escalate: 'board' }, chain: ['owners'] });
    const third = expire(of, expire(of, openApproval(of, 0), 1_000), 2_000);
    expect(third).toMatchObject({ group: 'owners', stage: 2, expiresAt: 3_000 });
    expect(say(third, of, { decision: 'approve', by: 'olga' }, 2_999).accepted).toBe(true);
    expect(expire(of, third, 3_000)).toMatchObject({ outcome: 'expired' });
  });

  test('approval - when the next group is asked, the approvals and words of the one before lapse: the quorum is of one group', () => {
    const of = input({ quorum: 2, onExpiry: { escalate: 'board' } });
    const one = say(openApproval(of, 0), of, { decision: 'answer', by: 'ana', text: 'mine' }).state;
    const escalated = expire(of, one, 1_000);
    expect(escalated.text).toBeUndefined();
    const dora = say(escalated, of, { decision: 'approve', by: 'dora' }, 1_100);
    expect(dora).toMatchObject({ accepted: true, message: 'Accepted: 1 of 2; 1 more of board needed.' });
    expect(resultOf(say(dora.state, of, { decision: 'approve', by: 'ana' }, 1_200).state)).toMatchObject({ outcome: 'approved', group: 'board', approvers: ['dora', 'ana'] });
  });

  test('approval - where proof is needed, a claimed name is refused and a proven one counts, with its proof kept', () => {
    const of = input({ requireVerified: true });
    const open = openApproval(of, 0);
    expect(say(open, of, { decision: 'approve', by: 'ana' })).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_UNAUTHORISED' });
    expect(say(open, of, { decision: 'delegate', by: 'ana', to: 'guest' })).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_UNAUTHORISED' });
    expect(say(open, of, { decision: 'approve', by: 'ana' }, 10, { proof: 'token', token: 'k.s' })).toMatchObject({ accepted: true, state: { seats: [{ proof: 'token', token: 'k.s' }], decisions: [{ verified: true }] } });
  });

  test('approval - a newer delegation replaces the one before, so that a shorter one takes the right back', () => {
    const of = input();
    const lent = say(openApproval(of, 0), of, { decision: 'delegate', by: 'ana', to: 'guest' }).state;
    const short = say(lent, of, { decision: 'delegate', by: 'ana', to: 'guest', until: 20 }).state;
    expect(say(short, of, { decision: 'approve', by: 'guest' }, 21)).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_UNAUTHORISED' });
  });

  test('approval - at the moment of expiry an attempt is late, whichever comes first', () => {
    const of = input();
    expect(say(openApproval(of, 0), of, { decision: 'approve', by: 'ana' }, 1_000)).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_CLOSED' });
  });

  test('approval - what is not a decision is refused by its field, with the accepted form', () => {
    for (const raw of [undefined, null, 'yes', 7, [], {}, { decision: 'maybe', by: 'ana' }, { decision: 'approve' }, { decision: 'approve', by: '<b>' }, { decision: 'answer', by: 'ana' }, { decision: 'approve', by: 'ana', extra: 1 }]) {
      expect(() => parseDecision(raw)).toThrow(/Accepted: \{"decision"/);
    }
  });

  test('approval - in no order of attempts and expiries is there a second outcome, a missing quorum or a stranger', () => {
    const people = fc.constantFrom('ana', 'ben', 'cem', 'dora', 'asker', 'mallory');
    const step = fc.oneof(
      fc.record({ decision: fc.constantFrom('approve', 'reject'), by: people }),
      fc.record({ decision: fc.constant('answer'), by: people, text: fc.constantFrom('a', 'b') }),
      fc.record({ decision: fc.constant('delegate'), by: people, to: people }),
      fc.constant('tick' as const),
    );
    fc.assert(fc.property(fc.array(step, { maxLength: 30 }), fc.integer({ min: 1, max: 3 }), (steps, quorum) => {
      const of = input({ quorum, onExpiry: { escalate: 'board' } });
      let state = openApproval(of, 0);
      let now = 0;
      for (const one of steps) {
        now += 90;
        const before = state;
        state = one === 'tick' ? expire(of, state, now) : say(state, of, one, now).state;
        if (before.outcome !== undefined) expect({ outcome: state.outcome, decisions: state.decisions }).toEqual({ outcome: before.outcome, decisions: before.decisions });
      }
      expect(new Set(seatsOf(state)).size).toBe(state.seats.length);
      expect(seatsOf(state).every((seat) => ['ana', 'ben', 'cem', 'dora'].includes(seat))).toBe(true);
      expect(state.decisions.every((one) => one.by !== 'asker')).toBe(true);
      if (state.outcome === 'approved' || state.outcome === 'answered') expect(state.seats.length).toBeGreaterThanOrEqual(quorum);
    }), { numRuns: 500 });
  });
});
