// The door `aios`: what a service developer writes down. Definitions are inert values; importing this opens nothing.
// Owns: the list. Never exports anything that does I/O. Others may assume: it loads unchanged in the workflow sandbox,
// on an edge box and in a test, because it needs zod and hashing only.

export { debate, handoff, parallel, vote } from '../../agents/teams/index.ts';
export { agentDown, defineAgent, defineEvent } from '../../agents/define.ts';
export type { AgentContext, AgentDefinition, AnyAgent, AskOptions, Handler } from '../../contracts/agent.ts';
export { type Capability, type CapabilityOptions, type CapabilityTraits, DATA_CLASSES, type DataClass, defineCapability, RUNGS, type Rung, SLA_TIERS, type SlaTier } from '../../contracts/capability.ts';
export { type AiosError, type ErrorBody, type ErrorCode, ERRORS, fail, hasCode, isAiosError } from '../../contracts/errors.ts';
export type { ProposedEffect } from '../../contracts/message.ts';
export type { AppliedEffect, Decision, HumanDecision, TaskResult, TaskState } from '../../contracts/task.ts';
export type { Facts, Principal, Verdict } from '../../contracts/verdict.ts';
