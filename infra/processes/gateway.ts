// The gateway process: providers, retrieval and records behind one order of checks, in the queue group `gateway`.
// Owns: which members are plugged in by the settings, and opening and closing them in order.
// Never decides anything about a call. On SIGTERM it stops taking work, answers what it has within five seconds, and is gone within eight.
// Others may assume: the line {"msg":"ready"} means that every capability in `gatewayCapabilities` is answered;
// a model worker that is not there yet makes model calls fail with AIOS_MODEL_UNAVAILABLE, nothing else.

import { join } from 'node:path';
import { createGateway } from '../../agents/gateway/gateway.ts';
import type { GatewayHandler } from '../../agents/gateway/handlers/handler.ts';
import { modelHandlers } from '../../agents/gateway/handlers/models.ts';
import { recordHandlers } from '../../agents/gateway/handlers/records.ts';
import { spaceHandlers } from '../../agents/gateway/handlers/spaces.ts';
import type { ModelRouter } from '../../agents/gateway/model-router.ts';
import { createSlices, type Slices } from '../../agents/gateway/slices.ts';
import { createModelRouter } from '../../agents/gateway/model-router.ts';
import { connectWorkerProvider } from '../../agents/model-worker/client.ts';
import { createEmbeddedRetrieval } from '../../agents/retrieval/engine.ts';
import type { PolicyBundle } from '../../contracts/bundle.ts';
import { hasCode } from '../../contracts/errors.ts';
import type { Bus, EmbedRequest, Mandates, ModelProvider, PolicyStore, Records, Retrieval } from '../../contracts/ports.ts';
import type { Config } from '../config.ts';
import { loadDocuments } from '../corpus/load.ts';
import { waitForKeys } from '../crypto/keys.ts';
import { mandatesOf } from '../crypto/mandates.ts';
import { createVerifier } from '../crypto/signer.ts';
import { openIndexStore } from '../files/index-store.ts';
import { openVectorCache } from '../files/vector-cache.ts';
import { connectPorts } from '../nats/index.ts';
import { watchRevocations } from '../nats/revocations.ts';
import { createOpenAiProvider } from '../openai/provider.ts';
import { connectQdrantRetrieval } from '../qdrant/retrieval.ts';
import { openShippedRecords } from '../records/shipped.ts';
import { createTelemetry, type Telemetry } from '../telemetry/index.ts';
import { startMetricsServer } from '../telemetry/metrics.ts';
import { connectionOf } from './connection.ts';
import { runProcess } from './run-process.ts';

/** Names that the price table and the provider table of the bundle know. */
const WORKERS = 'workers';
const GENERATOR = 'openai';
/** The default first. */
const WORKER_MODELS = ['minilm-l6-int8', 'minilm-static-256'] as const;

export interface GatewayProcess extends AsyncDisposable {
  readonly retrieval: Retrieval;
}
/** What a host or a test brings along instead of what the settings name; whoever brings a part closes it. */
export interface GatewayDeps {
  readonly telemetry?: Telemetry;
  readonly bus?: Bus;
  readonly mandates?: Mandates;
  readonly policies?: PolicyStore & { bundle(): Promise<PolicyBundle> };
  readonly providers?: readonly ModelProvider[];
  readonly retrieval?: Retrieval;
  readonly records?: Records;
  readonly slices?: Slices;
}

