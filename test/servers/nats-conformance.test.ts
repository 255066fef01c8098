// The ports over a real nats-server against the same suites as the in-memory ones.
// Owns: how a NATS member is opened: two connections of one server, shared by all suites of this file.
// Others may assume: what passes here and in test/conformance/memory.test.ts behaves alike in both.

import { afterAll, beforeAll } from 'vitest';
import { createBus } from '../../infra/nats/bus.ts';
import { MAILBOX_MESSAGES_MAX, TOPIC_MESSAGES_MAX } from '../../infra/nats/topology.ts';
import type { NatsPorts } from '../../infra/nats/index.ts';
import { describeBus } from '../conformance/bus.ts';
import { describeDeadLetters } from '../conformance/dead-letters.ts';
import { describeKeyValue } from '../conformance/key-value.ts';
import { describeLeases } from '../conformance/leases.ts';
import { describeMailboxes } from '../conformance/mailboxes.ts';
import { describeOutcomes } from '../conformance/outcomes.ts';
import type { Pair } from '../conformance/shared.ts';
import { describeStateLog } from '../conformance/state-log.ts';
import { describeTopics } from '../conformance/topics.ts';
import { startTestNats, type TestServer } from './nats-server.ts';

let nats: TestServer;
let first: NatsPorts;
let second: NatsPorts;
beforeAll(async () => {
  nats = await startTestNats();
  first = await nats.connect('first');
  second = await nats.connect('second');
});
afterAll(() => nats[Symbol.asyncDispose]());

const pairOf = <T>(pick: (ports: NatsPorts) => T) => async (): Promise<Pair<T>> => ({ first: pick(first), second: pick(second), [Symbol.asyncDispose]: async () => undefined });

describeBus('NATS', pairOf((ports) => createBus(ports.link)));
describeMailboxes('NATS', pairOf((ports) => ports.mailboxes), { perSubjectMax: MAILBOX_MESSAGES_MAX });
describeTopics('NATS', pairOf((ports) => ports.topics), { perSubjectMax: TOPIC_MESSAGES_MAX });
describeStateLog('NATS', pairOf((ports) => ports.stateLog));
describeLeases('NATS', pairOf((ports) => ports.leases));
describeKeyValue('NATS', pairOf((ports) => ports.keyValue));
describeOutcomes('NATS', pairOf((ports) => ports.outcomes));
describeDeadLetters('NATS', pairOf((ports) => ({ letters: ports.deadLetters, mailboxes: ports.mailboxes })));
