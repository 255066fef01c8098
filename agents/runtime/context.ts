// The context of a turn: everything a handler may touch, and what it gathered when it ends.
// Owns: `ask`, `delegate`, `search` and the collecting of receipts, cost, posts, timers and effects. Sends nothing durable itself:
// tells, topics and timers leave after the append. Never names a transport.
// Others may assume: after `close` every method refuses, so a handler that outlives its deadline can do no more.

import type { AgentAddress, AgentContext, AnyAgent, AskOptions, EventDefinition } from '../../contracts/agent.ts';
import { subjects } from '../../contracts/address.ts';
import { digestOf } from '../../contracts/canonical.ts';
import type { Capability } from '../../contracts/capability.ts';
import { type ErrorBody, fail, fromErrorBody } from '../../contracts/errors.ts';
import { type AgentId, type AgentKind, type CapabilityId, parseId, type TenantId } from '../../contracts/ids.ts';
import type { Grant } from '../../contracts/mandate.ts';
import { effectSchema, type Envelope, HEADERS, type ProposedEffect, type Reply, replySchema, type StepReport } from '../../contracts/message.ts';
import { parseBytes, parseValue, toBytes } from '../../contracts/parse.ts';
import type { Bus, CapabilityRegistry, Clock, Logger, Mailboxes, Mandates, Outcomes, SearchAnswer } from '../../contracts/ports.ts';
import type { Receipt } from '../../contracts/receipt.ts';
import type { WalkPoint } from '../../contracts/task.ts';
import { agentDown as AGENT_DOWN } from '../define.ts';
import { presentedCall } from '../../policies/mandate.ts';
import { grantsName } from './authority.ts';
import type { Call, Chain } from './chain.ts';
import { childId } from './child-id.ts';
import { CHILDREN_MAX, OUTBOX_MAX, type Post, type TimerChange, TIMERS_MAX, type WatchChange, WATCHES_MAX } from './record.ts';
import { watchKey } from './watches.ts';

export const RECEIPTS_MAX = 120;
export const NOTES_MAX = 32;
const NOTE = /^[A-Za-z0-9_.:=-]{1,96}$/;
const SEARCH = 'space.search' as CapabilityId;

/** Ends the handler that put its message off; not a failure. */
export const PUT_OFF = fail('AIOS_OVERLOADED', 'the message was put off.');

export interface ContextPorts {
  readonly bus: Bus;
  readonly mailboxes: Mailboxes;
  readonly outcomes: Outcomes;
  readonly mandates: Mandates;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: CapabilityRegistry;
  readonly chain: Chain;
}

/** What a turn gathered. Receipts and cost count failed asks too: they were made. */
export interface Gathered {
  readonly receipts: Receipt[];
  costMicroUsd: number;
  readonly notes: string[];
  effect: ProposedEffect | undefined;
  readonly posts: Post[];
  readonly timers: Map<string, TimerChange | undefined>;
  readonly effects: Map<string, unknown>;
  /** Steps of a team that were taken by local policy, and the one that has to come back. */
  readonly steps: StepReport[];
  stand: WalkPoint | undefined;
  /** Made when first needed: most turns use none of these. */
  watches: Map<string, WatchChange | undefined> | undefined;
  behaviour: string | null | undefined;
  children: readonly string[] | undefined;
  putOff: boolean;
  unstash: boolean;
}

export interface OpenContext {
  readonly context: AgentContext<unknown>;
  readonly gathered: Gathered;
  /** Aborts `signal` and the asks in flight. */
  abort(): void;
  /** Nothing works any more. */
  close(): void;
}

export interface ContextOptions {
  readonly call: Call;
  readonly deadline: number;
  readonly state: unknown;
  /** The agent itself, for timers; absent for stateless ephemeral handlers. */
  readonly self?: AgentAddress;
  readonly effectsAllowed: readonly string[];
  /** What the agent's kind declares, for those who change between behaviours or watch. */
  readonly definition?: Pick<AnyAgent, 'kind' | 'events' | 'behaviours'>;
  readonly children?: readonly string[];
  /** Answers of effects that earlier turns ran. */
  readonly knownEffects: readonly (readonly [string, unknown])[];
}

