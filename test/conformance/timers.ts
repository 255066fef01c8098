// Conformance of the Timers port: messages for later, stored where an agent will find them.
// Owns: what `ctx.timer` rests on. `first` and `second` bring the mailboxes that timers deliver to.
// Others may assume: a timer that was scheduled fires once, not before its time, and one that was cancelled in time does not.

import { describe, expect, it } from 'vitest';
import { partitionOf, subjects } from '../../contracts/address.ts';
import type { Mailboxes, Timers } from '../../contracts/ports.ts';
import { bytesOf, idNamed, kindNamed, type MakePair, pause, textOf, unique, uniqueTenant, until } from './shared.ts';

const KIND = kindNamed('conformer');

/** An agent, the subject it listens on, and what came with when. */
async function listen(mailboxes: Mailboxes) {
  const [tenant, id] = [uniqueTenant(), unique('a')];
  const subject = subjects.mailbox(tenant, KIND, idNamed(id));
  const got: { readonly text: string | undefined; readonly at: number }[] = [];
  const subscription = await mailboxes.consume(partitionOf(KIND, id), { inFlightMax: 4 }, async (delivery) => {
    if (delivery.subject === subject) got.push({ text: textOf(delivery.data), at: Date.now() });
    await delivery.ack();
  });
  return { subject, got, key: (timer: string) => `${tenant}.${KIND}.${id}.${timer}`, [Symbol.asyncDispose]: () => subscription[Symbol.asyncDispose]() };
}

export function describeTimers(name: string, make: MakePair<{ readonly timers: Timers; readonly mailboxes: Mailboxes }>): void {
  describe(`timers (${name})`, () => {
    it('schedule - delivers once, not before its time', async () => {
      await using pair = await make();
      await using agent = await listen(pair.second.mailboxes);
      const at = Date.now() + 1_000;
      await pair.first.timers.schedule({ key: agent.key('a'), subject: agent.subject, at, data: bytesOf('ring'), messageId: unique('timer') });
      await until(() => agent.got.length > 0, 8_000);
      await pause(500);
      expect(agent.got.map(({ text }) => text)).toEqual(['ring']);
      expect(agent.got[0]?.at).toBeGreaterThanOrEqual(at - 50);
    });

    it('schedule - the same key replaces', async () => {
      await using pair = await make();
      await using agent = await listen(pair.second.mailboxes);
      const timer = { key: agent.key('a'), subject: agent.subject };
      await pair.first.timers.schedule({ ...timer, at: Date.now() + 1_000, data: bytesOf('old'), messageId: unique('timer') });
      await pair.second.timers.schedule({ ...timer, at: Date.now() + 1_500, data: bytesOf('new'), messageId: unique('timer') });
      await until(() => agent.got.length > 0, 8_000);
      await pause(500);
      expect(agent.got.map(({ text }) => text)).toEqual(['new']);
    });

    it('cancel - in time means never, and nothing happens when there is none', async () => {
      await using pair = await make();
      await using agent = await listen(pair.second.mailboxes);
      await pair.first.timers.schedule({ key: agent.key('a'), subject: agent.subject, at: Date.now() + 1_000, data: bytesOf('ring'), messageId: unique('timer') });
      await pair.first.timers.cancel(agent.key('a'));
      await pair.first.timers.cancel(agent.key('never-was'));
      await pause(2_000);
      expect(agent.got).toEqual([]);
    });

    it('schedule - a time that is over delivers soon', async () => {
      await using pair = await make();
      await using agent = await listen(pair.second.mailboxes);
      await pair.first.timers.schedule({ key: agent.key('a'), subject: agent.subject, at: Date.now() - 1_000, data: bytesOf('late'), messageId: unique('timer') });
      await until(() => agent.got.length > 0, 8_000);
      expect(agent.got.map(({ text }) => text)).toEqual(['late']);
    });
  });
}
