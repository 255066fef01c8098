// The door `aios/client`: the client of the HTTP API, for services that run elsewhere.
// Owns: the list. Never opens anything until a method is called.
// Others may assume: it needs `fetch` and nothing of Node.

export { type CapabilityView, type Client, type ClientOptions, connect, type Result, type Started, type StartOptions } from '../client/client.ts';
export type { TaskView } from '../../contracts/ports.ts';
