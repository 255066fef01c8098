// Neighbours: each host looks whether the next one in the ring is still connected, so that its death need not be waited for.
// Owns: the answering, the looking, and what counts as gone: the message server says that nobody listens, several times in a row.
// Silence is no proof, a paused host is silent too: that is what leases are for. Never takes anything itself.
// Others may assume: a host wrongly called gone loses its leases and no message; writes under its old fences fail by revision.

import { subjects } from '../../contracts/address.ts';
import { hasCode, toErrorBody } from '../../contracts/errors.ts';
import { parseId } from '../../contracts/ids.ts';
import type { Bus, Clock, Leases, Logger, Metrics } from '../../contracts/ports.ts';

/** One look in so long, for each host: as many small requests as there are hosts. */
const LOOK_MS = 400;
const PROOFS = 3;
const BETWEEN_PROOFS_MS = 120;
const ANSWER_MS = 400;
const SYS = parseId('tenant', 'sys');
const EMPTY = new Uint8Array(0);

export interface NeighbourPorts {
  readonly bus: Bus;
  readonly leases: Leases;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}
export interface NeighbourOptions {
  readonly name: string;
  /** Hosts that hold a membership lease, this one included. */
  readonly members: () => readonly string[];
  /** After a break of one's own connection others may not be back yet. */
  readonly quietMs: number;
  readonly signal: AbortSignal;
}

/** Answers from now on; looks at others when the returned loop is run. Does nothing where leases cannot be ended for another. */
export async function openNeighbours(ports: NeighbourPorts, options: NeighbourOptions): Promise<{ run(): Promise<void> } & AsyncDisposable> {
  const answering = await ports.bus.subscribe(subjects.alive(SYS, options.name), {}, (message) => message.respond?.(EMPTY));
  return { run: () => look(ports, options), [Symbol.asyncDispose]: () => answering[Symbol.asyncDispose]() };
}

async function look(ports: NeighbourPorts, { name, members, quietMs, signal }: NeighbourOptions): Promise<void> {
  const { clock, leases, logger, metrics } = ports;
  if (leases.endAll === undefined) return;
  let quietUntil = 0;
  while (!signal.aborted) {
    await clock.sleep(LOOK_MS, signal);
    if (!ports.bus.connected) quietUntil = clock.monotonic() + quietMs;
    const next = nextOf(members(), name);
    if (next === undefined || clock.monotonic() < quietUntil || signal.aborted) continue;
    const seen = await lookAt(ports, next);
    if (seen === 'cut-off') quietUntil = clock.monotonic() + quietMs;
    if (seen !== 'gone' || signal.aborted) continue;
    logger.warn({ host: next }, 'a host is gone; its leases are ended');
    metrics.count('aios_hosts_gone_total');
    await leases.endAll(next).catch((error: unknown) => logger.warn({ host: next, error: toErrorBody(error).code }, 'leases left to expire'));
  }
}

async function lookAt({ bus, clock }: NeighbourPorts, host: string): Promise<'there' | 'gone' | 'cut-off'> {
  for (let proof = 1; ; proof++) {
    try {
      await bus.request(subjects.alive(SYS, host), EMPTY, { timeoutMs: ANSWER_MS });
      return 'there';
    } catch (error) {
      if (hasCode(error, 'AIOS_DISCONNECTED')) return 'cut-off';
      if (!hasCode(error, 'AIOS_UNAVAILABLE')) return 'there';
      if (proof >= PROOFS) return 'gone';
    }
    await clock.sleep(BETWEEN_PROOFS_MS);
  }
}

/** The next name after one's own, round the ring; nobody when alone. */
function nextOf(members: readonly string[], name: string): string | undefined {
  const others = members.filter((member) => member !== name).sort();
  return others.find((member) => member > name) ?? others[0];
}
