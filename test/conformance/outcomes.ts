// Conformance of the Outcomes port: answers of dispatches, heard at once and kept for who comes later.
// Owns: what the two lanes of a task rest on. Others may assume: an outcome that was published is found, and no durable reader misses it.

import { describe, expect, it } from 'vitest';
import type { Outcome } from '../../contracts/message.ts';
import type { Outcomes } from '../../contracts/ports.ts';
import { type MakePair, pause, unique, uniqueTask, uniqueTenant, until } from './shared.ts';

const outcomeOf = (tenant: string, task: string, id: string, output: unknown = { ok: true }): Outcome => ({ v: 1, status: 'done', id, task, tenant, output, receipts: [], costMicroUsd: 3 });

export function describeOutcomes(name: string, make: MakePair<Outcomes>): void {
  describe(`outcomes (${name})`, () => {
    it('wait - hears the outcome of its own envelope and no other of the task', async () => {
      await using pair = await make();
      const [tenant, task] = [uniqueTenant(), uniqueTask()];
      const [mine, other] = [unique('envelope-mine'), unique('envelope-other')];
      const waiting = pair.first.wait(tenant, task, mine, 5_000);
      await pause(50);
      await pair.second.publish(outcomeOf(tenant, task, other));
      await pair.second.publish(outcomeOf(tenant, task, mine, { answer: 1 }));
      expect(await waiting).toEqual(outcomeOf(tenant, task, mine, { answer: 1 }));
    });

    it('wait - ends empty after its time, and early when told to', async () => {
      await using pair = await make();
      const [tenant, task] = [uniqueTenant(), uniqueTask()];
      expect(await pair.first.wait(tenant, task, unique('envelope-none'), 100)).toBeUndefined();
      const stop = new AbortController();
      const started = Date.now();
      const waiting = pair.first.wait(tenant, task, unique('envelope-none'), 10_000, stop.signal);
      await pause(20);
      stop.abort();
      expect(await waiting).toBeUndefined();
      expect(Date.now() - started).toBeLessThan(5_000);
    });

    it('find - brings what was published before anybody asked', async () => {
      await using pair = await make();
      const [tenant, task, id] = [uniqueTenant(), uniqueTask(), unique('envelope-kept')];
      expect(await pair.second.find(tenant, task, id)).toBeUndefined();
      await pair.first.publish(outcomeOf(tenant, task, id));
      await pair.first.publish(outcomeOf(tenant, task, unique('envelope-later')));
      expect(await pair.second.find(tenant, task, id)).toEqual(outcomeOf(tenant, task, id));
      expect(await pair.second.find(uniqueTenant(), task, id)).toBeUndefined();
    });

    it('publish - the same outcome twice is found once and the same', async () => {
      await using pair = await make();
      const [tenant, task, id] = [uniqueTenant(), uniqueTask(), unique('envelope-twice')];
      await pair.first.publish(outcomeOf(tenant, task, id));
      await pair.second.publish(outcomeOf(tenant, task, id));
      expect(await pair.first.find(tenant, task, id)).toEqual(outcomeOf(tenant, task, id));
    });

    it('consume - hears every outcome at least once, again when its handler failed', async () => {
      await using pair = await make();
      const [tenant, task] = [uniqueTenant(), uniqueTask()];
      const ids = ['a', 'b', 'c'].map((part) => unique(`envelope-${part}`));
      const heard: string[] = [];
      let failures = 0;
      await pair.first.publish(outcomeOf(tenant, task, ids[0] ?? ''));
      await using _ = await pair.second.consume(unique('reader'), async (outcome) => {
        if (outcome.tenant !== tenant) return;
        if (outcome.id === ids[1] && failures++ === 0) throw new Error('once');
        heard.push(outcome.id);
      });
      await pair.first.publish(outcomeOf(tenant, task, ids[1] ?? ''));
      await pair.first.publish(outcomeOf(tenant, task, ids[2] ?? ''));
      await until(() => new Set(heard).size === 3, 30_000);
      expect([...new Set(heard)].sort()).toEqual([...ids].sort());
    });
  });
}
