// The turn: load, dedup, handle, ONE append, publish, acknowledge. In this order and no other.
// Owns: what happens to a delivery from the moment its agent is free until it is acknowledged, given back or dead-lettered.
// Never acknowledges before the append; never writes after its tenure ended. Others may assume: a crash between any two steps
// leads to redelivery, redelivery of a handled message publishes the same outcome again, and no handler runs twice to effect.

import { parseMailboxSubject, subjects } from '../../contracts/address.ts';
import { ERRORS, type ErrorBody, fail, hasCode, isAiosError, toErrorBody } from '../../contracts/errors.ts';
import type { CapabilityTraits } from '../../contracts/capability.ts';
import type { VerifiedMandate } from '../../contracts/mandate.ts';
import { type Envelope, HEADERS, type Outcome, outcomeSchema } from '../../contracts/message.ts';
import { parseFresh, parseJson, parseValue } from '../../contracts/parse.ts';
import type { DeadLetterReason, DeadLetters, KeyValue, MailboxDelivery, Metrics, Random, StateLog, Timers, Topics } from '../../contracts/ports.ts';
import type { Receipt } from '../../contracts/receipt.ts';
import { isRevoked, type Revocations } from '../../policies/mandate.ts';
import { authorise } from './authority.ts';
import type { Call } from './chain.ts';
import type { Cell } from './cells.ts';
import { type ContextPorts, type Gathered, openContext, type OpenContext, PUT_OFF } from './context.ts';
import { toBase64 } from './envelope.ts';
import type { Deadlines } from './deadlines.ts';
import type { HostLimits } from './ports.ts';
import { bumpFence, type DoneEntry, EMPTY_RECORD, encodeRecord, findDone, isSent, nextRecord, parseRecord, type Post, putOffRecord, type TimerChanges, type TurnRecord, type TurnResult, type WatchChanges } from './record.ts';
import { childId } from './child-id.ts';
import { clearWatch, setWatch, tellStopped } from './watches.ts';
import { backoffMs, classify, createIntensity } from './supervision.ts';
import { walk, type WalkPorts } from './walk.ts';

/** The time a host owns a partition. Leaseless hosts have no fence: nobody else may serve. */
export interface Tenure {
  readonly fence: number | undefined;
  readonly lost: boolean;
  /** Called once when the tenure ends while a turn runs; the returned function forgets it. */
  onLost(run: () => void): () => void;
}

export interface TurnPorts extends ContextPorts, WalkPorts {
  readonly stateLog: StateLog;
  readonly keyValue: KeyValue;
  readonly deadLetters: DeadLetters;
  readonly metrics: Metrics;
  readonly random: Random;
  readonly timers: Timers | undefined;
  readonly revocations?: Revocations;
  readonly topics: Topics;
  readonly limits: HostLimits;
  readonly deadlines: Deadlines;
  /** Told about every fault that the agent's supervision does not keep to itself. */
  readonly onEscalation: (agent: string, id: string, thrown: unknown) => void;
}

export interface Turn {
  readonly cell: Cell;
  readonly delivery: MailboxDelivery;
  readonly envelope: Envelope;
  readonly tenure: Tenure;
}

type Plan = { readonly kind: 'commit'; readonly result: TurnResult; readonly started?: true } | { readonly kind: 'put-off' } | { readonly kind: 'retry'; readonly delayMs: number } | { readonly kind: 'refuse'; readonly entry: DoneEntry };

/** Never rejects: whatever happens ends in ack, nak or term. */
export async function runTurn(host: TurnPorts, turn: Turn): Promise<void> {
  for (let conflicts = 0; ; conflicts++) {
    try {
      return await tryTurn(host, turn);
    } catch (error) {
      // After any failed step the stored revision is in doubt (an append may have arrived although its answer did not): load again.
      turn.cell.record = undefined;
      if (hasCode(error, 'AIOS_STATE_CONFLICT') && conflicts < host.limits.conflictsMax) continue;
      return giveBack(host, turn, error);
    }
  }
}

