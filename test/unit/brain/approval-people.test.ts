// What surrounds a decision: signed tokens, keys of approvers, the re-check of seats, conditions of a batch, and the sums of the ledger.
// Owns: rules and formats; the way through real servers is tested there. Others may assume: keys live in a folder of the test's own.

import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { AttemptRecord } from '../../../contracts/record.ts';
import type { Approved, Seat } from '../../../contracts/task.ts';
import { parseCondition } from '../../../infra/cli/where.ts';
import { approverVerifier, enrolApprover, loadApproverKey, revokeApprover } from '../../../infra/crypto/approver-keys.ts';
import { createKeys } from '../../../infra/crypto/keys.ts';
import { createSigner, createVerifier } from '../../../infra/crypto/signer.ts';
import { createDecisionSigner, createDecisionVerifier, type DecisionClaim } from '../../../infra/temporal/decision-token.ts';
import { fallen } from '../../../policies/approval-effect.ts';
import { approvalStats } from '../../../policies/approval-stats.ts';

const claim: DecisionClaim = { tenant: 'demo', task: 't-1', approval: 'approval/t-1', action: 'sha256:aa', by: 'ana', decision: 'approve', said: 'sha256:bb' };
async function folder(): Promise<AsyncDisposable & { readonly dir: string }> {
  const dir = await mkdtemp(join(tmpdir(), 'aios-approvers-'));
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
}

describe('decision tokens', () => {
  test('decision token - of one approval, action, person or wording does not verify for another', () => {
    const keys = createKeys();
    const token = createDecisionSigner(createSigner(keys.brain))(claim);
    const holds = createDecisionVerifier(createVerifier(keys.keyring));
    expect(holds(claim, token)).toBe(true);
    for (const other of Object.keys(claim) as (keyof DecisionClaim)[]) expect({ other, holds: holds({ ...claim, [other]: 'other' }, token) }).toEqual({ other, holds: false });
    for (const wrong of ['', '.', 'x', `${token}A`, token.replace('.', '..')]) expect(holds(claim, wrong)).toBe(false);
  });

  test('approver key - proves the one person it was enrolled for, until it is taken off the ring', async () => {
    await using at = await folder();
    const brain = createKeys();
    const { file } = await enrolApprover(at.dir, 'ana');
    await enrolApprover(at.dir, 'ben');
    const sign = createDecisionSigner(createSigner(await loadApproverKey(file)));
    const holds = createDecisionVerifier(createVerifier(brain.keyring), approverVerifier(at.dir));
    expect(holds(claim, sign(claim))).toBe(true);
    expect(holds({ ...claim, by: 'ben' }, sign({ ...claim, by: 'ben' }))).toBe(false);
    expect(await revokeApprover(at.dir, 'ana')).toBe(1);
    expect(holds(claim, sign(claim))).toBe(false);
  });

  test('approver key - a file that others can read, and a name that is none, are refused', async () => {
    await using at = await folder();
    const { file } = await enrolApprover(at.dir, 'ana');
    await chmod(file, 0o644);
    await expect(loadApproverKey(file)).rejects.toMatchObject({ code: 'AIOS_CONFIG_INVALID' });
    await expect(loadApproverKey(join(at.dir, 'none'))).rejects.toMatchObject({ code: 'AIOS_CONFIG_INVALID' });
    await expect(enrolApprover(at.dir, '../ana')).rejects.toMatchObject({ code: 'AIOS_INPUT_INVALID' });
  });
});

