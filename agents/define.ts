// Agents and events as engineers declare them: inert, frozen, typed end to end.
// Owns: `defineAgent` and `defineEvent`. Never opens anything and never runs a handler: that is agents/runtime.
// Others may assume: a definition is immutable (`handle` and `on` return a new one), one capability or event has one handler,
// and a handler that takes or returns the wrong type does not compile.

import { z } from 'zod';
import type { AgentContext, AgentDefinition, AnyTeam, Behaviour, EventDefinition, EventHandler, Handler, ListenOptions, MailboxBounds, Passivation, StartHandler, Supervision, Team, TeamSteps } from '../contracts/agent.ts';
import type { Capability } from '../contracts/capability.ts';
import { fail } from '../contracts/errors.ts';
import { parseCapabilityId, parseId } from '../contracts/ids.ts';
import { followThrough } from './teams/follow.ts';

export interface AgentOptions {
  readonly supervise?: Partial<Supervision>;
  readonly passivate?: Partial<Passivation>;
  readonly mailbox?: Partial<MailboxBounds>;
}
export interface StatelessOptions extends AgentOptions {
  /** Runs in the turn of the first message after the agent came into memory; may therefore run again on another host, or after a restart. */
  readonly onStart?: StartHandler<undefined>;
}
export interface StatefulOptions<S> extends AgentOptions {
  /** Runs in the turn of the first message after the agent came into memory; may therefore run again on another host, or after a restart. */
  readonly onStart?: StartHandler<NoInfer<S>>;
  /** Shape of the state as it is stored; checked when it is loaded and before it is written. Plain JSON data. */
  readonly state: z.ZodType<S>;
  /** State of an agent nobody has spoken to yet. */
  readonly initial: () => S;
}

export interface AgentBuilder<S> extends AgentDefinition<S> {
  handle<I, O>(capability: Capability<I, O>, handle: Handler<NoInfer<I>, NoInfer<O>, S>): AgentBuilder<S>;
  /** Several agents on one capability, as a step machine; who walks the steps is the capability's `orchestration`. */
  team<I, O, const T extends TeamSteps>(capability: Capability<I, O>, team: Team<NoInfer<I>, NoInfer<O>, T>): AgentBuilder<S>;
  /** Takes the event when it is told to this agent, and when anybody of the tenant publishes it. */
  on<E>(event: EventDefinition<E>, handle: EventHandler<NoInfer<E>, S>, options?: ListenOptions<NoInfer<E>>): AgentBuilder<S>;
  /** Handlers for while the agent has become `behaviour`. They replace those declared before under the same capability or event; nothing new can be declared here. */
  in(behaviour: string, declare: (into: BehaviourBuilder<S>) => BehaviourBuilder<S>): AgentBuilder<S>;
}
export interface BehaviourBuilder<S> extends Behaviour<S> {
  handle<I, O>(capability: Capability<I, O>, handle: Handler<NoInfer<I>, NoInfer<O>, S>): BehaviourBuilder<S>;
  on<E>(event: EventDefinition<E>, handle: EventHandler<NoInfer<E>, S>): BehaviourBuilder<S>;
}

/**
 * Declares an agent kind. Importing the definition opens nothing.
 * @throws AIOS_INPUT_INVALID when a name is malformed or a capability or event is handled twice
 * @example
 * const memory = defineAgent('memory', { state: z.strictObject({ turns: z.array(z.string()) }), initial: () => ({ turns: [] }) })
 *   .handle(remember, (input, ctx) => { ctx.state.turns.push(input.text); return { count: ctx.state.turns.length }; });
 */
export function defineAgent<S>(kind: string, options: StatefulOptions<S>): AgentBuilder<S>;
export function defineAgent(kind: string, options?: StatelessOptions): AgentBuilder<undefined>;
export function defineAgent<S>(kind: string, options: Partial<StatefulOptions<S>> = {}): AgentBuilder<S> {
  return builder<S>({ ...options, kind: parseId('agent-kind', kind), handlers: new Map(), events: new Map() });
}

/**
 * Declares an event: dotted, lower case, in the past tense.
 * `published: false` for what is only ever told, or set as a timer: it needs no subscription.
 * @example const ticketClosed = defineEvent('ticket.closed', z.strictObject({ ticket: z.string().max(64) }));
 */
