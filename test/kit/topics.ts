// In-memory topics: what is published waits in one queue for each group that subscribed before.
// Owns: groups and their places. A group is a mailbox server of its own, so redelivery, order and bounds are the same code.
// Others may assume: an event without any group is gone at once; a group without members keeps what comes.

import type { Clock, Random, Topics } from '../../contracts/ports.ts';
import type { Link } from './link.ts';
import { createMailboxServer, createMemoryMailboxes, MAILBOX_DEFAULTS, type MailboxOptions, type MailboxServer } from './mailboxes.ts';

export interface TopicServer {
  publish(subject: string, data: Uint8Array, messageId: string): { readonly duplicate: boolean };
  /** Made at the first call. */
  group(topic: string, name: string): MailboxServer;
  /** Stored for some group and not ended yet. */
  readonly waiting: number;
}

export function createTopicServer(clock: Clock, random: Random, options: MailboxOptions = MAILBOX_DEFAULTS): TopicServer {
  const topics = new Map<string, Map<string, MailboxServer>>();
  return {
    publish(subject, data, messageId) {
      const groups = [...(topics.get(topicOf(subject))?.values() ?? [])];
      const answers = groups.map((group) => group.publish(subject, data, messageId, {}));
      return { duplicate: answers.length > 0 && answers.every(({ duplicate }) => duplicate) };
    },
    group(topic, name) {
      const groups = topics.get(topic) ?? new Map<string, MailboxServer>();
      topics.set(topic, groups);
      const group = groups.get(name) ?? createMailboxServer(clock, random, { ...options, deliverMax: Number.POSITIVE_INFINITY });
      groups.set(name, group);
      return group;
    },
    get waiting() {
      return [...topics.values()].flatMap((groups) => [...groups.values()]).reduce((sum, group) => sum + group.waiting, 0);
    },
  };
}

/** `ai.v1.<tenant>.topic.<dotted name>` */
const topicOf = (subject: string): string => subject.split('.').slice(4).join('.');

export function createMemoryTopics(server: TopicServer, link: Link): Topics {
  return {
    publish: (subject, data, { messageId }) => link.call('topic.publish', () => server.publish(subject, data, messageId)),
    async subscribe(topic, group, { inFlightMax }, handle) {
      const joined = await link.call('topic.subscribe', () => server.group(topic, group));
      return createMemoryMailboxes(joined, link).consume('*', { inFlightMax }, handle);
    },
  };
}