describe('effect time', () => {
  const seat = (who: string, over: Partial<Seat> = {}): Seat => ({ seat: who, by: who, decision: 'approve', at: 1, proof: 'token', action: 'sha256:aa', said: 's', token: 'good', ...over });
  const approved = (seats: readonly Seat[], quorum = 2): Approved => ({
    approval: 'approval/t-1', result: { outcome: 'approved', decisions: [], approvers: seats.map((one) => one.seat), group: 'desk', seats },
    input: { taskId: 't-1', tenant: 'demo', capability: 'c', requester: { id: 'asker', type: 'user', tenant: 'demo', roles: [] }, actionDigest: 'sha256:aa', verdict: { action: 'commit', approval: { approvers: 'desk', quorum, expiresMs: 1, onExpiry: 'deny' } } },
  });
  const now = { groups: { desk: ['ana', 'ben', 'cem', 'asker'] }, requireVerified: true, tokenHolds: (_claim: DecisionClaim, token: string) => token === 'good' };

  test('effect time - two proven members carry it', () => {
    expect(fallen(approved([seat('ana'), seat('ben')]), now)).toBeUndefined();
    expect(fallen(approved([seat('ana'), seat('ben', { by: 'guest', lent: { proof: 'token', action: 'a', said: 's', token: 'good' } })]), now)).toBeUndefined();
  });

  test.each([
    ['a quorum that was not reached', [seat('ana')], {}],
    ['one person on two seats', [seat('ana'), seat('ben', { by: 'ana' })], {}],
    ['who asked for the task', [seat('ana'), seat('asker')], {}],
    ['somebody who left the group', [seat('ana'), seat('ben')], { groups: { desk: ['ana'], board: ['ben'] } }],
    ['a token that does not hold any more', [seat('ana'), seat('ben', { token: 'bad' })], {}],
    ['a delegation that is not proven', [seat('ana'), seat('ben', { by: 'guest', lent: { proof: 'token', action: 'a', said: 's', token: 'bad' } })], {}],
    ['a claimed name where proof is needed', [seat('ana'), seat('ben', { proof: 'none' })], {}],
    ['a proof of another action', [seat('ana'), seat('ben', { action: 'sha256:cc' })], {}],
  ])('effect time - %s does not', (_words, seats, over) => {
    expect(fallen(approved(seats), { ...now, ...over })?.code).toBe('AIOS_APPROVAL_UNAUTHORISED');
  });

  test('effect time - a claimed name carries it where nobody asks for proof', () => {
    expect(fallen(approved([seat('ana', { proof: 'none' })], 1), { ...now, requireVerified: false })).toBeUndefined();
  });
});

describe('batches and statistics', () => {
  test('where - compares facts, and a fact that is not there fulfils nothing', () => {
    const facts = { amountMicroUsd: 50, effectKind: 'refund', injection: false, tags: ['a', 'b'] };
    for (const right of ['amountMicroUsd<=50', 'amountMicroUsd>=50', 'amountMicroUsd<51', 'effectKind=refund', 'effectKind!=wipe', 'injection=false', 'tags=a']) expect({ right, holds: parseCondition(right)(facts) }).toEqual({ right, holds: true });
    for (const wrong of ['amountMicroUsd<50', 'amountMicroUsd>50', 'effectKind=wipe', 'injection=true', 'missing!=1', 'constructor!=x', 'tags=c']) expect({ wrong, holds: parseCondition(wrong)(facts) }).toEqual({ wrong, holds: false });
    for (const none of ['', 'amount', 'a=b=c', 'Amount=1', 'amountMicroUsd<=many', 'a; rm=1']) expect(() => parseCondition(none)).toThrow(/--where/);
  });

  test('statistics - count people, not the clock; and canaries apart', () => {
    const record = (over: Partial<AttemptRecord>): AttemptRecord => ({ kind: 'attempt', tenant: 'demo', task: 't', approval: 'approval/t', by: 'ana', via: 'update', accepted: true, decision: 'approve', verified: true, group: 'desk', waitedMs: 1_000, ...over });
    const stats = approvalStats([
      record({ outcome: 'approved' }), record({ outcome: 'rejected', decision: 'reject', waitedMs: 3_000, by: 'ben' }), record({ accepted: false, code: 'AIOS_APPROVAL_UNAUTHORISED', verified: false, by: 'mallory' }),
      record({ via: 'expiry', decision: 'escalated', by: 'desk' }), record({ via: 'expiry', decision: 'expired', outcome: 'expired', by: 'desk', waitedMs: 90_000 }),
      record({ canary: true, outcome: 'approved', by: 'ben', waitedMs: 5 }), record({ canary: true, outcome: 'rejected', decision: 'reject' }),
    ]);
    expect(stats).toMatchObject({
      outcomes: { approved: 1, rejected: 1, expired: 1 }, attempts: { accepted: 2, refused: 1, unverified: 1 }, refusedBy: { AIOS_APPROVAL_UNAUTHORISED: 1 }, escalations: 1,
      turnaround: { count: 2, p50Ms: 1_000, p95Ms: 3_000, maxMs: 3_000 }, canaries: { ended: 2, approved: 1, refused: 1, expired: 0 },
      byPerson: { ana: { decided: 1, canariesApproved: 0, canariesRefused: 1 }, ben: { decided: 1, canariesApproved: 1, canariesRefused: 0 } },
    });
  });
});
