// What a task may do, as the root grant the brain signs: its capability, everything that one declares to use, and no more.
// Owns: the closure over declared uses and the caveats every task gets. Never signs: that is the Mandates port.
// Others may assume: pure; the same task, rung and bundle give the same grant but for its clock.

import { digestOf } from '../contracts/canonical.ts';
import type { Capability } from '../contracts/capability.ts';
import type { DispatchMember } from '../contracts/governed.ts';
import type { Grant } from '../contracts/mandate.ts';
import type { CapabilityRegistry } from '../contracts/ports.ts';

/** Bounds of one task's work; a task that needs more is a plan of several tasks. */
const CALLS_MAX = 256;
const DEPTH_MAX = 4;
/** Clocks of brain and agents may differ by this much. */
const SKEW_MS = 5_000;
const USES_MAX = 64;

export function grantFor(registry: CapabilityRegistry, capability: Capability, tenant: string, policy: string, member: DispatchMember, microUsd: number, now: number): Grant {
  return {
    tenant, task: member.taskId, capabilities: usesOf(registry, capability), dataClass: capability.dataClass, regions: ['*'], models: ['*'], spaces: ['*'],
    budgetMicroUsd: microUsd, callsMax: CALLS_MAX, depthMax: DEPTH_MAX, notBefore: now - SKEW_MS, expiresAt: member.deadline + SKEW_MS, offline: false, policy,
    principal: digestOf(member.principal),
  };
}

/** The capability and whatever it, and what it uses, declares to use. */
export function usesOf(registry: CapabilityRegistry, capability: Capability): string[] {
  const found = new Set<string>([capability.id]);
  const queue: Capability[] = [capability];
  for (let next = queue.shift(); next !== undefined && found.size < USES_MAX; next = queue.shift()) {
    for (const use of next.uses) {
      if (found.has(use)) continue;
      found.add(use);
      const used = registry.get(use);
      if (used !== undefined) queue.push(used);
    }
  }
  return [...found].slice(0, USES_MAX);
}
