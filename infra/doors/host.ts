// The door `aios/host`: the whole engine inside one's own process.
// Owns: the list. The work is infra/host/start-host.ts.
// Others may assume: nothing starts on import.

export { type Host, type HostOptions, startHost } from '../host/start-host.ts';
export { readConfig, type Config } from '../config.ts';