async function tryTurn(host: TurnPorts, turn: Turn): Promise<void> {
  const record = await activate(host, turn);
  const done = findDone(record, turn.envelope.id);
  if (done !== undefined && !replayed(turn, done)) {
    host.metrics.count('aios_agent_redeliveries_total', { agent: turn.cell.address.kind });
    return conclude(host, turn, done);
  }
  if (record.stash?.some(({ id }) => id === turn.envelope.id) === true) return turn.delivery.ack();
  const plan = await decide(host, turn, record);
  if (plan.kind === 'retry') return turn.delivery.nak(plan.delayMs);
  if (plan.kind === 'refuse') return conclude(host, turn, plan.entry);
  if (plan.kind === 'put-off') return putOff(host, turn, record);
  const entry = await commit(host, turn, record, plan.result);
  if (plan.started === true && entry === plan.result.entry) turn.cell.started = true;
  return conclude(host, turn, entry);
}

/** An event that was given up left no effect, and nobody was answered: when a person replays it, it is handled as if it came for the first time. An ask keeps its one outcome. */
const replayed = (turn: Turn, done: DoneEntry): boolean => done.letter !== undefined && isEvent(turn) && turn.delivery.headers[HEADERS.replay] !== undefined;

// ---- load

/** The agent's record, loaded once per tenure. A new owner writes its fence before it serves, and sends what the last turn left unsent. */
async function activate(host: TurnPorts, turn: Turn): Promise<TurnRecord> {
  const { cell, tenure } = turn;
  holdTenure(tenure);
  if (cell.record === undefined || cell.fence !== tenure.fence) await load(host, turn);
  if (!cell.outboxSent) await sendOutbox(host, cell);
  return cell.record as TurnRecord;
}

async function load(host: TurnPorts, turn: Turn): Promise<void> {
  const { cell, tenure } = turn;
  cell.record = undefined;
  cell.started = false;
  const [stored] = await Promise.all([host.stateLog.read(stateOf(cell)), verifyMeanwhile(host, turn)]);
  let record = stored === undefined ? EMPTY_RECORD : parseRecord(stored.data);
  let revision = stored?.revision ?? 0;
  if (tenure.fence !== undefined && stored !== undefined) {
    if (record.fence > tenure.fence) throw fail('AIOS_FENCED', `fence ${tenure.fence}, the record has ${record.fence}.`);
    if (record.fence < tenure.fence) {
      record = bumpFence(record, tenure.fence);
      holdTenure(tenure);
      revision = await host.stateLog.append(stateOf(cell), revision, encodeRecord(record));
    }
  }
  cell.record = record;
  cell.revision = revision;
  cell.fence = tenure.fence;
  cell.outboxSent = isSent(record);
}

/** Signatures are checked while the read is under way; what is found is remembered, and judged where it matters. */
async function verifyMeanwhile(host: TurnPorts, { envelope }: Turn): Promise<void> {
  await host.clock.sleep(0);
  try {
    host.mandates.verify(envelope.mandate);
  } catch {
    // Said again, and answered, by `authorise`.
  }
}

const stateOf = ({ address }: Cell): string => subjects.state(address.tenant, address.kind, address.id);

function holdTenure(tenure: Tenure): void {
  if (tenure.lost) throw fail('AIOS_FENCED', 'the lease is lost.');
}

// ---- handle

