// One budget host of the chaos run, as a process: the real holder of budget roots on real ports, with steps at which it can be told to die.
// Owns: the wrapping of ports that marks each step of a change, delivers some messages twice, and loses some answers.
// Never changes what a port does otherwise. Others may assume: armed with a step, it kills itself with SIGKILL the next time it passes.

import { appendFileSync } from 'node:fs';
import type { BusMessage } from '../../contracts/ports.ts';
import { startBudgetRoots } from '../../agents/budget/roots.ts';
import { connectPorts } from '../../infra/nats/index.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { termsOf } from '../../policies/budget.ts';
import { silentLogger, silentMetrics } from '../kit/silent.ts';

const { CHAOS_DIR: dir = '.', CHAOS_NATS: url = '', CHAOS_NAME: name = 'host', CHAOS_CAP: cap = '0' } = process.env;
const TWICE = 0.2;
const LOST = 0.05;
let armed: string | undefined;

function passed(step: string): void {
  if (armed !== step) return;
  appendFileSync(`${dir}/markers.log`, `${step} ${process.pid}\n`);
  process.kill(process.pid, 'SIGKILL');
}

const ports = await connectPorts({ url, name, logger: silentLogger, metrics: silentMetrics, clock: systemClock, random: systemRandom });
const { bus, stateLog } = ports;

/** An answer may be lost on its way; the asker does not know whether its change happened. */
function answering(message: BusMessage): BusMessage {
  return {
    subject: message.subject, data: message.data, headers: message.headers,
    respond(data, headers) {
      passed('before-answer');
      if (systemRandom.next() >= LOST) message.respond?.(data, headers);
      passed('after-answer');
    },
  };
}

await startBudgetRoots({
  name, leases: ports.leases, clock: systemClock, random: systemRandom, metrics: silentMetrics, logger: silentLogger,
  bus: {
    request: (subject, data, options) => bus.request(subject, data, options),
    publish: (subject, data, headers) => bus.publish(subject, data, headers),
    get connected() { return bus.connected; },
    subscribe: (subject, options, handle) => bus.subscribe(subject, options, async (message) => {
      passed('received');
      const work = [handle(answering(message))];
      if (systemRandom.next() < TWICE) work.push(handle({ ...answering(message), respond: () => {} }));
      await Promise.all(work);
    }),
    [Symbol.asyncDispose]: () => bus[Symbol.asyncDispose](),
  },
  stateLog: {
    read: (subject) => stateLog.read(subject),
    async append(subject, expected, data) {
      passed('before-append');
      const revision = await stateLog.append(subject, expected, data);
      passed('after-append');
      return revision;
    },
  },
  termsOf: async (tenant) => termsOf({ budgets: { '*': Number(cap) } }, tenant),
}).then(async (roots) => {
  // Whoever looks first holds the root from the start, as a brain does with its first task.
  await roots.settle([{ tenant: 'acme', reservation: `hello-${name}`, spentMicroUsd: 0 }]);
});
process.on('message', (message: { readonly arm: string }) => { armed = message.arm; });
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
