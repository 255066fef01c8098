// One supervised pull loop: every way a NATS consumer can die quietly ends in its being opened again.
// Owns: opening (create or update, idempotent), the watch on heartbeats and status, and the watchdog on messages that wait
// while nothing arrives. Never acks: handlers do. Others may assume: the loop lives until it is disposed,
// handles at most `inFlightMax` messages at a time, and on disposal gives back what it had not begun.

import type { ConsumerConfig, ConsumerInfo, ConsumerMessages, JsMsg } from '@nats-io/jetstream';
import { toErrorBody } from '../../contracts/errors.ts';
import type { NatsLink } from './connect.ts';
import { convertNatsError, isConsumerExists } from './errors.ts';

export interface SupervisedConsumer {
  readonly stream: string;
  readonly config: Partial<ConsumerConfig>;
  readonly inFlightMax: number;
  /** Acks, naks or terminates the message; one that throws is naked with a pause. */
  handle(message: JsMsg): Promise<void>;
  /** Called with the error when the consumer cannot be created; returns after making room, or throws. */
  makeRoom?(error: unknown): Promise<void>;
  /** How often the server is told that a held message is being worked on; must be well below the consumer's ack wait. */
  readonly workingMs?: number;
  /** How long one pull stays open at the server; at least a second. */
  readonly pullMs?: number;
}

const PULL_MS = 5_000;
/** Missed heartbeats after which the loop is opened again; the client itself pulls anew after two. */
const HEARTBEATS_MISSED_MAX = 4;
const WATCHDOG_MS = 5_000;
const REOPEN_MS_MAX = 2_000;
const WORKING_MS = 5_000;
const NAK_MS = 1_000;
/** A handler may hold its message this long; then it is delivered again, whatever the handler does. */
const HOLD_MS_MAX = 15 * 60_000;

/** @throws AIOS_CONFIG_INVALID, AIOS_UNAVAILABLE, AIOS_DISCONNECTED when it cannot be opened the first time */
export async function superviseConsumer(link: NatsLink, options: SupervisedConsumer): Promise<AsyncDisposable> {
  const { clock, metrics, logger } = link;
  const name = options.config.durable_name ?? '';
  const label = { consumer: name };
  const desk = createDesk(link, options);
  const state = { stopped: false, received: 0, failures: 0, cancelWatchdog: () => {} };
  let messages: ConsumerMessages | undefined;
  let reopening: Promise<void> | undefined;

  const open = async (): Promise<void> => {
    const info = await addConsumer(link, options);
    const opened = await link.js.consumers.getConsumerFromInfo(info).consume({
      max_messages: options.inFlightMax, expires: options.pullMs ?? PULL_MS, idle_heartbeat: Math.min(1_000, (options.pullMs ?? PULL_MS) / 2),
      callback: (message) => {
        state.received++;
        desk.accept(message);
      },
    });
    messages = opened;
    void follow(opened);
  };
  const follow = async (opened: ConsumerMessages): Promise<void> => {
    for await (const status of opened.status()) {
      const dead = status.type === 'consumer_not_found' || status.type === 'stream_not_found' || status.type === 'consumer_deleted' || (status.type === 'heartbeats_missed' && status.count >= HEARTBEATS_MISSED_MAX && link.connected);
      if (dead && messages === opened) reopen(status.type);
    }
    if (messages === opened) reopen('closed');
  };
  const reopen = (why: string): void => {
    if (state.stopped || reopening !== undefined) return;
    metrics.count('aios_consumer_reopened_total', { why });
    logger.warn({ ...label, why }, 'a consumer stopped; it is opened again');
    reopening = openUntilOpen().finally(() => { reopening = undefined; });
  };
  const openUntilOpen = async (): Promise<void> => {
    const old = messages;
    messages = undefined;
    await old?.close().catch(() => undefined);
    while (!state.stopped) {
      try {
        await open();
        state.failures = 0;
        return;
      } catch (error) {
        state.failures++;
        if (state.failures % 10 === 1) logger.warn({ ...label, code: convertNatsError(error, 'opening a consumer').code }, 'a consumer cannot be opened yet');
        await clock.sleep(Math.min(REOPEN_MS_MAX, 100 * 2 ** Math.min(state.failures, 5)));
      }
    }
  };
  const watch = (before: number): void => {
    state.cancelWatchdog = clock.after(WATCHDOG_MS, () => void inspect(before));
  };
  const inspect = async (before: number): Promise<void> => {
    if (link.connected && state.received === before && desk.held === 0 && reopening === undefined) {
      const info = await link.jsm.consumers.info(options.stream, name).catch(() => undefined);
      if (info !== undefined) metrics.gauge('aios_consumer_pending', info.num_pending, label);
      const room = info !== undefined && info.num_ack_pending < (info.config.max_ack_pending ?? 1);
      if (room && info.num_pending > 0 && state.received === before) reopen('stalled');
    }
    if (!state.stopped) watch(state.received);
  };

  await open().catch((error: unknown) => { throw convertNatsError(error, 'opening a consumer'); });
  watch(0);
  return {
    async [Symbol.asyncDispose]() {
      state.stopped = true;
      state.cancelWatchdog();
      await reopening;
      const last = messages;
      messages = undefined;
      await last?.close().catch(() => undefined);
      await desk.close();
    },
  };
}

