// The group former in memory: who shares a start with whom, bounds, fairness, and that nobody is lost.
// Owns: the former alone; the clock is simulated. Others may assume: no test waits for real time.

import { describe, expect, test } from 'vitest';
import type { TaskMember } from '../../../contracts/task.ts';
import { createGroupFormer, type FormedGroup } from '../../../infra/temporal/group-former.ts';
import { createSimulatedClock } from '../../kit/clock.ts';

const member = (taskId: string): TaskMember => ({ taskId, key: taskId, principal: { id: 'p', type: 'user', tenant: 'red', roles: [] }, input: {}, acceptedAt: 0, deadline: 1 });
const settle = async (): Promise<void> => { for (let i = 0; i < 20; i++) await Promise.resolve(); };

function bench(over: Partial<Parameters<typeof createGroupFormer>[0]> = {}) {
  const launched: (FormedGroup & { release: () => void })[] = [];
  const clock = createSimulatedClock();
  let ids = 0;
  const former = createGroupFormer({ clock, lingerMsMax: 0, groupId: () => `g${++ids}`, launch: async (group, release) => { launched.push({ ...group, release }); }, ...over });
  const join = (taskId: string, tenant = 'red', capability = 'a.b', bytes = 10) => {
    const place = former.reserve(tenant, capability, taskId, bytes);
    return { place, started: place.fill(member(taskId)) };
  };
  return { former, launched, join, clock };
}

