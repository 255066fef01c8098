// One trace a task: the id that a client sends, or the API begins, is on a span of every process that works for it.
// Owns: the proof over the whole shipped system, from the lines that AIOS_TRACES=console writes.
// Never looks at how the id travels; only that each span's parent is a span of the same trace.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Desk, type LogLine, type Part, shippedTicket, startDesk, until } from './desk.ts';

const PARTS: readonly Part[] = ['brain', 'agents', 'gateway', 'model-worker'];
const CLIENT = { trace: '4bf92f3577b34da6a3ce929d0e0e4736', span: '00f067aa0ba902b7' };

let desk: Desk;
beforeAll(async () => {
  desk = await startDesk('trace', { AIOS_TRACES: 'console' });
});
afterAll(() => desk?.[Symbol.asyncDispose]());

type Span = LogLine & { readonly part: Part };

async function spans(): Promise<readonly Span[]> {
  const all = await Promise.all(PARTS.map(async (part) => (await desk.lines(part)).filter(({ msg }) => msg === 'span').map((line) => ({ ...line, part }))));
  return all.flat();
}

/** Spans of one trace, once the last of them, the settlement, has ended. */
const spansOf = (trace: () => Promise<unknown>): Promise<readonly Span[]> => until('the span of the settlement', async () => {
  const id = await trace();
  const mine = (await spans()).filter((span) => span['trace'] === id);
  return mine.some(({ name }) => name === 'settle') && mine.some(({ name }) => name === 'start task') ? mine : undefined;
});

const names = (seen: readonly Span[], part: Part): readonly unknown[] => seen.filter((span) => span.part === part).map((span) => span['name']);

test('trace - the trace id of a client is that of every span of its task, down to the model worker', async () => {
  const ticket = await shippedTicket('T-040');
  await desk.finished(await desk.start(ticket, { traceparent: `00-${CLIENT.trace}-${CLIENT.span}-01` }));
  const seen = await spansOf(async () => CLIENT.trace);

  expect(names(seen, 'brain')).toEqual(expect.arrayContaining(['start task', 'dispatch', 'settle']));
  expect(names(seen, 'agents')).toEqual(expect.arrayContaining(['agent.turn', 'agent.ask', 'agent.serve']));
  expect(names(seen, 'gateway')).toEqual(expect.arrayContaining(['gateway text.classify', 'gateway records.find']));
  expect(names(seen, 'model-worker')).toEqual(expect.arrayContaining(['model classify']));
  const known = new Set([CLIENT.span, ...seen.map((span) => span['span'])]);
  expect(seen.filter((span) => !known.has(span['parent'] as string)), 'spans whose parent is nowhere').toEqual([]);
});

test('trace - a client that sends none gets one all the same, and another than the client before', async () => {
  const ticket = await shippedTicket('T-028');
  const task = await desk.start(ticket);
  await desk.finished(task);
  const traceOfTurn = async (): Promise<unknown> => (await spans()).find((span) => span['name'] === 'agent.turn' && (span['attributes'] as Record<string, unknown>)['aios.task'] === task)?.['trace'];
  const seen = await spansOf(traceOfTurn);
  expect(new Set(seen.map(({ part }) => part))).toEqual(new Set(PARTS));
  expect(seen[0]?.['trace']).not.toBe(CLIENT.trace);
});

test('trace - nothing that happened on the way went beyond the rights of the host that did it', async () => {
  expect(await readFile(join(desk.config.home, 'nats', 'nats.log'), 'utf8')).not.toContain('Violation');
});
