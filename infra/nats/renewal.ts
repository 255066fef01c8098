// A connection that may live for minutes only, made anew before its time, when it is least missed.
// Owns: the plan (a jittered moment well before the end), the search for a quiet one, and holding new calls for that long.
// Never changes what the host may do: the callout decides that anew. Others may assume: a host whose right was taken away
// is cut off at the latest when its token ends; one that keeps it loses no call that is done within HOLD_MS_MAX.

import type { NatsConnection } from '@nats-io/nats-core';
import type { Clock, Logger, Random } from '../../contracts/ports.ts';
import type { Requests } from './requests.ts';

/** Part of the life after which a quiet moment is looked for; spread, so that hosts started together do not all pause together. */
const SHARE_MIN = 0.6;
const SHARE_SPREAD = 0.2;
const LOOK_MS = 20;
/** Nothing quiet by then: new calls are held, and what is in flight has this long to end. */
const LOOK_MS_MAX = 5_000;
const HOLD_MS_MAX = 500;
const BACK_MS_MAX = 5_000;

/** `renewing` is set while a connection is made anew on purpose: calls wait for it instead of failing. */
export interface LinkState { connected: boolean; renewing: Promise<void> | undefined }

export interface Renewed {
  readonly nc: NatsConnection;
  readonly state: LinkState;
  readonly requests: Pick<Requests, 'inFlight'>;
  readonly reconnects: Set<() => void>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Returns the way to stop. */
export function planRenewal(renewed: Renewed, lifeMs: number): () => void {
  const { clock, random, logger } = renewed;
  const ending = new AbortController();
  const plan = (): void => {
    const cancel = clock.after(lifeMs * (SHARE_MIN + random.next() * SHARE_SPREAD), () => void renew(renewed, Math.min(LOOK_MS_MAX, lifeMs * SHARE_SPREAD / 2), ending.signal).catch((error: unknown) => logger.warn({ error }, 'a connection was not renewed; the server will end it')).then(plan));
    ending.signal.addEventListener('abort', cancel, { once: true });
    if (ending.signal.aborted) cancel();
  };
  plan();
  return () => ending.abort();
}

async function renew(renewed: Renewed, lookMs: number, ending: AbortSignal): Promise<void> {
  const { nc, state, requests, reconnects, clock } = renewed;
  await quiet(requests, clock, lookMs);
  if (ending.aborted || !state.connected) return;
  const back = new AbortController();
  const onBack = (): void => back.abort();
  let done = (): void => undefined;
  state.renewing = new Promise((resolve) => { done = resolve; });
  try {
    await quiet(requests, clock, HOLD_MS_MAX);
    reconnects.add(onBack);
    await nc.reconnect();
    await clock.sleep(BACK_MS_MAX, AbortSignal.any([back.signal, ending]));
    if (!back.signal.aborted) state.connected = false;
  } finally {
    reconnects.delete(onBack);
    state.renewing = undefined;
    done();
  }
}

async function quiet(requests: Pick<Requests, 'inFlight'>, clock: Clock, msMax: number): Promise<void> {
  for (const until = clock.monotonic() + msMax; requests.inFlight > 0 && clock.monotonic() < until;) await clock.sleep(Math.min(LOOK_MS, msMax));
}
