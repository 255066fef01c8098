// Agents as engineers write them: definitions are inert, a turn sees one context object.
// Owns: `AgentContext` (everything a handler may touch) and the shape of a definition. The runtime is in agents/runtime.
// Never names a transport. Others may assume: a handler that only uses its context can run at the centre, at the edge and in a test.

import type { z } from 'zod';
import type { Capability, Rung } from './capability.ts';
import type { Grant } from './mandate.ts';
import type { ProposedEffect } from './message.ts';
import type { Logger, SearchAnswer } from './ports.ts';
import type { Facts, Principal } from './verdict.ts';

export interface AskOptions {
  readonly timeoutMs?: number;
  /** Narrows the mandate for this hop; can never widen it. */
  readonly scope?: Partial<Pick<Grant, 'capabilities' | 'dataClass' | 'budgetMicroUsd' | 'callsMax' | 'spaces' | 'models'>>;
}

export interface AgentContext<S = unknown> {
  readonly task: string;
  readonly tenant: string;
  /** Id of the agent that handles this. */
  readonly self: string;
  readonly principal: Principal;
  /** The rung of the ladder this dispatch asks for. */
  readonly rung: Rung;
  readonly deadline: number;
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** Draft of the state; changes are kept when the turn commits. */
  state: S;
  now(): number;
  /** Asks a capability, of the gateway or of an ephemeral agent, inside this task's mandate. Receipts are collected by the runtime. */
  ask<I, O>(capability: Capability<I, O>, input: I, options?: AskOptions): Promise<O>;
  /** Asks another agent with a mandate narrowed to what that capability needs; one level deeper. */
  delegate<I, O>(capability: Capability<I, O>, input: I, options?: AskOptions): Promise<O>;
  /** Retrieval through the gateway. */
  search(space: string, query: string, options?: { readonly limit?: number; readonly lexicalOnly?: boolean }): Promise<SearchAnswer>;
  /** Proposes an action on an outside system; at most one a task, committed by the brain or not at all. */
  propose(effect: ProposedEffect): void;
  /** Notes a local decision for the lineage: a token such as `abstain:low-margin`, never content. */
  note(token: string): void;
  /** Sends an event to the mailbox of another agent when this turn commits; handled once however often it is sent again. */
  tell<E>(to: AgentAddress, event: EventDefinition<E>, payload: E): void;
  /** Publishes an event to its topic when this turn commits; every kind that listens to it (`on`) gets it, at least once, handled once. */
  publish<E>(event: EventDefinition<E>, payload: E): void;
  /** Sends an event to this agent after `afterMs`, surviving restarts; the same name replaces. Takes effect when the turn commits. */
  timer<E>(name: string, afterMs: number, event: EventDefinition<E>, payload: E): void;
  cancelTimer(name: string): void;
  /**
   * Tells this agent once, as `agentDown`, when another's activation ends without its will: its host is lost, or its supervision stops it.
   * Moving to another host and leaving memory are no end. Lasts as long as this turn's mandate.
   * @throws AIOS_INPUT_INVALID when this kind does not listen to `agentDown`
   */
  watch(other: AgentAddress): void;
  /** No longer told; a child is no child any more. */
  unwatch(other: AgentAddress): void;
  /** The address of a child: the same name gives the same child every time. Watched where this kind listens to `agentDown`. @throws AIOS_OVERLOADED past 64 children */
  spawn(agent: { readonly kind: string }, name: string): AgentAddress;
  /**
   * Puts the message at hand off: nothing of this turn is kept but the message, which comes back after `unstash`, under its own deadline.
   * Past 16 messages or 64 KiB it is answered AIOS_OVERLOADED instead.
   */
  stash(): never;
  /** What was put off comes back, in its order, behind what waits in the mailbox. */
  unstash(): void;
  /** From the next message on, handlers of this behaviour (`in` of the definition) come before the others; without a name, only the others. @throws AIOS_INPUT_INVALID for one that is not declared */
  become(behaviour?: string): void;
  /** Runs `work` once for this key over all turns of this agent and remembers its answer; `work` gets a key the outside system can dedup by. */
  effect<T>(key: string, work: (dedupKey: string) => Promise<T>): Promise<T>;
}

export type Handler<I, O, S> = (input: I, ctx: AgentContext<S>) => Promise<O> | O;

// ---- teams: several agents on one task, as a step machine

/** What a step may touch: everything a turn may, but state, since the next step may run in another turn. */
export type TeamContext = Omit<AgentContext, 'state'>;
/** One step: an ask, usually. Its answer is plain JSON data, kept between the steps. */
export interface TeamStep<I = never, O = unknown> {
  readonly output: z.ZodType<O>;
  readonly run: (input: I, ctx: TeamContext) => Promise<O>;
}
export type TeamSteps = Readonly<Record<string, TeamStep>>;
/** Answers so far, by step. */
export type SeenOf<S extends TeamSteps> = { readonly [K in keyof S]?: z.output<S[K]['output']> };
/** The step to take next, with what policies may know of it; or the end. */
export type TeamNext<S extends TeamSteps, O> =
  | { readonly [K in keyof S & string]: { readonly step: K; readonly input: Parameters<S[K]['run']>[0]; readonly facts?: Facts } }[keyof S & string]
  | { readonly done: O; readonly effect?: ProposedEffect; readonly notes?: readonly string[] };
