// The parts of the demonstration run that need no system: tickets, batch, summary, progress.
// Owns: the accounting (every ticket has exactly one row) and the report of bad lines.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { fail } from '../../../contracts/errors.ts';
import type { TaskView } from '../../../contracts/ports.ts';
import type { Client, Result, Started } from '../../../infra/client/client.ts';
import { runBatch } from '../../../infra/dev/batch.ts';
import { createProgress } from '../../../infra/dev/progress.ts';
import { percentile, summarise, summaryWords } from '../../../infra/dev/summary.ts';
import { readTickets } from '../../../infra/dev/tickets.ts';

async function file(name: string, content: string | Buffer): Promise<AsyncDisposable & { path: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'aios-run-'));
  const path = join(folder, name);
  await writeFile(path, content);
  return { path, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
}

const LINES = ['{"id":"a","customer":"c-1","text":"How?","expected":{"any":"thing"}}', '{"id":"b"', '{"id":"c","customer":"c-1","text":""}', '', '{"id":"a","customer":"c-2","text":"again"}', '{"id":7,"customer":8,"text":"numbers"}', '[]'].join('\n');

test('tickets - bad lines are reported by number and skipped', async () => {
  await using at = await file('t.jsonl', LINES);
  const { tickets, bad } = await readTickets(at.path);
  expect(tickets.map(({ id, customer }) => [id, customer])).toEqual([['a', 'c-1'], ['7', '8']]);
  expect(bad.map(({ line }) => line)).toEqual([2, 3, 5, 7]);
  expect(bad[2]?.reason).toContain('earlier line');
});

test('tickets - read from gzip, up to a limit, some ids only', async () => {
  await using at = await file('t.jsonl.gz', gzipSync([0, 1, 2].map((i) => JSON.stringify({ id: `${i}`, customer: 'c', text: 'x' })).join('\n')));
  expect((await readTickets(at.path, { only: new Set(['1', '2']) })).tickets.map(({ id }) => id)).toEqual(['1', '2']);
  expect((await readTickets(at.path, { limit: 1 })).tickets.length).toBe(1);
});

test('tickets - a file that is not there is a setting to correct', async () => {
  await expect(readTickets('/nowhere/t.jsonl')).rejects.toMatchObject({ code: 'AIOS_CONFIG_INVALID' });
});

const result = (taskId: string, state: Result['state'], more: Partial<Result> = {}): Result => ({ taskId, state, rung: 'model', degraded: [], verdicts: [], receipts: [], costMicroUsd: 10, ...more });
const entry = (taskId: string) => ({ taskId, tenant: 'a', capability: 'c', principal: 'p', key: 'k', inputDigest: 'd', workflowId: `c/${taskId}`, acceptedAt: 0, summary: '' });

const never = (): never => { throw new Error('not part of a batch'); };

/** A client whose tickets end as their text says. */
function scripted(): Client {
  const views = new Map<string, TaskView>();
  const start = async (_capability: unknown, input: unknown): Promise<Started> => {
    const { id, text } = input as { id: string; text: string };
    if (text === 'explodes') throw fail('AIOS_DISCONNECTED');
    if (text === 'denied') throw fail('AIOS_BUDGET_EXCEEDED');
    const base = { taskId: id, workflowId: `c/${id}`, replayed: false };
    if (text === 'waits') views.set(id, { entry: entry(id), state: 'waiting', waiting: { approvers: 'g', quorum: 1, expiresAt: 1, workflowId: `approval/${id}`, card: '', json: '{}', facts: { intent: 'x.y', confidenceBp: 4_000 }, reason: 'unsure' } });
    else if (text === 'slow') views.set(id, { entry: entry(id), state: 'running' });
    else return { ...base, result: text === 'refused' ? result(id, 'refused', { error: { code: 'AIOS_POLICY_DENIED', message: 'no' } }) : result(id, 'done', { output: { text: 'An answer.', groundedness: 0.9, confidence: 0.8, intent: 'a.b', citations: [{ document: 'd' }] } }) };
    return base;
  };
  return { start: start as Client['start'], view: async (id) => views.get(id) ?? never(), wait: async () => { throw fail('AIOS_DEADLINE_EXCEEDED'); }, run: never, watch: never, cancel: never, decide: never, list: never, lineage: never, capabilities: never, get budget() { return never(); } };
}

