// Approvals on real Temporal and NATS: proof of who decides, forged results, revocation before the effect, delegation, canaries.
// Owns: that each rule of the approval holds on the way of a real task. Others may assume: each test has its own tasks on one shared line.

import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AttemptRecord } from '../../contracts/record.ts';
import type { Decision, TaskResult } from '../../contracts/task.ts';
import { readConfig } from '../../infra/config.ts';
import { enrolApprover, loadApproverKey, revokeApprover } from '../../infra/crypto/approver-keys.ts';
import { createSigner } from '../../infra/crypto/signer.ts';
import { createDecisionSigner } from '../../infra/temporal/decision-token.ts';
import { saidOf } from '../../policies/approval.ts';
import { GROUPS, startLine, type Line } from './line.ts';

let line: Line;
beforeAll(async () => {
  line = await startLine();
});
afterAll(() => line[Symbol.asyncDispose]());

const waits = async (taskId: string) => {
  for (let i = 0; i < 600; i++) {
    const { waiting } = await line.brain.tasks.view('demo', taskId);
    if (waiting !== undefined) return waiting;
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
  throw new Error(`${taskId} does not wait`);
};
const refund = async (text: string, amount = 80_000_000) => {
  const { entry } = await line.brain.tasks.start(line.request(text, { mode: 'refund', amount }));
  return { taskId: entry.taskId, waiting: await waits(entry.taskId), workflowId: (await line.brain.tasks.view('demo', entry.taskId)).entry.workflowId };
};
const ended = async (taskId: string): Promise<TaskResult> => {
  const result = await line.brain.tasks.result('demo', taskId, 60_000);
  if (result === undefined) throw new Error(`${taskId} did not end`);
  return result;
};
const decide = (taskId: string, by: string, over: Partial<Decision> = {}) => line.brain.tasks.decide('demo', taskId, { decision: 'approve', by, ...over });
const handle = (workflowId: string) => line.brain.temporal.client.workflow.getHandle(workflowId);
const attemptsOf = async (taskId: string): Promise<readonly AttemptRecord[]> => (await line.brain.lineage('demo', taskId)).flatMap(({ record }) => (record.kind === 'attempt' ? [record] : []));

test('forged result - a signal that says "approved" is nobody\'s approval, and the wait goes on', async () => {
  const { taskId, workflowId, waiting } = await refund('forged');
  const seat = (by: string) => ({ seat: by, by, decision: 'approve', at: 1, proof: 'server', action: waiting.action, said: 'x' });
  await handle(workflowId).signal('decided', { outcome: 'approved', approvers: ['ana', 'ben'], group: 'billing', decisions: [], seats: [seat('ana'), seat('ben')], seal: 'made-up' }, waiting.workflowId);
  await new Promise((resolve) => { setTimeout(resolve, 500); });
  expect(line.effects.applied.has(`refund-${taskId}`)).toBe(false);
  await decide(taskId, 'ana');
  expect(await decide(taskId, 'ben')).toMatchObject({ accepted: true });
  expect(await ended(taskId)).toMatchObject({ state: 'done', effect: { applied: true } });
});

test('words - an answer that somebody wrote is not approved by a click on what stood there before', async () => {
  const { taskId, waiting } = await refund('words');
  expect(await decide(taskId, 'ana', { decision: 'answer', text: 'something else' })).toMatchObject({ accepted: true });
  expect(await decide(taskId, 'ben', { action: JSON.parse(waiting.json).action as string })).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_MALFORMED' });
  const now = await waits(taskId);
  expect(now.card).toContain('ana wrote instead:');
  expect(await decide(taskId, 'ben', { action: JSON.parse(now.json).action as string })).toMatchObject({ accepted: true, message: 'Accepted: answered.' });
  expect((await ended(taskId)).effect).toBeUndefined();
  expect(line.effects.applied.has(`refund-${taskId}`)).toBe(false);
});

test('delegation - a member lends the seat until a date, and the delegate decides from it once', async () => {
  const { taskId } = await refund('lent');
  expect(await decide(taskId, 'ana', { decision: 'delegate', to: 'gus', until: Date.now() + 60_000 })).toMatchObject({ accepted: true });
  expect(await decide(taskId, 'gus')).toMatchObject({ accepted: true });
  expect(await decide(taskId, 'ana')).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_UNAUTHORISED' });
  expect(await decide(taskId, 'gus')).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_UNAUTHORISED' });
  expect(await decide(taskId, 'cem')).toMatchObject({ accepted: true });
  expect(await ended(taskId)).toMatchObject({ state: 'done' });
});

test('revoked - an approver who changed groups before the effect does not carry it, and nothing is done', async () => {
  const { taskId } = await refund('revoked');
  await decide(taskId, 'ana');
  await line.publish((bundle) => ({ ...bundle, groups: { ...GROUPS, billing: ['ben', 'cem'], desk: ['ana', 'ben'] } }));
  try {
    await decide(taskId, 'ben');
    expect(await ended(taskId)).toMatchObject({ state: 'refused', error: { code: 'AIOS_APPROVAL_UNAUTHORISED' } });
    expect(line.effects.applied.has(`refund-${taskId}`)).toBe(false);
  } finally {
    await line.publish();
  }
});

test('proof - where it is demanded, a name alone is refused, a person\'s own key and the API\'s word count, and a revoked key does not', { timeout: 120_000 }, async () => {
  const proven = await startLine({ proven: true });
  try {
    const dir = join(proven.config.home, 'keys');
    const { file } = await enrolApprover(dir, 'ana');
    const key = await loadApproverKey(file);
    const { entry } = await proven.brain.tasks.start(proven.request('proof', { mode: 'refund', amount: 80_000_000 }));
    let waiting = (await proven.brain.tasks.view('demo', entry.taskId)).waiting;
    for (let i = 0; waiting === undefined && i < 600; i++) {
      await new Promise((resolve) => { setTimeout(resolve, 50); });
      waiting = (await proven.brain.tasks.view('demo', entry.taskId)).waiting;
    }
    if (waiting?.action === undefined) throw new Error('nobody is asked');
    const approval = proven.brain.temporal.client.workflow.getHandle(waiting.workflowId);
    await expect(approval.executeUpdate('decide', { args: [{ decision: 'approve', by: 'ana' }] })).rejects.toMatchObject({ cause: { type: 'AIOS_APPROVAL_UNAUTHORISED' } });
    const said = { decision: 'approve', by: 'ana', reason: 'seen' } as const;
    const token = createDecisionSigner(createSigner(key))({ tenant: 'demo', task: entry.taskId, approval: waiting.workflowId, action: waiting.action, by: 'ana', decision: 'approve', said: saidOf(said) });
    await expect(approval.executeUpdate('decide', { args: [{ ...said, reason: 'changed', token }] })).rejects.toMatchObject({ cause: { type: 'AIOS_APPROVAL_UNAUTHORISED' } });
    expect(await approval.executeUpdate('decide', { args: [{ ...said, token }] })).toContain('1 of 2');
    await revokeApprover(dir, 'ana');
    expect(await proven.brain.tasks.decide('demo', entry.taskId, { decision: 'approve', by: 'ben' })).toMatchObject({ accepted: true });
    expect(await proven.brain.tasks.result('demo', entry.taskId, 60_000)).toMatchObject({ state: 'refused', error: { code: 'AIOS_APPROVAL_UNAUTHORISED' } });
    expect(proven.effects.applied.size).toBe(0);
  } finally {
    await proven[Symbol.asyncDispose]();
  }
});

test('canary - waits like any other task, is refused whatever is decided, and its result is on record', async () => {
  const before = new Set((await line.brain.tasks.list('demo', { state: 'waiting', limit: 100 })).map(({ entry }) => entry.taskId));
  const { capability } = line.request('');
  await line.brain.canary({ tenant: 'demo', capability, requester: { id: 'helpdesk', type: 'service', tenant: 'demo', roles: [] }, verdict: { kind: 'escalate', action: 'commit', bundle: 'sha256:00' as never, deciding: ['large-refund'], erroring: [], reason: 'A refund of this size needs two people.', approval: { approvers: 'billing', quorum: 1, expiresMs: 60_000, onExpiry: 'deny' } } });
  let taskId = '';
  for (let i = 0; taskId === '' && i < 300; i++) {
    await new Promise((resolve) => { setTimeout(resolve, 100); });
    taskId = (await line.brain.tasks.list('demo', { state: 'waiting', limit: 100 })).map(({ entry }) => entry.taskId).find((id) => !before.has(id)) ?? '';
  }
  const waiting = await waits(taskId);
  expect(waiting.card).toContain('amount $490.000000');
  expect(waiting.card).not.toMatch(/canary|test of attention/i);
  expect(await decide(taskId, 'ana')).toMatchObject({ accepted: true, message: expect.stringContaining('known to be bad') as string });
  expect(await ended(taskId)).toMatchObject({ state: 'refused', error: { code: 'AIOS_APPROVAL_REFUSED' } });
  expect(line.effects.applied.has('refund-known-bad')).toBe(false);
  expect(await attemptsOf(taskId)).toMatchObject([{ by: 'ana', canary: true, outcome: 'approved' }]);
  expect((await line.brain.lineage('demo', taskId)).some(({ record }) => record.kind === 'decision' && record.canary === true && record.state === 'refused')).toBe(true);
});

test('settings - no canary is opened unless a rate is set, and proof is asked for by the preset of regulated homes', () => {
  expect(readConfig('brain', {}).approvals.canaryBp).toBe(0);
  expect(readConfig('brain', { AIOS_APPROVAL_CANARY_BP: '250' }).approvals.canaryBp).toBe(250);
  expect(readConfig('brain', {}).protection.provenApproversOnly).toBe(false);
  expect(readConfig('brain', { AIOS_PRESET: 'regulated' }).protection.provenApproversOnly).toBe(true);
});
