// Conformance of the Bus port: what every message bus must do, whoever made it.
// Owns: the behaviour agents rely on. Never tests speed. Others may assume: a bus that passes can carry asks and beacons.

import { describe, expect, it } from 'vitest';
import { subjects } from '../../contracts/address.ts';
import type { CapabilityId } from '../../contracts/ids.ts';
import type { Bus } from '../../contracts/ports.ts';
import { bytesOf, codeOf, type MakePair, pause, textOf, uniqueTenant, until } from './shared.ts';

const ASK = 'text.echo' as CapabilityId;

export function describeBus(name: string, make: MakePair<Bus>): void {
  describe(`bus (${name})`, () => {
    it('request - brings the reply and the headers of the asker to the listener', async () => {
      await using pair = await make();
      const subject = subjects.capability(uniqueTenant(), ASK);
      await using _ = await pair.second.subscribe(subject, {}, (message) => message.respond?.(bytesOf(`${textOf(message.data)}:${message.headers['Aios-Task']}`)));
      const reply = await pair.first.request(subject, bytesOf('hello'), { timeoutMs: 2_000, headers: { 'Aios-Task': 't-1' } });
      expect(textOf(reply.data)).toBe('hello:t-1');
    });

    it('request - nobody listening is answered at once, not after the timeout', async () => {
      await using pair = await make();
      const started = Date.now();
      expect(await codeOf(pair.first.request(subjects.capability(uniqueTenant(), ASK), bytesOf('x'), { timeoutMs: 5_000 }))).toBe('AIOS_UNAVAILABLE');
      expect(Date.now() - started).toBeLessThan(2_000);
    });

    it('request - a listener that stays silent ends in the deadline error', async () => {
      await using pair = await make();
      const subject = subjects.capability(uniqueTenant(), ASK);
      await using _ = await pair.second.subscribe(subject, {}, () => undefined);
      expect(await codeOf(pair.first.request(subject, bytesOf('x'), { timeoutMs: 100 }))).toBe('AIOS_DEADLINE_EXCEEDED');
    });

    it('request - an aborted signal ends the wait early', async () => {
      await using pair = await make();
      const subject = subjects.capability(uniqueTenant(), ASK);
      await using _ = await pair.second.subscribe(subject, {}, () => undefined);
      const stop = new AbortController();
      const started = Date.now();
      const answer = codeOf(pair.first.request(subject, bytesOf('x'), { timeoutMs: 10_000, signal: stop.signal }));
      await pause(20);
      stop.abort();
      expect(await answer).toMatch(/^AIOS_/);
      expect(Date.now() - started).toBeLessThan(5_000);
    });

    it('queue group - each message reaches one member, plain subscribers all', async () => {
      await using pair = await make();
      const subject = subjects.capability(uniqueTenant(), ASK);
      const seen = { a: 0, b: 0, plain: 0 };
      await using one = await pair.first.subscribe(subject, { queue: 'g' }, () => void seen.a++);
      await using two = await pair.second.subscribe(subject, { queue: 'g' }, () => void seen.b++);
      await using three = await pair.second.subscribe(subject, {}, () => void seen.plain++);
      await pause(50);
      for (let i = 0; i < 40; i++) pair.first.publish(subject, bytesOf('x'));
      await until(() => seen.plain === 40 && seen.a + seen.b === 40);
      await pause(20);
      expect([one, two, three]).toHaveLength(3);
      expect(seen.plain).toBe(40);
      expect(seen.a + seen.b).toBe(40);
    });

    it('subscribe - a wildcard hears every tenant, and the message names its own subject', async () => {
      await using pair = await make();
      const [one, two] = [uniqueTenant(), uniqueTenant()];
      const heard: string[] = [];
      await using _ = await pair.second.subscribe('ai.v1.*.cap.text_echo', {}, (message) => {
        if (message.subject.includes(one) || message.subject.includes(two)) heard.push(message.subject);
      });
      await pause(50);
      pair.first.publish(subjects.capability(one, ASK), bytesOf('x'));
      pair.first.publish(subjects.capability(two, ASK), bytesOf('x'));
      pair.first.publish(subjects.capability(one, 'text.other' as CapabilityId), bytesOf('x'));
      await until(() => heard.length === 2);
      expect(heard.sort()).toEqual([subjects.capability(one, ASK), subjects.capability(two, ASK)].sort());
    });

    it('subscribe - past its concurrency asks are refused with the overload error, not queued', async () => {
      await using pair = await make();
      const subject = subjects.capability(uniqueTenant(), ASK);
      await using _ = await pair.second.subscribe(subject, { concurrencyMax: 2 }, async (message) => {
        await pause(200);
        message.respond?.(bytesOf('done'));
      });
      const answers = await Promise.all(Array.from({ length: 5 }, () => pair.first.request(subject, bytesOf('x'), { timeoutMs: 3_000 }).then((reply) => textOf(reply.data) ?? '', (error: unknown) => String((error as { code: string }).code))));
      expect(answers.filter((answer) => answer === 'done')).toHaveLength(2);
      expect(answers.filter((answer) => answer.includes('AIOS_OVERLOADED'))).toHaveLength(3);
    });

    it('subscribe - after dispose nothing is heard any more', async () => {
      await using pair = await make();
      const subject = subjects.capability(uniqueTenant(), ASK);
      let heard = 0;
      const subscription = await pair.second.subscribe(subject, {}, () => void heard++);
      await subscription[Symbol.asyncDispose]();
      await pause(20);
      expect(await codeOf(pair.first.request(subject, bytesOf('x'), { timeoutMs: 500 }))).toBe('AIOS_UNAVAILABLE');
      expect(heard).toBe(0);
    });

    it('handler - one that throws does not stop the next message', async () => {
      await using pair = await make();
      const subject = subjects.capability(uniqueTenant(), ASK);
      let calls = 0;
      await using _ = await pair.second.subscribe(subject, {}, async (message) => {
        if (++calls === 1) throw new Error('first');
        message.respond?.(bytesOf('second'));
      });
      await codeOf(pair.first.request(subject, bytesOf('x'), { timeoutMs: 100 }));
      expect(textOf((await pair.first.request(subject, bytesOf('x'), { timeoutMs: 2_000 })).data)).toBe('second');
    });

    it('dispose - a closed bus refuses with the disconnected error', async () => {
      await using pair = await make();
      await pair.first[Symbol.asyncDispose]();
      expect(pair.first.connected).toBe(false);
      expect(await codeOf(pair.first.request(subjects.capability(uniqueTenant(), ASK), bytesOf('x'), { timeoutMs: 500 }))).toBe('AIOS_DISCONNECTED');
    });
  });
}
