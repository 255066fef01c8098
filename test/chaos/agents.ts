// Chaos on agent hosts: three real processes under load; kill -9 at named steps, SIGSTOP and SIGCONT, the broker killed.
// Owns: the load, the choice of faults (seeded), and the check against the outside ledger and the agents' own state.
// Never helps the runtime: the driver does what the brain does, publish under one id and wait, and no more.
// Others may assume: `lost` and `duplicates` are counted over every deposit whose publish was accepted or in doubt.

import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { subjects } from '../../contracts/address.ts';
import { isAiosError } from '../../contracts/errors.ts';
import { parseId } from '../../contracts/ids.ts';
import type { Envelope, Outcome } from '../../contracts/message.ts';
import { toBytes } from '../../contracts/parse.ts';
import { loadOrCreateKeys } from '../../infra/crypto/keys.ts';
import { mandatesOf } from '../../infra/crypto/mandates.ts';
import { startNatsServer, type NatsServer } from '../../infra/dev/servers.ts';
import { connectPorts, type NatsPorts } from '../../infra/nats/index.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { createSeededRandom } from '../kit/random.ts';
import { silentLogger, silentMetrics } from '../kit/silent.ts';
import { envelopeFor } from '../servers/envelopes.ts';
import type { ChaosArguments } from './main.ts';

const HOSTS = 3;
const ACCOUNTS = 48;
const EVERY_MS = 20;
const STOP_MS = 10_000;
const GIVE_UP_MS = 90_000;
/** Every step between receive and acknowledge; each is hit before any is hit twice. */
export const STEPS = ['received', 'before-read', 'after-read', 'in-handler', 'before-effect', 'after-effect', 'before-append', 'after-append', 'before-outcome', 'after-outcome', 'before-ack', 'after-ack'] as const;

interface Deposit { readonly id: string; readonly solo: boolean; readonly sentAt: number; doneAt: number | undefined; outcome: Outcome | undefined }
interface World {
  readonly dir: string;
  readonly ports: NatsPorts;
  readonly hosts: (ChildProcess | undefined)[];
  readonly deposits: Deposit[];
  nats: NatsServer;
  ending: boolean;
}

