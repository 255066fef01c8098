// One simulated approval: the real reducer, re-check and settlement, driven by one seed through races, crashes and attackers.
// Owns: the schedule (people, clock, revocations, policy changes, crashes, forged results) and the tally of what happened.
// Never models a rule of the approval: those are the product's. What must hold is judged apart, in approvals-oracle.ts.
// Others may assume: same seed and sabotage, same run; the world outside is a few fields that change at random moments.

import { recheck, recordAttempt } from '../../activities/approve.ts';
import type { ActivityPorts } from '../../activities/ports.ts';
import { settleGroup } from '../../activities/settle.ts';
import { isAiosError } from '../../contracts/errors.ts';
import type { SettleArgs, SettledMember } from '../../contracts/governed.ts';
import type { AppliedEffect, ApprovalInput, ApprovalResult, Approved, LedgerAnchor } from '../../contracts/task.ts';
import type { LedgerEntry, LedgerRecord } from '../../contracts/record.ts';
import { actionOf, attempt, bindingOf, expire, openApproval, refuseAttempt, resultDigest, resultOf, saidOf, shortAction, type ApprovalState } from '../../policies/approval.ts';
import { begin, decided, settlementOf, type Run, type Scene } from '../../workflows/group.ts';
import { createSeededRandom, type SeededRandom } from '../kit/random.ts';
import { silentLogger, silentMetrics, silentTracer } from '../kit/silent.ts';
import { capability, GROUPS, type GroupName, sliceFor, PEOPLE } from './approvals-world.ts';

/** What the product decides with; a sabotage puts something worse in place of a member. */
export interface Rules {
  readonly attempt: typeof attempt;
  readonly expire: typeof expire;
  readonly recheck: typeof recheck;
  readonly settle: typeof settleGroup;
  /** The state after a crash, rebuilt from what history holds. */
  readonly replay: (input: ApprovalInput, history: readonly Heard[], rules: Rules) => ApprovalState;
}
export interface Heard {
  readonly at: number;
  /** Absent: the clock's own turn. */
  readonly raw?: Said;
  /** Digest of what was said, without its token. */
  readonly said?: string;
  readonly forged?: boolean;
}
export interface Said { readonly decision: string; readonly by: string; readonly to?: string; readonly until?: number; readonly text?: string; readonly action?: string; readonly token?: string }
/** The world outside: what is in force at a moment. */
export interface World {
  readonly at: number;
  readonly groups: Readonly<Record<GroupName, readonly string[]>>;
  readonly denies: boolean;
  readonly broke: boolean;
}
export interface ApprovalRun {
  readonly seed: number;
  readonly input: ApprovalInput;
  /** Everything that was said, with what it was answered and what was really behind it. */
  readonly heard: readonly (Heard & { readonly accepted: boolean; readonly honest: boolean })[];
  readonly outcomes: readonly string[];
  /** Different results that the brain put its seal on. */
  readonly sealed: number;
  readonly worlds: readonly World[];
  /** When an intent was written, and the world it was written in. */
  readonly intents: readonly { readonly at: number; readonly world: World }[];
  readonly effects: readonly number[];
  readonly decisions: number;
  readonly forgedBelieved: boolean;
  /** Replays that came to another state than the one that crashed. */
  readonly diverged: number;
  readonly state: ApprovalState;
  readonly answer: SettledMember | undefined;
  readonly decidedState: string;
}

const T0 = 1_000_000;
const EXPIRES_MS = 1_000;
const DRIVES_MAX = 40;
const APPROVAL = 'approval/t-1';

class Crash extends Error {}

export const RULES: Rules = {
  attempt, expire, recheck, settle: settleGroup,
  replay: (input, history, rules) => history.reduce<ApprovalState>((state, one) => (one.raw === undefined ? rules.expire(input, state, one.at) : judged(input, state, one, rules)), openApproval(input, T0)),
};

export async function simulateApproval(seed: number, rules: Rules = RULES): Promise<ApprovalRun> {
  const random = createSeededRandom(seed);
  const sim = createSim(seed, random, rules);
  for (const step of sim.schedule) {
    sim.now = Math.max(sim.now, step.at);
    await step.run();
  }
  await sim.end();
  return sim.tally();
}

