// One agent host of the chaos run, as a process: the real runtime on real ports, with named steps at which it can be told to die.
// Owns: the wrapping of ports that marks each step between receive and acknowledge. Never changes what a port does.
// Others may assume: armed with a step, the process writes the marker and kills itself with SIGKILL the next time it passes.

import { appendFileSync } from 'node:fs';
import type { MailboxDelivery } from '../../contracts/ports.ts';
import { readConfig } from '../../infra/config.ts';
import { connectPorts, type NatsPorts } from '../../infra/nats/index.ts';
import { startAgentHost } from '../../infra/processes/agents.ts';
import { createTelemetry } from '../../infra/telemetry/index.ts';
import { createTeller } from './teller.ts';

const dir = process.env['CHAOS_DIR'] ?? '.';
let armed: string | undefined;

function passed(step: string): void {
  if (armed !== step) return;
  appendFileSync(`${dir}/markers.log`, `${step} ${process.pid}\n`);
  process.kill(process.pid, 'SIGKILL');
}

const around = async <T>(step: string, work: () => Promise<T>): Promise<T> => {
  passed(`before-${step}`);
  const result = await work();
  passed(`after-${step}`);
  return result;
};

function mark(ports: NatsPorts): NatsPorts {
  const { stateLog, outcomes, mailboxes } = ports;
  const markDelivery = (delivery: MailboxDelivery): MailboxDelivery => ({
    subject: delivery.subject, data: delivery.data, headers: delivery.headers, attempt: delivery.attempt, sequence: delivery.sequence,
    ack: () => around('ack', () => delivery.ack()),
    nak: (ms) => delivery.nak(ms),
    term: (reason) => delivery.term(reason),
    working: () => delivery.working(),
  });
  return {
    ...ports,
    stateLog: { read: (subject) => around('read', () => stateLog.read(subject)), append: (subject, expected, data) => around('append', () => stateLog.append(subject, expected, data)) },
    outcomes: { ...outcomes, publish: (outcome) => around('outcome', () => outcomes.publish(outcome)) },
    mailboxes: {
      publish: mailboxes.publish,
      consume: (partition, options, handle) => mailboxes.consume(partition, options, (delivery) => {
        passed('received');
        return handle(markDelivery(delivery));
      }),
    },
  };
}

const config = readConfig('agents');
const telemetry = createTelemetry(config);
const { logger, metrics, clock, random } = telemetry;
const ports = await connectPorts({ url: config.natsUrl, name: config.name, logger, metrics, clock, random });
const teller = createTeller({
  passed,
  pause: () => clock.sleep(1 + random.next() * 6),
  write: (dedupKey, id) => appendFileSync(`${dir}/ledger.log`, `${id} ${dedupKey}\n`),
});
const started = await startAgentHost(config, { telemetry, ports: mark(ports), agents: [teller] });
process.on('message', (message: { readonly arm: string }) => { armed = message.arm; });
process.on('SIGTERM', () => void started[Symbol.asyncDispose]().then(() => ports[Symbol.asyncDispose]()).then(() => process.exit(0)));
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