async function decide(host: TurnPorts, turn: Turn, record: TurnRecord): Promise<Plan> {
  const { cell, envelope, delivery } = turn;
  const now = host.clock.now();
  if (delivery.attempt > host.limits.deliveriesMax) return give(turn, fail('AIOS_QUARANTINED', `Delivered ${delivery.attempt} times.`), 'max-deliveries');
  if (now >= envelope.deadline) return give(turn, fail('AIOS_DEADLINE_EXCEEDED'), 'expired');
  if (now < cell.stoppedUntil) return stopped(turn, cell.stoppedUntil - now);
  const target = targetOf(host, turn, record);
  if (target === undefined) return give(turn, fail('AIOS_CAPABILITY_UNKNOWN', `${cell.address.kind} does not handle ${envelope.capability}.`), 'unknown-kind');
  let mandate: VerifiedMandate;
  try {
    mandate = authorise(host.mandates, envelope, target.traits);
  } catch (error) {
    // Not appended: who cannot show a mandate must not be able to write into an agent's record.
    return { kind: 'refuse', entry: entryOf(turn, { error: toErrorBody(error) }, 'policy') };
  }
  return handle(host, turn, record, target, mandate);
}

interface Target {
  /** Absent for events. */
  readonly traits: CapabilityTraits | undefined;
  readonly run: (opened: OpenContext, mandate: VerifiedMandate) => Promise<unknown> | unknown;
  /** A walk that came back has no output yet. */
  readonly parseOutput: (output: unknown, gathered: Gathered) => unknown;
}

function targetOf(host: TurnPorts, { cell, envelope }: Turn, record: TurnRecord): Target | undefined {
  const { handlers, events, behaviours } = cell.kind.definition;
  const behaviour = record.behaviour === undefined ? undefined : behaviours?.get(record.behaviour);
  const handler = behaviour?.handlers.get(envelope.capability) ?? handlers.get(envelope.capability);
  if (handler !== undefined) {
    const { capability, team } = handler;
    const input = (): unknown => parseValue(capability.input, envelope.input);
    if (team !== undefined) return { traits: capability, run: (opened, mandate) => walk(host, team, input(), { capability, envelope, mandate, opened }), parseOutput: (output, { stand }) => (stand === undefined ? parseOutput(capability.output, output) : undefined) };
    return { traits: capability, run: ({ context }) => handler.handle(input(), context as never), parseOutput: (output) => parseOutput(capability.output, output) };
  }
  const listener = behaviour?.events.get(envelope.capability) ?? events?.get(envelope.capability);
  if (listener === undefined) return undefined;
  return { traits: undefined, run: ({ context }) => listener.handle(parseValue(listener.event.payload, envelope.input), context as never), parseOutput: () => undefined };
}

/** An answer that does not match the agent's own schema is the agent's fault, not the caller's. */
export function parseOutput<T>(schema: Parameters<typeof parseValue<T>>[0], output: unknown): T {
  try {
    return parseFresh(schema, output);
  } catch (cause) {
    throw fail('AIOS_AGENT_FAULT', 'its answer does not match the schema.', { cause });
  }
}

async function handle(host: TurnPorts, turn: Turn, record: TurnRecord, target: Target, mandate: VerifiedMandate): Promise<Plan> {
  const { cell, envelope } = turn;
  const { definition } = cell.kind;
  const started = host.clock.monotonic();
  const call: Call = { kind: 'turn', agent: definition.kind, envelope, mandate, ...(target.traits === undefined ? {} : { traits: target.traits }) };
  const state = definition.state === undefined ? undefined : draftOf(turn, record);
  const deadline = Math.min(envelope.deadline, host.clock.now() + host.limits.turnMsMax);
  const opened = openContext(host, { call, deadline, state, self: cell.address, effectsAllowed: target.traits?.effects ?? [], knownEffects: record.effects ?? [], definition, ...(record.children === undefined ? {} : { children: record.children }) });
  const bounds = boundTurn(host, deadline, turn, mandate, opened.abort);
  const facts = (): TurnFacts => ({ gathered: opened.gathered, ms: host.clock.monotonic() - started });
  host.logger.debug({ agent: definition.kind, task: envelope.task, attempt: turn.delivery.attempt }, 'turn started');
  const work = async (): Promise<unknown> => {
    if (!cell.started) await definition.onStart?.(opened.context as never);
    try {
      return target.parseOutput(await target.run(opened, mandate), opened.gathered);
    } catch (error) {
      if (error === PUT_OFF) return undefined;
      throw error;
    }
  };
  try {
    const output = await Promise.race([host.chain(call, work), bounds.ended]);
    if (opened.gathered.putOff) return { kind: 'put-off' };
    const changed = definition.state === undefined ? {} : { state: parseState(turn, opened.context.state) };
    return { kind: 'commit', result: resultOf(host, turn, record, { output }, facts(), changed), started: true };
  } catch (error) {
    return afterFailure(host, turn, error, facts());
  } finally {
    bounds.cancel();
    opened.close();
  }
}

