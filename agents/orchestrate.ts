// The way teams are orchestrated, set for a whole deployment: the trait of their capabilities, replaced before anything is published.
// Owns: which agents have a team. Never looks at a name, and changes nothing about agents that work alone.
// Others may assume: what the policy bundle in force says of a capability is what holds, for the workflow and for the agents.

import type { AnyAgent } from '../contracts/agent.ts';
import type { Orchestration } from '../contracts/capability.ts';

/** The same agents where no way is asked for. */
export function orchestrated(agents: readonly AnyAgent[], way: Orchestration | undefined): readonly AnyAgent[] {
  if (way === undefined) return agents;
  return agents.map((agent) => ({ ...agent, handlers: new Map([...agent.handlers].map(([id, handler]) => [id, handler.team === undefined ? handler : { ...handler, capability: { ...handler.capability, orchestration: way } }])) }));
}
