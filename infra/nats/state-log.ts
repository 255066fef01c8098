// State of agents and budgets: one subject, one line of compare-and-set records.
// Owns: nothing but the mapping to JetStream. Never caches: what is in memory belongs to who holds the lease.
// Others may assume: an append that resolved is the subject's last record, and of two appends with one expectation one fails.
// On a replicated stream a read may be served by a follower and be old; the append then fails and the reader reads again.

import { STREAMS } from '../../contracts/address.ts';
import type { StateLog } from '../../contracts/ports.ts';
import type { NatsLink } from './connect.ts';

export function createStateLog(link: NatsLink): StateLog {
  return {
    async read(subject) {
      const found = await link.last(STREAMS.state.name, subject);
      return found === undefined ? undefined : { revision: found.sequence, data: found.data };
    },
    async append(subject, expected, data) {
      const { sequence } = await link.store(subject, data, { expectedLast: expected });
      return sequence;
    },
  };
}