function createSim(seed: number, random: SeededRandom, rules: Rules) {
  const input = inputOf(random);
  const binding = bindingOf(APPROVAL, input);
  const worlds: World[] = [{ at: 0, groups: GROUPS, denies: false, broke: false }];
  const heard: ApprovalRun['heard'][number][] = [];
  const history: Heard[] = [];
  const outcomes: string[] = [];
  const sealed = new Set<string>();
  const intents: ApprovalRun['intents'][number][] = [];
  const effects: number[] = [];
  let state = openApproval(input, T0);
  let diverged = 0;
  let result: ApprovalResult | undefined;
  let forgedBelieved = false;
  let answer: SettledMember | undefined;
  let decidedState = 'open';
  const sim = { now: T0, schedule: [] as { at: number; run: () => Promise<void> }[], end, tally };
  const ledger = createLedger(sim, () => intents.push({ at: sim.now, world: worlds.at(-1) as World }));
  const ports = portsOf();
  plan();
  return sim;

  function portsOf(): ActivityPorts {
    const world = (): World => worlds.at(-1) as World;
    return {
      ledger, clock: { now: () => sim.now }, logger: silentLogger, metrics: silentMetrics, tracer: silentTracer,
      registry: { get: () => capability }, settled: () => undefined, leftFastLane: () => undefined, envelopeId: () => '',
      sealOf: (text: string) => `seal of ${text}`,
      approvals: { provenOnly: input.requireVerified === true, canaries: { rateBp: 0, random, from: () => 'nowhere', open: async () => undefined } },
      decisionToken: (claim: { readonly by: string; readonly decision: string; readonly action: string; readonly said: string }, token: string) => token === tokenOf(claim),
      policies: { slice: async () => sliceFor(world().groups, world().denies) },
      budgets: { settle: async () => undefined, view: async () => ({ tenant: 'demo', capMicroUsd: 10, spentMicroUsd: world().broke ? 11 : 1, reservedMicroUsd: 0 }) },
      mandates: { mint: () => 'm', verify: () => ({ digest: 'd' }) },
      effects: { kinds: ['refund'], apply: applyOnce },
    } as unknown as ActivityPorts;
  }

  /** As every system of record must: at most once under its key, with the first answer for ever; it may die before or after. */
  async function applyOnce(_tenant: string, effect: { readonly kind: string; readonly key: string }): Promise<AppliedEffect> {
    crashes(0.06);
    if (effects.length === 0 || !ledger.appliedKeys.has(effect.key)) effects.push(sim.now);
    ledger.appliedKeys.add(effect.key);
    crashes(0.06);
    return { kind: effect.kind, key: effect.key, applied: true };
  }

  function crashes(chance: number): void {
    if (ledger.fragile && random.chance(chance)) throw new Crash('power cut');
  }

  function plan(): void {
    const horizon = EXPIRES_MS * (2 + (input.verdict.approval.chain?.length ?? 0));
    const at = (): number => (random.chance(0.3) ? T0 + EXPIRES_MS * (1 + random.int(2)) + random.int(3) - 1 : T0 + random.int(horizon));
    const add = (when: number, run: () => Promise<void>): void => void sim.schedule.push({ at: when, run });
    const count = 2 + random.int(8);
    for (let i = 0; i < count; i++) {
      const when = at();
      const say = sayer();
      add(when, () => tell(say()));
      if (random.chance(0.2)) add(when, () => tell(say()));
    }
    for (let tick = T0 + EXPIRES_MS; tick <= T0 + horizon; tick += EXPIRES_MS) add(tick + (random.chance(0.3) ? random.int(60) : 0), async () => pass());
    for (let i = random.int(3); i > 0; i--) add(at(), async () => change());
    for (let i = random.int(3); i > 0; i--) add(at(), async () => crashNow());
    if (random.chance(0.1)) add(at(), () => hear(forgedResult()));
    sim.schedule.sort((a, b) => a.at - b.at);
  }

  /** What one person is about to say: most are who they claim to be, some are not. */
  function sayer(): () => { readonly said: Said; readonly honest: boolean; readonly prove: boolean; readonly forgeToken: boolean } {
    const decision = random.chance(0.75) ? 'approve' : (['reject', 'answer', 'delegate', 'delegate'] as const)[random.int(4)] ?? 'reject';
    const by = random.chance(0.55) ? (PEOPLE[random.int(3)] ?? 'ana') : random.chance(0.3) ? 'guest' : (PEOPLE[random.int(PEOPLE.length)] ?? 'ana');
    const to = random.chance(0.6) ? 'guest' : (PEOPLE[random.int(PEOPLE.length)] ?? 'ben');
    const until = random.chance(0.5) ? random.int(1_200) : undefined;
    const attacker = random.chance(0.15);
    const seen = random.chance(0.5);
    return () => ({
      said: { decision, by, ...(seen ? { action: shortAction(input, state) } : {}), ...(decision === 'delegate' ? { to, ...(until === undefined ? {} : { until: sim.now + until }) } : {}), ...(decision === 'answer' ? { text: `words of ${by}` } : {}) },
      honest: !attacker, prove: !attacker, forgeToken: attacker && random.chance(0.5),
    });
  }

  async function tell({ said, honest, prove, forgeToken }: ReturnType<ReturnType<typeof sayer>>): Promise<void> {
    const proof = { action: actionOf(input, state), said: saidOf(said), by: said.by, decision: said.decision };
    const raw: Said = prove ? { ...said, token: tokenOf(proof) } : forgeToken ? { ...said, token: 'made up' } : said;
    const one: Heard = { at: sim.now, raw, said: proof.said, ...(forgeToken ? { forged: true } : {}) };
    const before = state;
    const answered = answerOf(input, state, one, rules);
    history.push(one);
    state = answered.state;
    heard.push({ ...one, accepted: answered.accepted, honest });
    await transition(before, answered.accepted, said);
  }

  async function pass(): Promise<void> {
    const before = state;
    const next = rules.expire(input, state, sim.now);
    if (next === state) return;
    history.push({ at: sim.now });
    state = next;
    heard.push({ at: sim.now, accepted: true, honest: true });
    await transition(before, true, { decision: 'expired', by: before.group });
  }

  /** Every attempt goes on record, at least once; the one that ends the approval is sealed with it. */
  async function transition(before: ApprovalState, accepted: boolean, said: Said): Promise<void> {
    const ends = state.outcome !== undefined && (before.outcome === undefined || before.outcome !== state.outcome);
    if (ends) outcomes.push(state.outcome ?? '');
    const record = () => recordAttempt(ports, {
      kind: 'attempt', tenant: 'demo', task: 't-1', approval: APPROVAL, by: said.by, via: 'update', accepted, decision: said.decision, verified: true,
      binding, seal: input.seal ?? '', ...(ends ? { result: resultDigest(resultOf(state)) } : {}),
    });
    const { seal } = await record();
    if (seal !== undefined) sealed.add(seal);
    if (random.chance(0.1)) await record();
    if (ends) await hear({ ...resultOf(state), ...(seal === undefined ? {} : { seal }) });
  }

  /** The governing side hears of a result: believed only with the brain's seal, then checked, then carried out in a while. */
  async function hear(told: ApprovalResult): Promise<void> {
    if (result !== undefined) return;
    const approved: Approved = { approval: APPROVAL, input, result: told };
    const go = told.outcome === 'approved' || told.outcome === 'answered';
    const checked = go ? await rules.recheck(ports, { tenant: 'demo', capability: capability.id, taskId: 't-1', input: {}, actionDigest: input.actionDigest, deadline: sim.now + 1_000, approved, ...(told.text === undefined ? {} : { text: told.text }) }) : undefined;
    if (checked?.error?.code === 'AIOS_FORBIDDEN') return;
    if (go && told.seal === 'forged') forgedBelieved = true;
    result = told;
    const run = decided(sceneAt(), waitingRun(), approved, checked);
    const later = sim.now + random.int(400);
    if (random.chance(0.4)) sim.schedule.push({ at: sim.now + random.int(300), run: async () => change() });
    sim.schedule.push({ at: later, run: () => settle(run) });
    sim.schedule.sort((a, b) => a.at - b.at);
  }

  async function settle(run: Run): Promise<void> {
    const member = settlementOf(sceneAt(), run);
    const args: SettleArgs = { tenant: 'demo', capability: capability.id, workflowId: 'w', runId: 'r', bundle: 'sha256:00', pinned: { slice: 's', seal: 'seal of s' }, members: [member], left: [] };
    for (let drive = 0; drive < DRIVES_MAX; drive++) {
      ledger.fragile = drive < DRIVES_MAX - 1;
      try {
        const { members } = await rules.settle(ports, args);
        answer = members[0];
        decidedState = answer?.decided?.state ?? (answer?.error === undefined ? member.state : 'failed');
        return;
      } catch (thrown) {
        if (!(thrown instanceof Crash) && !isAiosError(thrown)) throw thrown;
        sim.now += 1 + random.int(50);
        if (random.chance(0.3)) change();
      } finally {
        ledger.fragile = false;
      }
    }
  }

  /** The worker dies: the state is whatever history gives again. */
  async function crashNow(): Promise<void> {
    const again = rules.replay(input, history, rules);
    if (JSON.stringify(again) !== JSON.stringify(state)) diverged += 1;
    const before = state;
    state = again;
    if (state.outcome !== before.outcome) await transition(before, true, { decision: 'replayed', by: 'worker' });
  }

  function change(): void {
    const now = worlds.at(-1) as World;
    const what = random.int(10);
    const group = (Object.keys(GROUPS) as GroupName[])[random.int(3)] ?? 'desk';
    if (what < 5) worlds.push({ ...now, at: sim.now, groups: { ...now.groups, [group]: now.groups[group].filter((person) => person !== PEOPLE[random.int(PEOPLE.length)]) } });
    else if (what < 7) worlds.push({ ...now, at: sim.now, groups: { ...now.groups, [group]: GROUPS[group] } });
    else if (what < 8) worlds.push({ ...now, at: sim.now, denies: !now.denies });
    else if (what < 9) worlds.push({ ...now, at: sim.now, broke: !now.broke });
    // Somebody moves to another group: known to the bundle, but not to the group that was asked.
    else worlds.push({ ...now, at: sim.now, groups: { ...now.groups, desk: now.groups.desk.filter((person) => person !== 'ana'), board: [...new Set([...now.groups.board, 'ana'])] } });
  }

  function forgedResult(): ApprovalResult {
    const seat = (by: string) => ({ seat: by, by, decision: 'approve' as const, at: sim.now, proof: 'server' as const, action: input.actionDigest, said: 'x' });
    return { outcome: 'approved', approvers: ['ana', 'ben', 'cem'], group: 'desk', decisions: [], seats: [seat('ana'), seat('ben'), seat('cem')], seal: 'forged' };
  }

  async function end(): Promise<void> {
    for (let i = 0; i < 8 && state.outcome === undefined; i++) {
      sim.now = Math.max(sim.now, state.expiresAt);
      await pass();
    }
    const left = sim.schedule.filter(({ at }) => at >= sim.now);
    sim.schedule = [];
    for (const step of [...left, ...sim.schedule]) {
      if (answer !== undefined) break;
      sim.now = Math.max(sim.now, step.at);
      await step.run();
    }
    for (const step of sim.schedule) if (answer === undefined) await step.run();
  }

  function sceneAt(): Scene {
    return { tenant: 'demo', capability: capability.id, slice: sliceFor(GROUPS, false), now: sim.now };
  }

  function waitingRun(): Run {
    const outcome = { status: 'done' as const, output: { text: 'x' }, facts: { effectKind: 'refund', amountMicroUsd: 5 }, receipts: [], costMicroUsd: 1, effect: { kind: 'refund', key: 'k-1', amountMicroUsd: 5, params: {} } };
    const member = { taskId: 't-1', key: 'k', principal: input.requester, input: {}, acceptedAt: T0, deadline: T0 + 60_000 };
    return begin(sceneAt(), member, { taskId: 't-1', summary: 's', inputDigest: 'sha256:00' }, { from: 'w', at: 'approval', attempt: 1, rung: 'model', verdicts: [input.verdict], settled: outcome, spentMicroUsd: 1 });
  }

  function tally(): ApprovalRun {
    return { seed, input, heard, outcomes, sealed: sealed.size, worlds, intents, effects, decisions: ledger.decisions(), forgedBelieved, diverged, state, answer, decidedState };
  }
}

