// Records the kept histories: `npx node --conditions=aios-source test/replay/record.ts`, on real servers, after a deliberate
// change of the workflows' commands (keep the old file too when running workflows must survive the change).
// Owns: which runs are kept. Never runs in a test. Others may assume: one file a run, named after what happened in it.

import { writeFile } from 'node:fs/promises';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import type { TaskResult } from '../../contracts/task.ts';
import { startLine, type Line } from '../servers/line.ts';

await using line = await startLine();
const { tasks, temporal } = line.brain;

const start = async (text: string, over: Parameters<Line['request']>[1] = {}, more: Parameters<Line['request']>[2] = {}): Promise<string> => (await tasks.start(line.request(text, over, more))).entry.taskId;
const end = async (taskId: string): Promise<TaskResult | undefined> => tasks.result('demo', taskId, 60_000);
const keep = async (name: string, workflowId: string): Promise<void> => {
  if (!workflowId.startsWith('approval/')) await temporal.client.workflow.getHandle(workflowId).result().catch(() => undefined);
  const history = await temporal.client.workflow.getHandle(workflowId).fetchHistory();
  await writeFile(new URL(`./histories/${name}.json`, import.meta.url), `${JSON.stringify({ workflowId, history: JSON.parse(historyToJSON(history)) as unknown }, undefined, 1)}\n`);
};
const waits = async (taskId: string): Promise<void> => {
  for (let i = 0; i < 400; i++) {
    if ((await tasks.view('demo', taskId)).waiting !== undefined) return;
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
  throw new Error(`${taskId} does not wait`);
};

const fast = await start('fast');
await end(fast);
await keep('fast', `line.work/${fast}`);

const slow = await start('slow', { ms: 2_500 });
await end(slow);
await keep('slow', `line.work/${slow}`);

const gate = start('gate', { ms: 200 });
const members = await Promise.all([line.request('one'), line.request('unsure', { mode: 'unsure' }), line.request('late', { ms: 3_000 })].map((request) => tasks.start(request)));
await end(await gate);
await end(members[0]?.entry.taskId ?? '');
await keep('group-with-leavers', members[0]?.entry.workflowId ?? '');
const unsure = members[1]?.entry.taskId ?? '';
await waits(unsure);
await tasks.decide('demo', unsure, { decision: 'approve', by: 'mallory' });
await tasks.decide('demo', unsure, { decision: 'approve', by: 'ana' });
await end(unsure);
await keep('leaver-approved', `line.work/${unsure}`);
await keep('approval-decided', `approval/${unsure}`);

const ladder = await start('down', { mode: 'fail' });
await waits(ladder);
await tasks.decide('demo', ladder, { decision: 'reject', by: 'olga', reason: 'no' });
await end(ladder);
await keep('ladder-to-a-person', `line.work/${ladder}`);

const hasty = await start('hasty', { mode: 'hasty' });
await end(hasty);
await keep('approval-expired', `approval/${hasty}`);

const stop = await start('stop', { ms: 8_000 });
await new Promise((resolve) => { setTimeout(resolve, 2_500); });
await tasks.cancel('demo', stop, 'ana');
await end(stop);
await keep('cancelled', `line.work/${stop}`);

const walked = await start('walked', {}, { capability: 'line.plan' });
await end(walked);
await keep('steps-came-back', `line.plan/${walked}`);