async function addConsumer(link: NatsLink, options: SupervisedConsumer): Promise<ConsumerInfo> {
  const { consumers } = link.jsm;
  const { stream, config, makeRoom } = options;
  try {
    return await consumers.add(stream, config);
  } catch (error) {
    if (isConsumerExists(error)) return changeConsumer(link, options);
    if (makeRoom === undefined) throw error;
    await makeRoom(error);
    return consumers.add(stream, config);
  }
}

/** An earlier version of this program made it with other settings: they are changed, or, where JetStream cannot change them, it is made anew. */
async function changeConsumer({ jsm: { consumers }, metrics }: NatsLink, { stream, config }: SupervisedConsumer): Promise<ConsumerInfo> {
  const name = config.durable_name ?? '';
  metrics.count('aios_consumer_changed_total');
  try {
    return await consumers.update(stream, name, config);
  } catch {
    await consumers.delete(stream, name);
    return consumers.add(stream, config);
  }
}

interface Desk { accept(message: JsMsg): void; close(): Promise<void>; readonly held: number }

/** Hands messages to the handler, `inFlightMax` at a time, and tells the server about all it holds. */
function createDesk(link: NatsLink, { handle, inFlightMax, workingMs = WORKING_MS }: SupervisedConsumer): Desk {
  const { clock, metrics } = link;
  const since = new Map<JsMsg, number>();
  const queue: JsMsg[] = [];
  const running = new Set<Promise<void>>();
  const state = { closed: false, ticking: false, cancel: () => {} };

  const tick = (): void => {
    if (state.ticking) return;
    state.ticking = true;
    state.cancel = clock.after(workingMs, () => {
      state.ticking = false;
      const now = clock.monotonic();
      for (const [message, began] of since) if (link.connected && now - began < HOLD_MS_MAX) respond(link, () => message.working());
      if (since.size > 0) tick();
    });
  };
  const next = (): void => {
    while (running.size < inFlightMax && !state.closed) {
      const message = queue.shift();
      if (message === undefined) return;
      const work = serve(message).finally(() => {
        since.delete(message);
        running.delete(work);
        next();
      });
      running.add(work);
    }
  };
  /** The client sends the first of ack, nak and term only, so the nak at the end counts when the handler did neither. */
  const serve = async (message: JsMsg): Promise<void> => {
    try {
      await handle(message);
    } catch (thrown) {
      metrics.count('aios_consumer_handler_failed_total', { code: toErrorBody(thrown).code });
    }
    respond(link, () => message.nak(NAK_MS));
  };

  return {
    get held() {
      return since.size;
    },
    accept(message) {
      if (state.closed) return respond(link, () => message.nak());
      since.set(message, clock.monotonic());
      queue.push(message);
      tick();
      next();
    },
    async close() {
      state.closed = true;
      for (const message of queue.splice(0)) respond(link, () => message.nak());
      await Promise.allSettled(running);
      state.cancel();
    },
  };
}

/** Answers to deliveries that wait for the connection; past it the oldest is forgotten, which means a redelivery. */
const WAITING_MAX = 4_096;
const waiting = new WeakMap<NatsLink, (() => void)[]>();

/**
 * Acks travel without an answer; one lost with the connection means a redelivery, which handlers absorb. One given while the connection
 * is away is sent when it is back: the server would otherwise wait for the whole ack wait before it delivers again.
 */
export function respond(link: NatsLink, run: () => void): void {
  if (!link.connected) return later(link, run);
  link.together(() => {
    try {
      run();
    } catch {
      link.metrics.count('aios_consumer_ack_lost_total');
    }
  });
}

function later(link: NatsLink, run: () => void): void {
  const known = waiting.get(link);
  const queue = known ?? [];
  if (known === undefined) {
    waiting.set(link, queue);
    link.onReconnect(() => queue.splice(0).forEach((answer) => respond(link, answer)));
  }
  queue.push(run);
  if (queue.length <= WAITING_MAX) return;
  queue.shift();
  link.metrics.count('aios_consumer_ack_lost_total');
}