const tokenOf = ({ by, decision, action, said }: { readonly by: string; readonly decision: string; readonly action: string; readonly said: string }): string => `${by} ${decision} ${action} ${said}`;

/** As the workflow does: a token that does not verify is refused before the rules see it. */
function answerOf(input: ApprovalInput, state: ApprovalState, one: Heard, rules: Rules) {
  const raw = one.raw as Said;
  if (one.forged === true) return refuseAttempt(state, raw, one.at, 'AIOS_APPROVAL_UNAUTHORISED', 'The decision token does not verify.');
  const action = actionOf(input, state);
  return rules.attempt(input, state, raw, one.at, raw.token === undefined ? { proof: 'none', action, said: one.said ?? '' } : { proof: 'token', action, said: one.said ?? '', token: raw.token });
}
const judged = (input: ApprovalInput, state: ApprovalState, one: Heard, rules: Rules): ApprovalState => answerOf(input, state, one, rules).state;

function inputOf(random: SeededRandom): ApprovalInput {
  const chain = random.int(3);
  const requester = random.chance(0.5) ? 'ana' : 'helpdesk';
  const input: ApprovalInput = {
    v: 1, taskId: 't-1', tenant: 'demo', capability: capability.id, requester: { id: requester, type: 'user', tenant: 'demo', roles: [] },
    verdict: {
      kind: 'escalate', action: 'commit', bundle: 'sha256:00' as never, deciding: ['p'], erroring: [], reason: 'r',
      approval: { approvers: 'desk', quorum: 1 + random.int(3), expiresMs: EXPIRES_MS, onExpiry: chain === 0 ? 'deny' : { escalate: 'board' }, ...(chain === 2 ? { chain: ['owners'] } : {}) },
    },
    members: GROUPS, actionDigest: `sha256:${'ab'.repeat(32)}`, effect: { kind: 'refund', key: 'k-1', amountMicroUsd: 5, params: {} }, facts: {}, summary: 's', citations: [], costMicroUsd: 1, graceMs: 1_000,
    ...(random.chance(0.5) ? { requireVerified: true } : {}),
  };
  return { ...input, seal: `seal of approval asked ${bindingOf(APPROVAL, input)}` };
}

