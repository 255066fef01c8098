// One simulated run: the real agent hosts over in-memory servers, driven by one seed through faults to rest.
// Owns: the schedule of faults, the clients that send work, and the verdict over what is left at the end.
// Never models the runtime: agents/runtime runs as it does in production. Others may assume: same seed and options, same trace hash.

import { createAgentHost, type AgentHost } from '../../agents/runtime/host.ts';
import { createRegistry } from '../../agents/registry.ts';
import { subjects } from '../../contracts/address.ts';
import { canonicalJson } from '../../contracts/canonical.ts';
import type { AgentId, AgentKind, TenantId } from '../../contracts/ids.ts';
import type { Envelope, Outcome } from '../../contracts/message.ts';
import { toBytes } from '../../contracts/parse.ts';
import type { DeadLetter } from '../../contracts/ports.ts';
import { createKit, createSeededRandom, createSimulatedClock, type Kit, type KitPorts, type SeededRandom, settle, type SimulatedClock, TEST_TENANT } from '../kit/index.ts';
import { CALM, createProcess, createTrace, type Faults, type SimProcess, type Weather } from './network.ts';
import { addJob, agentsOf, COUNTERS, type Job, PARTITIONS_USED } from './workload.ts';

export interface SimOptions {
  readonly hosts?: number;
  readonly messages?: number;
  /** Simulated time during which faults happen. */
  readonly stormMs?: number;
  /** Test-only ports between the runtime and the servers, to show that the checks bite. */
  readonly sabotage?: (ports: KitPorts) => KitPorts;
}
export interface SimResult {
  readonly seed: number;
  readonly hash: string;
  readonly lost: readonly string[];
  readonly duplicated: readonly string[];
  readonly staleWrites: number;
  readonly quiescent: boolean;
  readonly steps: number;
  readonly simulatedMs: number;
  readonly crashes: ReadonlyMap<string, number>;
}
export const passed = (result: SimResult): boolean => result.lost.length === 0 && result.duplicated.length === 0 && result.staleWrites === 0 && result.quiescent;

const CALM_MS_MAX = 600_000;
const LIMITS = { leaseMs: 2_400, progressMs: 800, drainMs: 1_500, deliveriesMax: 30, transientTriesMax: 20, turnsMax: 8, partitionInFlightMax: 4 };
const MAILBOXES = { ackWaitMs: 3_000, dedupWindowMs: 1_000, deliverMax: 200 };

export async function simulate(seed: number, options: SimOptions = {}): Promise<SimResult> {
  const run = createRun(seed, options);
  for (let i = 0; i < (options.hosts ?? 3); i++) run.boot(`h${i}`);
  for (let n = 0; n < (options.messages ?? 10); n++) run.submit(n);
  run.storm();
  const { clock } = run;
  const end = clock.now() + run.stormMs + CALM_MS_MAX;
  let steps = 0;
  let check = clock.now() + run.stormMs;
  while (clock.next !== undefined && clock.now() < end) {
    clock.step();
    await settle();
    steps++;
    if (clock.now() < check) continue;
    if (run.atRest()) break;
    check = clock.now() + 200;
  }
  const verdict = judge(run);
  run.stop();
  return { seed, hash: run.weather.trace.hash, ...verdict, steps, simulatedMs: clock.now() - (end - run.stormMs - CALM_MS_MAX), crashes: run.weather.crashes };
}

interface Submission {
  readonly job: Job;
  readonly envelope: Envelope;
  accepted: boolean;
  open: boolean;
}
interface Run {
  readonly clock: SimulatedClock;
  readonly kit: Kit;
  readonly weather: Weather;
  readonly stormMs: number;
  readonly submissions: readonly Submission[];
  readonly staleWrites: () => number;
  boot(name: string): void;
  submit(n: number): void;
  storm(): void;
  atRest(): boolean;
  stop(): void;
}

