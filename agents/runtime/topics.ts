// Topics: from a published event to the mailboxes of the agents that listen to it.
// Owns: one durable subscription per listening kind and event, and the passing on. Runs no handler: the mailbox and its turn do,
// with their dedup, bounds and supervision. Never answers anybody: events have no outcome.
// Others may assume: an event passed on twice has one id at its listener, so it is handled once; one that cannot be
// passed on is a dead letter, addressed to the listener's mailbox where that is known.

import { subjects, tenantOf } from '../../contracts/address.ts';
import type { AnyAgent, EventDefinition } from '../../contracts/agent.ts';
import { fail, hasCode, toErrorBody } from '../../contracts/errors.ts';
import { parseId, type TenantId } from '../../contracts/ids.ts';
import type { Envelope } from '../../contracts/message.ts';
import { parseValue, toBytes } from '../../contracts/parse.ts';
import type { DeadLetterReason, MailboxDelivery } from '../../contracts/ports.ts';
import { childId } from './child-id.ts';
import { parseEnvelope } from './envelope.ts';
import type { AgentPorts, HostLimits } from './ports.ts';
import { backoffMs } from './supervision.ts';
import { addLetter } from './turn.ts';

/** Durable subscriptions of one deployment: each costs the server a consumer. */
export const SUBSCRIPTIONS_MAX = 256;
const PAUSES = { backoffMs: 200, backoffMsMax: 10_000 } as const;

export type TopicPorts = Pick<AgentPorts, 'topics' | 'mailboxes' | 'deadLetters' | 'clock' | 'random' | 'logger' | 'metrics'> & { readonly limits: HostLimits };

export interface Listening {
  readonly kind: string;
  readonly event: EventDefinition;
  readonly actorKey?: (event: unknown) => string;
}

/** @throws AIOS_CONFIG_INVALID when there are more subscriptions than a deployment may have */
export function listeningOf(agents: readonly AnyAgent[]): readonly Listening[] {
  const all = agents.flatMap((agent) => [...(agent.events?.values() ?? [])].filter(({ event }) => event.published !== false).map(({ event, actorKey }) => ({ kind: agent.kind, event, ...(actorKey === undefined ? {} : { actorKey }) })));
  if (all.length > SUBSCRIPTIONS_MAX) throw fail('AIOS_CONFIG_INVALID', `agents listen to ${all.length} events, at most ${SUBSCRIPTIONS_MAX}.`);
  return all;
}

export function subscribeTopic(host: TopicPorts, listening: Listening): Promise<AsyncDisposable> {
  return host.topics.subscribe(listening.event.name, listening.kind, { inFlightMax: host.limits.topicInFlightMax }, (delivery) => passOn(host, listening, delivery));
}

/** Never rejects. */
async function passOn(host: TopicPorts, listening: Listening, delivery: MailboxDelivery): Promise<void> {
  try {
    const addressed = address(listening, delivery);
    if ('refused' in addressed) return await refuse(host, delivery, 'malformed', addressed.refused);
    await store(host, delivery, addressed);
  } catch (error) {
    host.logger.warn({ topic: listening.event.name, kind: listening.kind, error: toErrorBody(error).code }, 'event not passed on yet');
    delivery.nak(backoffMs(PAUSES, delivery.attempt, host.random.next()));
  }
}

interface Addressed { readonly subject: string; readonly envelope: Envelope }

/** The same event for the same listener is the same envelope every time. */
function address(listening: Listening, delivery: MailboxDelivery): Addressed | { readonly refused: unknown } {
  try {
    const published = parseEnvelope(delivery.data);
    if (published.tenant !== tenantOf(delivery.subject)) throw fail('AIOS_TENANT_MISMATCH');
    if (published.capability !== listening.event.name) throw fail('AIOS_INPUT_INVALID', 'capability: not the event of this topic');
    const input = parseValue(listening.event.payload, published.input);
    const actor = parseId('agent-id', listening.actorKey?.(input) ?? published.actor);
    const kind = parseId('agent-kind', listening.kind);
    return { subject: subjects.mailbox(published.tenant as TenantId, kind, actor), envelope: { ...published, actor, id: childId(published.id, `topic/${kind}`) } };
  } catch (refused) {
    return { refused };
  }
}

/** A listener whose mailbox is full holds its event back until it expires; then a person sees it. */
async function store(host: TopicPorts, delivery: MailboxDelivery, { subject, envelope }: Addressed): Promise<void> {
  const data = toBytes(envelope);
  const late = host.clock.now() >= envelope.deadline;
  const letter = (reason: DeadLetterReason, code: string): Promise<void> => addLetter(host, { subject, data, attempt: delivery.attempt }, reason, code, envelope);
  try {
    if (late) await letter('expired', 'AIOS_DEADLINE_EXCEEDED');
    else await host.mailboxes.publish(subject, data, { messageId: envelope.id });
  } catch (error) {
    if (!hasCode(error, 'AIOS_MAILBOX_FULL') || host.clock.now() + PAUSES.backoffMsMax < envelope.deadline) throw error;
    await letter('overflow', 'AIOS_MAILBOX_FULL');
  }
  host.metrics.count('aios_topic_events_total', { event: envelope.capability });
  await delivery.ack();
}

async function refuse(host: TopicPorts, delivery: MailboxDelivery, reason: DeadLetterReason, error: unknown): Promise<void> {
  await addLetter(host, delivery, reason, toErrorBody(error).code, undefined, tenantOf(delivery.subject));
  delivery.term(reason);
}
