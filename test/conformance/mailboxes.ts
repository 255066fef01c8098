// Conformance of the Mailboxes port: durable work, acknowledged one by one.
// Owns: what the turn protocol relies on: nothing accepted is lost, attempts are counted, duplicates are told.
// Never tests speed. Others may assume: mailboxes that pass can carry tasks. `perSubjectMax` is what the member was opened with.

import { describe, expect, it } from 'vitest';
import { partitionOf, subjects } from '../../contracts/address.ts';
import type { TenantId } from '../../contracts/ids.ts';
import type { MailboxDelivery, Mailboxes } from '../../contracts/ports.ts';
import { bytesOf, codeOf, idNamed, kindNamed, type MakePair, pause, textOf, unique, uniqueTenant, until } from './shared.ts';

const KIND = kindNamed('conformer');
/** Agents of a partition that no other test uses at the same time: found by trying names. */
const agentIn = (partition: number): string => {
  for (;;) {
    const id = unique('a');
    if (partitionOf(KIND, id) === partition) return id;
  }
};
const mailbox = (tenant: TenantId, id: string): string => subjects.mailbox(tenant, KIND, idNamed(id));

export function describeMailboxes(name: string, make: MakePair<Mailboxes>, options: { readonly perSubjectMax: number }): void {
  describe(`mailboxes (${name})`, () => {
    it('publish - a second message of one id is told to be a duplicate and delivered once', async () => {
      await using pair = await make();
      const tenant = uniqueTenant();
      const id = agentIn(1);
      const messageId = unique('m');
      const first = await pair.first.publish(mailbox(tenant, id), bytesOf('x'), { messageId });
      const second = await pair.second.publish(mailbox(tenant, id), bytesOf('x'), { messageId });
      expect([first.duplicate, second.duplicate]).toEqual([false, true]);
      let deliveries = 0;
      await using _ = await pair.second.consume(1, { inFlightMax: 4 }, async (delivery) => {
        if (delivery.subject === mailbox(tenant, id)) deliveries++;
        await delivery.ack();
      });
      await until(() => deliveries > 0);
      await pause(100);
      expect(deliveries).toBe(1);
    });

    it('consume - delivers what waited and what comes, in order, with subject, headers and attempt 1', async () => {
      await using pair = await make();
      const tenant = uniqueTenant();
      const id = agentIn(2);
      const got: MailboxDelivery[] = [];
      for (const text of ['a', 'b']) await pair.first.publish(mailbox(tenant, id), bytesOf(text), { messageId: unique('m'), headers: { 'Aios-Task': `t-${text}` } });
      await using _ = await pair.second.consume(2, { inFlightMax: 4 }, async (delivery) => {
        got.push(delivery);
        await delivery.ack();
      });
      await pair.first.publish(mailbox(tenant, id), bytesOf('c'), { messageId: unique('m'), headers: { 'Aios-Task': 't-c' } });
      await until(() => got.length === 3);
      expect(got.map((delivery) => [textOf(delivery.data), delivery.headers['Aios-Task'], delivery.attempt, delivery.subject])).toEqual(['a', 'b', 'c'].map((text) => [text, `t-${text}`, 1, mailbox(tenant, id)]));
    });

    it('nak - brings the message back after its delay with a higher attempt, until it is acknowledged', async () => {
      await using pair = await make();
      const attempts: { attempt: number; at: number }[] = [];
      const id = agentIn(3);
      await using _ = await pair.second.consume(3, { inFlightMax: 4 }, async (delivery) => {
        attempts.push({ attempt: delivery.attempt, at: Date.now() });
        if (delivery.attempt < 3) delivery.nak(150);
        else await delivery.ack();
      });
      await pair.first.publish(mailbox(uniqueTenant(), id), bytesOf('x'), { messageId: unique('m') });
      await until(() => attempts.length === 3);
      await pause(300);
      expect(attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
      expect((attempts[1]?.at ?? 0) - (attempts[0]?.at ?? 0)).toBeGreaterThanOrEqual(120);
    });

    it('term - ends a message for good', async () => {
      await using pair = await make();
      let deliveries = 0;
      await using _ = await pair.second.consume(4, { inFlightMax: 4 }, async (delivery) => {
        deliveries++;
        delivery.term('poison');
      });
      await pair.first.publish(mailbox(uniqueTenant(), agentIn(4)), bytesOf('x'), { messageId: unique('m') });
      await until(() => deliveries === 1);
      await pause(200);
      expect(deliveries).toBe(1);
    });

    it('consume - holds at most inFlightMax at a time', async () => {
      await using pair = await make();
      const tenant = uniqueTenant();
      const id = agentIn(5);
      let running = 0;
      let most = 0;
      let done = 0;
      for (let i = 0; i < 8; i++) await pair.first.publish(mailbox(tenant, id), bytesOf('x'), { messageId: unique('m') });
      await using _ = await pair.second.consume(5, { inFlightMax: 3 }, async (delivery) => {
        most = Math.max(most, ++running);
        await pause(30);
        running--;
        await delivery.ack();
        done++;
      });
      await until(() => done === 8);
      expect(done).toBe(8);
      expect(most).toBeLessThanOrEqual(3);
    });

    it('consume - a partition hears only its own agents, `*` hears all', async () => {
      await using pair = await make();
      const tenant = uniqueTenant();
      const [six, seven] = [agentIn(6), agentIn(7)];
      const heard: string[] = [];
      const note = async (delivery: MailboxDelivery): Promise<void> => {
        if (delivery.subject.startsWith(`ai.v1.${tenant}.`)) heard.push(delivery.subject);
        await delivery.ack();
      };
      {
        await using _ = await pair.second.consume(6, { inFlightMax: 4 }, note);
        await pair.first.publish(mailbox(tenant, six), bytesOf('x'), { messageId: unique('m') });
        await pair.first.publish(mailbox(tenant, seven), bytesOf('x'), { messageId: unique('m') });
        await until(() => heard.length === 1);
        await pause(100);
        expect(heard).toEqual([mailbox(tenant, six)]);
      }
    });

    it('consume - a stopped consumer leaves the rest to the next one', async () => {
      await using pair = await make();
      const tenant = uniqueTenant();
      const id = agentIn(8);
      const heard: string[] = [];
      const take = (consumer: string) => async (delivery: MailboxDelivery): Promise<void> => {
        heard.push(consumer);
        await delivery.ack();
      };
      const first = await pair.first.consume(8, { inFlightMax: 4 }, take('first'));
      await pair.second.publish(mailbox(tenant, id), bytesOf('x'), { messageId: unique('m') });
      await until(() => heard.length === 1);
      await first[Symbol.asyncDispose]();
      await pair.second.publish(mailbox(tenant, id), bytesOf('x'), { messageId: unique('m') });
      await pause(50);
      await using _ = await pair.second.consume(8, { inFlightMax: 4 }, take('second'));
      await until(() => heard.length === 2, 10_000);
      expect(heard).toEqual(['first', 'second']);
    });

    it('handler - one that throws leaves the message to be delivered again, not lost', async () => {
      await using pair = await make();
      let handled = false;
      await using _ = await pair.second.consume(9, { inFlightMax: 4 }, async (delivery) => {
        if (delivery.attempt === 1) {
          delivery.nak(50);
          throw new Error('first');
        }
        handled = true;
        await delivery.ack();
      });
      await pair.first.publish(mailbox(uniqueTenant(), agentIn(9)), bytesOf('x'), { messageId: unique('m') });
      await until(() => handled);
      expect(handled).toBe(true);
    });

    it('publish - a full mailbox refuses and says when to come back, another agent is unaffected', async () => {
      await using pair = await make();
      const tenant = uniqueTenant();
      const id = agentIn(10);
      for (let i = 0; i < options.perSubjectMax; i++) await pair.first.publish(mailbox(tenant, id), bytesOf('x'), { messageId: unique('m') });
      const refusal = await pair.first.publish(mailbox(tenant, id), bytesOf('x'), { messageId: unique('m') }).then(() => undefined, (error: unknown) => error as { code: string; retryAfterMs?: number });
      expect(refusal).toMatchObject({ code: 'AIOS_MAILBOX_FULL', retryAfterMs: expect.any(Number) as number });
      expect(await codeOf(pair.first.publish(mailbox(tenant, agentIn(10)), bytesOf('x'), { messageId: unique('m') }))).toBeUndefined();
      await using _ = await pair.second.consume(10, { inFlightMax: 64 }, (delivery) => delivery.ack());
      await pause(200);
    });
  });
}
