// Following a team's plan: ask it for the next step, take the step, remember the answer, until it is done or held.
// Owns: the loop, its bound, and the two kinds of steps that teams are made of. Never decides whether a step may be taken.
// Others may assume: only contracts are imported, so definitions that use this load in the workflow sandbox and at the edge.

import type { AgentContext, AnyNext, AnyTeam, TeamStep } from '../../contracts/agent.ts';
import type { Capability } from '../../contracts/capability.ts';
import { fail } from '../../contracts/errors.ts';
import { parseValue } from '../../contracts/parse.ts';
import { type Facts, factsSchema } from '../../contracts/verdict.ts';

/** As `WALK_STEPS_MAX` on the wire. */
const STEPS_MAX = 32;

/** A step that gives the work to another agent, with a mandate narrowed to what that needs. */
export const delegated = <I, O>(capability: Capability<I, O>): TeamStep<I, O> => ({ output: capability.output, run: (input, ctx) => ctx.delegate(capability, input) });
/** A step that asks a capability of the gateway. */
export const asked = <I, O>(capability: Capability<I, O>): TeamStep<I, O> => ({ output: capability.output, run: (input, ctx) => ctx.ask(capability, input) });

export type Seen = Readonly<Record<string, unknown>>;
/** May the step be taken here? Asked before each. */
export type Gate = (step: string, facts: Facts) => Promise<boolean> | boolean;
export type Followed =
  | { readonly output: unknown }
  | { readonly held: { readonly step: string; readonly facts: Facts; readonly seen: Seen } };

/** @throws AIOS_AGENT_FAULT for a plan that takes too many steps or names one the team does not have, and whatever a step throws */
export async function follow(team: AnyTeam, input: unknown, context: AgentContext, gate: Gate, from: Seen = {}): Promise<Followed> {
  const planned = team.plan(input, context.rung);
  let seen = knownAnswers(team, from);
  for (let taken = 0; taken <= STEPS_MAX; taken++) {
    const next = planned(seen);
    if ('done' in next) return { output: concluded(context, next) };
    const facts = parseValue(factsSchema, next.facts ?? {});
    if (!(await gate(next.step, facts))) return { held: { step: next.step, facts, seen } };
    seen = { ...seen, [next.step]: await stepOf(team, next.step).run(next.input as never, context) };
  }
  throw fail('AIOS_AGENT_FAULT', `its plan takes more than ${STEPS_MAX} steps.`);
}

/** The whole plan in place, for whoever calls the handler itself. */
export async function followThrough(team: AnyTeam, input: unknown, context: AgentContext): Promise<unknown> {
  const followed = await follow(team, input, context, () => true);
  return 'output' in followed ? followed.output : undefined;
}

/** What came from outside is parsed like any answer; a step that this version of the team does not have is forgotten. */
function knownAnswers(team: AnyTeam, given: Seen): Seen {
  return Object.fromEntries(Object.entries(given).flatMap(([step, answer]) => (Object.hasOwn(team.steps, step) ? [[step, parseValue(stepOf(team, step).output, answer)]] : [])));
}

function stepOf(team: AnyTeam, step: string): TeamStep {
  const known = Object.hasOwn(team.steps, step) ? team.steps[step] : undefined;
  if (known === undefined) throw fail('AIOS_AGENT_FAULT', `its plan names the step ${step}, which the team does not have.`);
  return known;
}

function concluded(context: AgentContext, { done, effect, notes }: Extract<AnyNext, { readonly done: unknown }>): unknown {
  if (effect !== undefined) context.propose(effect);
  for (const note of notes ?? []) context.note(note);
  return done;
}
