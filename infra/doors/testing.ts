// The door `aios/testing`: the vendor-free runtime and every port in memory, for tests of agents and embedders.
// Owns: the list. Never opens a socket.
// Others may assume: what is listed in test/kit and the agent host is public; nothing else of the runtime is.

export * from '../../test/kit/index.ts';
export { createAgentHost, type AgentHost, type AgentHostOptions, type HostView } from '../../agents/runtime/host.ts';
export { createActorSystem } from '../../agents/runtime/local/system.ts';
export type { AgentPorts, HostLimits } from '../../agents/runtime/ports.ts';