export function openContext(ports: ContextPorts, options: ContextOptions): OpenContext {
  const { call, deadline } = options;
  const { envelope } = call;
  const { grant } = call.mandate;
  const tenant = envelope.tenant as TenantId;
  const gathered: Gathered = { receipts: [], costMicroUsd: 0, notes: [], effect: undefined, posts: [], timers: new Map(), effects: new Map(), steps: [], stand: undefined, watches: undefined, behaviour: undefined, children: undefined, putOff: false, unstash: false };
  let controller: AbortController | undefined;
  let aborted = false;
  let closed = false;
  let children = 0;
  let log: Logger | undefined;
  const asks = new Map<string, number>();

  const open = (): void => {
    if (closed) throw fail('AIOS_DEADLINE_EXCEEDED', 'the turn has ended.');
  };
  const signal = (): AbortSignal => {
    controller ??= new AbortController();
    if (aborted) controller.abort();
    return controller.signal;
  };
  /** The envelope of a hop: same task, own id, what is left of the time. */
  function hop(name: string, actor: string, input: unknown, until: number, mandate: string, depth: number, id = childId(envelope.id, children)): Envelope {
    children++;
    const trace = call.trace ?? envelope.trace;
    return { v: 1, id, tenant: envelope.tenant, task: envelope.task, capability: name, actor, principal: envelope.principal, rung: envelope.rung, deadline: until, mandate, ...(trace === undefined ? {} : { trace }), depth, input };
  }
  /** Named by what is asked, not by when: a turn that runs again may ask in another order, and must find its own answers. */
  function durableId(name: string, input: unknown): string {
    const what = `${name}/${digestOf(input)}`;
    const before = asks.get(what) ?? 0;
    asks.set(what, before + 1);
    return childId(envelope.id, `${what}/${before}`);
  }
  function charge(): void {
    open();
    if (children >= grant.callsMax) throw fail('AIOS_MANDATE_EXCEEDED', `${grant.callsMax} calls were granted.`);
    if (gathered.costMicroUsd > grant.budgetMicroUsd) throw fail('AIOS_BUDGET_EXCEEDED', `${gathered.costMicroUsd} of ${grant.budgetMicroUsd} micro-USD are spent.`);
  }
  function collect(receipts: readonly Receipt[], costMicroUsd: number): void {
    gathered.receipts.push(...receipts.slice(0, RECEIPTS_MAX - gathered.receipts.length));
    gathered.costMicroUsd += costMicroUsd;
  }
  async function send(name: CapabilityId, input: unknown, actor: string, hopOptions: { mandate: string; depth: number; timeoutMs?: number | undefined; durable: boolean; presented?: boolean | undefined }): Promise<Reply> {
    charge();
    const until = Math.min(deadline, ports.clock.now() + (hopOptions.timeoutMs ?? Number.POSITIVE_INFINITY));
    const left = until - ports.clock.now();
    if (left <= 0) throw fail('AIOS_DEADLINE_EXCEEDED');
    const handed = hop(name, actor, input, until, hopOptions.mandate, hopOptions.depth, hopOptions.durable ? durableId(name, input) : undefined);
    const asked = hopOptions.presented === true ? { ...handed, mandate: ports.mandates.present(handed.mandate, presentedCall(handed)) } : handed;
    const work = hopOptions.durable ? () => askDurable(ports, asked, left, signal()) : () => askEphemeral(ports, asked, left, signal());
    const reply = (await ports.chain({ kind: 'ask', agent: call.agent, envelope: asked, mandate: call.mandate, trace: call.trace }, work)) as Reply;
    if (!closed) collect(reply.receipts, reply.costMicroUsd);
    if (reply.status === 'failed') throw fromErrorBody(reply.error as ErrorBody);
    return reply;
  }
  async function ask<I, O>(capability: Capability<I, O>, input: I, hopOptions: { mandate: string; depth: number; timeoutMs?: number | undefined }): Promise<O> {
    const actor = capability.actorKey?.(input) ?? envelope.task;
    const reply = await send(capability.id, input, actor, { ...hopOptions, durable: capability.delivery === 'durable' && ports.registry.kindOf(capability.id) !== undefined, presented: capability.presented });
    return parseValue(capability.output, (reply as { output?: unknown }).output);
  }
  /** An event on its way out with this turn. */
  function post<E>(subject: string, actor: string, event: EventDefinition<E>, payload: E): Post {
    open();
    const until = grant.expiresAt;
    const sent = hop(event.name, actor, parseValue(event.payload, payload), until, envelope.mandate, envelope.depth);
    return { id: sent.id, subject, until, text: JSON.stringify(sent) };
  }
  function mailboxOf(what: string): AgentAddress {
    if (options.self === undefined) throw fail('AIOS_INPUT_INVALID', `only an agent with a mailbox ${what}.`);
    return options.self;
  }
  const watched = (other: AgentAddress): string => watchKey(envelope.tenant, { kind: parseId('agent-kind', other.kind), id: parseId('agent-id', other.id) }, mailboxOf('watches others'));
  function watchOf(other: AgentAddress): WatchChange {
    const self = mailboxOf('watches others');
    if (options.definition?.events?.has(AGENT_DOWN.name) !== true) throw fail('AIOS_INPUT_INVALID', `${call.agent} watches but does not listen to ${AGENT_DOWN.name}.`);
    return { key: watched(other), ...post(subjects.mailbox(tenant, self.kind as AgentKind, self.id as AgentId), self.id, AGENT_DOWN, { kind: other.kind, id: other.id, why: 'host-lost' }) };
  }
  function enqueue(entry: Post): void {
    if (gathered.posts.length >= OUTBOX_MAX) throw fail('AIOS_INPUT_INVALID', `a turn sends at most ${OUTBOX_MAX} messages.`);
    gathered.posts.push(entry);
  }

  const context: AgentContext<unknown> = {
    task: envelope.task,
    tenant: envelope.tenant,
    self: envelope.actor,
    principal: envelope.principal,
    rung: envelope.rung,
    deadline,
    state: options.state,
    get signal() {
      return signal();
    },
    get log() {
      return (log ??= ports.logger.child({ task: envelope.task, tenant: envelope.tenant, agent: call.agent, capability: envelope.capability }));
    },
    now: () => ports.clock.now(),
    ask: (capability, input, asked = {}) => ask(capability, input, { mandate: narrowed(ports.mandates, envelope.mandate, asked), depth: envelope.depth, timeoutMs: asked.timeoutMs }),
    delegate: async (capability, input, asked = {}) => {
      if (envelope.depth >= grant.depthMax) throw fail('AIOS_MANDATE_EXCEEDED', `depth ${envelope.depth + 1}, at most ${grant.depthMax}.`);
      const scope = { capabilities: [capability.id as string, ...capability.uses.filter((use) => grantsName(grant.capabilities, use))], ...asked.scope };
      return ask(capability, input, { mandate: narrowed(ports.mandates, envelope.mandate, { scope }), depth: envelope.depth + 1, timeoutMs: asked.timeoutMs });
    },
    async search(space, query, asked = {}) {
      const input = { space, query, limit: asked.limit ?? 6, ...(asked.lexicalOnly === undefined ? {} : { lexicalOnly: asked.lexicalOnly }) };
      return searchAnswer(await send(SEARCH, input, envelope.task, { mandate: envelope.mandate, depth: envelope.depth, durable: false, presented: true }));
    },
    propose(effect) {
      open();
      if (gathered.effect !== undefined) throw fail('AIOS_INPUT_INVALID', 'a task proposes at most one effect.');
      const checked = parseValue(effectSchema, effect);
      if (!options.effectsAllowed.includes(checked.kind)) throw fail('AIOS_EFFECT_UNKNOWN', `${checked.kind} is not declared by ${envelope.capability}.`);
      gathered.effect = checked;
    },
    note(token) {
      open();
      if (!NOTE.test(token)) throw fail('AIOS_INPUT_INVALID', 'a note is a token of at most 96 characters, never content.');
      if (gathered.notes.length < NOTES_MAX - 1) gathered.notes.push(token);
      else gathered.notes[NOTES_MAX - 1] = 'notes-truncated';
    },
    tell(to, event, payload) {
      const subject = subjects.mailbox(tenant, parseId('agent-kind', to.kind), parseId('agent-id', to.id));
      enqueue(post(subject, to.id, event, payload));
    },
    publish(event, payload) {
      if (event.published === false) throw fail('AIOS_INPUT_INVALID', `${event.name} is declared as never published.`);
      enqueue(post(subjects.topic(tenant, event.name), envelope.actor, event, payload));
    },
    timer(name, afterMs, event, payload) {
      const key = timerKey(envelope, options.self, name);
      const at = ports.clock.now() + Math.max(0, Math.round(afterMs));
      if (at > grant.expiresAt) throw fail('AIOS_MANDATE_EXCEEDED', 'a timer cannot fire after the mandate it would act under has expired.');
      const self = options.self as AgentAddress;
      const sent = post(subjects.mailbox(tenant, self.kind as AgentKind, self.id as AgentId), self.id, event, payload);
      changeTimer(gathered, key, { key, id: sent.id, subject: sent.subject, at, text: sent.text });
    },
    cancelTimer(name) {
      open();
      changeTimer(gathered, timerKey(envelope, options.self, name), undefined);
    },
    watch(other) {
      open();
      changeWatch(gathered, watched(other), watchOf(other));
    },
    unwatch(other) {
      open();
      changeWatch(gathered, watched(other), undefined);
      gathered.children = (gathered.children ?? options.children ?? []).filter((child) => child !== `${other.kind}/${other.id}`);
    },
    spawn(agent, name) {
      open();
      const self = mailboxOf('spawns children');
      const kind = parseId('agent-kind', agent.kind);
      const child = { kind, id: parseId('agent-id', `${name}-${childId(`${envelope.tenant}/${self.kind}/${self.id}/${kind}`, name).slice(0, 12)}`) };
      const known = gathered.children ?? options.children ?? [];
      if (known.includes(`${child.kind}/${child.id}`)) return child;
      if (known.length >= CHILDREN_MAX) throw fail('AIOS_OVERLOADED', `an agent has at most ${CHILDREN_MAX} children.`);
      gathered.children = [...known, `${child.kind}/${child.id}`];
      if (options.definition?.events?.has(AGENT_DOWN.name) === true) changeWatch(gathered, watched(child), watchOf(child));
      return child;
    },
    stash() {
      open();
      mailboxOf('puts messages off');
      gathered.putOff = true;
      throw PUT_OFF;
    },
    unstash() {
      open();
      mailboxOf('puts messages off');
      gathered.unstash = true;
    },
    become(behaviour) {
      open();
      mailboxOf('has behaviours');
      if (behaviour !== undefined && options.definition?.behaviours?.has(behaviour) !== true) throw fail('AIOS_INPUT_INVALID', `${call.agent} declares no behaviour of this name.`);
      gathered.behaviour = behaviour ?? null;
    },
    async effect<T>(key: string, work: (dedupKey: string) => Promise<T>): Promise<T> {
      open();
      const known = gathered.effects.has(key) ? ([key, gathered.effects.get(key)] as const) : options.knownEffects.find(([name]) => name === key);
      if (known !== undefined) return known[1] as T;
      const answer = await work(`${envelope.tenant}:${call.agent}:${envelope.actor}:${key}`);
      open();
      gathered.effects.set(key, answer);
      return answer;
    },
  };

  return {
    context,
    gathered,
    abort() {
      aborted = true;
      controller?.abort();
    },
    close() {
      closed = true;
      aborted = true;
      controller?.abort();
    },
  };
}

