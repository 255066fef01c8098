// Topics: published events, kept until every group that subscribed has ended them.
// Owns: the durable consumers of groups, one a topic and group, shared by all processes that serve the group.
// Never decides what a failure means: the handler acks, naks or terminates; one that throws without doing so is retried.
// Others may assume: a stored event reaches every group that existed at least once; a topic that a group leaves unread
// refuses new events at TOPIC_MESSAGES_MAX a tenant instead of forgetting old ones; a group nobody served for a week is gone.

import { capabilityToken, patterns, STREAMS } from '../../contracts/address.ts';
import { parseCapabilityId, parseId } from '../../contracts/ids.ts';
import type { Topics } from '../../contracts/ports.ts';
import type { Blobs } from './blobs.ts';
import type { NatsLink } from './connect.ts';
import { toDelivery } from './mailboxes.ts';
import { superviseConsumer } from './supervise.ts';
import { TOPIC_AGE_MS } from './topology.ts';

const NS = 1_000_000;
const ACK_WAIT_MS = 5_000;
const MAX_ACK_PENDING = 256;

export function createTopics(link: NatsLink, blobs: Blobs): Topics {
  return {
    publish: (subject, data, { messageId }) => link.store(subject, data, { messageId }),
    subscribe: (topic, group, { inFlightMax }, handle) => superviseConsumer(link, {
      stream: STREAMS.topics.name,
      config: {
        durable_name: groupName(topic, group), filter_subject: patterns.topic(parseCapabilityId(topic)), ack_policy: 'explicit', deliver_policy: 'new',
        ack_wait: ACK_WAIT_MS * NS, max_deliver: -1, max_ack_pending: MAX_ACK_PENDING, max_waiting: 128, inactive_threshold: TOPIC_AGE_MS * NS,
      },
      inFlightMax,
      workingMs: ACK_WAIT_MS / 3,
      handle: async (message) => handle(await toDelivery(link, blobs, message)),
    }),
  };
}

/** Neither part can hold the character between them. */
const groupName = (topic: string, group: string): string => `topic=${capabilityToken(parseCapabilityId(topic))}=${parseId('agent-kind', group)}`;
