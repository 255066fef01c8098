// The other side of the NATS bench, as a process: an agent host with the echo agent, and the same work written by hand.
// Owns: the bare responder and the hand-written durable loop. Never measures. Others may assume: both answer when it says ready.

import { jetstream } from '@nats-io/jetstream';
import { shippedAgents } from '../../agents/index.ts';
import { readConfig } from '../../infra/config.ts';
import { ensureStream } from '../../infra/nats/topology.ts';
import { connectPorts } from '../../infra/nats/index.ts';
import { startAgentHost } from '../../infra/processes/agents.ts';
import { createTelemetry } from '../../infra/telemetry/index.ts';
import { governance, walker } from './actors-chain.part.ts';

const config = readConfig('agents');
const telemetry = createTelemetry(config);
const { logger, metrics, clock, random } = telemetry;
const ports = await connectPorts({ url: config.natsUrl, name: config.name, logger, metrics, clock, random });
const { nc, jsm } = ports.link;
nc.subscribe('bench.raw', { queue: 'raw', callback: (_error, message) => void message.respond(message.data) });

await ensureStream(ports.link, { name: 'BENCH', subjects: ['bench.work.>', 'bench.state.>'], storage: 'file', retention: 'limits', max_msgs: 100_000, allow_direct: true });
const js = jetstream(nc);
const consumer = js.consumers.getConsumerFromInfo(await jsm.consumers.add('BENCH', { durable_name: 'hand', ack_policy: 'explicit', deliver_policy: 'new', filter_subject: 'bench.work.>' }));
await consumer.consume({
  max_messages: 64, expires: 5_000,
  callback: (message) => {
    const { reply, text, left = 0 } = message.json<{ reply: string; text: string; left?: number }>();
    const id = message.subject.split('.').at(-1) ?? '';
    void (async () => {
      const last = await jsm.direct.getMessage('BENCH', { last_by_subj: `bench.state.${id}` });
      await js.publish(`bench.state.${id}`, JSON.stringify({ text }), { expect: { lastSubjectSequence: last?.seq ?? 0 } });
      if (left > 0) await js.publish(message.subject, JSON.stringify({ reply, text, left: left - 1 }));
      else nc.publish(reply, JSON.stringify({ text }));
      message.ack();
    })();
  },
});
await startAgentHost(config, { telemetry, ports, agents: [...shippedAgents, walker], intercept: await governance() });
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