test('batch - every ticket gives exactly one row, in order, whatever becomes of it', async () => {
  const texts = ['fine', 'waits', 'refused', 'explodes', 'denied', 'slow'];
  const tickets = texts.map((text) => ({ id: `t-${text}`, customer: 'c', text }));
  let most = 0;
  const rows = await runBatch({ client: scripted(), capability: 'c.d', tickets, inputOf: (ticket) => ticket, keyOf: ({ id }) => id, inFlightMax: 3, ticketMsMax: 100, onRow: (_row, done) => { most = Math.max(most, done); } });
  expect(rows.map(({ id, status }) => [id, status])).toEqual(texts.map((text, i) => [`t-${text}`, ['answered', 'waiting', 'refused', 'failed', 'refused', 'failed'][i]]));
  expect(most).toBe(texts.length);
  expect(rows[1]).toMatchObject({ intent: 'x.y', confidence: 0.4, reason: 'unsure', waiting: { workflowId: 'approval/t-waits' } });
  expect(rows[3]?.reason).toContain('AIOS_DISCONNECTED');
  const summary = summarise(rows, 1234.5);
  expect(summary).toMatchObject({ tickets: 6, answered: 1, waiting: 1, refused: 2, failed: 2, costMicroUsd: 20, groundedness: 0.9, firstResultMs: 1235 });
  expect(summary.answered + summary.waiting + summary.refused + summary.failed).toBe(summary.tickets);
  expect(summaryWords(summary)).toContain('waiting for a person       1   16.7 %');
});

test('batch - stops taking tickets when asked, and keeps the rows of those begun', async () => {
  const asked = new AbortController();
  const tickets = Array.from({ length: 50 }, (_, i) => ({ id: `${i}`, customer: 'c', text: 'fine' }));
  const rows = await runBatch({ client: scripted(), capability: 'c.d', tickets, inputOf: (ticket) => ticket, keyOf: ({ id }) => id, inFlightMax: 2, signal: asked.signal, onRow: (_row, done) => { if (done === 5) asked.abort(); } });
  expect(rows.length).toBeGreaterThanOrEqual(5);
  expect(rows.length).toBeLessThan(10);
});

test('summary - percentiles are nearest rank, an empty batch is all zeros', () => {
  expect([percentile([1, 2, 3, 4], 0.5), percentile([1, 2, 3, 4], 0.95), percentile([], 0.5)]).toEqual([2, 4, 0]);
  expect(summarise([], null)).toEqual({ tickets: 0, answered: 0, waiting: 0, refused: 0, failed: 0, p50Ms: 0, p95Ms: 0, costMicroUsd: 0, groundedness: null, firstResultMs: null });
});

test('progress - a log gets a bounded number of lines, a terminal one live line', () => {
  const row = { id: '1', status: 'answered' as const, intent: null, confidence: null, text: null, citations: [], groundedness: null, effect: null, reason: null, costMicroUsd: 0, latencyMs: 5, taskId: null };
  const lines: string[] = [];
  const log = createProgress({ write: (text) => lines.push(text), terminal: false });
  for (let done = 1; done <= 200; done++) log.row(row, done, 200);
  expect(lines.length).toBeLessThanOrEqual(11);
  expect(lines.at(-1)).toContain('200/200  answered 200');
  const screen: string[] = [];
  const live = createProgress({ write: (text) => screen.push(text), terminal: true });
  live.row(row, 1, 2);
  live.note('a word');
  live.end();
  expect(screen.join('')).toContain('a word\n[############............] 1/2');
});