/** The same token when nothing is asked to be narrower. */
function narrowed(mandates: Mandates, token: string, options: Pick<AskOptions, 'scope'>): string {
  return options.scope === undefined ? token : mandates.attenuate(token, options.scope as Partial<Grant>);
}

async function askEphemeral(ports: ContextPorts, asked: Envelope, timeoutMs: number, signal: AbortSignal): Promise<Reply> {
  const subject = subjects.capability(asked.tenant as TenantId, asked.capability as CapabilityId);
  const headers: Record<string, string> = { [HEADERS.tenant]: asked.tenant, [HEADERS.task]: asked.task, [HEADERS.deadline]: String(asked.deadline) };
  if (asked.trace !== undefined) headers[HEADERS.traceparent] = asked.trace.traceparent;
  const answer = await ports.bus.request(subject, toBytes(asked), { timeoutMs: Math.ceil(timeoutMs), headers, signal });
  return parseBytes(replySchema, answer.data);
}

/** A durable hop waits for the outcome of its own envelope; asked again after a crash it gets the stored one. */
async function askDurable(ports: ContextPorts, asked: Envelope, timeoutMs: number, signal: AbortSignal): Promise<Reply> {
  const kind = parseId('agent-kind', ports.registry.kindOf(asked.capability));
  const outcome = ports.outcomes.wait(asked.tenant, asked.task, asked.id, Math.ceil(timeoutMs), signal);
  await ports.mailboxes.publish(subjects.mailbox(asked.tenant as TenantId, kind, asked.actor as AgentId), toBytes(asked), { messageId: asked.id });
  const answer = await outcome;
  if (answer === undefined) throw fail('AIOS_DEADLINE_EXCEEDED', `${asked.capability} did not answer.`);
  if (answer.status === 'failed') return { v: 1, status: 'failed', error: answer.error, receipts: [...answer.receipts].slice(0, 64), costMicroUsd: answer.costMicroUsd };
  if (answer.status === 'step') throw fail('AIOS_POLICY_DENIED', `${asked.capability} stands before a step that only the brain allows.`);
  return { v: 1, status: 'done', output: answer.output, receipts: [...answer.receipts].slice(0, 64), costMicroUsd: answer.costMicroUsd };
}