/** Resolves when every capability is answered. @throws AIOS_CONFIG_INVALID, AIOS_DISCONNECTED */
export async function startGateway(config: Config, deps: GatewayDeps = {}): Promise<GatewayProcess> {
  await using opening = new AsyncDisposableStack();
  const telemetry = deps.telemetry ?? opening.use(createTelemetry(config));
  const { clock, metrics, logger: log, tracer } = telemetry;
  const { bus, mandates, policies, slices } = await openGovernance(config, telemetry, deps, opening);
  const providers = deps.providers ?? (await openProviders(config, bus, policies, telemetry, opening));
  const router = createModelRouter({ providers, bundle: () => policies.bundle(), clock, metrics });
  const retrieval = deps.retrieval ?? opening.use(await openRetrieval(config, router, telemetry));
  const handlers: GatewayHandler[] = [
    ...modelHandlers(router),
    ...spaceHandlers({ retrieval, loadDocuments: (path, onSkipped) => loadDocuments(path, { onSkipped }), expectedMicroUsd: () => router.expectedMicroUsd('embed'), clock, log }),
    ...recordHandlers(deps.records ?? opening.use(openShippedRecords(config, clock)).records),
  ];
  const gateway = opening.use(createGateway({ bus, mandates, policies, clock, log, metrics, tracer, slices, redactAtLeast: config.protection.redact }, { handlers }));
  await gateway.serve();
  if (config.metricsPort > 0) opening.use(await startMetricsServer(metrics, config.metricsPort));
  const open = opening.move();
  return { retrieval, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

interface Governance {
  readonly bus: Bus;
  readonly mandates: Mandates;
  readonly policies: NonNullable<GatewayDeps['policies']>;
  readonly slices: Slices | undefined;
}

async function openGovernance(config: Config, telemetry: Telemetry, deps: GatewayDeps, opening: AsyncDisposableStack): Promise<Governance> {
  const { bus, mandates, policies, slices } = deps;
  if (bus !== undefined && mandates !== undefined && policies !== undefined) return { bus, mandates, policies, slices };
  const { clock, random } = telemetry;
  const keys = await waitForKeys(join(config.home, 'keys'), clock);
  const ports = opening.use(await connectPorts(connectionOf(config, telemetry)));
  const { revocations } = opening.use(await watchRevocations(ports.keyValue));
  return {
    bus: bus ?? ports.bus,
    mandates: mandates ?? mandatesOf({ ...keys, brain: undefined }, { clock, random, revocations }),
    policies: policies ?? opening.use(ports.policyStore(createVerifier(keys.keyring))),
    slices: slices ?? createSlices(ports.keyValue, clock),
  };
}

/** Prices are those of the bundle in force when the call is made; until there is one, nothing has a price. */
async function openProviders(config: Config, bus: Bus, policies: Governance['policies'], { clock, random, metrics }: Telemetry, opening: AsyncDisposableStack): Promise<readonly ModelProvider[]> {
  let prices: PolicyBundle['prices'] = {};
  const renew = async (): Promise<void> => {
    prices = (await policies.bundle().catch(whenNone))?.prices ?? {};
  };
  /** By the model's name, or by the provider's when all its models cost the same. */
  const priceOf = (provider: string) => (model: string) => [model, provider].filter((name) => Object.hasOwn(prices, name)).map((name) => prices[name])[0];
  const workers = opening.use(await connectWorkerProvider({ bus, clock, random, metrics, name: WORKERS, models: WORKER_MODELS, prices: priceOf(WORKERS) }));
  const local: ModelProvider = { name: WORKERS, inside: workers.inside, region: workers.region, models: WORKER_MODELS, embed: (request) => renew().then(() => workers.embed(request)), classify: (request) => renew().then(() => workers.classify(request)) };
  if (config.generate === undefined) return [local];
  const { url, model, key, inside } = config.generate;
  const generator = createOpenAiProvider({ name: GENERATOR, url, generateModel: model, key, inside, region: inside ? 'local' : 'external', prices: priceOf(GENERATOR), clock, random, metrics });
  return [local, { name: GENERATOR, inside, region: generator.region, models: [model], ...(generator.generate === undefined ? {} : { generate: (request) => renew().then(() => (generator.generate as NonNullable<ModelProvider['generate']>)(request)) }) }];
}

/** No bundle yet, or none that can be asked for: then nothing has a price, and calls are refused by that. */
function whenNone(error: unknown): undefined {
  if (!hasCode(error, 'AIOS_POLICY_MISSING') && !hasCode(error, 'AIOS_DISCONNECTED')) throw error;
  return undefined;
}

/** Text to index and to search for is embedded inside the boundary only, whatever class its task has. */
async function openRetrieval(config: Config, router: ModelRouter, { clock, logger: log }: Telemetry): Promise<Retrieval> {
  const shared = {
    embed: (request: EmbedRequest) => router.run({ op: 'embed', model: request.model, scope: { dataClass: 'restricted', regions: ['*'], models: ['*'], deadline: request.deadline } }, (provider) => provider.embed?.(request)),
    cache: await openVectorCache({ dir: join(config.cacheDir, 'vectors') }),
    clock, log,
  };
  if (config.qdrant !== undefined) return connectQdrantRetrieval({ ...shared, url: config.qdrant.url, key: config.qdrant.key });
  return createEmbeddedRetrieval({ ...shared, store: await openIndexStore({ dir: join(config.home, 'index') }) });
}

if (import.meta.main) await runProcess('gateway', (config, telemetry) => startGateway(config, { telemetry }), ({ retrieval }) => ({ engine: retrieval.engine }));
