// The governed task on real Temporal and NATS: lanes, groups, leavers, approvals, cancellation, recovery.
// Owns: what only the real servers show. Never measures speed. Others may assume: each test uses its own tasks on one shared line.

import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Decision, GovernedInput, GroupResult, TaskResult } from '../../contracts/task.ts';
import { calls, healed, startLine, stopped, type Line } from './line.ts';

let line: Line;
beforeAll(async () => {
  line = await startLine();
});
afterAll(async () => {
  await line[Symbol.asyncDispose]();
});

type Over = Parameters<Line['request']>[1];
const run = async (text: string, over: Over = {}, more: Parameters<Line['request']>[2] = {}): Promise<TaskResult> => {
  const { entry } = await line.brain.tasks.start(line.request(text, over, more));
  return finished(entry.taskId);
};
const finished = async (taskId: string): Promise<TaskResult> => {
  const result = await line.brain.tasks.result('demo', taskId, 60_000);
  if (result === undefined) throw new Error(`${taskId} did not finish`);
  return result;
};
const handle = (workflowId: string) => line.brain.temporal.client.workflow.getHandle(workflowId);
/** The answer comes before the server has stored the workflow's end, so a governed workflow is awaited first; an approval stays open. */
const eventsOf = async (workflowId: string): Promise<string[]> => {
  if (!workflowId.startsWith('approval/')) await handle(workflowId).result();
  const history = await handle(workflowId).fetchHistory();
  return (history.events ?? []).map((event) => Object.keys(event).find((key) => key.endsWith('EventAttributes'))?.replace('EventAttributes', '') ?? '');
};
const entryOf = async (taskId: string) => (await line.brain.tasks.view('demo', taskId)).entry;
const waitFor = async (taskId: string) => {
  for (let i = 0; i < 600; i++) {
    const view = await line.brain.tasks.view('demo', taskId);
    if (view.waiting !== undefined) return view.waiting;
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
  throw new Error(`${taskId} does not wait for anybody`);
};
const decide = (taskId: string, decision: Decision) => line.brain.tasks.decide('demo', taskId, decision);
const pause = (ms: number) => new Promise((resolve) => { setTimeout(resolve, ms); });

test('fast lane - a task ends in one workflow task, with its decision on record and a fixed number of events', async () => {
  const { entry } = await line.brain.tasks.start(line.request('hello'));
  const result = await finished(entry.taskId);
  expect(result).toMatchObject({ state: 'done', output: { text: 'model: hello', confidence: 0.95 }, rung: 'model', ledger: { log: 'brain-1' } });
  expect(result.verdicts.map((verdict) => `${verdict.action} ${verdict.kind}`)).toEqual(['admit allow', 'dispatch allow', 'commit allow']);
  expect(entry.workflowId).toBe(`line.work/${entry.taskId}`);
  expect(await eventsOf(entry.workflowId)).toEqual(['workflowExecutionStarted', 'workflowTaskScheduled', 'workflowTaskStarted', 'workflowTaskCompleted', 'markerRecorded', 'markerRecorded', 'workflowExecutionCompleted']);
});

test('group - tasks that arrive together share one workflow and keep their own outcomes', async () => {
  const started = await Promise.all(Array.from({ length: 20 }, (_, i) => line.brain.tasks.start(line.request(`together ${i}`))));
  const results = await Promise.all(started.map(({ entry }) => finished(entry.taskId)));
  expect(results.map((one) => (one.output as { text: string }).text)).toEqual(started.map((_, i) => `model: together ${i}`));
  const places = await Promise.all(started.map(({ entry }) => entryOf(entry.taskId)));
  const groups = [...new Set(places.map((one) => one.workflowId).filter((id) => id.includes('/group-')))];
  expect(groups.length).toBeGreaterThan(0);
  expect((await eventsOf(groups[0] ?? '')).length).toBe(7);
  const found = [];
  for (let i = 0; i < 100 && found.length === 0; i++) {
    await pause(100);
    for await (const one of line.brain.temporal.client.workflow.list({ query: `AiosTasks = '${started[19]?.entry.taskId}'` })) found.push(one.workflowId);
  }
  expect(found).toEqual([places[19]?.workflowId]);
});

test('group - a slow, a failing, an escalating and a malformed member leave without holding the others up', async () => {
  await run('warm');
  const first = line.brain.tasks.start(line.request('opener', { ms: 150 }));
  const odd: Over[] = [{ mode: 'fast', ms: 6_000 }, { mode: 'fail' }, { mode: 'unsure' }, { mode: 'malformed' }];
  const plain = Array.from({ length: 12 }, (_, i) => line.request(`plain ${i}`));
  const requests = [...plain.slice(0, 6), ...odd.map((over, i) => line.request(`odd ${i}`, over)), ...plain.slice(6)];
  const started = await Promise.all(requests.map((request) => line.brain.tasks.start(request)));
  const at = performance.now();
  const ids = started.map(({ entry }) => entry.taskId);
  const plainIds = [...ids.slice(0, 6), ...ids.slice(10)];
  const good = await Promise.all(plainIds.map(finished));
  expect(performance.now() - at).toBeLessThan(4_000);
  expect(good.every((one) => one.state === 'done')).toBe(true);
  await finished((await first).entry.taskId);
  const [slowId = '', failId = '', unsureId = '', malformedId = ''] = ids.slice(6, 10);
  for (const id of [failId, malformedId]) await waitFor(id);
  const unsure = await waitFor(unsureId);
  expect(unsure).toMatchObject({ approvers: 'desk', workflowId: `approval/${unsureId}` });
  expect((await entryOf(unsureId)).workflowId).toBe(`line.work/${unsureId}`);
  expect(await decide(unsureId, { decision: 'approve', by: 'ana' })).toMatchObject({ accepted: true });
  expect(await decide(failId, { decision: 'reject', by: 'olga' })).toMatchObject({ accepted: true });
  expect(await decide(malformedId, { decision: 'reject', by: 'olga', reason: 'no' })).toMatchObject({ accepted: true });
  expect(await finished(slowId)).toMatchObject({ state: 'done', output: { text: 'model: odd 0' } });
  expect(await finished(unsureId)).toMatchObject({ state: 'done', human: { decision: 'approve', by: 'ana', verified: true } });
  expect(await finished(malformedId)).toMatchObject({ state: 'refused', error: { code: 'AIOS_APPROVAL_REFUSED' } });
});

test('slow lane - the bridge completes the wait, the work is done once, and the number of events is fixed', async () => {
  const { entry } = await line.brain.tasks.start(line.request('slowly', { ms: 2_500 }));
  const result = await finished(entry.taskId);
  expect(result).toMatchObject({ state: 'done', output: { text: 'model: slowly' } });
  expect(calls.get('slowly')).toBe(1);
  const events = await eventsOf(entry.workflowId);
  expect(events.filter((one) => one === 'activityTaskScheduled').length).toBe(1);
  expect(events.length).toBeLessThanOrEqual(18);
});

test('slow lane - an outcome that arrives before the token is registered is not lost', async () => {
  await line.stopBridge();
  let arrivedFirst = false;
  line.beforeToken = async (tenant, task, envelopeId) => {
    while ((await line.ports.outcomes.find(tenant, task, envelopeId)) === undefined) await pause(20);
    arrivedFirst = true;
  };
  try {
    const { entry } = await line.brain.tasks.start(line.request('between', { ms: 2_000 }));
    expect(await finished(entry.taskId)).toMatchObject({ state: 'done', output: { text: 'model: between' } });
  } finally {
    line.beforeToken = undefined;
    await line.startBridge();
  }
  expect(arrivedFirst).toBe(true);
  expect(calls.get('between')).toBe(1);
});

test('slow lane - without a bridge the wait looks again by itself, and the work is still done once', async () => {
  await line.stopBridge();
  try {
    const { entry } = await line.brain.tasks.start(line.request('unbridged', { ms: 2_500 }, { deadlineMs: 16_000 }));
    expect(await finished(entry.taskId)).toMatchObject({ state: 'done', output: { text: 'model: unbridged' } });
  } finally {
    await line.startBridge();
  }
  expect(calls.get('unbridged')).toBe(1);
});

test('ladder - a failing agent goes down to the script and then to a person, never silently', async () => {
  const { entry } = await line.brain.tasks.start(line.request('down', { mode: 'fail' }));
  const waiting = await waitFor(entry.taskId);
  expect(waiting.card).toContain('A decision is needed');
  expect(await decide(entry.taskId, { decision: 'approve', by: 'olga' })).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_MALFORMED' });
  expect(await decide(entry.taskId, { decision: 'answer', by: 'olga', text: 'a person wrote this' })).toMatchObject({ accepted: true });
  const result = await finished(entry.taskId);
  expect(result).toMatchObject({ state: 'refused', degraded: ['model:AIOS_MODEL_UNAVAILABLE', 'script:AIOS_MODEL_UNAVAILABLE'], error: { code: 'AIOS_APPROVAL_MALFORMED' } });
});

test('quarantine - a task that breaks its agent every time reaches a person, who lets it be tried again under a new message', async () => {
  const { entry } = await line.brain.tasks.start(line.request('poison one', { mode: 'poison' }));
  const waiting = await waitFor(entry.taskId);
  expect(waiting).toMatchObject({ approvers: 'operators', quorum: 1 });
  expect(waiting.card).toContain('tries again');
  expect(JSON.parse(waiting.json)).toMatchObject({ decision: 'approve' });
  const letters = (await line.ports.deadLetters.list({ tenant: 'demo', limit: 100 })).filter(({ task }) => task === entry.taskId);
  expect(letters.map(({ reason, code }) => `${reason} ${code}`)).toEqual(['poison AIOS_QUARANTINED', 'poison AIOS_QUARANTINED']);
  expect(calls.get('poison one')).toBe(6);
  healed.add('poison one');
  expect(await decide(entry.taskId, { decision: 'approve', by: 'olga' })).toMatchObject({ accepted: true });
  const result = await finished(entry.taskId);
  expect(result).toMatchObject({ state: 'done', rung: 'model', output: { text: 'model: poison one' }, degraded: ['model:AIOS_QUARANTINED', 'script:AIOS_QUARANTINED'], human: { decision: 'approve', by: 'olga' } });
  expect(calls.get('poison one')).toBe(7);
});

test('quarantine - one that breaks again comes back to the person, who discards it; another is answered by hand', async () => {
  const [again, byHand] = await Promise.all(['poison two', 'poison three'].map((text) => line.brain.tasks.start({ ...line.request(text, { mode: 'poison' }), capability: 'line.other' })));
  const [againId, byHandId] = [again?.entry.taskId ?? '', byHand?.entry.taskId ?? ''];
  const first = await waitFor(againId);
  expect(await decide(againId, { decision: 'approve', by: 'olga' })).toMatchObject({ accepted: true });
  for (let i = 0; i < 400 && (await line.brain.tasks.view('demo', againId)).waiting?.workflowId !== `${first.workflowId}.2`; i++) await pause(50);
  expect(calls.get('poison two')).toBe(6);
  expect(await decide(againId, { decision: 'reject', by: 'olga', reason: 'not worth it' })).toMatchObject({ accepted: true });
  expect(await finished(againId)).toMatchObject({ state: 'refused', error: { code: 'AIOS_APPROVAL_REFUSED' } });
  await waitFor(byHandId);
  expect(await decide(byHandId, { decision: 'answer', by: 'olga', text: 'written by a person' })).toMatchObject({ accepted: true });
  expect(await finished(byHandId)).toMatchObject({ state: 'done', output: { text: 'written by a person' } });
});

test('key - the same key twice in one group starts one task, and another input under it is refused', async () => {
  const request = line.request('once', {}, { key: 'k-1' });
  const [a, b] = await Promise.all([line.brain.tasks.start(request), line.brain.tasks.start(request)]);
  expect(a.entry.taskId).toBe(b.entry.taskId);
  expect([a.replayed, b.replayed].sort()).toEqual([false, true]);
  await finished(a.entry.taskId);
  expect(calls.get('once')).toBe(1);
  await expect(line.brain.tasks.start(line.request('other words', {}, { key: 'k-1' }))).rejects.toMatchObject({ code: 'AIOS_KEY_CONFLICT' });
});

test('key - two brains asked at once with the same key start one task, and both know its result', async () => {
  const second = await line.anotherBrain('brain-2');
  const request = line.request('shared', { ms: 100 }, { key: 'k-2' });
  const [a, b] = await Promise.all([line.brain.tasks.start(request), second.tasks.start(request)]);
  expect(a.entry.taskId).toBe(b.entry.taskId);
  const results = await Promise.all([finished(a.entry.taskId), second.tasks.result('demo', b.entry.taskId, 30_000)]);
  expect(results[0]).toMatchObject({ state: 'done', taskId: results[1]?.taskId });
  expect(calls.get('shared')).toBe(1);
});

test('tenants - groups never mix them, and a task of another tenant is unknown', async () => {
  const of = (tenant: string, i: number) => line.request(`${tenant} ${i}`, {}, { principal: { id: 'helpdesk', type: 'service', tenant, roles: [] } });
  const started = await Promise.all(Array.from({ length: 16 }, (_, i) => line.brain.tasks.start(of(i % 2 === 0 ? 'red' : 'blue', i))));
  await Promise.all(started.map(({ entry }) => line.brain.tasks.result(entry.tenant, entry.taskId, 30_000)));
  const red = started[0]?.entry;
  const views = await Promise.all(started.map(({ entry }) => line.brain.tasks.view(entry.tenant, entry.taskId)));
  const byGroup = new Map<string, Set<string>>();
  for (const { entry } of views) byGroup.set(entry.workflowId, (byGroup.get(entry.workflowId) ?? new Set()).add(entry.tenant));
  expect([...byGroup.values()].every((tenants) => tenants.size === 1)).toBe(true);
  await expect(line.brain.tasks.view('blue', red?.taskId ?? '')).rejects.toMatchObject({ code: 'AIOS_TASK_UNKNOWN' });
});

test('cancel - a task in the slow lane ends cancelled, with a record and its reservation released', async () => {
  const { entry } = await line.brain.tasks.start(line.request('stop me', { ms: 8_000 }));
  await pause(2_500);
  await line.brain.tasks.cancel('demo', entry.taskId, 'ana');
  expect(await finished(entry.taskId)).toMatchObject({ state: 'cancelled', error: { code: 'AIOS_TASK_CANCELLED' }, ledger: { log: expect.stringMatching(/^brain-/) as string } });
});

test('cancel - the agent that works on it is told to stop, long before its deadline, however the task was cancelled', async () => {
  const texts = ['by the API', 'in the Temporal UI'];
  const tasks = await Promise.all(texts.map((text) => line.brain.tasks.start(line.request(text, { mode: 'never' }, { deadlineMs: 600_000 }))));
  await expect.poll(() => texts.every((text) => calls.has(text)), { timeout: 10_000 }).toBe(true);
  await pause(2_500);
  const [one, two] = tasks.map(({ entry }) => entry);
  expect(texts.filter((text) => stopped.has(text))).toEqual([]);
  await line.brain.tasks.cancel('demo', one?.taskId ?? '', 'ana');
  await line.brain.temporal.client.workflow.getHandle(`line.work/${two?.taskId ?? ''}`).cancel();
  await expect.poll(() => texts.filter((text) => stopped.has(text)), { timeout: 10_000 }).toEqual(texts);
  for (const entry of [one, two]) expect(await finished(entry?.taskId ?? '')).toMatchObject({ state: 'cancelled' });
  expect(texts.map((text) => calls.get(text))).toEqual([1, 1]);
});

test('deadline - a task whose agent never answers fails by name when its time is over', async () => {
  const result = await run('never', { mode: 'never' }, { capability: 'line.other', deadlineMs: 3_000 });
  expect(result).toMatchObject({ state: 'failed', error: { code: 'AIOS_DEADLINE_EXCEEDED' } });
});

test('direct start - a Temporal client gets a group of one under the workflow id it chose, and cannot bring its own policy', async () => {
  const input = { v: 1, tenant: 'demo', capability: 'line.work', members: [{ principal: { id: 'batch', type: 'service', tenant: 'demo', roles: [] }, input: { text: 'direct' } }] } as unknown as GovernedInput;
  const result = await line.brain.temporal.client.workflow.execute<(input: GovernedInput) => Promise<GroupResult>>('governedTask', { workflowId: 'invoice-run-7', taskQueue: 'aios-governed', args: [input] });
  expect(result.results).toMatchObject([{ taskId: 'invoice-run-7', state: 'done', output: { text: 'model: direct' } }]);
  expect(await line.brain.tasks.view('demo', 'invoice-run-7')).toMatchObject({ state: 'done', entry: { workflowId: 'invoice-run-7' } });
  const foreign = { ...input, opened: { slice: { bundle: 'sha256:00', version: 1, capability: { id: 'line.work', ladder: ['model'], dataClass: 'internal', sla: 'interactive', budget: { latencyMsMax: 1_000, microUsdMax: 1 } }, policies: {}, groups: {} }, seal: 'made-up', patienceMs: 100, members: [{ taskId: 'x', summary: 'x', inputDigest: '' }] } } as unknown as GovernedInput;
  await expect(line.brain.temporal.client.workflow.execute('governedTask', { workflowId: 'forged-1', taskQueue: 'aios-governed', args: [foreign] })).rejects.toSatisfy((thrown: Error) => JSON.stringify([thrown.cause, (thrown.cause as Error).cause]).includes('AIOS_FORBIDDEN'));
  const bad = { ...input, members: [{ ...input.members[0], input: { txt: 1 } }] } as unknown as GovernedInput;
  const refused = await line.brain.temporal.client.workflow.execute<(input: GovernedInput) => Promise<GroupResult>>('governedTask', { workflowId: 'invoice-run-8', taskQueue: 'aios-governed', args: [bad] });
  expect(refused.results).toMatchObject([{ state: 'failed', error: { code: 'AIOS_INPUT_INVALID' } }]);
});

test('approval - a large refund needs two people; wrong JSON, strangers, the same person and late comers are answered and recorded', async () => {
  const { entry } = await line.brain.tasks.start(line.request('refund', { mode: 'refund', amount: 80_000_000 }));
  const waiting = await waitFor(entry.taskId);
  expect(waiting).toMatchObject({ approvers: 'billing', quorum: 2 });
  const approval = handle(waiting.workflowId);
  await expect(approval.executeUpdate('decide', { args: ['yes please'] })).rejects.toMatchObject({ cause: { type: 'AIOS_APPROVAL_MALFORMED' } });
  await expect(approval.executeUpdate('decide', { args: [{ decision: 'approve', by: 'mallory' }] })).rejects.toMatchObject({ cause: { type: 'AIOS_APPROVAL_UNAUTHORISED' } });
  await expect(approval.executeUpdate('decide', { args: [{ decision: 'approve', by: 'ana', token: 'forged.x' }] })).rejects.toMatchObject({ cause: { type: 'AIOS_APPROVAL_UNAUTHORISED' } });
  await approval.signal('decide', 42);
  await approval.signal('decide', { decision: 'approve', by: 'ana' });
  await expect(approval.executeUpdate('decide', { args: [{ decision: 'approve', by: 'ana' }] })).rejects.toMatchObject({ cause: { type: 'AIOS_APPROVAL_UNAUTHORISED' } });
  expect(line.effects.applied.size).toBe(0);
  expect(await approval.executeUpdate('decide', { args: [{ decision: 'approve', by: 'ben' }] })).toBe('Accepted: approved.');
  const result = await finished(entry.taskId);
  expect(result).toMatchObject({ state: 'done', effect: { applied: true, kind: 'refund' }, human: { decision: 'approve', by: 'ben', verified: false } });
  expect(line.effects.applied.get(`refund-${entry.taskId}`)).toBe(1);
  await expect(approval.executeUpdate('decide', { args: [{ decision: 'reject', by: 'cem' }] })).rejects.toMatchObject({ cause: { type: 'AIOS_APPROVAL_CLOSED' } });
  expect(await decide(entry.taskId, { decision: 'reject', by: 'cem' })).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_CLOSED' });
  const records = (await line.brain.lineage('demo', entry.taskId)).filter((one) => one.record.kind === 'attempt').map((one) => one.record);
  expect(records.map((one) => ('code' in one ? one.code : 'accepted'))).toEqual(['AIOS_APPROVAL_MALFORMED', 'AIOS_APPROVAL_UNAUTHORISED', 'AIOS_APPROVAL_UNAUTHORISED', 'AIOS_APPROVAL_MALFORMED', 'accepted', 'AIOS_APPROVAL_UNAUTHORISED', 'accepted', 'AIOS_APPROVAL_CLOSED', 'AIOS_APPROVAL_CLOSED']);
  const page = await approval.query<{ card: string }>('card');
  expect(page.card).toContain('Last answers');
});

test('approval - the number of events of an approved task is fixed', async () => {
  const { entry } = await line.brain.tasks.start(line.request('count me', { mode: 'unsure' }));
  await waitFor(entry.taskId);
  expect(await decide(entry.taskId, { decision: 'approve', by: 'ana' })).toMatchObject({ accepted: true });
  await finished(entry.taskId);
  const governed = await eventsOf(entry.workflowId);
  const approval = await eventsOf(`approval/${entry.taskId}`);
  expect({ governed: governed.length, approval: approval.length }).toEqual({ governed: 20, approval: 20 });
});

test('approval - a policy published during the pause that denies holds after it', async () => {
  const { entry } = await line.brain.tasks.start(line.request('late policy', { mode: 'refund', amount: 70_000_000 }));
  await waitFor(entry.taskId);
  await line.publish((bundle) => ({ ...bundle, policies: { ...bundle.policies, frozen: { ...(bundle.policies['huge-refund'] as (typeof bundle.policies)[string]), conditions: [] } } }));
  try {
    await decide(entry.taskId, { decision: 'approve', by: 'ana' });
    await decide(entry.taskId, { decision: 'approve', by: 'ben' });
    expect(await finished(entry.taskId)).toMatchObject({ state: 'refused', error: { code: 'AIOS_POLICY_DENIED' } });
    expect(line.effects.applied.has(`refund-${entry.taskId}`)).toBe(false);
  } finally {
    await line.publish();
  }
});

test('approval - an approver who lost the role during the pause does not count', async () => {
  const { entry } = await line.brain.tasks.start(line.request('revoked', { mode: 'unsure' }));
  await waitFor(entry.taskId);
  await line.publish((bundle) => ({ ...bundle, groups: { desk: ['ben'], billing: ['ben', 'cem'], nobody: ['zoe'], operators: ['olga'] } }));
  try {
    await decide(entry.taskId, { decision: 'approve', by: 'ana' });
    expect(await finished(entry.taskId)).toMatchObject({ state: 'refused', error: { code: 'AIOS_APPROVAL_UNAUTHORISED' } });
  } finally {
    await line.publish();
  }
});

test('approval - nobody in time escalates once, then the declared default refuses', async () => {
  const { entry } = await line.brain.tasks.start(line.request('nobody', { mode: 'hasty' }));
  const waiting = await waitFor(entry.taskId);
  expect(waiting.approvers).toBe('nobody');
  await pause(2_500);
  expect((await waitFor(entry.taskId)).approvers).toBe('desk');
  expect(await finished(entry.taskId)).toMatchObject({ state: 'refused', error: { code: 'AIOS_APPROVAL_EXPIRED' } });
});

test('list - the waiting tasks of a tenant are found by search attribute', async () => {
  const { entry } = await line.brain.tasks.start(line.request('find me', { mode: 'unsure' }));
  await waitFor(entry.taskId);
  let found: string[] = [];
  for (let i = 0; i < 50 && !found.includes(entry.taskId); i++) {
    await pause(100);
    found = (await line.brain.tasks.list('demo', { state: 'waiting', limit: 50 })).map((view) => view.entry.taskId);
  }
  expect(found).toContain(entry.taskId);
  await decide(entry.taskId, { decision: 'approve', by: 'ben' });
  await finished(entry.taskId);
});

test('watch - states are seen in order until the end', async () => {
  const { entry } = await line.brain.tasks.start(line.request('watch me', { mode: 'unsure' }));
  const states: string[] = [];
  for await (const view of line.brain.tasks.watch('demo', entry.taskId, AbortSignal.timeout(30_000))) {
    states.push(view.state);
    if (view.waiting !== undefined) await decide(entry.taskId, { decision: 'approve', by: 'ana' });
  }
  expect(states.at(-1)).toBe('done');
  expect(states).toContain('waiting');
});

test('group - one that fails as a whole is driven again one by one, and nothing is done twice', async () => {
  const gate = line.brain.tasks.start(line.request('gate', { ms: 400 }));
  const started = await Promise.all(Array.from({ length: 4 }, (_, i) => line.brain.tasks.start(line.request(`terminated ${i}`, { ms: 300 }))));
  const place = started[0]?.entry.workflowId ?? '';
  expect(place).toContain('/group-');
  await handle(place).terminate('as a test');
  await finished((await gate).entry.taskId);
  const results = await Promise.all(started.map(({ entry }) => finished(entry.taskId)));
  expect(results.map((one) => one.state)).toEqual(['done', 'done', 'done', 'done']);
  expect((await entryOf(started[1]?.entry.taskId ?? '')).workflowId).toBe(`line.work/${started[1]?.entry.taskId}`);
  expect(started.map((_, i) => calls.get(`terminated ${i}`))).toEqual([1, 1, 1, 1]);
});
