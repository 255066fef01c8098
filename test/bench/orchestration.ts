// What each way of orchestrating a team costs: the shipped desk, one definition, centralised, distributed and hybrid in turns.
// Owns: the rounds and the counting: latency, history events, messages on the message server, CPU of all processes.
// Never measures models: every ticket is asked before, so their answers come from the gateway's cache.
// Others may assume: the three take turns in small blocks of the same tickets, so load on the machine hits all of them.

import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client as TemporalClient, Connection } from '@temporalio/client';
import { ORCHESTRATIONS, type Orchestration } from '../../contracts/capability.ts';
import { type Client, connect } from '../../infra/client/client.ts';
import { readConfig } from '../../infra/config.ts';
import { runSystem, type RunningSystem } from '../../infra/dev/run.ts';
import { shippedTicket } from '../scenario/desk.ts';
import { indexArticles, orchestrate } from '../scenario/ways.ts';

/** Per task, but for the latencies. `inform` tickets take three steps, `act` tickets two of which policy names one. */
export interface WayCost {
  readonly informP50Ms: number;
  readonly actP50Ms: number;
  readonly eventsInform: number;
  readonly eventsAct: number;
  readonly messages: number;
  readonly cpuMs: number;
}
export type OrchestrationBench = Readonly<Record<Orchestration, WayCost>> & { readonly tasks: number };

const INFORM = ['T-302', 'T-097', 'T-031'] as const;
/** Refused by policy at the end: it takes the step that policy names, and changes no books. */
const ACT = 'T-010';
const ROUNDS = 4;
const WAIT_MS = 60_000;

export async function run({ json }: { readonly json: boolean }): Promise<OrchestrationBench> {
  const home = await mkdtemp(join(tmpdir(), 'aios-bench-'));
  try {
    const config = readConfig('bench', { ...process.env, AIOS_HOME: join(home, 'home'), AIOS_LOG_LEVEL: 'info' });
    await using system = await runSystem({ config, anyPorts: true, monitoring: true });
    const result = await measure(system, config.home);
    process.stdout.write(json ? `${JSON.stringify(result)}\n` : table(result));
    return result;
  } finally {
    await rm(home, { recursive: true, force: true, maxRetries: 5 });
  }
}

interface Sample { readonly kind: 'inform' | 'act'; readonly ms: number; readonly workflowId: string; readonly degraded: boolean }
interface Tally { readonly samples: Sample[]; tasks: number; messages: number; cpuMs: number }

async function measure(system: RunningSystem, home: string): Promise<OrchestrationBench> {
  const client = connect({ url: system.endpoints.api, key: system.keys.helpdesk });
  await indexArticles(system.operator);
  const tickets = await ticketsThatEnd(client);
  const tallies = Object.fromEntries(ORCHESTRATIONS.map((way): [Orchestration, Tally] => [way, { samples: [], tasks: 0, messages: 0, cpuMs: 0 }])) as Record<Orchestration, Tally>;
  for (let round = 0; round <= ROUNDS; round++) {
    for (const way of turned(ORCHESTRATIONS, round)) {
      await orchestrate(way, system.operator, client, home);
      // A new bundle is a new key of the gateway's cache, and the first round only warms.
      for (const ticket of tickets) await ask(client, ticket);
      if (round > 0) await block(system, client, tickets, tallies[way]);
    }
  }
  await using temporal = await openTemporal(system.endpoints.temporalAddress);
  const costs: [Orchestration, WayCost][] = [];
  for (const way of ORCHESTRATIONS) costs.push([way, await costOf(tallies[way], temporal)]);
  return { ...(Object.fromEntries(costs) as Record<Orchestration, WayCost>), tasks: tallies.distributed.tasks };
}

interface Asked { readonly kind: Sample['kind']; readonly input: { readonly customer: string; readonly text: string } }