/** Fragments come as output, the receipts beside it: together they are the answer of the retrieval port. */
function searchAnswer(reply: Reply): SearchAnswer {
  const { fragments, weights } = (reply as { output: Pick<SearchAnswer, 'fragments' | 'weights'> }).output;
  const receipt = reply.receipts.find((entry) => entry.kind === 'retrieval');
  const model = reply.receipts.find((entry) => entry.kind === 'model');
  if (receipt === undefined || !Array.isArray(fragments)) throw fail('AIOS_RETRIEVAL_FAULT', 'the answer carries no receipt.');
  return { fragments, receipt, ...(model === undefined ? {} : { model }), ...(weights === undefined ? {} : { weights }) };
}

function timerKey(envelope: Envelope, self: AgentAddress | undefined, name: string): string {
  if (self === undefined) throw fail('AIOS_INPUT_INVALID', 'only an agent with a mailbox has timers.');
  return `${envelope.tenant}.${self.kind}.${self.id}.${parseId('agent-id', name)}`;
}

function changeWatch(gathered: Gathered, key: string, change: WatchChange | undefined): void {
  const watches = (gathered.watches ??= new Map());
  if (!watches.has(key) && watches.size >= WATCHES_MAX) throw fail('AIOS_INPUT_INVALID', `a turn changes at most ${WATCHES_MAX} watches.`);
  watches.set(key, change);
}

function changeTimer(gathered: Gathered, key: string, change: TimerChange | undefined): void {
  if (!gathered.timers.has(key) && gathered.timers.size >= TIMERS_MAX) throw fail('AIOS_INPUT_INVALID', `a turn changes at most ${TIMERS_MAX} timers.`);
  gathered.timers.set(key, change);
}

