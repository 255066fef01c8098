// Chaos on budgets: a thousand askers in four processes against one cap, held by one of three hosts that are killed at named steps.
// Owns: the faults, the observer that reads every stored state, and the comparison with what clients really spent.
// Never helps the budgets: clients repeat and forget as clients do, and nobody tells a host that another died.
// Others may assume: `overrun` is by how much any stored state, or the outside ledger, ever passed the cap; 0 or the run fails.

import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseState, rootSubject } from '../../agents/budget/root.ts';
import { STREAMS } from '../../contracts/address.ts';
import { startNatsServer, type NatsServer } from '../../infra/dev/servers.ts';
import { connectPorts, type NatsPorts } from '../../infra/nats/index.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { viewOf } from '../../policies/budget.ts';
import { createSeededRandom } from '../kit/random.ts';
import { silentLogger, silentMetrics } from '../kit/silent.ts';
import type { ChaosArguments } from './main.ts';

const HOSTS = 3;
const CLIENTS = 4;
const ASKERS = 250;
const CAP = 5_000_000;
const PRICE = 100_000;
/** Of a reservation; spent in its first third, so two thirds are left to settle. */
const LIFE_MS = 15_000;
const END_MS_MAX = 120_000;
const STEPS = ['received', 'before-append', 'after-append', 'before-answer', 'after-answer'] as const;

interface Seen { records: number; missed: number; sequence: number; maxMicroUsd: number; lastSpent: number; backwards: number }
interface World {
  readonly dir: string;
  readonly url: string;
  readonly ports: NatsPorts;
  readonly hosts: (ChildProcess | undefined)[];
  readonly clients: (ChildProcess | undefined)[];
  readonly counts: Record<string, number>;
  readonly seen: Seen;
  readonly ready: Set<ChildProcess>;
  nats: NatsServer;
  kills: number;
  ending: boolean;
}

export async function runBudgets({ rounds, seed, say }: ChaosArguments): Promise<{ readonly ok: boolean } & Readonly<Record<string, unknown>>> {
  const dir = await mkdtemp(join(tmpdir(), 'aios-budgets-'));
  const nats = await startNatsServer({ dir: join(dir, 'nats') });
  const ports = await connectPorts({ url: nats.url, name: 'observer', logger: silentLogger, metrics: silentMetrics, clock: systemClock, random: systemRandom });
  const world: World = { dir, url: nats.url, ports, hosts: [], clients: [], counts: {}, seen: { records: 0, missed: 0, sequence: 0, maxMicroUsd: 0, lastSpent: 0, backwards: 0 }, ready: new Set(), nats, kills: 0, ending: false };
  try {
    const stop = observe(world);
    await Promise.all(Array.from({ length: HOSTS }, (_, index) => startHost(world, index)));
    await Promise.all(Array.from({ length: CLIENTS }, (_, index) => startClient(world, index)));
    await runFaults(world, rounds, createSeededRandom(seed), say);
    say('every forgotten reservation expires now; then all ask again');
    await sleep(LIFE_MS);
    for (const client of world.clients) client?.send('again');
    await Promise.all([spentAll(world), runFaults(world, Math.ceil(rounds / 2), createSeededRandom(seed + 1), say)]);
    await finish(world);
    await stop();
    return await judge(world);
  } finally {
    world.ending = true;
    for (const child of [...world.hosts, ...world.clients]) child?.kill('SIGKILL');
    await ports[Symbol.asyncDispose]();
    await world.nats.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

// ---- the observer

/** Reads every record of the root in order. The stream keeps the last four, so one that was missed is counted. */
function observe(world: World): () => Promise<void> {
  const { ports, seen } = world;
  let ends = false;
  const loop = (async () => {
    for (;;) {
      const message = await ports.link.at(STREAMS.state.name, seen.sequence + 1, rootSubject('acme')).catch(() => undefined);
      if (message !== undefined) note(seen, message.sequence, message.data);
      else if (ends) return;
      else await sleep(10);
    }
  })();
  return async () => {
    ends = true;
    await loop;
  };
}

function note(seen: Seen, sequence: number, data: Uint8Array): void {
  const { spentMicroUsd, reservedMicroUsd } = viewOf('acme', parseState(data));
  seen.records++;
  seen.maxMicroUsd = Math.max(seen.maxMicroUsd, spentMicroUsd + reservedMicroUsd);
  if (seen.sequence > 0) seen.missed += sequence - seen.sequence - 1;
  if (spentMicroUsd < seen.lastSpent) seen.backwards++;
  seen.sequence = sequence;
  seen.lastSpent = spentMicroUsd;
}

async function viewNow({ ports }: World): Promise<ReturnType<typeof viewOf> & { readonly unfundedMicroUsd: number; readonly open: number }> {
  const found = await patiently(() => ports.stateLog.read(rootSubject('acme')));
  if (found === undefined) return { tenant: 'acme', capMicroUsd: CAP, spentMicroUsd: 0, reservedMicroUsd: 0, unfundedMicroUsd: 0, open: 0 };
  const state = parseState(found.data);
  return { ...viewOf('acme', state), unfundedMicroUsd: state.accounts['tenant']?.unfundedMicroUsd ?? 0, open: Object.keys(state.open).length };
}

async function patiently<T>(read: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await read();
    } catch (error) {
      if (tries >= 50) throw error;
      await sleep(200);
    }
  }
}

// ---- faults