function createRun(seed: number, options: SimOptions): Run {
  const clock = createSimulatedClock();
  const random = createSeededRandom(seed);
  const fences = new Map<string, number>();
  let stale = 0;
  const kit = createKit({ clock, seed: seed ^ 0x5f3759df, mailboxes: MAILBOXES, onAppend: (subject, data) => {
    const { fence } = JSON.parse(new TextDecoder().decode(data)) as { fence: number };
    if (fence < (fences.get(subject) ?? 0)) stale++;
    fences.set(subject, Math.max(fence, fences.get(subject) ?? 0));
  } });
  const stormMs = options.stormMs ?? 8_000;
  const stormy: Faults = { lossChance: random.next() * 0.05, duplicateChance: random.next() * 0.2, crashChance: random.next() * 0.03, slowChance: random.next() * 0.2, fastMs: 1 + random.next() * 5, slowMs: 100 + random.next() * 2_000 };
  const weather: Weather = { clock, random, trace: createTrace(), faults: stormy, crashes: new Map() };
  const running = new Map<string, { readonly process: SimProcess; readonly host: AgentHost }>();
  const submissions: Submission[] = [];
  let calm = false;
  const unrest = calmable(() => calm, random.next() * 0.15);

  function boot(name: string): void {
    const process = createProcess(weather, name, () => {
      running.delete(name);
      clock.after(random.between(100, 3_000), () => boot(name));
    });
    const own = createSeededRandom(random.int(2 ** 31));
    const ports = kit.connect(process.link, own);
    const agents = agentsOf(own, (ms) => process.clock.sleep(ms), unrest);
    const host = createAgentHost(options.sabotage === undefined ? ports : options.sabotage(ports), { agents, name, partitions: 'leased', eligible: PARTITIONS_USED, limits: LIMITS, registry: createRegistry(agents) });
    running.set(name, { process, host });
    host.start().catch(() => process.crash());
  }

  function submit(n: number): void {
    const job: Job = { n, counter: COUNTERS[random.int(COUNTERS.length)] as string, poison: random.chance(0.05), tells: random.chance(0.5), publishes: random.chance(0.4), helps: random.chance(0.2), timer: random.chance(0.2), workMs: random.chance(0.3) ? random.between(0, 3_000) : 0 };
    const envelope = kit.envelope(addJob, job, { actor: job.counter, deadline: clock.now() + CALM_MS_MAX * 2, grant: { expiresAt: clock.now() + CALM_MS_MAX * 4 } });
    const submission: Submission = { job, envelope, accepted: false, open: true };
    submissions.push(submission);
    clock.after(random.next() * stormMs, () => void send(client, submission, random));
  }
  const client = kit.connect(createProcess(weather, 'client').link, random);

  function storm(): void {
    for (let i = random.int(7); i > 0; i--) {
      clock.after(random.next() * stormMs, () => {
        const victim = [...running.values()][random.int(running.size)];
        if (victim !== undefined) disturb(victim, random);
      });
    }
    clock.after(stormMs, () => {
      calm = true;
      weather.faults = CALM;
    });
  }

  return {
    clock, kit, weather, stormMs, submissions, boot, submit, storm,
    staleWrites: () => stale,
    atRest: () => kit.servers.mailboxes.waiting === 0 && kit.servers.topics.waiting === 0 && kit.servers.mailboxes.timersWaiting === 0 && submissions.every(({ open }) => !open) && [...running.values()].every(({ host, process }) => process.idle && host.inspect().inHand === 0),
    stop() {
      for (const { process } of running.values()) process.crash();
    },
  };
}

const calmable = (calm: () => boolean, stormy: number) => (): number => (calm() ? 0 : stormy);

/** A drained host's process exits and is started again, as in a rolling deploy. */
function disturb({ process, host }: { readonly process: SimProcess; readonly host: AgentHost }, random: SeededRandom): void {
  const kind = random.int(4);
  if (kind === 0) process.crash();
  else if (kind === 1) process.pause(random.between(200, 7_000));
  else if (kind === 2) process.cut(random.between(200, 7_000));
  else void host.drain().then(process.crash, process.crash);
}

