// The way from an envelope to the mailbox of its agent.
// Owns: choosing the subject. Never waits for an outcome. Others may assume: `publish` of a whole group may be called at once,
// the messages leave in one write, and the same envelope published twice is stored once (`duplicate`) within two minutes.

import { subjects } from '../../contracts/address.ts';
import { fail } from '../../contracts/errors.ts';
import { parseId } from '../../contracts/ids.ts';
import { HEADERS } from '../../contracts/message.ts';
import { toBytes } from '../../contracts/parse.ts';
import type { CapabilityRegistry, Dispatcher, Mailboxes } from '../../contracts/ports.ts';

export function createDispatcher(mailboxes: Mailboxes, registry: CapabilityRegistry): Dispatcher {
  return {
    async publish(envelope) {
      const kind = registry.kindOf(envelope.capability);
      if (kind === undefined) throw fail('AIOS_CAPABILITY_UNKNOWN', `Nothing handles ${envelope.capability}.`);
      const subject = subjects.mailbox(parseId('tenant', envelope.tenant), parseId('agent-kind', kind), parseId('agent-id', envelope.actor));
      const headers = envelope.trace === undefined ? {} : { headers: { [HEADERS.traceparent]: envelope.trace.traceparent } };
      const { duplicate } = await mailboxes.publish(subject, toBytes(envelope), { messageId: envelope.id, ...headers });
      return { duplicate };
    },
  };
}
