// Ephemeral capabilities: asked over the bus, answered in place, nothing kept.
// Owns: parse, authority, chain, handler and Reply for each ask. Never touches a mailbox or a state log.
// Others may assume: every ask that wants an answer gets a Reply, refusals included, and none takes longer than its deadline.

import type { AnyAgent } from '../../contracts/agent.ts';
import { tenantOf } from '../../contracts/address.ts';
import type { Capability } from '../../contracts/capability.ts';
import { fail, toErrorBody } from '../../contracts/errors.ts';
import type { Envelope, Reply } from '../../contracts/message.ts';
import { MESSAGE_BYTES_MAX, parseFresh, toBytes } from '../../contracts/parse.ts';
import type { BusMessage, Metrics } from '../../contracts/ports.ts';
import { authorise } from './authority.ts';
import type { Call } from './chain.ts';
import { type ContextPorts, type Gathered, openContext } from './context.ts';
import type { Deadlines } from './deadlines.ts';
import { parseEnvelope } from './envelope.ts';
import type { HostLimits } from './ports.ts';
import { classify } from './supervision.ts';
import { parseOutput } from './turn.ts';

export interface ServePorts extends ContextPorts {
  readonly metrics: Metrics;
  readonly limits: HostLimits;
  readonly deadlines: Deadlines;
}
export interface Served {
  readonly agent: AnyAgent;
  readonly capability: Capability;
  readonly handle: (input: unknown, context: never) => unknown;
}

export async function serveAsk(host: ServePorts, served: Served, message: BusMessage): Promise<void> {
  const reply = toBytes(await answer(host, served, message));
  if (reply.byteLength <= MESSAGE_BYTES_MAX) message.respond?.(reply);
  else message.respond?.(toBytes(failed(fail('AIOS_INPUT_TOO_LARGE', `the answer has ${reply.byteLength} bytes.`), [], 0)));
}

async function answer(host: ServePorts, served: Served, message: BusMessage): Promise<Reply> {
  try {
    const envelope = parseEnvelope(message.data);
    checkAsk(host, served, envelope, message.subject);
    return await run(host, served, envelope);
  } catch (error) {
    host.metrics.count('aios_asks_refused_total', { capability: served.capability.id, code: toErrorBody(error).code });
    return failed(error, [], 0);
  }
}

function checkAsk(host: ServePorts, served: Served, envelope: Envelope, subject: string): void {
  if (envelope.tenant !== tenantOf(subject)) throw fail('AIOS_TENANT_MISMATCH');
  if (envelope.capability !== served.capability.id) throw fail('AIOS_INPUT_INVALID', 'capability: not the one of this subject');
  if (host.clock.now() >= envelope.deadline) throw fail('AIOS_DEADLINE_EXCEEDED');
}

async function run(host: ServePorts, { agent, capability, handle }: Served, envelope: Envelope): Promise<Reply> {
  const mandate = authorise(host.mandates, envelope, capability);
  const call: Call = { kind: 'serve', agent: agent.kind, envelope, traits: capability, mandate };
  const opened = openContext(host, { call, deadline: envelope.deadline, state: agent.initial?.(), effectsAllowed: [], knownEffects: [] });
  const { gathered } = opened;
  try {
    const input = parseFresh(capability.input, envelope.input);
    const work = host.chain(call, async () => parseOutput(capability.output, await handle(input, opened.context as never)));
    const output = await inTime(host, envelope.deadline, work);
    if (gathered.posts.length > 0 || gathered.timers.size > 0) throw fail('AIOS_AGENT_FAULT', 'an ephemeral handler sends no durable message: nothing would send it again after a crash.');
    return { v: 1, status: 'done', output, receipts: gathered.receipts.slice(0, 64), costMicroUsd: gathered.costMicroUsd };
  } catch (error) {
    return failedAsk(host, agent, error, gathered);
  } finally {
    opened.close();
  }
}

/** What the work comes to, or AIOS_DEADLINE_EXCEEDED when the time is over first. */
function inTime(host: ServePorts, deadline: number, work: Promise<unknown>): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const due = host.deadlines.after(Math.min(host.limits.turnMsMax, deadline - host.clock.now()), () => reject(fail('AIOS_DEADLINE_EXCEEDED')));
    work.then((output) => {
      host.deadlines.cancel(due);
      resolve(output);
    }, (error: unknown) => {
      host.deadlines.cancel(due);
      reject(error as Error);
    });
  });
}

function failedAsk(host: ServePorts, agent: AnyAgent, error: unknown, gathered: Gathered): Reply {
  if (classify(error) !== 'fault') return failed(error, gathered.receipts, gathered.costMicroUsd);
  host.logger.warn({ agent: agent.kind, error: error instanceof Error ? error.name : typeof error }, 'agent fault');
  return failed(fail('AIOS_AGENT_FAULT', undefined, { cause: error }), gathered.receipts, gathered.costMicroUsd);
}

function failed(error: unknown, receipts: Gathered['receipts'], costMicroUsd: number): Reply {
  return { v: 1, status: 'failed', error: { ...toErrorBody(error) }, receipts: receipts.slice(0, 64), costMicroUsd };
}