/**
 * Who does what in which order, as a pure function: `plan` looks at the input once, the function it returns at the answers so far.
 * The same answers give the same next step, so it does not matter who walks the steps, or in how many turns.
 */
export interface Team<I, O, S extends TeamSteps = TeamSteps> {
  readonly steps: S;
  readonly plan: (input: I, rung: Rung) => (seen: SeenOf<S>) => TeamNext<S, O>;
}
/** A team whose types nobody needs to know: what the runtime walks. */
export interface AnyTeam {
  readonly steps: TeamSteps;
  readonly plan: (input: unknown, rung: Rung) => (seen: Readonly<Record<string, unknown>>) => AnyNext;
}
export type AnyNext =
  | { readonly step: string; readonly input: unknown; readonly facts?: Facts }
  | { readonly done: unknown; readonly effect?: ProposedEffect; readonly notes?: readonly string[] };

/** Something that happened or is wanted, sent to a mailbox or a topic; nobody waits for an answer. Named in the past tense. */
export interface EventDefinition<E = unknown> {
  /** Dotted and lower case, such as `ticket.closed`; travels where a capability's name travels. */
  readonly name: string;
  readonly payload: z.ZodType<E>;
  /** Only ever sent to one agent: it has no topic. */
  readonly published?: false;
}
export type EventHandler<E, S> = (event: E, ctx: AgentContext<S>) => Promise<void> | void;
/** Runs before the first message of an activation, inside its turn: what it changes and sends is part of that turn's one record. */
export type StartHandler<S> = (ctx: AgentContext<S>) => Promise<void> | void;

export interface ListenOptions<E> {
  /** Which agent of the listening kind gets a published event; unless told, the one with the id of the agent that published it. */
  readonly actorKey?: (event: E) => string;
}

export interface AgentAddress {
  readonly kind: string;
  readonly id: string;
}

/** What happens after a fault. `resume` keeps the agent's memory, `restart` loads it again, `stop` and `escalate` give the message up at once. */
export type Directive = 'resume' | 'restart' | 'stop' | 'escalate';
export interface Supervision {
  readonly onFault: Directive;
  /** The same message fails so often: poison, it becomes a dead letter. */
  readonly faultsMax: number;
  /** More restarts than this within `withinMs` stop the agent for `withinMs`. */
  readonly restartsMax: number;
  readonly withinMs: number;
  /** First and largest pause before a message is tried again; doubles, with jitter. */
  readonly backoffMs: number;
  readonly backoffMsMax: number;
}
export interface Passivation {
  /** An agent without a message for so long leaves memory; its state stays in the log. */
  readonly idleMs: number;
}
export interface MailboxBounds {
  /** Messages of one agent that wait in memory; past it a durable message goes back to its mailbox with a delay. */
  readonly messagesMax: number;
}

/** Handlers that come before an agent's own while it has become this; of capabilities and events it handles anyway. */
export interface Behaviour<S = unknown> {
  readonly handlers: AgentDefinition<S>['handlers'];
  readonly events: NonNullable<AgentDefinition<S>['events']>;
}

export interface AgentDefinition<S = unknown> {
  readonly kind: string;
  readonly state?: z.ZodType<S>;
  readonly initial?: () => S;
  readonly onStart?: StartHandler<S>;
  readonly handlers: ReadonlyMap<string, { readonly capability: Capability; readonly handle: Handler<unknown, unknown, S>; readonly team?: AnyTeam }>;
  readonly events?: ReadonlyMap<string, { readonly event: EventDefinition; readonly handle: EventHandler<unknown, S>; readonly actorKey?: (event: unknown) => string }>;
  readonly behaviours?: ReadonlyMap<string, Behaviour<S>>;
  readonly supervise?: Partial<Supervision>;
  readonly passivate?: Partial<Passivation>;
  readonly mailbox?: Partial<MailboxBounds>;
}

/** A definition whose state type nobody needs to know: what hosts and registries take. */
export interface AnyAgent {
  readonly kind: string;
  readonly state?: z.ZodType<unknown>;
  readonly initial?: () => unknown;
  readonly onStart?: StartHandler<never>;
  readonly handlers: ReadonlyMap<string, { readonly capability: Capability; readonly handle: Handler<unknown, unknown, never>; readonly team?: AnyTeam }>;
  readonly events?: ReadonlyMap<string, { readonly event: EventDefinition; readonly handle: EventHandler<unknown, never>; readonly actorKey?: (event: unknown) => string }>;
  readonly behaviours?: ReadonlyMap<string, Behaviour<never>>;
  readonly supervise?: Partial<Supervision>;
  readonly passivate?: Partial<Passivation>;
  readonly mailbox?: Partial<MailboxBounds>;
}
