// Steps that come back, on real servers: a centralised team alone and in a group, and a host that goes away between two steps.
// Owns: what the history shows of a walk, and that a group makes its rounds together. The ways compared is a scenario of its own.
// Others may assume: nothing is left behind.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { readHistory } from '../../infra/temporal/history.ts';
import { type Line, startLine } from './line.ts';

let line: Line;
beforeAll(async () => {
  line = await startLine();
}, 120_000);
afterAll(() => line?.[Symbol.asyncDispose]());

const start = (text: string) => line.brain.tasks.start(line.request(text, {}, { capability: 'line.plan' }));
const end = (taskId: string) => line.brain.tasks.result('demo', taskId, 60_000);
const dispatchesOf = async (workflowId: string): Promise<number> => {
  await line.brain.temporal.client.workflow.getHandle(workflowId).result();
  return (await readHistory(line.brain.temporal.client, [workflowId])).filter(({ name }) => name === 'dispatchGroup').length;
};

test('steps - each step of a centralised team is judged by the brain, and is a dispatch of its own in the history', async () => {
  const { entry } = await start('alone');
  const result = await end(entry.taskId);
  expect(result).toMatchObject({ state: 'done', output: { text: 'model: model: alone' } });
  expect(result?.verdicts.map(({ action, step, by }) => [action, step, by])).toEqual([['admit', undefined, undefined], ['dispatch', undefined, undefined], ['dispatch', 'draft', undefined], ['dispatch', 'check', undefined], ['commit', undefined, undefined]]);
  expect(await dispatchesOf(entry.workflowId)).toBe(3);
  const [record] = (await line.brain.lineage('demo', entry.taskId)).filter((one) => one.record.kind === 'decision');
  expect(record?.record).toMatchObject({ verdicts: [{}, {}, { step: 'draft' }, { step: 'check' }, {}] });
}, 120_000);

test('steps - tasks that arrive together walk together: a group makes a round for each step and nobody leaves', async () => {
  const gate = start('gate');
  const group = await Promise.all(['a', 'b', 'c', 'd'].map(start));
  await end((await gate).entry.taskId);
  const results = await Promise.all(group.map(({ entry }) => end(entry.taskId)));
  expect(results.map((one) => one?.output)).toEqual(['a', 'b', 'c', 'd'].map((text) => ({ text: `model: model: ${text}`, confidence: 0.95 })));
  for (const one of results) expect(one?.verdicts.filter(({ step }) => step !== undefined)).toHaveLength(2);
}, 120_000);