/** As the brain sends: the same envelope under the same id until it is accepted, and sometimes once more because the brain forgot. */
async function send(client: KitPorts, submission: Submission, random: SeededRandom): Promise<void> {
  const { envelope } = submission;
  const again = random.chance(0.3);
  for (let tries = 0; !submission.accepted && tries < 200; tries++) {
    try {
      await publish(client, envelope);
      submission.accepted = true;
    } catch {
      await client.clock.sleep(300);
    }
  }
  if (again) {
    await client.clock.sleep(random.next() * 5_000);
    await publish(client, envelope).catch(() => undefined);
  }
  submission.open = false;
}

const publish = (client: KitPorts, envelope: Envelope) => client.mailboxes.publish(subjects.mailbox(TEST_TENANT as TenantId, 'counter' as AgentKind, envelope.actor as AgentId), toBytes(envelope), { messageId: envelope.id });

// ---- the verdict

function judge(run: Run): Pick<SimResult, 'lost' | 'duplicated' | 'staleWrites' | 'quiescent'> {
  const lost: string[] = [];
  const duplicated: string[] = [];
  const effects = effectsOf(run.kit);
  for (const [effect, count] of effects) if (count > 1) duplicated.push(effect);
  const letters = [...run.kit.servers.letters.letters.values()].map(eventOf);
  for (const submission of run.submissions) judgeOne(run.kit, submission, effects, letters, lost, duplicated);
  return { lost, duplicated, staleWrites: run.staleWrites(), quiescent: run.atRest() };
}

function judgeOne(kit: Kit, { job, envelope, accepted }: Submission, effects: ReadonlyMap<string, number>, letters: readonly string[], lost: string[], duplicated: string[]): void {
  if (!accepted) return;
  const outcomes = (kit.servers.outcomes.byTask.get(`${envelope.tenant}/${envelope.task}`) ?? []).filter(({ id }) => id === envelope.id);
  const first = outcomes[0];
  if (first === undefined) return void lost.push(`outcome-${job.n}`);
  if (outcomes.some((outcome) => !sameOutcome(outcome, first))) duplicated.push(`outcome-${job.n}`);
  const has = (effect: string): boolean => effects.has(effect) || letters.includes(effect);
  if (first.status === 'failed') {
    if (effects.has(`add-${job.n}`)) duplicated.push(`failed-add-${job.n}`);
    return;
  }
  if (!effects.has(`add-${job.n}`)) lost.push(`add-${job.n}`);
  if (job.tells && !has(`told-${job.n}`)) lost.push(`told-${job.n}`);
  if (job.publishes && !has(`noted-${job.n}`)) lost.push(`noted-${job.n}`);
  if (job.timer && !has(`rang-${job.n}`)) lost.push(`rang-${job.n}`);
  if (job.helps && !effects.has(`helped-${job.n}`)) lost.push(`helped-${job.n}`);
}

const sameOutcome = (a: Outcome, b: Outcome): boolean => a === b || canonicalJson(a) === canonicalJson(b);

function effectsOf(kit: Kit): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { data } of kit.servers.state.last.values()) {
    const { state } = JSON.parse(new TextDecoder().decode(data)) as { state?: { seen: string[] } };
    for (const effect of state?.seen ?? []) counts.set(effect, (counts.get(effect) ?? 0) + 1);
  }
  return counts;
}

/** The effect a dead-lettered event would have had. */
function eventOf(letter: DeadLetter): string {
  const { capability, input } = JSON.parse(atob(letter.data)) as { capability: string; input: { n: number } };
  return `${capability === 'sim.added' ? 'told' : capability === 'sim.noted' ? 'noted' : capability === 'sim.rang' ? 'rang' : 'add'}-${input.n}`;
}
