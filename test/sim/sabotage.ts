// Sabotage: ports that break one promise each, to show that the simulation notices.
// Owns: the broken ports. They live in tests only; nothing in agents/runtime can be switched to behave like this.
// Others may assume: a simulation that passes with one of these in place is worth nothing.

import type { StateLog } from '../../contracts/ports.ts';
import { hasCode } from '../../contracts/errors.ts';
import type { KitPorts } from '../kit/index.ts';

export const SABOTAGES: Readonly<Record<string, (ports: KitPorts) => KitPorts>> = {
  'no fence: writes on whatever revision is there': (ports) => ({ ...ports, stateLog: unconditional(ports.stateLog) }),
  'no dedup: handled ids are forgotten on load': (ports) => ({ ...ports, stateLog: forgetting(ports.stateLog, (record) => ({ ...record, done: [] })) }),
  'no outbox replay: unsent messages are forgotten on load': (ports) => ({ ...ports, stateLog: forgetting(ports.stateLog, ({ timers: _timers, ...record }) => ({ ...record, outbox: [] })) }),
};

function unconditional(log: StateLog): StateLog {
  return {
    read: log.read,
    async append(subject, expected, data) {
      for (let revision = expected; ; revision = (await log.read(subject))?.revision ?? 0) {
        try {
          return await log.append(subject, revision, data);
        } catch (error) {
          if (!hasCode(error, 'AIOS_STATE_CONFLICT')) throw error;
        }
      }
    },
  };
}

function forgetting(log: StateLog, change: (record: Record<string, unknown>) => Record<string, unknown>): StateLog {
  return {
    append: log.append,
    async read(subject) {
      const stored = await log.read(subject);
      if (stored === undefined) return undefined;
      const record = JSON.parse(new TextDecoder().decode(stored.data)) as Record<string, unknown>;
      return { revision: stored.revision, data: new TextEncoder().encode(JSON.stringify(change(record))) };
    },
  };
}