describe('group former', () => {
  test('group former - idle, a task starts alone and at once under its own id', async () => {
    const { launched, join } = bench();
    await join('t-1').started;
    expect(launched).toMatchObject([{ workflowId: 'a.b/t-1', members: [{ taskId: 't-1' }] }]);
  });

  test('group former - what arrives while one is in flight forms the next group, and only then', async () => {
    const { launched, join } = bench();
    await join('t-1').started;
    const waiting = ['t-2', 't-3', 't-4'].map((id) => join(id));
    await settle();
    expect(launched.length).toBe(1);
    launched[0]?.release();
    await Promise.all(waiting.map((one) => one.started));
    expect(launched[1]).toMatchObject({ workflowId: 'a.b/group-g1', members: [{ taskId: 't-2' }, { taskId: 't-3' }, { taskId: 't-4' }] });
  });

  test('group former - a group that turned out to be one task goes under the task id, and says what was claimed', async () => {
    const { launched, join } = bench();
    await join('t-1').started;
    const two = join('t-2');
    launched[0]?.release();
    await two.started;
    expect(launched[1]).toMatchObject({ workflowId: 'a.b/t-2', claimedAs: 'a.b/group-g1' });
  });

  test('group former - a start waits for places that are still being claimed, and forgets those that are left', async () => {
    const { former, launched, join } = bench();
    await join('t-1').started;
    const undecided = former.reserve('red', 'a.b', 't-2', 10);
    const three = join('t-3');
    launched[0]?.release();
    await settle();
    expect(launched.length).toBe(1);
    undecided.leave();
    await three.started;
    expect(launched[1]?.members.map((one) => one.taskId)).toEqual(['t-3']);
  });

  test('group former - size and bytes are capped', async () => {
    const { launched, join } = bench({ tasksMax: 2, bytesMax: 100 });
    await join('t-0').started;
    for (const [id, bytes] of [['t-1', 10], ['t-2', 10], ['t-3', 90], ['t-4', 50]] as const) join(id, 'red', 'a.b', bytes);
    for (let i = 0; i < 4; i++) {
      launched.at(-1)?.release();
      await settle();
    }
    expect(launched.map((group) => group.members.map((one) => one.taskId))).toEqual([['t-0'], ['t-1', 't-2'], ['t-3'], ['t-4']]);
    expect(() => join('t-5', 'red', 'a.b', 101)).toThrow(expect.objectContaining({ code: 'AIOS_INPUT_TOO_LARGE' }) as Error);
  });

  test('group former - past its bound it refuses with a time to wait', async () => {
    const { join } = bench({ tasksMax: 1, groupsMax: 2 });
    await join('t-0').started;
    join('t-1');
    join('t-2');
    expect(() => join('t-3')).toThrow(expect.objectContaining({ code: 'AIOS_OVERLOADED', retryAfterMs: expect.any(Number) as number }) as Error);
  });

  test('group former - tenants and capabilities never share a group', async () => {
    const { launched, join } = bench();
    for (const tenant of ['red', 'blue']) for (const capability of ['a.b', 'c.d']) await join('first', tenant, capability).started;
    for (const tenant of ['red', 'blue']) for (const capability of ['a.b', 'c.d']) for (const id of ['x', 'y']) join(id, tenant, capability);
    for (const group of launched.slice(0, 4)) group.release();
    await settle();
    expect(launched.slice(4).map((group) => `${group.tenant} ${group.capability} ${group.members.length}`).sort()).toEqual(['blue a.b 2', 'blue c.d 2', 'red a.b 2', 'red c.d 2']);
  });

  test('group former - a tenant with many busy capabilities does not keep another from its turn', async () => {
    const { launched, join } = bench({ inFlightMax: 1 });
    await join('t-0', 'loud', 'a.a').started;
    for (const capability of ['a.b', 'a.c', 'a.d', 'a.e']) join(capability, 'loud', capability);
    join('quiet-1', 'quiet', 'a.b');
    launched[0]?.release();
    await settle();
    launched[1]?.release();
    await settle();
    expect(launched.slice(1, 3).map((group) => group.tenant)).toEqual(['loud', 'quiet']);
  });

  test('group former - a failed start fails its members and lets the next group go', async () => {
    let fail = true;
    const { join, former } = bench({ launch: async () => { if (fail) throw new Error('no'); } });
    const one = join('t-1');
    await expect(one.started).rejects.toThrow('no');
    fail = false;
    await join('t-2').started;
    expect(former.waiting).toBe(0);
  });

  test('group former - a group that nobody releases holds its key for a bounded time only', async () => {
    const { launched, join, clock } = bench({ holdMsMax: 2_500 });
    await join('t-1').started;
    const two = join('t-2');
    await clock.advance(2_501);
    await two.started;
    expect(launched.length).toBe(2);
  });

  test('group former - after a shared group the next one lingers until as many are back, and they leave together', async () => {
    const { launched, join, clock } = bench({ lingerMsMax: 50 });
    await join('t-0').started;
    for (const id of ['t-1', 't-2', 't-3']) join(id);
    launched[0]?.release();
    await settle();
    expect(launched.length).toBe(1);
    join('t-4');
    await settle();
    expect(launched[1]?.members.map((one) => one.taskId)).toEqual(['t-1', 't-2', 't-3', 't-4']);
    launched[1]?.release();
    const back = ['t-5', 't-6', 't-7', 't-8'].map((id) => join(id));
    await Promise.all(back.map((one) => one.started));
    expect(launched[2]?.members.length).toBe(4);
    expect(clock.pending).toBe(1);
  });

  test('group former - it lingers no longer than newcomers come, and a bounded time in all', async () => {
    const { launched, join, clock } = bench({ lingerMsMax: 20 });
    await join('t-0').started;
    for (let i = 1; i <= 40; i++) join(`t-${i}`);
    launched[0]?.release();
    await clock.advance(10);
    expect(launched[1]?.members.length).toBe(40);
    launched[1]?.release();
    const first = join('t-41');
    for (let i = 42; launched.length < 3 && i < 60; i++) {
      await clock.advance(3);
      join(`t-${i}`);
    }
    await first.started;
    expect(launched[2]?.members.map((one) => one.taskId)).toEqual(['t-41', 't-42', 't-43', 't-44', 't-45', 't-46', 't-47']);
  });

  test('group former - who comes one after the other never lingers', async () => {
    const { launched, join, clock } = bench({ lingerMsMax: 50 });
    for (const id of ['t-0', 't-1', 't-2']) {
      await join(id).started;
      launched.at(-1)?.release();
    }
    expect(launched.map((group) => group.workflowId)).toEqual(['a.b/t-0', 'a.b/t-1', 'a.b/t-2']);
    expect(clock.pending).toBe(0);
  });
});
