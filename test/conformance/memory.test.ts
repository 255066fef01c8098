// The in-memory ports against the same suites as the real servers.
// Owns: how a memory member is opened. Others may assume: what passes here and in test/servers behaves alike in both.

import { createKit } from '../kit/index.ts';
import { describeBus } from './bus.ts';
import { describeDeadLetters } from './dead-letters.ts';
import { describeKeyValue } from './key-value.ts';
import { describeLeases } from './leases.ts';
import { describeMailboxes } from './mailboxes.ts';
import { describeOutcomes } from './outcomes.ts';
import type { Pair } from './shared.ts';
import { describeStateLog } from './state-log.ts';
import { describeTimers } from './timers.ts';
import { describeTopics } from './topics.ts';
import type { KitPorts } from '../kit/index.ts';

const PER_SUBJECT = 16;

async function pairOf<T>(pick: (ports: KitPorts) => T): Promise<Pair<T>> {
  const kit = createKit({ mailboxes: { perSubjectMax: PER_SUBJECT } });
  return { first: pick(kit), second: pick(kit.connect()), [Symbol.asyncDispose]: async () => undefined };
}

describeBus('memory', () => pairOf((ports) => ports.bus));
describeMailboxes('memory', () => pairOf((ports) => ports.mailboxes), { perSubjectMax: PER_SUBJECT });
describeTopics('memory', () => pairOf((ports) => ports.topics), { perSubjectMax: PER_SUBJECT });
describeStateLog('memory', () => pairOf((ports) => ports.stateLog));
describeLeases('memory', () => pairOf((ports) => ports.leases));
describeKeyValue('memory', () => pairOf((ports) => ports.keyValue));
describeOutcomes('memory', () => pairOf((ports) => ports.outcomes));
describeTimers('memory', () => pairOf((ports) => ({ timers: ports.timers, mailboxes: ports.mailboxes })));
describeDeadLetters('memory', () => pairOf((ports) => ({ letters: ports.deadLetters, mailboxes: ports.mailboxes })));
