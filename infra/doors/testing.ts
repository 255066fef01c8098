// The door `aios/testing`: the vendor-free runtime and every port in memory, for tests of agents and embedders.
// Owns nothing. Never opens a socket. Others may import from here only what is listed in test/kit and the agent host.

export * from '../../test/kit/index.ts';
export { createAgentHost, type AgentHost, type AgentHostOptions, type HostView } from '../../agents/runtime/host.ts';
export type { AgentPorts, HostLimits } from '../../agents/runtime/ports.ts';