export async function runAgents({ rounds, seed, say }: ChaosArguments): Promise<{ readonly ok: boolean } & Readonly<Record<string, unknown>>> {
  const dir = await mkdtemp(join(tmpdir(), 'aios-chaos-'));
  const nats = await startNatsServer({ dir: join(dir, 'nats') });
  const ports = await connectPorts({ url: nats.url, name: 'driver', logger: silentLogger, metrics: silentMetrics, clock: systemClock, random: systemRandom });
  const mandates = mandatesOf(await loadOrCreateKeys(join(dir, 'home', 'keys')), { clock: systemClock, random: systemRandom });
  const world: World = { dir, ports, hosts: [], deposits: [], nats, ending: false };
  try {
    await Promise.all(Array.from({ length: HOSTS }, (_, index) => startHost(world, index)));
    await sleep(4_000);
    const load = keepSending(world, mandates);
    const recoveries = await runRounds(world, rounds, createSeededRandom(seed), say);
    world.ending = true;
    await load;
    return await check(world, mandates, rounds, recoveries);
  } finally {
    world.ending = true;
    for (const host of world.hosts) host?.kill('SIGKILL');
    await ports[Symbol.asyncDispose]();
    await world.nats.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

// ---- faults

async function runRounds(world: World, rounds: number, random: { next(): number }, say: (line: string) => void): Promise<number[]> {
  const recoveries: number[] = [];
  const steps: string[] = [];
  for (let round = 0; round < rounds; round++) {
    const kind = round % 5 === 3 ? 'pause' : round % 5 === 4 ? 'broker' : round % 20 === 2 ? 'kill' : 'step';
    if (steps.length === 0) steps.push(...shuffled(STEPS, random));
    await sleep(500 + random.next() * 500);
    const victim = Math.floor(random.next() * HOSTS);
    const step = kind === 'step' ? (steps.pop() as string) : '';
    const faultAt = await inject(world, kind, victim, step);
    const recovery = await recovered(world, faultAt);
    recoveries.push(recovery);
    say(`round ${round + 1}/${rounds}: ${kind}${step === '' ? '' : ` at ${step}`} on host ${victim}: recovered in ${Math.round(recovery)} ms`);
    await allUp(world);
  }
  return recoveries;
}

async function inject(world: World, kind: string, victim: number, step: string): Promise<number> {
  const host = world.hosts[victim] as ChildProcess;
  if (kind === 'broker') return killBroker(world);
  if (kind === 'pause') return pauseHost(host);
  const exited = once(host, 'exit').then(() => true);
  if (kind === 'kill') host.kill('SIGKILL');
  else host.send({ arm: step });
  // A host that happens not to pass the step is killed where it stands; the step shows as missed.
  if (!(await Promise.race([exited, sleep(15_000).then(() => false)]))) host.kill('SIGKILL');
  await exited;
  return performance.now();
}

async function killBroker(world: World): Promise<number> {
  const at = performance.now();
  const { port } = world.nats;
  world.nats.kill('SIGKILL');
  await world.nats.exited;
  await sleep(200);
  world.nats = await startNatsServer({ dir: join(world.dir, 'nats'), port });
  return at;
}

/** Resumes by itself later, while the round is measured: the paused host must not write what its successor owns. */
function pauseHost(host: ChildProcess): number {
  host.kill('SIGSTOP');
  setTimeout(() => host.kill('SIGCONT'), STOP_MS);
  return performance.now();
}

/** Until every deposit that was in flight at the fault, or sent in the second after it, has its outcome. */
async function recovered(world: World, faultAt: number): Promise<number> {
  await sleep(Math.max(0, faultAt + 1_000 - performance.now()));
  const affected = world.deposits.filter((deposit) => (deposit.doneAt ?? Infinity) >= faultAt && deposit.sentAt <= faultAt + 1_000);
  const giveUpAt = performance.now() + GIVE_UP_MS;
  while (affected.some((deposit) => deposit.doneAt === undefined) && performance.now() < giveUpAt) await sleep(20);
  return Math.max(0, ...affected.map((deposit) => (deposit.doneAt ?? giveUpAt) - faultAt));
}

async function allUp(world: World): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (world.hosts.filter((host) => host !== undefined && host.exitCode === null && host.signalCode === null).length === HOSTS) return;
    await sleep(50);
  }
}

async function startHost(world: World, index: number): Promise<void> {
  const env = { ...process.env, CHAOS_DIR: world.dir, AIOS_HOME: join(world.dir, 'home'), AIOS_NATS_URL: world.nats.url, AIOS_NAME: `agents-${index}`, AIOS_LOG_LEVEL: process.env['AIOS_LOG_LEVEL'] ?? 'error' };
  const host = fork(new URL('./agents-host.ts', import.meta.url), { env, execArgv: ['--disable-warning=ExperimentalWarning'], stdio: ['ignore', process.env['AIOS_LOG_LEVEL'] === undefined ? 'ignore' : 'inherit', 'inherit', 'ipc'] });
  host.once('exit', () => {
    world.hosts[index] = undefined;
    if (!world.ending) void sleep(300).then(() => (world.ending ? undefined : startHost(world, index)));
  });
  await Promise.race([once(host, 'message'), once(host, 'exit')]);
  world.hosts[index] = host;
}

// ---- load

async function keepSending(world: World, mandates: ReturnType<typeof mandatesOf>): Promise<void> {
  const waiting = new Set<Promise<void>>();
  for (let index = 0; !world.ending; index++) {
    // One in eight goes to an account nobody has spoken to yet, so that loading happens all the time.
    const actor = index % 8 === 7 ? `solo-${index}` : `account-${index % ACCOUNTS}`;
    const deposit: Deposit = { id: `d-${index}`, solo: index % 8 === 7, sentAt: performance.now(), doneAt: undefined, outcome: undefined };
    world.deposits.push(deposit);
    const envelope = envelopeFor(mandates, { capability: 'chaos.deposit', task: `t-${index}`, actor, input: { id: deposit.id, amount: 1 }, deadline: Date.now() + GIVE_UP_MS });
    const done = drive(world, deposit, envelope).finally(() => waiting.delete(done));
    waiting.add(done);
    await sleep(EVERY_MS);
  }
  await Promise.all(waiting);
}