/** The ledger's promise: an append that resolves is on disk; a power cut before it is not, one after it is. */
function createLedger(sim: { readonly now: number }, onIntent: () => void) {
  const entries: LedgerEntry[] = [];
  const state = {
    fragile: false, appliedKeys: new Set<string>(),
    decisions: () => entries.filter(({ record }) => record.kind === 'decision').length,
    async append(records: readonly LedgerRecord[]): Promise<readonly LedgerAnchor[]> {
      if (state.fragile && chance(sim, entries.length, 0.05)) throw new Crash('power cut');
      const anchors = records.map((record) => {
        entries.push({ log: 'l', index: entries.length, at: sim.now, prev: '', hash: '', record });
        if (record.kind === 'intent') onIntent();
        return { log: 'l', index: entries.length - 1, head: '' };
      });
      if (state.fragile && chance(sim, entries.length + 7, 0.05)) throw new Crash('power cut');
      return anchors;
    },
    head: () => undefined,
    find: async (task: string) => entries.filter(({ record }) => record.task === task),
    async decision(task: string) {
      const found = entries.find(({ record }) => record.kind === 'decision' && record.task === task);
      return found === undefined ? undefined : { log: found.log, index: found.index, head: '' };
    },
    async [Symbol.asyncDispose]() { await Promise.resolve(); },
  };
  return state;
}

/** A coin whose side follows from when and where it is thrown, so that a replayed seed crashes at the same places. */
const chance = (sim: { readonly now: number }, salt: number, probability: number): boolean => createSeededRandom((sim.now * 31 + salt * 7_919) >>> 0).next() < probability;
