// Conformance of the DeadLetters port: what could not be handled, kept for a person.
// Owns: keep, list, show, replay, discard. Others may assume: nothing leaves the letters but by replay or discard,
// and a replay publishes the very bytes that arrived. `first` and `second` bring the mailboxes that replays go to.

import { describe, expect, it } from 'vitest';
import { partitionOf, subjects } from '../../contracts/address.ts';
import type { TenantId } from '../../contracts/ids.ts';
import type { DeadLetters, Mailboxes } from '../../contracts/ports.ts';
import { idNamed, kindNamed, type MakePair, pause, unique, uniqueTenant, until } from './shared.ts';

const KIND = kindNamed('conformer');

const letterFor = (tenant: TenantId, data: Uint8Array, id = unique('a')) => ({
  tenant, reason: 'poison' as const, code: 'AIOS_AGENT_FAULT', subject: subjects.mailbox(tenant, KIND, idNamed(id)), trace: '00-aa-bb-01', task: 't-1', attempts: 3, data: Buffer.from(data).toString('base64'),
});

export function describeDeadLetters(name: string, make: MakePair<{ readonly letters: DeadLetters; readonly mailboxes: Mailboxes }>): void {
  describe(`dead letters (${name})`, () => {
    it('add - is listed newest first for its tenant and shown whole', async () => {
      await using pair = await make();
      const tenant = uniqueTenant();
      const before = Date.now();
      const one = await pair.first.letters.add(letterFor(tenant, new Uint8Array([1])));
      await pause(5);
      const two = await pair.first.letters.add(letterFor(tenant, new Uint8Array([2])));
      await pair.first.letters.add(letterFor(uniqueTenant(), new Uint8Array([3])));
      const listed = await pair.second.letters.list({ tenant, limit: 10 });
      expect(listed.map(({ id }) => id)).toEqual([two, one]);
      const shown = await pair.second.letters.get(one);
      expect(shown).toMatchObject({ id: one, tenant, reason: 'poison', code: 'AIOS_AGENT_FAULT', trace: '00-aa-bb-01', task: 't-1', attempts: 3, data: 'AQ==' });
      expect(shown?.at).toBeGreaterThanOrEqual(before - 1_000);
      expect(await pair.second.letters.list({ tenant, limit: 1 })).toHaveLength(1);
    });

    it('replay - publishes the very bytes to the subject and removes the letter', async () => {
      await using pair = await make();
      const tenant = uniqueTenant();
      const agent = unique('a');
      const bytes = Uint8Array.from([0, 255, 128, 10, 13]);
      const id = await pair.first.letters.add(letterFor(tenant, bytes, agent));
      const got: Uint8Array[] = [];
      await using _ = await pair.first.mailboxes.consume(partitionOf(KIND, agent), { inFlightMax: 4 }, async (delivery) => {
        if (delivery.subject === subjects.mailbox(tenant, KIND, idNamed(agent))) got.push(delivery.data);
        await delivery.ack();
      });
      await pair.second.letters.replay(id);
      await until(() => got.length === 1);
      expect([...(got[0] ?? [])]).toEqual([...bytes]);
      expect(await pair.first.letters.get(id)).toBeUndefined();
      expect(await pair.first.letters.list({ tenant, limit: 10 })).toEqual([]);
    });

    it('discard - removes the letter and publishes nothing', async () => {
      await using pair = await make();
      const tenant = uniqueTenant();
      const id = await pair.first.letters.add(letterFor(tenant, new Uint8Array([1])));
      await pair.second.letters.discard(id);
      expect(await pair.first.letters.get(id)).toBeUndefined();
    });
  });
}