async function drive(world: World, deposit: Deposit, envelope: Envelope): Promise<void> {
  const giveUpAt = performance.now() + GIVE_UP_MS;
  let published = false;
  while (deposit.outcome === undefined && performance.now() < giveUpAt) {
    const waiting = world.ports.outcomes.wait(envelope.tenant, envelope.task, envelope.id, 2_000);
    if (!published) published = await publish(world, envelope);
    deposit.outcome = await waiting;
  }
  if (deposit.outcome !== undefined) deposit.doneAt = performance.now();
}

async function publish(world: World, envelope: Envelope): Promise<boolean> {
  const subject = subjects.mailbox(parseId('tenant', envelope.tenant), parseId('agent-kind', 'teller'), parseId('agent-id', envelope.actor));
  for (let tries = 0; tries < 10; tries++) {
    try {
      await world.ports.mailboxes.publish(subject, toBytes(envelope), { messageId: envelope.id });
      return true;
    } catch (error) {
      if (!isAiosError(error)) throw error;
      await sleep(100);
    }
  }
  return false;
}

// ---- the check

async function check(world: World, mandates: ReturnType<typeof mandatesOf>, rounds: number, recoveries: readonly number[]): Promise<{ readonly ok: boolean } & Readonly<Record<string, unknown>>> {
  const lines = (await readFile(join(world.dir, 'ledger.log'), 'utf8')).trim().split('\n').map((line) => line.split(' '));
  const keysOf = new Map<string, Set<string>>();
  for (const [id = '', key = ''] of lines) keysOf.set(id, (keysOf.get(id) ?? new Set()).add(key));
  const done = world.deposits.filter((deposit) => deposit.outcome?.status === 'done');
  const lost = world.deposits.length - done.length + done.filter((deposit) => !keysOf.has(deposit.id)).length;
  const counted = (await Promise.all(Array.from({ length: ACCOUNTS }, (_, account) => countOf(world, mandates, account)))).reduce((sum, count) => sum + count, 0);
  const shared = done.filter((deposit) => !deposit.solo);
  const soloTwice = done.filter((deposit) => deposit.solo && (deposit.outcome as { readonly output: { readonly count: number } }).output.count !== 1).length;
  const duplicates = [...keysOf.values()].filter((keys) => keys.size > 1).length + Math.max(0, counted - shared.length) + soloTwice;
  const markers = (await readFile(join(world.dir, 'markers.log'), 'utf8').catch(() => '')).trim().split('\n').map((line) => line.split(' ')[0] ?? '');
  const missed = STEPS.filter((step) => !markers.includes(step));
  const sorted = recoveries.toSorted((a, b) => a - b);
  const recoveryP95Ms = Math.round(sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * 0.95) - 1)] ?? 0);
  const ok = lost === 0 && duplicates === 0 && counted === shared.length && recoveryP95Ms <= 5_000;
  return { ok, rounds, sent: world.deposits.length, lost, duplicates, countedByAgents: counted, effectAttempts: lines.length, recoveryP50Ms: Math.round(sorted[Math.floor(sorted.length / 2)] ?? 0), recoveryP95Ms, recoveryMaxMs: Math.round(sorted.at(-1) ?? 0), stepsHit: STEPS.length - missed.length, stepsMissed: missed };
}

async function countOf(world: World, mandates: ReturnType<typeof mandatesOf>, account: number): Promise<number> {
  const envelope = envelopeFor(mandates, { capability: 'chaos.balance', task: `t-balance-${account}`, actor: `account-${account}`, input: {}, deadline: Date.now() + GIVE_UP_MS });
  const deposit: Deposit = { id: envelope.task, solo: false, sentAt: performance.now(), doneAt: undefined, outcome: undefined };
  await drive(world, deposit, envelope);
  return deposit.outcome?.status === 'done' ? (deposit.outcome.output as { readonly count: number }).count : -1;
}

function shuffled<T>(items: readonly T[], random: { next(): number }): T[] {
  const copy = [...items];
  for (let i = copy.length - 1; i > 0; i--) {
    const j = Math.floor(random.next() * (i + 1));
    [copy[i], copy[j]] = [copy[j] as T, copy[i] as T];
  }
  return copy;
}