const nothing = (): void => undefined;

interface TurnFacts {
  readonly gathered: Gathered;
  readonly ms: number;
}

/** Rejects when the deadline passes, the tenure ends or the mandate is revoked, and tells the context first, so that asks in flight stop. */
function boundTurn({ clock, revocations }: TurnPorts, deadline: number, { tenure }: Turn, mandate: VerifiedMandate, abort: () => void): { readonly ended: Promise<never>; cancel(): void } {
  let cancel = nothing;
  const ended = new Promise<never>((_, reject) => {
    const end = (error: unknown): void => {
      abort();
      reject(error);
    };
    const stopClock = clock.after(Math.max(0, deadline - clock.now()), () => end(fail('AIOS_DEADLINE_EXCEEDED')));
    const ignore = revocations?.onChange(() => isRevoked(mandate, revocations) && end(fail('AIOS_TASK_CANCELLED', 'Its mandate was revoked.')));
    const forget = tenure.onLost(() => end(fail('AIOS_FENCED', 'the lease was lost while the turn ran.')));
    cancel = () => {
      stopClock();
      forget();
      ignore?.();
    };
  });
  return { ended, cancel: () => cancel() };
}

/** State is plain JSON data, and for that a text round trip is several times cheaper than a structured clone. */
const copyOf = (state: unknown): unknown => (state === undefined ? undefined : JSON.parse(JSON.stringify(state)));

/** A copy that the handler may change; the record's own stays as it was stored. */
function draftOf({ cell }: Turn, record: TurnRecord): unknown {
  const { state, initial } = cell.kind.definition;
  if (record.state === undefined) return initial?.();
  return state === undefined ? undefined : parseOutput(state, copyOf(record.state));
}

function parseState({ cell }: Turn, draft: unknown): unknown {
  const { state } = cell.kind.definition;
  return state === undefined ? undefined : copyOf(parseOutput(state, draft));
}

// ---- what a failure means

function afterFailure(host: TurnPorts, turn: Turn, thrown: unknown, facts: TurnFacts): Plan {
  if (turn.tenure.lost) throw fail('AIOS_FENCED', 'the lease was lost while the turn ran.');
  const late = host.clock.now() >= turn.envelope.deadline;
  const kind = late && isAiosError(thrown) ? 'invalid' : classify(thrown);
  if (kind === 'fault') return afterFault(host, turn, thrown, facts);
  if (kind === 'transient') {
    const delayMs = backoffMs(turn.cell.kind.supervision, turn.delivery.attempt, host.random.next());
    if (mayTryAgain(host, turn, delayMs)) return { kind: 'retry', delayMs };
  }
  return giveGathered(turn, toErrorBody(thrown), facts, isEvent(turn) ? eventLetter(thrown) : undefined);
}

/** Events have nobody else to take over, so they are tried until the delivery limit; asks leave room for the next rung. */
function mayTryAgain(host: TurnPorts, turn: Turn, delayMs: number): boolean {
  const inTime = host.clock.now() + delayMs < turn.envelope.deadline;
  return inTime && (isEvent(turn) || turn.delivery.attempt < host.limits.transientTriesMax);
}

