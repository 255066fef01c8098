// The NATS half of the actors' bench: asks through the runtime beside the same thing done by hand, on one server in one run.
// Owns: the child processes, the interleaving and the ratios. The other half, without servers, is in actors.ts.
// Never compares runs: raw and governed rounds alternate, and each figure is a median. Others may assume: everything started is ended.

import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { partitionOf, subjects } from '../../contracts/address.ts';
import { parseCapabilityId, parseId } from '../../contracts/ids.ts';
import { replySchema, type Envelope } from '../../contracts/message.ts';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import { loadOrCreateKeys } from '../../infra/crypto/keys.ts';
import { mandatesOf, type HeldMandates } from '../../infra/crypto/mandates.ts';
import { startNatsServer } from '../../infra/dev/servers.ts';
import { connectPorts, type NatsPorts } from '../../infra/nats/index.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { silentLogger, silentMetrics } from '../kit/silent.ts';
import { envelopeFor } from '../servers/envelopes.ts';
import { STEPS, walk, WALKED } from './actors-chain.part.ts';

export interface NatsBench {
  /** One ask at a time, envelope to reply with the whole chain, over a bare `nc.request` of the same bytes. */
  readonly coreAskP50Ratio: number;
  /** The same with 64 in flight: asks a second over bare requests a second. */
  readonly coreAskThroughputRatio: number;
  readonly coreAskP50Ms: number;
  /** Mailbox, turn with one append, outcome. */
  readonly durableAskP50Ms: number;
  /** Over publish, compare-and-set and reply written by hand. */
  readonly durableAskRatio: number;
  /** A task of five durable turns, each a message of the agent to itself: one step. */
  readonly stepMs: number;
  /** Over a message, a compare-and-set and the next message written by hand. */
  readonly stepRatio: number;
  /** Kill -9 of a host to the answer of another for the slowest of sixteen agents, half of them the victim's; median of three. */
  readonly takeoverMs: number;
}

const ROUNDS = 5;
const SEQUENTIAL = 200;
const IN_FLIGHT = 64;
const BURST = 2_000;
const DURABLE = 100;
const WALKS = 20;
const TEXT = 'x'.repeat(600);
const demo = parseId('tenant', 'demo');
const askSubject = subjects.capability(demo, parseCapabilityId('echo.ask'));

interface World { readonly dir: string; readonly url: string; readonly ports: NatsPorts; readonly mandates: HeldMandates }

