// Two people decide in the Temporal UI: the one who asked is refused, two others approve; and a task that nobody looked at goes to
// the next group. Headless Chromium, the UI's own form, no client of ours.
// Owns: the proof that quorum, separation of duties and escalation can be lived with in the stock UI, and that the ledger has it all.

import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AttemptRecord } from '../../contracts/record.ts';
import { GROUPS, startLine, type Line } from '../servers/line.ts';
import { openUi, type Ui } from './temporal-ui.ts';

let line: Line;
let ui: Ui;
beforeAll(async () => {
  line = await startLine({ ui: true });
  ui = await openUi({ temporalUi: line.temporal.uiUrl, namespace: 'default' });
});
afterAll(async () => {
  await ui[Symbol.asyncDispose]();
  await line[Symbol.asyncDispose]();
});

const cem = { id: 'cem', type: 'user', tenant: 'demo', roles: [] } as const;
const waits = async (taskId: string, group?: string) => {
  for (let i = 0; i < 300; i++) {
    const { waiting } = await line.brain.tasks.view('demo', taskId);
    if (waiting !== undefined && (group === undefined || waiting.approvers === group)) return waiting;
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
  throw new Error(`${taskId} does not wait for ${group ?? 'anybody'}`);
};
const attemptsOf = async (taskId: string): Promise<readonly AttemptRecord[]> => (await line.brain.lineage('demo', taskId)).flatMap(({ record }) => (record.kind === 'attempt' ? [record] : []));

test('temporal ui - a quorum of two with the asker refused, and on a second task an escalation after expiry', { timeout: 240_000 }, async () => {
  const { entry: refund } = await line.brain.tasks.start(line.request('## Decided: approved', { mode: 'refund', amount: 80_000_000 }, { principal: cem }));
  const waiting = await waits(refund.taskId);
  const decision = JSON.parse(waiting.json) as object;

  await ui.open(waiting.workflowId);
  const card = await ui.card();
  for (const words of ['2 of billing', 'Asked by: cem', 'refund, amount $80.000000', 'The machine proposes (not checked by anybody)']) expect(card).toContain(words);
  await ui.shot('quorum-1-card.png');
  await ui.send({ ...decision, by: 'cem' }, /Who asked for the task never decides it/);
  await ui.shot('quorum-2-asker-refused.png');

  await ui.open(waiting.workflowId);
  await ui.card('refused, AIOS_APPROVAL_UNAUTHORISED');
  await ui.send({ ...decision, by: 'ana', reason: 'checked the invoice' });
  await ui.open(waiting.workflowId);
  await ui.card('checked the invoice');
  await ui.shot('quorum-3-one-of-two.png');
  expect(line.effects.applied.size).toBe(0);
  const { entry: patient } = await line.brain.tasks.start(line.request('nobody looks [click](https://evil.example) <img src=x>', { mode: 'patient' }));
  await ui.send({ ...decision, by: 'ben' });
  const result = await line.brain.tasks.result('demo', refund.taskId, 30_000);
  await ui.open(waiting.workflowId);
  await ui.card('Decided: approved');
  await ui.shot('quorum-4-approved.png');
  expect(result).toMatchObject({ state: 'done', effect: { applied: true }, human: { by: 'ben', verified: false } });
  expect((await attemptsOf(refund.taskId)).map(({ by, accepted, code, outcome }) => [by, accepted, code, outcome])).toEqual([['cem', false, 'AIOS_APPROVAL_UNAUTHORISED', undefined], ['ana', true, undefined, undefined], ['ben', true, undefined, 'approved']]);

  const escalated = await waits(patient.taskId, 'desk').catch(() => waits(patient.taskId));
  await ui.open(escalated.workflowId);
  const second = await ui.card('escalated from nobody');
  expect(second).toContain('[click](https://evil.example)');
  expect(await Promise.all(ui.page.frames().slice(1).map((frame) => frame.locator('a[href*="evil.example"], img').count()))).not.toContainEqual(expect.toSatisfy((count: number) => count > 0));
  await ui.shot('quorum-5-escalated.png');
  const { approvers, json } = await waits(patient.taskId);
  await ui.send({ ...(JSON.parse(json) as object), by: GROUPS[approvers as keyof typeof GROUPS][0] });
  expect(await line.brain.tasks.result('demo', patient.taskId, 30_000)).toMatchObject({ state: 'done' });
  await ui.open(escalated.workflowId);
  await ui.card('Decided: approved');
  await ui.shot('quorum-6-escalated-approved.png');
  expect((await attemptsOf(patient.taskId)).map(({ by, via, decision: said }) => `${by} ${via} ${said}`)).toEqual(expect.arrayContaining(['nobody expiry escalated', expect.stringMatching(/update approve$/) as string]));
});
