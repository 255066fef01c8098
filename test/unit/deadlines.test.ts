// Deadlines of many calls on one timer: never early, never lost, never called twice, and no timer left behind.
// Owns: behaviour tests of agents/runtime/deadlines. Uses a clock that is moved by hand. Others may assume: no real time passes.

import { expect, test } from 'vitest';
import { createDeadlines } from '../../agents/runtime/deadlines.ts';
import { createSimulatedClock } from '../kit/clock.ts';

test('deadlines - run in the order of their time, none early, each at most a bucket late', async () => {
  const clock = createSimulatedClock();
  const deadlines = createDeadlines(clock);
  const started = clock.monotonic();
  const seen: [number, number][] = [];
  for (const ms of [500, 3, 40, 41, 2_000, 0]) deadlines.after(ms, () => seen.push([ms, clock.monotonic() - started]));
  await clock.advance(3_000);
  expect(seen.map(([ms]) => ms)).toEqual([0, 3, 40, 41, 500, 2_000]);
  for (const [ms, at] of seen) {
    expect(at).toBeGreaterThanOrEqual(ms);
    expect(at).toBeLessThanOrEqual(ms + 9);
  }
  expect(deadlines.size).toBe(0);
});

test('deadlines - what is cancelled never runs, not even by what falls due beside it', async () => {
  const clock = createSimulatedClock();
  const deadlines = createDeadlines(clock);
  const seen: string[] = [];
  const second = { due: deadlines.after(1, () => seen.push('gone')) };
  deadlines.cancel(second.due);
  deadlines.after(20, () => {
    seen.push('first');
    deadlines.cancel(third);
    deadlines.after(5, () => seen.push('later'));
  });
  const third = deadlines.after(20, () => seen.push('third'));
  await clock.advance(1_000);
  expect(seen).toEqual(['first', 'later']);
  expect(deadlines.size).toBe(0);
});
