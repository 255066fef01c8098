// The worker's border: requests from the bus in, typed replies out, one beacon a second.
// Owns: parsing, the mapping of results and errors to the wire, the subjects it answers on.
// Never leaves a sender without an answer, and never answers with anything but a `ModelReply`.
// Others may assume: work is shared by a queue group per model, and each worker has a door of its own for callers who chose it.

import { subjects } from '../../contracts/address.ts';
import { toErrorBody } from '../../contracts/errors.ts';
import { BEACON_PERIOD_MS, encodeVectors, type ModelReply, type ModelRequest, modelRequestSchema } from '../../contracts/model.ts';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import type { Bus, BusMessage, Clock, Logger, Metrics, Tracer } from '../../contracts/ports.ts';
import type { ModelWorker } from './worker.ts';

export const WORKER_QUEUE = 'model-workers';
/** Requests in hand at once; the device-time bound of the queue bites long before. */
const REQUESTS_MAX = 1_024;

export interface ServiceOptions {
  readonly name: string;
  readonly worker: ModelWorker;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly tracer: Tracer;
}

export async function serveModelWorker(options: ServiceOptions): Promise<AsyncDisposable> {
  const { bus, worker, name, log } = options;
  const names = [...worker.models.map((entry) => entry.model), ...worker.heads.map((head) => head.name)];
  const handle = (message: BusMessage): Promise<void> => answer(options, message);
  const open = await Promise.all(names.flatMap((each) => [
    bus.subscribe(subjects.model(each), { queue: WORKER_QUEUE, concurrencyMax: REQUESTS_MAX }, handle),
    bus.subscribe(subjects.modelAt(each, name), { concurrencyMax: REQUESTS_MAX }, handle),
  ]));
  const stopped = new AbortController();
  const beacons = sendBeacons(options, stopped.signal);
  log.info({ models: names }, 'serving models');
  return {
    async [Symbol.asyncDispose]() {
      stopped.abort();
      await Promise.all(open.map((each) => each[Symbol.asyncDispose]()));
      await beacons;
    },
  };
}

async function answer({ worker, metrics, tracer, log }: ServiceOptions, message: BusMessage): Promise<void> {
  let reply: ModelReply;
  try {
    const request = parseBytes(modelRequestSchema, message.data);
    reply = await tracer.span(`model ${request.op}`, { parent: request.trace, attributes: { texts: request.texts.length, op: request.op } }, () => run(worker, request));
  } catch (thrown) {
    const error = toErrorBody(thrown);
    metrics.count('model_refused_total', { code: error.code });
    if (error.code === 'AIOS_INTERNAL') log.error({ error: thrown }, 'model request failed');
    reply = { v: 1, status: 'failed', error };
  }
  message.respond?.(toBytes(reply));
}

async function run(worker: ModelWorker, request: ModelRequest): Promise<ModelReply> {
  if (request.op === 'embed') {
    const { vectors, used } = await worker.embed(request.model, request);
    return { v: 1, status: 'embedded', dimensions: vectors[0]?.length ?? 1, vectors: encodeVectors(vectors), used };
  }
  const { labels, scores, used } = await worker.classify(request.head, request);
  return { v: 1, status: 'classified', labels: [...labels], scores: scores.map((row) => row.map((score) => Math.min(1, Math.max(0, score)))), used };
}

async function sendBeacons({ bus, worker, name, clock, log }: ServiceOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    publish();
    await clock.sleep(BEACON_PERIOD_MS, signal);
  }
  /** The last beacon says "draining", so callers turn away before the door closes. */
  publish();

  function publish(): void {
    try {
      bus.publish(subjects.beacon(name), toBytes(worker.beacon()));
    } catch (error) {
      log.debug({ error }, 'beacon not sent');
    }
  }
}
