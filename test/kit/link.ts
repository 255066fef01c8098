// Links: the way between one process and the in-memory servers. Faults are put here, not into the servers.
// Owns: the shape of a link and the direct one. Never changes what a server does, only whether and when it hears and is heard.
// Others may assume: every port operation passes `call` once with a stable name, every message to the process passes `push`.

import type { Clock } from '../../contracts/ports.ts';

export interface Link {
  readonly clock: Clock;
  /** Runs `effect` at the server and brings back its result. Whoever implements it may delay, lose or fail either half. */
  call<T>(operation: string, effect: () => T): Promise<T>;
  /** Something the server sends by itself. */
  push(operation: string, run: () => void): void;
  readonly connected: boolean;
}

export function directLink(clock: Clock): Link {
  return { clock, call: async (_operation, effect) => effect(), push: (_operation, run) => queueMicrotask(run), connected: true };
}
