// The registry: which capabilities this deployment offers and which agent kind handles each.
// Owns: the lookup built once from definitions. Never starts an agent and never talks to anybody.
// Others may assume: a capability is handled by one kind; the list is sorted by id.

import type { AnyAgent } from '../contracts/agent.ts';
import type { Capability } from '../contracts/capability.ts';
import { fail } from '../contracts/errors.ts';
import type { CapabilityRegistry } from '../contracts/ports.ts';

/** `others` are capabilities that no agent handles: the gateway's own. @throws AIOS_CONFIG_INVALID when two kinds handle one capability */
export function createRegistry(agents: readonly AnyAgent[], others: readonly Capability[] = []): CapabilityRegistry {
  const capabilities = new Map<string, Capability>(others.map((capability) => [capability.id, capability]));
  const kinds = new Map<string, string>();
  for (const agent of agents) {
    for (const [id, { capability }] of agent.handlers) {
      if (kinds.has(id)) throw fail('AIOS_CONFIG_INVALID', `${id} is handled by ${kinds.get(id)} and by ${agent.kind}.`);
      kinds.set(id, agent.kind);
      capabilities.set(id, capability);
    }
  }
  const sorted = [...capabilities.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  return { get: (id) => capabilities.get(id), list: () => sorted, kindOf: (id) => kinds.get(id) };
}
