// Agents as engineers write them: definitions are inert, a turn sees one context object.
// Owns: `AgentContext` (everything a handler may touch) and the shape of a definition. The runtime is in agents/runtime.
// Never names a transport. Others may assume: a handler that only uses its context can run at the centre, at the edge and in a test.

import type { z } from 'zod';
import type { Capability, Rung } from './capability.ts';
import type { Grant } from './mandate.ts';
import type { ProposedEffect } from './message.ts';
import type { Logger, SearchAnswer } from './ports.ts';
import type { Principal } from './verdict.ts';

export interface AskOptions {
  readonly timeoutMs?: number;
  /** Narrows the mandate for this hop; can never widen it. */
  readonly scope?: Partial<Pick<Grant, 'capabilities' | 'dataClass' | 'budgetMicroUsd' | 'callsMax' | 'spaces' | 'models'>>;
}

export interface AgentContext<S = unknown> {
  readonly task: string;
  readonly tenant: string;
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
  /** Runs `work` once for this key over all turns of this agent and remembers its answer; `work` gets a key the outside system can dedup by. */
  effect<T>(key: string, work: (dedupKey: string) => Promise<T>): Promise<T>;
}

export type Handler<I, O, S> = (input: I, ctx: AgentContext<S>) => Promise<O> | O;

/** Something that happened or is wanted, sent to a mailbox or a topic; nobody waits for an answer. Named in the past tense. */
export interface EventDefinition<E = unknown> {
  /** Dotted and lower case, such as `ticket.closed`; travels where a capability's name travels. */
  readonly name: string;
  readonly payload: z.ZodType<E>;
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

export interface AgentDefinition<S = unknown> {
  readonly kind: string;
  readonly state?: z.ZodType<S>;
  readonly initial?: () => S;
  readonly onStart?: StartHandler<S>;
  readonly handlers: ReadonlyMap<string, { readonly capability: Capability; readonly handle: Handler<unknown, unknown, S> }>;
  readonly events?: ReadonlyMap<string, { readonly event: EventDefinition; readonly handle: EventHandler<unknown, S>; readonly actorKey?: (event: unknown) => string }>;
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
  readonly handlers: ReadonlyMap<string, { readonly capability: Capability; readonly handle: Handler<unknown, unknown, never> }>;
  readonly events?: ReadonlyMap<string, { readonly event: EventDefinition; readonly handle: EventHandler<unknown, never>; readonly actorKey?: (event: unknown) => string }>;
  readonly supervise?: Partial<Supervision>;
  readonly passivate?: Partial<Passivation>;
  readonly mailbox?: Partial<MailboxBounds>;
}