function afterFault(host: TurnPorts, turn: Turn, thrown: unknown, facts: TurnFacts): Plan {
  const { cell, envelope } = turn;
  const { supervision } = cell.kind;
  const agent = cell.address.kind;
  host.metrics.count('aios_agent_faults_total', { agent });
  host.logger.warn({ agent, id: cell.address.id, task: envelope.task, attempt: turn.delivery.attempt, error: nameOf(thrown) }, 'agent fault');
  const faults = (cell.faults?.get(envelope.id) ?? 0) + 1;
  (cell.faults ??= new Map()).set(envelope.id, faults);
  restart(host, turn);
  const poison = faults >= supervision.faultsMax || turn.delivery.attempt >= supervision.faultsMax + host.limits.transientTriesMax;
  const gaveUp = supervision.onFault === 'stop' || supervision.onFault === 'escalate';
  if (gaveUp) tellWatchers(host, cell);
  if (supervision.onFault === 'escalate' || poison) host.onEscalation(agent, cell.address.id, thrown);
  const delayMs = backoffMs(supervision, faults, host.random.next());
  if (!poison && !gaveUp && host.clock.now() + delayMs < envelope.deadline) return { kind: 'retry', delayMs };
  cell.faults.delete(envelope.id);
  return giveGathered(turn, toErrorBody(fail('AIOS_QUARANTINED', `After ${faults} tries.`)), facts, 'poison');
}

/** `resume` keeps what the agent has in memory; everything else makes it load its state again. */
function restart(host: TurnPorts, { cell }: Turn): void {
  const { supervision } = cell.kind;
  if (supervision.onFault === 'resume') return;
  cell.record = undefined;
  cell.intensity ??= createIntensity(supervision);
  host.metrics.count('aios_agent_restarts_total', { agent: cell.address.kind });
  if (cell.intensity.allow(host.clock.now())) return;
  cell.stoppedUntil = host.clock.now() + supervision.withinMs;
  tellWatchers(host, cell);
}

/** Not waited for: should this host die before they are told, they are told that it did. */
function tellWatchers(host: TurnPorts, { address }: Cell): void {
  void tellStopped(host, address).catch((error: unknown) => host.logger.warn({ agent: address.kind, error: nameOf(error) }, 'watchers are not told'));
}

/** A stopped agent answers asks at once, so that the ladder goes on; events wait in the mailbox. */
function stopped(turn: Turn, leftMs: number): Plan {
  if (isEvent(turn)) return { kind: 'retry', delayMs: leftMs };
  return give(turn, fail('AIOS_AGENT_FAULT', 'it was restarted too often and is stopped for a while.', { retryAfterMs: leftMs }), undefined);
}

const isEvent = ({ cell, envelope }: Turn): boolean => !cell.kind.definition.handlers.has(envelope.capability) && cell.kind.definition.events?.has(envelope.capability) === true;

function eventLetter(thrown: unknown): DeadLetterReason {
  if (!isAiosError(thrown)) return 'poison';
  if (thrown.code === 'AIOS_DEADLINE_EXCEEDED') return 'expired';
  if (thrown.code.startsWith('AIOS_INPUT_')) return 'malformed';
  return ERRORS[thrown.code].blame === 'policy' ? 'policy' : 'max-deliveries';
}

const nameOf = (thrown: unknown): string => (isAiosError(thrown) ? thrown.code : thrown instanceof Error ? thrown.name : typeof thrown);

// ---- what a turn leaves behind

const NOTHING: Gathered = Object.freeze({ receipts: [], costMicroUsd: 0, notes: [], effect: undefined, posts: [], timers: new Map(), effects: new Map(), steps: [], stand: undefined, watches: undefined, behaviour: undefined, children: undefined, putOff: false, unstash: false });

type Commit = Extract<Plan, { kind: 'commit' }>;
const give = (turn: Turn, thrown: unknown, letter: DeadLetterReason | undefined): Commit => giveGathered(turn, toErrorBody(thrown), { gathered: NOTHING, ms: 0 }, letter);

