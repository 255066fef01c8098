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
}

export type Handler<I, O, S> = (input: I, ctx: AgentContext<S>) => Promise<O> | O;

export interface AgentDefinition<S = unknown> {
  readonly kind: string;
  readonly state?: z.ZodType<S>;
  readonly initial?: () => S;
  readonly handlers: ReadonlyMap<string, { readonly capability: Capability; readonly handle: Handler<unknown, unknown, S> }>;
}
