// Durable timers on a real nats-server against the same suite as in memory.
// Owns: how a NATS member is opened: due timers are moved by the keepers, which some process must run.
// Others may assume: each case has a server of its own.

import { describeTimers } from '../conformance/timers.ts';
import { startTestNats } from './nats-server.ts';

describeTimers('NATS', async () => {
  const nats = await startTestNats();
  const [first, second] = [await nats.connect(), await nats.connect()];
  const keepers = await first.startKeepers();
  return {
    first,
    second,
    async [Symbol.asyncDispose]() {
      await keepers[Symbol.asyncDispose]();
      await nats[Symbol.asyncDispose]();
    },
  };
});