/** A failure that is final: it is the outcome, nothing of the draft is kept, what was spent is still counted. */
function giveGathered(turn: Turn, error: ErrorBody, facts: TurnFacts, letter: DeadLetterReason | undefined): Commit {
  return { kind: 'commit', result: { entry: entryOf(turn, { error }, letter, facts), outbox: [] } };
}

function resultOf(host: TurnPorts, turn: Turn, record: TurnRecord, answer: { readonly output: unknown }, facts: TurnFacts, changed: { readonly state?: unknown }): TurnResult {
  const { gathered } = facts;
  const timers = timersOf(gathered);
  if (timers !== undefined && host.timers === undefined) throw fail('AIOS_CONFIG_INVALID', 'this host has no durable timers.');
  return {
    entry: entryOf(turn, answer, undefined, facts),
    ...changed,
    outbox: gathered.unstash ? [...gathered.posts, ...unstashed(turn, record)] : gathered.posts,
    ...(timers === undefined ? {} : { timers }),
    ...(gathered.watches === undefined ? {} : { watches: watchesOf(gathered.watches) }),
    ...(gathered.behaviour === undefined ? {} : { behaviour: gathered.behaviour }),
    ...(gathered.children === undefined ? {} : { children: gathered.children }),
    ...(gathered.unstash ? { stash: [] } : {}),
    ...(gathered.effects.size === 0 ? {} : { effects: [...gathered.effects] }),
  };
}

function entryOf(turn: Turn, answer: { readonly output: unknown } | { readonly error: ErrorBody }, letter?: DeadLetterReason, facts: TurnFacts = { gathered: NOTHING, ms: 0 }): DoneEntry {
  const { envelope } = turn;
  const marked = letter === undefined ? {} : { letter };
  if (isEvent(turn)) return { id: envelope.id, ...marked };
  const receipts = [turnReceipt(turn, facts), ...facts.gathered.receipts];
  const { effect, stand, steps } = facts.gathered;
  const head = { v: 1 as const, id: envelope.id, task: envelope.task, tenant: envelope.tenant, receipts, costMicroUsd: facts.gathered.costMicroUsd, ...(steps.length === 0 ? {} : { steps }) };
  if ('error' in answer) return { id: envelope.id, outcome: textOf({ ...head, status: 'failed', error: { ...answer.error } }), ...marked };
  if (stand !== undefined) return { id: envelope.id, outcome: textOf({ ...head, status: 'step', step: stand.step, facts: stand.facts, seen: { ...stand.seen } }), ...marked };
  return { id: envelope.id, outcome: textOf({ ...head, status: 'done', output: answer.output, ...(effect === undefined ? {} : { effect }) }), ...marked };
}

const textOf = (outcome: Outcome): string => JSON.stringify(outcome);
const outcomeOf = (text: string): Outcome => parseFresh(outcomeSchema, parseJson(text)) as Outcome;

function turnReceipt({ cell, envelope, tenure }: Turn, { gathered, ms }: TurnFacts): Receipt {
  return { kind: 'turn', agent: cell.address.kind, capability: envelope.capability, rung: envelope.rung, fence: tenure.fence ?? 0, ms: Math.max(0, Math.round(ms * 100) / 100), local: [...gathered.notes] };
}

const watchesOf = (watches: NonNullable<Gathered['watches']>): WatchChanges => ({
  set: [...watches.values()].filter((change) => change !== undefined),
  cancel: [...watches].filter(([, change]) => change === undefined).map(([key]) => key),
});

/** The messages as they arrived, under their own ids; only the mailbox must not take them for what it has seen. */
function unstashed({ cell }: Turn, record: TurnRecord): readonly Post[] {
  const { tenant, kind, id } = cell.address;
  return (record.stash ?? []).map((message) => ({ id: childId(message.id, `unstashed/${record.turn}`), subject: subjects.mailbox(tenant, kind, id), until: (JSON.parse(message.text) as Envelope).deadline, text: message.text }));
}

