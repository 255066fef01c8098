// Bench of the actor runtime: local tells through the chain, idle agents, activation, a turn on memory ports; asks over NATS beside it.
// Owns: the parts that need no server; those that do are in actors-nats.part.ts. Peers run in the same process: a bare array mailbox and XState.
// Others may assume: ratios hold across machines, absolute figures do not; nothing here is a pass mark of a test.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createActor, fromTransition } from 'xstate';
import { z } from 'zod';
import { defineAgent } from '../../agents/define.ts';
import { createAgentHost } from '../../agents/runtime/host.ts';
import { createActorSystem } from '../../agents/runtime/local/system.ts';
import { subjects } from '../../contracts/address.ts';
import { defineCapability } from '../../contracts/capability.ts';
import type { AgentId, AgentKind, TenantId } from '../../contracts/ids.ts';
import { toBytes } from '../../contracts/parse.ts';
import { measureNats, type NatsBench } from './actors-nats.part.ts';
import { createKit, createSeededRandom, realClock, silentLogger, silentMetrics } from '../kit/index.ts';

export interface ActorsBench extends NatsBench {
  /** In-process tells handled per second, every message through an interceptor. */
  readonly tellPerSecond: number;
  readonly tellToRawRatio: number;
  readonly tellToXstateRatio: number;
  /** Heap that 100,000 agents with loaded state keep while idle. */
  readonly idleAgentsMB: number;
  readonly idleBytesPerAgent: number;
  /** First message of an agent with stored state: load, turn, append, outcome, on memory ports. */
  readonly activationUs: number;
  /** The next message of an active agent. */
  readonly turnUs: number;
  readonly spawnUs: number;
}

const MESSAGES = 500_000;
const AGENTS = 100_000;
const ROUNDS = 3;

export async function run(options: { readonly json?: boolean } = {}): Promise<ActorsBench> {
  // Timers of the kit's clock keep no process alive.
  const alive = setInterval(nothing, 1_000);
  // Interleaved, best of the rounds: on a shared machine the best is the least disturbed.
  let [tell, raw, xstate] = [0, 0, 0];
  for (let round = 0; round < ROUNDS; round++) {
    tell = Math.max(tell, await tellRate());
    raw = Math.max(raw, await rawRate());
    xstate = Math.max(xstate, xstateRate());
  }
  const idle = await idleAgents();
  const nats = await measureNats();
  const result: ActorsBench = {
    ...nats,
    tellPerSecond: Math.round(tell), tellToRawRatio: round2(tell / raw), tellToXstateRatio: round2(tell / xstate),
    idleAgentsMB: round2(idle.bytes / 1e6), idleBytesPerAgent: Math.round(idle.bytes / AGENTS), activationUs: round2(idle.activationUs), turnUs: round2(idle.turnUs), spawnUs: round2(await spawnCost()),
  };
  clearInterval(alive);
  if (options.json !== true) console.table(result);
  console.log(JSON.stringify(result));
  return result;
}

const round2 = (value: number): number => Math.round(value * 100) / 100;
const nothing = (): void => undefined;
const local = () => createActorSystem({ clock: realClock, random: createSeededRandom(1), logger: silentLogger, metrics: silentMetrics }, { intercept: [(_path, _message, next) => next()] });

async function tellRate(): Promise<number> {
  await using system = local();
  let seen = 0;
  let done: () => void = nothing;
  const finished = new Promise<void>((resolve) => (done = resolve));
  const actor = system.spawn<number>('a', () => (n) => {
    seen += n;
    if (seen === MESSAGES) done();
  }, { messagesMax: MESSAGES });
  const started = performance.now();
  for (let i = 0; i < MESSAGES; i++) actor.tell(1);
  await finished;
  return (MESSAGES / (performance.now() - started)) * 1_000;
}

