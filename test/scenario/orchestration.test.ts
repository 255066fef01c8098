// One definition of the support desk, orchestrated in three ways, over the whole shipped system: same answers, same lineage.
// Owns: the proof that who walks a team's steps changes neither what a customer hears nor what an auditor reads, only
// who gave each verdict, when, and in how many dispatches. Never compares times, ids or costs.
// Others may assume: the system of record is put back between the runs, so every way starts from the same books.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { ORCHESTRATIONS, type Orchestration } from '../../contracts/capability.ts';
import type { TaskResult } from '../../contracts/task.ts';
import { type Client, connect } from '../../infra/client/client.ts';
import { type LineageNode, normalise } from '../../infra/lineage/lineage.ts';
import { type Desk, shippedTicket, startDesk, until } from './desk.ts';
import { indexArticles, orchestrate, readBooks, writeBooks } from './ways.ts';

/** Three asked for information, then: refunded, moved, refused, waiting for billing, and waiting before any step was taken. */
const INFORMED = ['T-302', 'T-097', 'T-031'] as const;
const TICKETS = [...INFORMED, 'T-005', 'T-077', 'T-010', 'T-137', 'T-029'] as const;
const EFFECTS: ReadonlySet<string> = new Set(['T-005', 'T-077', 'T-010', 'T-137']);
interface Seen {
  readonly result: TaskResult;
  readonly lineage: unknown;
}
type Run = ReadonlyMap<string, Seen>;

let desk: Desk;
let ana: Client;
const runs = new Map<Orchestration, Run>();

beforeAll(async () => {
  // An int8 encoder scales a batch as a whole, so company would change the last digits of a vector, and with them a rank.
  desk = await startDesk('orchestration', { AIOS_MODEL_BATCH_MAX: '1' });
  ana = connect({ url: desk.system.endpoints.api, key: desk.system.keys.ana ?? '' });
  await indexArticles(desk.system.operator);
  const books = readBooks(desk.db);
  for (const way of ORCHESTRATIONS) {
    await orchestrate(way, desk.system.operator, desk.client, desk.config.home);
    runs.set(way, await runAll());
    writeBooks(desk.db, books);
  }
}, 400_000);
afterAll(() => desk?.[Symbol.asyncDispose]());

const runOf = (way: Orchestration): Run => runs.get(way) ?? new Map();
const resultOf = (way: Orchestration, ticket: string): TaskResult => runOf(way).get(ticket)?.result as TaskResult;
const turnsOf = ({ receipts }: TaskResult): number => receipts.filter((one) => one.kind === 'turn' && one.capability === 'support.answer').length;
const stepsOf = ({ verdicts }: TaskResult, by: 'team' | undefined): readonly (string | undefined)[] => verdicts.filter((one) => one.step !== undefined && one.by === by).map(({ step }) => step);

test('orchestration - the desk gives the same answers, refusals and effects in all three ways', () => {
  const said = (way: Orchestration) => TICKETS.map((id) => {
    const { state, output, error, effect, degraded, rung } = resultOf(way, id);
    return { id, state, output, error, effect: effect === undefined ? undefined : { kind: effect.kind, key: effect.key, applied: effect.applied }, degraded, rung };
  });
  expect(said('distributed').slice(INFORMED.length).map(({ id, state }) => `${id} ${state}`)).toEqual(['T-005 done', 'T-077 done', 'T-010 refused', 'T-137 refused', 'T-029 refused']);
  expect(said('distributed').slice(0, INFORMED.length).map(({ state }) => state)).toContain('done');
  expect(said('distributed').filter(({ effect }) => effect?.applied === true)).toHaveLength(2);
  expect(said('centralised')).toEqual(said('distributed'));
  expect(said('hybrid')).toEqual(said('distributed'));
});

test('orchestration - the normalised lineage is the same in all three ways, with a verdict on every step', () => {
  for (const id of TICKETS) {
    const lineage = runOf('distributed').get(id)?.lineage;
    expect(runOf('centralised').get(id)?.lineage, id).toEqual(lineage);
    expect(runOf('hybrid').get(id)?.lineage, id).toEqual(lineage);
  }
  const lines = JSON.stringify(runOf('hybrid').get('T-005')?.lineage);
  for (const step of ['triage', 'effect']) expect(lines).toContain(`\\"step\\":\\"${step}\\"`);
  expect(JSON.stringify(runOf('hybrid').get(INFORMED[0])?.lineage)).toContain('\\"kind\\":\\"fragment\\"');
});

test('orchestration - centralised: the brain gives a verdict before each step, and each is a dispatch of its own', () => {
  expect(stepsOf(resultOf('centralised', INFORMED[0]), undefined)).toEqual(['triage', 'retrieve', 'answer']);
  expect(turnsOf(resultOf('centralised', INFORMED[0]))).toBe(4);
  for (const id of TICKETS) expect(stepsOf(resultOf('centralised', id), 'team'), id).toEqual([]);
});

test('orchestration - distributed: one dispatch, and every verdict on a step is the team\'s', () => {
  for (const id of TICKETS) {
    expect(turnsOf(resultOf('distributed', id)), id).toBe(1);
    expect(stepsOf(resultOf('distributed', id), undefined), id).toEqual([]);
  }
  expect(stepsOf(resultOf('distributed', 'T-005'), 'team')).toEqual(['triage', 'effect']);
});

test('orchestration - hybrid: one dispatch, and only the step that policy names comes back', () => {
  for (const id of TICKETS) {
    expect(stepsOf(resultOf('hybrid', id), undefined), id).toEqual(EFFECTS.has(id) ? ['effect'] : []);
    expect(turnsOf(resultOf('hybrid', id)), id).toBe(EFFECTS.has(id) ? 2 : 1);
  }
});

/** One after the other: on a busy machine each has the encoder for itself, and its deadline holds. */
async function runAll(): Promise<Run> {
  const run = new Map<string, Seen>();
  for (const id of TICKETS) run.set(id, await seen(id));
  return run;
}

/** A ticket that fell down the ladder because the machine was busy is asked again: this is not about load. */
async function seen(id: string): Promise<Seen> {
  for (let tries = 1; ; tries++) {
    const task = await desk.start(await shippedTicket(id));
    const result = await endOf(task);
    if (result.degraded.length === 0 || tries === 5) return { result, lineage: normalise((await desk.client.lineage(task)) as LineageNode) };
  }
}

/** Who waits for a person is told no: what matters is how it came to wait. */
async function endOf(task: string): Promise<TaskResult> {
  const rejected = new Set<string>();
  return until(`the end of ${task}`, async () => {
    const { result, waiting } = await desk.client.view(task);
    if (waiting !== undefined && !rejected.has(waiting.workflowId)) {
      rejected.add(waiting.workflowId);
      await ana.decide(task, { decision: 'reject', reason: 'not now' });
    }
    return result as TaskResult | undefined;
  });
}