async function runFaults(world: World, rounds: number, random: { next(): number }, say: (line: string) => void): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    await someUp(world);
    await sleep(400 + random.next() * 600);
    const kind = ['step', 'step', 'kill', 'pause', 'step', 'client', 'step', 'broker'][round % 8] as string;
    const step = STEPS[Math.floor(random.next() * STEPS.length)] as string;
    const victim = await holder(world);
    await inject(world, kind, victim, step);
    const { spentMicroUsd, reservedMicroUsd } = await viewNow(world);
    say(`round ${round + 1}/${rounds}: ${kind}${kind === 'step' ? ` at ${step}` : ''} on host ${victim}; spent ${spentMicroUsd / 1e6}, reserved ${reservedMicroUsd / 1e6}`);
  }
}

/** One fault at a time: a run in which every host is down only shows that nobody answers then. */
async function someUp({ hosts, ready }: World): Promise<void> {
  for (let tries = 0; tries < 600 && hosts.filter((host) => host !== undefined && ready.has(host)).length < HOSTS - 1; tries++) await sleep(50);
}

async function holder({ ports }: World): Promise<number> {
  const owner = (await ports.leases.holders().catch(() => undefined))?.get('budget.acme')?.owner;
  return owner === undefined ? 0 : Number(owner.split('-')[1]);
}

async function inject(world: World, kind: string, victim: number, step: string): Promise<void> {
  const host = world.hosts[victim];
  if (kind === 'broker') return killBroker(world);
  world.kills++;
  if (kind === 'client') return void world.clients[0]?.kill('SIGKILL');
  if (host === undefined) return;
  if (kind === 'pause') {
    host.kill('SIGSTOP');
    await sleep(4_000);
    return void host.kill('SIGCONT');
  }
  const exited = once(host, 'exit').then(() => true);
  if (kind === 'kill') host.kill('SIGKILL');
  else host.send({ arm: step });
  // A host that nobody asks any more does not pass the step; it is killed where it stands.
  if (!(await Promise.race([exited, sleep(3_000).then(() => false)]))) host.kill('SIGKILL');
  await exited;
}

async function killBroker(world: World): Promise<void> {
  const { port } = world.nats;
  world.nats.kill('SIGKILL');
  await world.nats.exited;
  world.nats = await startNatsServer({ dir: join(world.dir, 'nats'), port });
}

// ---- processes

async function startHost(world: World, index: number): Promise<void> {
  const child = start(world, './budget-host.ts', { CHAOS_NAME: `host-${index}`, CHAOS_CAP: String(CAP) });
  world.hosts[index] = child;
  child.once('exit', () => {
    world.hosts[index] = undefined;
    if (!world.ending) void sleep(300).then(() => (world.ending ? undefined : startHost(world, index)));
  });
  await Promise.race([once(child, 'message').then(() => world.ready.add(child)), once(child, 'exit')]);
}

async function startClient(world: World, index: number, again = false): Promise<void> {
  const child = start(world, './budget-client.ts', { CHAOS_NAME: `client${index}`, CHAOS_ASKERS: String(ASKERS), CHAOS_LIFE_MS: String(LIFE_MS) });
  world.clients[index] = child;
  child.on('message', (message: { readonly counts?: Readonly<Record<string, number>> }) => {
    for (const [name, count] of Object.entries(message.counts ?? {})) world.counts[name] = (world.counts[name] ?? 0) + count;
  });
  child.once('exit', () => {
    if (!world.ending && world.clients[index] === child) void startClient(world, index, true);
  });
  await Promise.race([once(child, 'message'), once(child, 'exit')]);
  if (again) child.send('again');
}

function start({ dir, url }: World, file: string, environment: Readonly<Record<string, string>>): ChildProcess {
  return fork(new URL(file, import.meta.url), { env: { ...process.env, ...environment, CHAOS_DIR: dir, CHAOS_NATS: url }, execArgv: ['--disable-warning=ExperimentalWarning'], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
}

// ---- the end

async function spentAll(world: World): Promise<void> {
  const giveUpAt = performance.now() + END_MS_MAX;
  while (performance.now() < giveUpAt && (await viewNow(world)).spentMicroUsd < CAP) await sleep(250);
}

async function finish(world: World): Promise<void> {
  const running = world.clients.filter((client) => client !== undefined && client.exitCode === null);
  const done = running.map((client) => new Promise<void>((resolve) => client?.on('message', (message: { readonly done?: true }) => { if (message.done === true) resolve(); })));
  for (const client of running) client?.send('end');
  await Promise.race([Promise.all(done), sleep(30_000)]);
  world.ending = true;
}

async function judge(world: World): Promise<{ readonly ok: boolean } & Readonly<Record<string, unknown>>> {
  const { seen, counts, dir, kills } = world;
  const lines = await Promise.all((await readdir(dir)).filter((name) => name.endsWith('.ledger')).map((name) => readFile(join(dir, name), 'utf8')));
  const spent = lines.flatMap((text) => text.trim().split('\n'));
  const twice = spent.length - new Set(spent).size;
  const { spentMicroUsd, unfundedMicroUsd, open } = await viewNow(world);
  const overrun = Math.max(0, seen.maxMicroUsd - CAP, spent.length * PRICE - CAP);
  const markers = (await readFile(join(dir, 'markers.log'), 'utf8').catch(() => '')).trim().split('\n');
  const ok = overrun === 0 && twice === 0 && spentMicroUsd === CAP && spent.length * PRICE === CAP && unfundedMicroUsd === 0 && seen.backwards === 0 && seen.records > 0;
  return {
    ok, asked: CLIENTS * ASKERS, granted: spent.length, spentMicroUsd, capMicroUsd: CAP, overrun,
    spentOutsideMicroUsd: spent.length * PRICE, spentTwice: twice, unfundedMicroUsd, openAtTheEnd: open, ...counts, kills, stepsHit: new Set(markers.map((line) => line.split(' ')[0])).size, statesSeen: seen.records, statesMissed: seen.missed,
  };
}