/** The floor: an array and a microtask, no bound, no supervision, no chain. */
async function rawRate(): Promise<number> {
  const queue: number[] = [];
  let head = 0;
  let seen = 0;
  let scheduled = false;
  let done: () => void = nothing;
  const finished = new Promise<void>((resolve) => (done = resolve));
  const drain = (): void => {
    while (head < queue.length) seen += queue[head++] as number;
    scheduled = false;
    if (seen === MESSAGES) done();
  };
  const started = performance.now();
  for (let i = 0; i < MESSAGES; i++) {
    queue.push(1);
    if (scheduled) continue;
    scheduled = true;
    queueMicrotask(drain);
  }
  await finished;
  return (MESSAGES / (performance.now() - started)) * 1_000;
}

function xstateRate(): number {
  const actor = createActor(fromTransition((state: number, event: { type: 'add'; n: number }) => state + event.n, 0)).start();
  const started = performance.now();
  for (let i = 0; i < MESSAGES; i++) actor.send({ type: 'add', n: 1 });
  return (MESSAGES / (performance.now() - started)) * 1_000;
}

async function spawnCost(): Promise<number> {
  await using system = local();
  const started = performance.now();
  for (let i = 0; i < 10_000; i++) system.spawn<number>(`a${i}`, () => nothing);
  return ((performance.now() - started) * 1_000) / 10_000;
}

const add = defineCapability('bench.add', { input: z.strictObject({ by: z.number() }), output: z.strictObject({ total: z.number() }) });
const counter = defineAgent('counter', { state: z.strictObject({ total: z.number(), words: z.string() }), initial: () => ({ total: 0, words: 'a few words of state' }), passivate: { idleMs: 3_600_000 } }).handle(add, ({ by }, ctx) => {
  ctx.state.total += by;
  return { total: ctx.state.total };
});

/** Agents are made by one host and activated by the next, so that activation loads stored state. Heap is taken around the second, stores included in both. */
async function idleAgents(): Promise<{ readonly bytes: number; readonly activationUs: number; readonly turnUs: number }> {
  const kit = createKit({ mailboxes: { dedupWindowMs: 0 } });
  const send = async (from: number, to: number, tag: string): Promise<number> => {
    const started = performance.now();
    for (let i = from; i < to; i += 1_000) await Promise.all(Array.from({ length: Math.min(1_000, to - i) }, (_, k) => deliver(i + k, tag)));
    return ((performance.now() - started) * 1_000) / (to - from);
  };
  const mandate = kit.mandates.mint(kit.grant('t-bench'));
  async function deliver(i: number, tag: string): Promise<void> {
    const envelope = kit.envelope(add, { by: 1 }, { id: `bench-${tag}-${String(i).padStart(8, '0')}`, task: 't-bench', actor: `agent-${i}`, mandate });
    await kit.mailboxes.publish(subjects.mailbox(envelope.tenant as TenantId, 'counter' as AgentKind, envelope.actor as AgentId), toBytes(envelope), { messageId: envelope.id });
    while (kit.servers.mailboxes.waiting > 4_000) await new Promise((resolve) => setImmediate(resolve));
  }
  const settled = async (): Promise<void> => {
    while (kit.servers.mailboxes.waiting > 0) await new Promise((resolve) => setImmediate(resolve));
    // Stored outcomes are the server's, not the agents'.
    kit.servers.outcomes.byTask.clear();
    kit.servers.outcomes.log.length = 0;
  };
  const options = { agents: [counter], name: 'bench', partitions: '*' as const, limits: { agentsMax: AGENTS * 2 } };
  {
    await using first = createAgentHost(kit, options);
    await first.start();
    await send(0, AGENTS, 'make');
    await settled();
  }
  const before = heap();
  await using second = createAgentHost(kit, options);
  await second.start();
  const startedAt = performance.now();
  await send(0, AGENTS, 'wake');
  await settled();
  const activationUs = ((performance.now() - startedAt) * 1_000) / AGENTS;
  // Idle: what an agent keeps once the host has looked at it and found nothing to do.
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  const bytes = heap() - before;
  const turnStarted = performance.now();
  await send(0, 20_000, 'turn');
  await settled();
  return { bytes, activationUs, turnUs: ((performance.now() - turnStarted) * 1_000) / 20_000 };
}

/** After forced collections: garbage is not memory that an agent keeps. */
function heap(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let i = 0; i < 3; i++) collect();
  return process.memoryUsage().heapUsed;
}

if (import.meta.main) await run({ json: process.argv.includes('--json') });
