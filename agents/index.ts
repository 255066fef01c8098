// The agents this deployment ships: adding one is a file in agents/catalog and a line here.
// Owns: the list. Never starts anything. Others may assume: the order means nothing, kinds and capabilities are unique,
// and the brain, the agent hosts and the policy bundle are built from this same list.

import type { AnyAgent } from '../contracts/agent.ts';
import { echoAgent } from './catalog/echo.ts';
import { supportDesk } from './catalog/support/desk.ts';
import { answererAgent, retrieverAgent, triageAgent } from './catalog/support/team.ts';

export const shippedAgents: readonly AnyAgent[] = [
  answererAgent,
  echoAgent,
  retrieverAgent,
  supportDesk,
  triageAgent,
];
