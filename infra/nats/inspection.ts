// Looking into agent hosts, and draining one, over the control plane.
// Owns: the two control subjects and what their answers look like. Never changes an agent.
// Others may assume: every host answers `hosts`; `drain` is obeyed by the host it names and by no other.

import { z } from 'zod';
import type { AgentHost, AgentView, HostView } from '../../agents/runtime/host.ts';
import { HOST_LEASE } from '../../agents/runtime/partitions.ts';
import { BUCKETS, subjects } from '../../contracts/address.ts';
import { parseId } from '../../contracts/ids.ts';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import type { Bus } from '../../contracts/ports.ts';
import type { NatsLink } from './connect.ts';
import { convertNatsError } from './errors.ts';
import { streamOf } from './key-value.ts';
import { lastOfEach } from './stored.ts';

const SYS = parseId('tenant', 'sys');
const HOSTS = subjects.control(SYS, 'hosts');
const DRAIN = subjects.control(SYS, 'drain');
const AGENTS_MAX = 500;
const HOSTS_MAX = 1_000;
/** Between two answers, where nobody knows how many hosts there are; and for all of them. */
const ANSWER_MS = 600;
const ANSWERS_MS_MAX = 3_000;

const questionSchema = z.strictObject({ agents: z.number().int().min(0).max(AGENTS_MAX) });
const drainSchema = z.strictObject({ host: z.string().max(64) });
const answerSchema = z.object({
  host: z.object({ name: z.string(), partitions: z.union([z.literal('*'), z.array(z.number())]), agents: z.number(), running: z.number(), inHand: z.number(), draining: z.boolean() }),
  agents: z.array(z.object({ tenant: z.string(), kind: z.string(), id: z.string(), partition: z.number(), turns: z.number(), queued: z.number(), running: z.boolean(), restarts: z.number(), stoppedUntil: z.number(), children: z.array(z.string()), behaviour: z.string(), stashed: z.number() })).max(AGENTS_MAX),
});
export interface HostReport { readonly host: HostView; readonly agents: readonly AgentView[] }

export async function serveInspection({ bus }: { readonly bus: Bus }, host: AgentHost): Promise<AsyncDisposable> {
  const stack = new AsyncDisposableStack();
  stack.use(await bus.subscribe(HOSTS, {}, (message) => {
    const { agents } = parseBytes(questionSchema, message.data, 1_024);
    message.respond?.(toBytes({ host: host.inspect(), agents: host.agents(agents) }));
  }));
  stack.use(await bus.subscribe(DRAIN, {}, async (message) => {
    const { host: named } = parseBytes(drainSchema, message.data, 1_024);
    if (named !== host.inspect().name) return;
    message.respond?.(toBytes({ host: host.inspect(), agents: [] }));
    await host.drain();
  }));
  return stack;
}

/** Asks every host, and waits for as many answers as hosts hold a membership lease, three seconds at most. */
export async function inspectHosts(link: NatsLink, agents: number): Promise<readonly HostReport[]> {
  const reports: HostReport[] = [];
  try {
    const known = (await lastOfEach(link, streamOf(BUCKETS.leases), `$KV.${BUCKETS.leases}.${HOST_LEASE}*`, HOSTS_MAX)).length;
    const how = known === 0 ? { strategy: 'stall' as const, stall: ANSWER_MS } : { strategy: 'count' as const, maxMessages: known };
    for await (const message of await link.nc.requestMany(HOSTS, toBytes({ agents: Math.min(agents, AGENTS_MAX) }), { ...how, maxWait: ANSWERS_MS_MAX })) {
      if (message.data.length > 0) reports.push(parseBytes(answerSchema, message.data));
    }
  } catch (error) {
    const converted = convertNatsError(error, 'asking the agent hosts');
    if (converted.code !== 'AIOS_UNAVAILABLE') throw converted;
  }
  return reports;
}

/** @throws AIOS_UNAVAILABLE when no host of that name answers */
export async function drainHost(link: NatsLink, host: string): Promise<HostReport> {
  const answer = await link.request(DRAIN, toBytes({ host }), { timeoutMs: 5_000, what: 'draining a host' });
  return parseBytes(answerSchema, answer.data);
}