export async function measureNats(): Promise<NatsBench> {
  const dir = await mkdtemp(join(tmpdir(), 'aios-bench-'));
  try {
    return await measureIn(dir);
  } finally {
    await rm(dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function measureIn(dir: string): Promise<NatsBench> {
  await using server = await startNatsServer({ dir: join(dir, 'nats') });
  await using ports = await connectPorts({ url: server.url, name: 'bench', logger: silentLogger, metrics: silentMetrics, clock: systemClock, random: systemRandom });
  const mandates = mandatesOf(await loadOrCreateKeys(join(dir, 'home', 'keys')), { clock: systemClock, random: systemRandom });
  const world: World = { dir, url: server.url, ports, mandates };
  const host = await startHost(world, 'bench-1');
  await sleep(2_500);
  const core = await coreAsks(world);
  const durable = await durableAsks(world);
  const steps = await walks(world);
  const takeoverMs = await takeover(world, host);
  return { ...core, ...durable, ...steps, takeoverMs };
}

async function startHost(world: World, name: string): Promise<ChildProcess> {
  const host = fork(new URL('./actors-host.part.ts', import.meta.url), {
    env: { ...process.env, AIOS_HOME: join(world.dir, 'home'), AIOS_NATS_URL: world.url, AIOS_NAME: name, AIOS_LOG_LEVEL: 'error' }, execArgv: ['--disable-warning=ExperimentalWarning'], stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  await once(host, 'message');
  return host;
}

// ---- core

async function coreAsks({ ports, mandates }: World): Promise<Pick<NatsBench, 'coreAskP50Ratio' | 'coreAskThroughputRatio' | 'coreAskP50Ms'>> {
  const envelope = envelopeFor(mandates, { capability: 'echo.ask', task: 't-bench', input: { text: TEXT }, deadline: Date.now() + 600_000 });
  const payload = toBytes(envelope);
  const ask = async (): Promise<void> => {
    const answer = await ports.bus.request(askSubject, toBytes(envelope), { timeoutMs: 10_000 });
    if (parseBytes(replySchema, answer.data).status !== 'done') throw new Error('the ask failed');
  };
  const raw = async (): Promise<void> => void (await ports.link.nc.request('bench.raw', payload, { timeout: 10_000 }));
  for (const warm of [raw, ask]) for (let i = 0; i < 300; i++) await warm();
  const times = { raw: [] as number[], ask: [] as number[] };
  const rates = { raw: [] as number[], ask: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    times.raw.push(...(await sequential(SEQUENTIAL, raw)));
    times.ask.push(...(await sequential(SEQUENTIAL, ask)));
    rates.raw.push(await rate(BURST, raw));
    rates.ask.push(await rate(BURST, ask));
  }
  return { coreAskP50Ratio: round2(median(times.ask) / median(times.raw)), coreAskThroughputRatio: round2(median(rates.ask) / median(rates.raw)), coreAskP50Ms: round2(median(times.ask)) };
}

// ---- durable

async function durableAsks({ ports, mandates }: World): Promise<Pick<NatsBench, 'durableAskP50Ms' | 'durableAskRatio'>> {
  let serial = 0;
  const governed = async (): Promise<void> => {
    const envelope = envelopeFor(mandates, { capability: 'echo.say', task: `t-durable-${serial++}`, input: { text: TEXT } });
    await tell(ports, envelope, 10_000);
  };
  const byHand = async (): Promise<void> => {
    const reply = `bench.reply.${serial}`;
    const answered = new Promise<void>((resolve) => void ports.link.nc.subscribe(reply, { max: 1, callback: () => resolve() }));
    await ports.link.store(`bench.work.w${serial++}`, toBytes({ text: TEXT, reply }), {});
    await answered;
  };
  for (const warm of [byHand, governed]) for (let i = 0; i < 50; i++) await warm();
  const times = { hand: [] as number[], governed: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    times.hand.push(...(await sequential(DURABLE, byHand)));
    times.governed.push(...(await sequential(DURABLE, governed)));
  }
  return { durableAskP50Ms: round2(median(times.governed)), durableAskRatio: round2(median(times.governed) / median(times.hand)) };
}

async function tell(ports: NatsPorts, envelope: Envelope, timeoutMs: number): Promise<void> {
  const waiting = ports.outcomes.wait(envelope.tenant, envelope.task, envelope.id, timeoutMs);
  const subject = subjects.mailbox(demo, parseId('agent-kind', 'echo'), parseId('agent-id', envelope.actor));
  await ports.mailboxes.publish(subject, toBytes(envelope), { messageId: envelope.id });
  if ((await waiting)?.status !== 'done') throw new Error(`no outcome for ${envelope.task}`);
}

// ---- five durable turns

async function walks({ ports, mandates }: World): Promise<Pick<NatsBench, 'stepMs' | 'stepRatio'>> {
  const { nc } = ports.link;
  let serial = 0;
  const ended = new Map<string, () => void>();
  const heard = (name: string): Promise<void> => new Promise((resolve) => ended.set(name, resolve));
  const topic = nc.subscribe(subjects.topic(demo, WALKED), { callback: (_error, message) => {
    const { task } = message.json<{ task: string }>();
    ended.get(task)?.();
    ended.delete(task);
  } });
  const governed = async (): Promise<void> => {
    const task = `t-walk-${serial++}`;
    const envelope = envelopeFor(mandates, { capability: walk.id, task, input: { text: TEXT } });
    const end = heard(task);
    await ports.mailboxes.publish(subjects.mailbox(demo, parseId('agent-kind', 'walker'), parseId('agent-id', task)), toBytes(envelope), { messageId: envelope.id });
    await end;
  };
  const byHand = async (): Promise<void> => {
    const reply = `bench.reply.walk${serial}`;
    const answered = new Promise<void>((resolve) => void nc.subscribe(reply, { max: 1, callback: () => resolve() }));
    await ports.link.store(`bench.work.walk${serial++}`, toBytes({ text: TEXT, reply, left: STEPS - 1 }), {});
    await answered;
  };
  for (const warm of [byHand, governed]) for (let i = 0; i < 10; i++) await warm();
  const times = { hand: [] as number[], governed: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    times.hand.push(...(await sequential(WALKS, byHand)));
    times.governed.push(...(await sequential(WALKS, governed)));
  }
  topic.unsubscribe();
  return { stepMs: round2(median(times.governed) / STEPS), stepRatio: round2(median(times.governed) / median(times.hand)) };
}

// ---- takeover

async function takeover(world: World, first: ChildProcess): Promise<number> {
  let victim = first;
  const times: number[] = [];
  for (let round = 0; round < 3; round++) {
    const other = await startHost(world, `bench-${round + 2}`);
    await sharesSettled(world);
    times.push(await killAndAsk(world, victim));
    victim = other;
  }
  victim.kill('SIGKILL');
  return Math.round(median(times));
}

/** Until two hosts hold 32 partitions each. */
async function sharesSettled({ ports }: World): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const counts = new Map<string, number>();
    for (const [name, { owner }] of await ports.leases.holders()) if (name.startsWith('partition.')) counts.set(owner, (counts.get(owner) ?? 0) + 1);
    if ([...counts.values()].filter((count) => count >= 30).length === 2) return;
    await sleep(100);
  }
  throw new Error('the hosts did not share the partitions');
}

async function killAndAsk({ ports, mandates }: World, victim: ChildProcess): Promise<number> {
  const holders = await ports.leases.holders();
  const exited = once(victim, 'exit');
  victim.kill('SIGKILL');
  await exited;
  const killedAt = performance.now();
  const asked = agentsOf(holders).map((actor, index) => tell(ports, envelopeFor(mandates, { capability: 'echo.say', task: `t-takeover-${Math.round(killedAt)}-${index}`, actor, input: { text: 'x' } }), 20_000).then(() => performance.now() - killedAt));
  return Math.max(...(await Promise.all(asked)));
}

/** One agent in each of 16 partitions: about half of them were the victim's, whoever held which. */
function agentsOf(holders: ReadonlyMap<string, unknown>): string[] {
  const wanted = [...holders.keys()].filter((name) => name.startsWith('partition.')).map((name) => Number(name.slice('partition.'.length))).slice(0, 16);
  return wanted.map((partition) => Array.from({ length: 2_000 }, (_, index) => `a${index}`).find((id) => partitionOf('echo', id) === partition) ?? 'a0');
}

// ---- figures

async function sequential(count: number, work: () => Promise<void>): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const started = performance.now();
    await work();
    times.push(performance.now() - started);
  }
  return times;
}

async function rate(count: number, work: () => Promise<void>): Promise<number> {
  let left = count;
  const started = performance.now();
  await Promise.all(Array.from({ length: IN_FLIGHT }, async () => {
    while (left-- > 0) await work();
  }));
  return (count / (performance.now() - started)) * 1_000;
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const round2 = (value: number): number => Math.round(value * 100) / 100;
