// Kept histories against the workflows as they are now, without a server: a change that running workflows cannot survive fails here.
// Owns: the replay and the proof that it notices. Recording is record.ts.
// Others may assume: every file in histories/ is replayed, and a reordered command is refused.

import { readdir, readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { DeterminismViolationError } from '@temporalio/workflow';
import { Worker, type WorkflowBundleWithSourceMap } from '@temporalio/worker';
import { workflowBundle } from '../../infra/temporal/worker.ts';

interface Kept { readonly workflowId: string; readonly history: { events: Record<string, unknown>[] } }
const folder = new URL('./histories/', import.meta.url);
const names = (await readdir(folder)).filter((name) => name.endsWith('.json')).sort();
const read = async (name: string): Promise<Kept> => JSON.parse(await readFile(new URL(name, folder), 'utf8')) as Kept;

let bundle: WorkflowBundleWithSourceMap;
beforeAll(async () => {
  bundle = (await workflowBundle(new URL('../../workflows/index.ts', import.meta.url), undefined)) as WorkflowBundleWithSourceMap;
}, 60_000);
const replay = (kept: Kept) => Worker.runReplayHistory({ workflowBundle: bundle }, kept.history, kept.workflowId);
const markers = (kept: Kept): number[] => kept.history.events.flatMap((event, i) => ('markerRecordedEventAttributes' in event ? [i] : []));

describe('replay', () => {
  test('replay - the kept histories cover every lane and end', () => {
    expect(names).toEqual(['approval-decided.json', 'approval-expired.json', 'cancelled.json', 'fast.json', 'group-with-leavers.json', 'ladder-to-a-person.json', 'leaver-approved.json', 'slow.json', 'steps-came-back.json']);
  });

  for (const name of names) {
    test(`replay - ${name} makes the same decisions`, async () => {
      await replay(await read(name));
    });
  }

  test('replay - a reordered command is noticed', async () => {
    const kept = await read('fast.json');
    const [first = 0, second = 0] = markers(kept);
    const events = [...kept.history.events];
    const swap = (from: number, to: number): Record<string, unknown> => ({ ...events[to], markerRecordedEventAttributes: events[from]?.['markerRecordedEventAttributes'] });
    const reordered = [...events];
    reordered[first] = swap(second, first);
    reordered[second] = swap(first, second);
    await expect(replay({ ...kept, history: { events: reordered } })).rejects.toSatisfy((thrown) => (thrown as Error).name === DeterminismViolationError.name);
  });

  test('replay - a command that is missing is noticed', async () => {
    const kept = await read('slow.json');
    const at = kept.history.events.findIndex((event) => 'activityTaskScheduledEventAttributes' in event);
    const events = kept.history.events.map((event, i) => (i === at ? { ...event, activityTaskScheduledEventAttributes: { ...(event['activityTaskScheduledEventAttributes'] as object), activityType: { name: 'somethingElse' } } } : event));
    await expect(replay({ ...kept, history: { events } })).rejects.toSatisfy((thrown) => (thrown as Error).name === DeterminismViolationError.name);
  });
});