function timersOf({ timers }: Gathered): TimerChanges | undefined {
  if (timers.size === 0) return undefined;
  const set = [...timers.values()].filter((change) => change !== undefined);
  return { set, cancel: [...timers].filter(([, change]) => change === undefined).map(([key]) => key) };
}

// ---- the one append, and what follows it

async function commit(host: TurnPorts, turn: Turn, record: TurnRecord, result: TurnResult): Promise<DoneEntry> {
  const { cell, tenure } = turn;
  const fence = tenure.fence ?? record.fence;
  const { next, bytes } = encodeNext(turn, record, fence, result);
  holdTenure(tenure);
  const revision = await host.stateLog.append(stateOf(cell), cell.revision, bytes);
  cell.revision = revision;
  cell.record = next;
  cell.outboxSent = isSent(next);
  cell.faults?.delete(turn.envelope.id);
  host.logger.debug({ agent: cell.address.kind, task: turn.envelope.task, attempt: turn.delivery.attempt }, 'turn committed');
  return next.done.at(-1) as DoneEntry;
}

/** The record has the message from now on; the mailbox lets it go. */
async function putOff(host: TurnPorts, turn: Turn, record: TurnRecord): Promise<void> {
  const { cell, tenure, envelope } = turn;
  const next = putOffRecord(record, tenure.fence ?? record.fence, { id: envelope.id, text: JSON.stringify(envelope) });
  const bytes = next === undefined ? undefined : encoded(next);
  if (next === undefined || bytes === undefined) return conclude(host, turn, await commit(host, turn, record, give(turn, fail('AIOS_OVERLOADED', 'what the agent may put off is full.', { retryAfterMs: STASH_RETRY_MS }), isEvent(turn) ? 'overflow' : undefined).result));
  holdTenure(tenure);
  cell.revision = await host.stateLog.append(stateOf(cell), cell.revision, bytes);
  cell.record = next;
  cell.outboxSent = true;
  await turn.delivery.ack();
}

const STASH_RETRY_MS = 1_000;

function encoded(record: TurnRecord): Uint8Array | undefined {
  try {
    return encodeRecord(record);
  } catch {
    return undefined;
  }
}

/** A state that outgrew a message fails this turn and keeps the state before it. */
function encodeNext(turn: Turn, record: TurnRecord, fence: number, result: TurnResult): { readonly next: TurnRecord; readonly bytes: Uint8Array } {
  const next = nextRecord(record, fence, result);
  try {
    return { next, bytes: encodeRecord(next) };
  } catch (error) {
    const smaller = nextRecord(record, fence, { entry: entryOf(turn, { error: toErrorBody(error) }, isEvent(turn) ? 'poison' : undefined), outbox: [] });
    return { next: smaller, bytes: encodeRecord(smaller) };
  }
}

/** Everything that makes the turn known. Each step may have happened already; each is harmless when it happens again. */
async function conclude(host: TurnPorts, turn: Turn, entry: DoneEntry): Promise<void> {
  if (!turn.cell.outboxSent) await sendOutbox(host, turn.cell);
  if (entry.letter !== undefined) await addLetter(host, turn.delivery, entry.letter, codeOf(entry), turn.envelope);
  const outcome = entry.outcome === undefined ? await olderOutcome(host, turn) : outcomeOf(entry.outcome);
  if (outcome !== undefined) await host.outcomes.publish(outcome);
  await turn.delivery.ack();
  entry.out = 1;
}

function codeOf({ outcome, letter }: DoneEntry): string {
  const answer = outcome === undefined ? undefined : outcomeOf(outcome);
  return answer?.status === 'failed' ? answer.error.code : letter === 'expired' ? 'AIOS_DEADLINE_EXCEEDED' : 'AIOS_QUARANTINED';
}