/** Which tickets are answered depends on the calibration that ships; one that would wait for a person is left out. */
async function ticketsThatEnd(client: Client): Promise<readonly Asked[]> {
  const found: Asked[] = [];
  for (const id of [...INFORM, ACT]) {
    const { customer, text } = await shippedTicket(id);
    const asked: Asked = { kind: id === ACT ? 'act' : 'inform', input: { customer, text } };
    for (let tries = 0; tries < 5; tries++) {
      const seen = await ask(client, asked);
      if (seen === undefined || !seen.degraded) {
        if (seen !== undefined) found.push(asked);
        break;
      }
    }
  }
  if (new Set(found.map(({ kind }) => kind)).size < 2) throw new Error('no ticket of one of the kinds ends by itself');
  return found;
}

async function ask(client: Client, { kind, input }: Asked): Promise<Sample | undefined> {
  const at = performance.now();
  const { result, workflowId, taskId } = await client.start('support.answer', input, { waitMs: WAIT_MS / 4 });
  const ms = performance.now() - at;
  if (result !== undefined) return { kind, ms, workflowId, degraded: result.degraded.length > 0 };
  await client.cancel(taskId);
  return undefined;
}

async function block(system: RunningSystem, client: Client, tickets: readonly Asked[], tally: Tally): Promise<void> {
  const before = await counters(system);
  for (const ticket of [...tickets, ...tickets]) {
    const sample = await ask(client, ticket);
    if (sample === undefined) continue;
    tally.samples.push(sample);
    tally.tasks += 1;
  }
  const after = await counters(system);
  tally.messages += after.messages - before.messages;
  tally.cpuMs += after.cpuMs - before.cpuMs;
}

interface Counters { readonly messages: number; readonly cpuMs: number }

/** Messages into the message server, and CPU of the servers and of every process but this one. */
async function counters(system: RunningSystem): Promise<Counters> {
  const { in_msgs } = (await (await fetch(`${system.servers.nats().monitorUrl ?? ''}/varz`)).json()) as { in_msgs: number };
  const pids = [system.servers.nats().pid, system.servers.temporal().pid, ...system.views().flatMap(({ pid }) => (pid === undefined ? [] : [pid]))];
  return { messages: in_msgs, cpuMs: pids.reduce((sum, pid) => sum + cpuMsOf(pid), 0) };
}

/** User and system time of a process, from proc(5): fields 14 and 15 of `stat`, in ticks of 10 ms; the name before them may hold spaces. */
function cpuMsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

async function costOf({ samples, tasks, messages, cpuMs }: Tally, temporal: TemporalEvents): Promise<WayCost> {
  const clean = samples.filter(({ degraded }) => !degraded);
  const of = (kind: Sample['kind']): readonly Sample[] => clean.filter((one) => one.kind === kind);
  const events = async (kind: Sample['kind']): Promise<number> => median(await Promise.all(of(kind).slice(-5).map(({ workflowId }) => temporal.events(workflowId))));
  return {
    informP50Ms: round(median(of('inform').map(({ ms }) => ms))), actP50Ms: round(median(of('act').map(({ ms }) => ms))),
    eventsInform: await events('inform'), eventsAct: await events('act'), messages: round(messages / tasks), cpuMs: round(cpuMs / tasks),
  };
}

interface TemporalEvents extends AsyncDisposable { events(workflowId: string): Promise<number> }

async function openTemporal(address: string): Promise<TemporalEvents> {
  const connection = await Connection.connect({ address });
  const client = new TemporalClient({ connection });
  return {
    events: async (workflowId) => (await client.workflow.getHandle(workflowId).fetchHistory()).events?.length ?? 0,
    [Symbol.asyncDispose]: () => connection.close(),
  };
}

/** Who goes first changes from round to round. */
const turned = <T>(list: readonly T[], by: number): readonly T[] => list.map((_, i) => list[(i + by) % list.length] as T);
const round = (value: number): number => Math.round(value * 10) / 10;
const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

function table(result: OrchestrationBench): string {
  const names = Object.keys(result.distributed) as (keyof WayCost)[];
  const head = `${''.padEnd(14)}${ORCHESTRATIONS.map((way) => way.padStart(13)).join('')}\n`;
  return head + names.map((name) => `${name.padEnd(14)}${ORCHESTRATIONS.map((way) => String(result[way][name]).padStart(13)).join('')}\n`).join('') + `${result.tasks} tasks each\n`;
}
