// The model worker process: verified models, child processes that run them, and the service on the bus.
// Owns: opening and closing in order. On SIGTERM it stops taking work, answers what it has within five seconds, and is gone within eight.
// Never runs a model in this process (tables excepted). Others may assume: the line {"msg":"ready"} means that requests are answered,
// and that killing it at any moment loses nothing but the requests in hand, which their senders ask again.

import { startWorker, type ModelWorker } from '../../agents/model-worker/worker.ts';
import { serveModelWorker } from '../../agents/model-worker/service.ts';
import { fail } from '../../contracts/errors.ts';
import { readableId } from '../../contracts/ids.ts';
import type { Bus } from '../../contracts/ports.ts';
import type { Config } from '../config.ts';
import { createBus } from '../nats/bus.ts';
import { connectNats } from '../nats/connect.ts';
import { createOnnxSlots } from '../onnx/slot.ts';
import { openModelStore } from '../onnx/store.ts';
import { startMetricsServer } from '../telemetry/metrics.ts';
import { createTelemetry, type Telemetry } from '../telemetry/index.ts';
import { connectionOf } from './connection.ts';
import { runProcess } from './run-process.ts';

const DRAIN_MS_MAX = 5_000;
/** A slot that has not started by then does not start at all; the process ends and its supervisor reports it. */
const WARM_MS_MAX = 60_000;

export interface ModelWorkerProcess extends AsyncDisposable {
  readonly worker: ModelWorker;
}

export interface ModelWorkerDeps {
  readonly telemetry?: Telemetry;
  /** A bus that is shared with other parts of one process; its owner closes it. */
  readonly bus?: Bus;
  /** Another set of models than the shipped one. */
  readonly manifest?: string;
}

/** Resolves when the first slot is warm and requests are answered. @throws AIOS_CONFIG_INVALID, AIOS_DISCONNECTED, AIOS_MODEL_UNAVAILABLE */
export async function startModelWorker(config: Config, deps: ModelWorkerDeps = {}): Promise<ModelWorkerProcess> {
  await using opening = new AsyncDisposableStack();
  const telemetry = deps.telemetry ?? opening.use(createTelemetry(config));
  const { clock, random, metrics, logger: log, tracer } = telemetry;
  const store = await openModelStore(deps.manifest);
  const bus = deps.bus ?? (await openBus(config, telemetry, opening));
  const worker = opening.use(startWorker({
    name: config.name, incarnation: readableId('w', random.bytes(10)), zone: 'local',
    models: store.entries, heads: store.heads, port: createOnnxSlots({ graphs: store.graphs, slots: config.modelSlots }), slots: config.modelSlots, batchLimits: { batchTextsMax: config.modelBatchMax },
    clock, log, metrics,
  }));
  await warm(worker, telemetry);
  opening.use(await serveModelWorker({ name: config.name, worker, bus, clock, log, metrics, tracer }));
  if (config.metricsPort > 0) opening.use(await startMetricsServer(metrics, config.metricsPort));
  opening.defer(() => worker.drain(DRAIN_MS_MAX));
  const open = opening.move();
  return { worker, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

async function openBus(config: Config, telemetry: Telemetry, opening: AsyncDisposableStack): Promise<Bus> {
  const link = opening.use(await connectNats(connectionOf(config, telemetry)));
  return opening.use(createBus(link));
}

async function warm(worker: ModelWorker, { clock }: Telemetry): Promise<void> {
  const late = new AbortController();
  const ready = await Promise.race([worker.ready.then(() => true), clock.sleep(WARM_MS_MAX, late.signal).then(() => false)]);
  late.abort();
  if (!ready) throw fail('AIOS_MODEL_UNAVAILABLE', `No slot was warm within ${WARM_MS_MAX} ms.`);
}

if (import.meta.main) await runProcess('model-worker', (config, telemetry) => startModelWorker(config, { telemetry }), ({ worker }) => ({ models: worker.models.map((entry) => entry.model), heads: worker.heads.map((head) => head.name) }));
