// The governed task on real Temporal and NATS: lanes, groups, leavers, approvals, cancellation, recovery.
// Owns: what only the real servers show. Never measures speed. Others may assume: each test uses its own tasks on one shared line.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { startLine, type Line } from './line.ts';

let line: Line;
beforeAll(async () => {
  line = await startLine();
});
afterAll(async () => {
  await line[Symbol.asyncDispose]();
});

test('fast lane - a task ends in one workflow task with its decision on record', async () => {
  const { entry } = await line.brain.tasks.start(line.request('hello'));
  const result = await line.brain.tasks.result('demo', entry.taskId, 10_000);
  expect(result).toMatchObject({ state: 'done', output: { text: 'model: hello', confidence: 0.95 }, rung: 'model', ledger: { log: 'brain-1' } });
});