/** Asked again after the record let the outcome go. Gone from the stream too, the asker is told so rather than left to wait. */
async function olderOutcome(host: TurnPorts, turn: Turn): Promise<Outcome | undefined> {
  if (isEvent(turn)) return undefined;
  const { tenant, task, id } = turn.envelope;
  const error = toErrorBody(fail('AIOS_UNAVAILABLE', 'it was handled before, and its outcome is not kept any more.'));
  return (await host.outcomes.find(tenant, task, id)) ?? { v: 1, status: 'failed', id, task, tenant, error: { ...error }, receipts: [], costMicroUsd: 0 };
}

async function sendOutbox(host: TurnPorts, cell: Cell): Promise<void> {
  const record = cell.record as TurnRecord;
  const own = subjects.mailbox(cell.address.tenant, cell.address.kind, cell.address.id);
  for (const post of record.outbox) await sendPost(host, post, own);
  for (const change of record.timers?.set ?? []) {
    await host.timers?.schedule({ key: change.key, subject: change.subject, at: change.at, messageId: change.id, data: encoder.encode(change.text) });
  }
  for (const key of record.timers?.cancel ?? []) await host.timers?.cancel(key);
  for (const change of record.watches?.set ?? []) await setWatch(host, change);
  for (const key of record.watches?.cancel ?? []) await clearWatch(host, key);
  cell.outboxSent = true;
}

const encoder = new TextEncoder();

/** A receiver whose mailbox is full, or a topic with a listener too far behind, holds its senders back until the message expires; then a person sees it. */
async function sendPost(host: TurnPorts, post: Post, own: string): Promise<void> {
  const data = encoder.encode(post.text);
  try {
    if (parseMailboxSubject(post.subject) === undefined) await host.topics.publish(post.subject, data, { messageId: post.id });
    else await host.mailboxes.publish(post.subject, data, { messageId: post.id });
  } catch (error) {
    // One's own full mailbox cannot be waited for: it empties only when this is through.
    if (!hasCode(error, 'AIOS_MAILBOX_FULL') || (host.clock.now() < post.until && post.subject !== own)) throw error;
    const { tenant, task } = JSON.parse(post.text) as Envelope;
    await host.deadLetters.add({ tenant, task, reason: 'overflow', code: 'AIOS_MAILBOX_FULL', subject: post.subject, attempts: 1, data: toBase64(data) });
  }
}

// ---- back to the mailbox, or to the dead letters

function giveBack(host: TurnPorts, turn: Turn, error: unknown): void {
  const { cell, delivery, envelope } = turn;
  const fenced = hasCode(error, 'AIOS_FENCED');
  if (fenced) host.metrics.count('aios_fences_refused_total', { agent: cell.address.kind });
  else host.logger.warn({ agent: cell.address.kind, task: envelope.task, attempt: delivery.attempt, error: nameOf(error) }, 'turn given back');
  delivery.nak(backoffMs(cell.kind.supervision, delivery.attempt, host.random.next()));
}

export async function addLetter(host: Pick<TurnPorts, 'deadLetters' | 'metrics'>, delivery: Pick<MailboxDelivery, 'subject' | 'data' | 'attempt'> & Partial<Pick<MailboxDelivery, 'headers'>>, reason: DeadLetterReason, code: string, envelope?: Envelope, tenant = envelope?.tenant ?? 'unknown'): Promise<void> {
  const trace = envelope?.trace?.traceparent;
  const replayOf = delivery.headers?.[HEADERS.replay];
  await host.deadLetters.add({
    tenant,
    reason,
    code,
    subject: delivery.subject,
    attempts: delivery.attempt,
    data: toBase64(delivery.data),
    ...(envelope === undefined ? {} : { task: envelope.task }),
    ...(trace === undefined ? {} : { trace }),
    ...(replayOf === undefined ? {} : { replayOf }),
  });
  host.metrics.count('aios_dead_letters_total', { reason });
}
