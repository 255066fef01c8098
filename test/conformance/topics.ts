// Conformance of the Topics port: events that every group gets, at least once, however long nobody of it was there.
// Owns: what the passing on of events relies on. Never tests speed.
// Others may assume: topics that pass can carry events between agents. `perSubjectMax` is what the member was opened with.

import { describe, expect, it } from 'vitest';
import { subjects } from '../../contracts/address.ts';
import type { TenantId } from '../../contracts/ids.ts';
import type { MailboxDelivery, Topics } from '../../contracts/ports.ts';
import { bytesOf, type MakePair, pause, textOf, unique, uniqueTenant, until } from './shared.ts';

let topics = 0;
const run = (Date.now() % 46_656).toString(36);
const uniqueTopic = (): string => `suite.t${run}-${process.pid}-${topics++}`;
const on = (tenant: TenantId, topic: string): string => subjects.topic(tenant, topic);
const taking = (into: string[]) => async (delivery: MailboxDelivery): Promise<void> => {
  into.push(textOf(delivery.data) ?? '');
  await delivery.ack();
};

export function describeTopics(name: string, make: MakePair<Topics>, options: { readonly perSubjectMax: number }): void {
  describe(`topics (${name})`, () => {
    it('publish - every group gets every event of every tenant, in order; members of one group share', async () => {
      await using pair = await make();
      const topic = uniqueTopic();
      const [a, b] = [[], []] as [string[], string[]];
      await using _a1 = await pair.first.subscribe(topic, 'a', { inFlightMax: 1 }, taking(a));
      await using _a2 = await pair.second.subscribe(topic, 'a', { inFlightMax: 1 }, taking(a));
      await using _b = await pair.second.subscribe(topic, 'b', { inFlightMax: 1 }, taking(b));
      const tenants = [uniqueTenant(), uniqueTenant()];
      for (const n of [0, 1, 2, 3, 4, 5]) await pair.first.publish(on(tenants[n % 2] as TenantId, topic), bytesOf(String(n)), { messageId: unique('m') });
      await until(() => a.length >= 6 && b.length >= 6);
      await pause(100);
      expect(a.toSorted()).toEqual(['0', '1', '2', '3', '4', '5']);
      expect(b).toEqual(['0', '1', '2', '3', '4', '5']);
    });

    it('publish - another topic, and one that only begins alike, is not heard', async () => {
      await using pair = await make();
      const topic = uniqueTopic();
      const heard: string[] = [];
      await using _ = await pair.second.subscribe(topic, 'a', { inFlightMax: 4 }, taking(heard));
      const tenant = uniqueTenant();
      await pair.first.publish(on(tenant, `${topic}.more`), bytesOf('no'), { messageId: unique('m') });
      await pair.first.publish(on(tenant, topic), bytesOf('yes'), { messageId: unique('m') });
      await until(() => heard.length > 0);
      await pause(100);
      expect(heard).toEqual(['yes']);
    });

    it('publish - a second event of one id is told to be a duplicate and delivered once', async () => {
      await using pair = await make();
      const topic = uniqueTopic();
      const heard: string[] = [];
      await using _ = await pair.second.subscribe(topic, 'a', { inFlightMax: 4 }, taking(heard));
      const [subject, messageId] = [on(uniqueTenant(), topic), unique('m')];
      const first = await pair.first.publish(subject, bytesOf('x'), { messageId });
      const second = await pair.second.publish(subject, bytesOf('x'), { messageId });
      await until(() => heard.length > 0);
      await pause(100);
      expect([first.duplicate, second.duplicate, heard]).toEqual([false, true, ['x']]);
    });

    it('subscribe - a group keeps its place while nobody of it is there; one that comes later hears what comes later', async () => {
      await using pair = await make();
      const topic = uniqueTopic();
      const tenant = uniqueTenant();
      const [early, late] = [[], []] as [string[], string[]];
      const first = await pair.first.subscribe(topic, 'early', { inFlightMax: 4 }, taking(early));
      await first[Symbol.asyncDispose]();
      await pair.first.publish(on(tenant, topic), bytesOf('while-away'), { messageId: unique('m') });
      await using _l = await pair.second.subscribe(topic, 'late', { inFlightMax: 4 }, taking(late));
      await using _e = await pair.second.subscribe(topic, 'early', { inFlightMax: 4 }, taking(early));
      await pair.first.publish(on(tenant, topic), bytesOf('after'), { messageId: unique('m') });
      await until(() => early.length === 2 && late.length === 1);
      expect([early, late]).toEqual([['while-away', 'after'], ['after']]);
    });

    it('nak - brings the event back after its delay with a higher attempt; a handler that throws does too', async () => {
      await using pair = await make();
      const topic = uniqueTopic();
      const attempts: number[] = [];
      await using _ = await pair.second.subscribe(topic, 'a', { inFlightMax: 4 }, async (delivery) => {
        attempts.push(delivery.attempt);
        if (delivery.attempt < 3) delivery.nak(50);
        if (delivery.attempt === 2) throw new Error('second');
        if (delivery.attempt === 3) await delivery.ack();
      });
      await pair.first.publish(on(uniqueTenant(), topic), bytesOf('x'), { messageId: unique('m') });
      await until(() => attempts.length === 3);
      await pause(200);
      expect(attempts).toEqual([1, 2, 3]);
    });

    it('publish - a group that leaves its events unread makes the topic refuse, says when to come back, and forgets nothing', async () => {
      await using pair = await make();
      const topic = uniqueTopic();
      const subject = on(uniqueTenant(), topic);
      const heard: string[] = [];
      const asleep = await pair.second.subscribe(topic, 'a', { inFlightMax: 256 }, taking(heard));
      await asleep[Symbol.asyncDispose]();
      for (let sent = 0; sent < options.perSubjectMax; sent += 500) {
        const batch = Math.min(500, options.perSubjectMax - sent);
        await Promise.all(Array.from({ length: batch }, () => pair.first.publish(subject, bytesOf('x'), { messageId: unique('m') })));
      }
      const refusal = await pair.first.publish(subject, bytesOf('x'), { messageId: unique('m') }).then(() => undefined, (error: unknown) => error);
      expect(refusal).toMatchObject({ code: 'AIOS_MAILBOX_FULL', retryAfterMs: expect.any(Number) as number });
      await using _ = await pair.second.subscribe(topic, 'a', { inFlightMax: 256 }, taking(heard));
      await until(() => heard.length === options.perSubjectMax, 20_000);
      expect(heard.length).toBe(options.perSubjectMax);
    });
  });
}
