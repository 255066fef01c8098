// The agents this deployment ships: adding one is a file in agents/catalog and a line here.
// Owns: the list. Never starts anything. Others may assume: the order means nothing, kinds and capabilities are unique,
// and the brain, the agent hosts and the policy bundle are built from this same list.

import type { AnyAgent } from '../contracts/agent.ts';
import { echoAgent } from './catalog/echo.ts';

export const shippedAgents: readonly AnyAgent[] = [
  echoAgent,
];