export function defineEvent<E>(name: string, payload: z.ZodType<E>, options: Pick<EventDefinition, 'published'> = {}): EventDefinition<E> {
  return Object.freeze({ name: parseCapabilityId(name), payload, ...options });
}

function builder<S>(definition: AgentDefinition<S>): AgentBuilder<S> {
  const events = definition.events ?? new Map();
  return Object.freeze({
    ...definition,
    handle<I, O>(capability: Capability<I, O>, handle: Handler<I, O, S>) {
      free(definition, capability.id);
      // The one place where a handler's types are forgotten; the runtime parses input and output with the capability's own schemas.
      const entry = { capability: capability as unknown as Capability, handle: handle as Handler<unknown, unknown, S> };
      return builder({ ...definition, handlers: new Map([...definition.handlers, [capability.id as string, entry]]) });
    },
    team<I, O, const T extends TeamSteps>(capability: Capability<I, O>, team: Team<I, O, T>) {
      free(definition, capability.id);
      if (capability.delivery !== 'durable') throw fail('AIOS_INPUT_INVALID', `${capability.id} is ephemeral: steps that come back to the brain need a mailbox.`);
      // As above: answers of steps are parsed with their own schemas wherever they come from outside.
      const erased = team as unknown as AnyTeam;
      const entry = { capability: capability as unknown as Capability, handle: (input: unknown, ctx: AgentContext<S>) => followThrough(erased, input, ctx as AgentContext), team: erased };
      return builder({ ...definition, handlers: new Map([...definition.handlers, [capability.id as string, entry]]) });
    },
    on<E>(event: EventDefinition<E>, handle: EventHandler<E, S>, options: ListenOptions<E> = {}) {
      free(definition, event.name);
      const entry = { event: event as EventDefinition, handle: handle as EventHandler<unknown, S>, ...(options.actorKey === undefined ? {} : { actorKey: options.actorKey as (event: unknown) => string }) };
      return builder({ ...definition, events: new Map([...events, [event.name, entry]]) });
    },
    in(behaviour: string, declare: (into: BehaviourBuilder<S>) => BehaviourBuilder<S>) {
      const name = parseId('agent-id', behaviour);
      if (definition.behaviours?.has(name) === true) throw fail('AIOS_INPUT_INVALID', `agent ${definition.kind} declares ${name} twice.`);
      const { handlers, events: listeners } = declare(behaviourOf(definition, { handlers: new Map(), events: new Map() }));
      return builder({ ...definition, behaviours: new Map([...(definition.behaviours ?? []), [name, Object.freeze({ handlers, events: listeners })]]) });
    },
  });
}

function behaviourOf<S>(definition: AgentDefinition<S>, behaviour: Behaviour<S>): BehaviourBuilder<S> {
  const known = (has: boolean, name: string): void => {
    if (!has) throw fail('AIOS_INPUT_INVALID', `agent ${definition.kind} handles ${name} in a behaviour but not by itself.`);
  };
  return Object.freeze({
    ...behaviour,
    handle<I, O>(capability: Capability<I, O>, handle: Handler<I, O, S>) {
      known(definition.handlers.has(capability.id), capability.id);
      const entry = { capability: capability as unknown as Capability, handle: handle as Handler<unknown, unknown, S> };
      return behaviourOf(definition, { ...behaviour, handlers: new Map([...behaviour.handlers, [capability.id as string, entry]]) });
    },
    on<E>(event: EventDefinition<E>, handle: EventHandler<E, S>) {
      known(definition.events?.has(event.name) === true, event.name);
      return behaviourOf(definition, { ...behaviour, events: new Map([...behaviour.events, [event.name, { event: event as EventDefinition, handle: handle as EventHandler<unknown, S> }]]) });
    },
  });
}

/** What a watched agent's end looks like to its watcher. */
export const agentDown: EventDefinition<{ kind: string; id: string; why: 'host-lost' | 'stopped' }> = defineEvent('agent.down', z.strictObject({ kind: z.string().max(64), id: z.string().max(64), why: z.enum(['host-lost', 'stopped']) }), { published: false });

function free<S>(definition: AgentDefinition<S>, name: string): void {
  if (definition.handlers.has(name) || definition.events?.has(name) === true) throw fail('AIOS_INPUT_INVALID', `agent ${definition.kind} handles ${name} twice.`);
}
