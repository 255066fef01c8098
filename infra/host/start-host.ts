// `startHost`: brain, bridge, agents and (where an agent uses it) the gateway in one process, over servers it starts or is given.
// Owns: the composition for embedding, the bundle made from a folder of policies, and the entry file that joins workflows.
// Never hides a part: each is the one its own process runs. Others may assume: `await using` closes everything it opened,
// and that a task of a host is governed, recorded and findable like any other.

import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { AnyAgent } from '../../contracts/agent.ts';
import type { Capability } from '../../contracts/capability.ts';
import type { Effects, Tasks } from '../../contracts/ports.ts';
import type { Principal } from '../../contracts/verdict.ts';
import { readableId } from '../../contracts/ids.ts';
import { orchestrated } from '../../agents/orchestrate.ts';
import { createRegistry } from '../../agents/registry.ts';
import { gatewayCapabilities } from '../../agents/gateway/capabilities.ts';
import { PRINCIPAL_MEMO } from '../../contracts/governed.ts';
import { TASK_QUEUE } from '../../contracts/task.ts';
import { type Client, connect } from '../client/client.ts';
import { type Config, readConfig } from '../config.ts';
import { ensureStoreKey } from '../crypto/store-key.ts';
import { publishPolicies } from '../dev/publish.ts';
import { freePortNear, startNatsServer, startTemporalServer } from '../dev/servers.ts';
import { type DevelopmentKeys, ensureApiKeys } from '../http/api-keys.ts';
import { connectPorts } from '../nats/index.ts';
import { startAgentHost } from '../processes/agents.ts';
import { startBrain } from '../processes/brain.ts';
import { startBridgeProcess } from '../processes/bridge.ts';
import { startCodecProcess } from '../processes/codec.ts';
import { startGateway } from '../processes/gateway.ts';
import { connectionOf } from '../processes/connection.ts';
import { startModelWorker } from '../processes/model-worker.ts';
import { createTelemetry } from '../telemetry/index.ts';
import { connectTemporal } from '../temporal/connect.ts';
import { openDataConverter } from '../temporal/converter.ts';

export interface HostOptions {
  readonly agents: readonly AnyAgent[];
  /** File whose exports are workflows; the shipped ones are added. */
  readonly workflows?: URL;
  /** Folder of .cedar files. */
  readonly policies: string | URL;
  /** Folder for data, keys, ledger and logs; AIOS_HOME or .aios when absent. */
  readonly home?: string;
  /** Approver groups that the policies name, with the ids of their members. */
  readonly groups?: Readonly<Record<string, readonly string[]>>;
  readonly effects?: Effects;
  /** Servers that run already; started from the development servers when absent. */
  readonly natsUrl?: string;
  readonly temporalAddress?: string;
  readonly onProgress?: (line: string) => void;
}
type Workflow = (...parameters: never[]) => Promise<unknown>;
export interface Host extends AsyncDisposable {
  readonly config: Config;
  /** Keys of the principals of the home; `client` uses that of the service. */
  readonly keys: DevelopmentKeys;
  /** Of the HTTP API. */
  readonly url: string;
  readonly tasks: Tasks;
  /** Through the HTTP API, as the service principal of the home. */
  readonly client: Client;
  /** Asks a capability as one governed task and returns its output. @throws the task's own error */
  ask<I, O>(capability: Capability<I, O>, input: I, options?: { readonly key?: string }): Promise<O>;
  /** Runs a workflow of `workflows` by its function. */
  run<W extends Workflow>(workflow: W, parameters: Parameters<W>, options?: { readonly id?: string }): Promise<Awaited<ReturnType<W>>>;
}

const SHIPPED_WORKFLOWS = new URL(import.meta.url.endsWith('.ts') ? '../../workflows/index.ts' : '../../workflows/index.js', import.meta.url);
const TENANT = 'demo';
const PRINCIPAL: Principal = { id: 'helpdesk', type: 'service', tenant: TENANT, roles: ['service'] };

/**
 * Starts the engine in this process.
 * @example
 * await using host = await startHost({ agents: [desk], workflows: new URL('./desk.ts', import.meta.url), policies: new URL('./policies/', import.meta.url) });
 * console.log(await host.run(handleTicket, [{ customer: 'c-7', question: 'Where is my order?' }]));
 * @throws AIOS_CONFIG_INVALID, AIOS_POLICY_INVALID, AIOS_SERVER_TOO_OLD, AIOS_UNAVAILABLE
 */
export async function startHost(options: HostOptions): Promise<Host> {
  await using opening = new AsyncDisposableStack();
  const config = await configWithServers(options, opening);
  const telemetry = opening.use(createTelemetry(config));
  const { logger, clock, random } = telemetry;
  const ports = opening.use(await connectPorts(connectionOf(config, telemetry, true)));
  const temporal = opening.use(await connectTemporal({ address: config.temporalAddress, namespace: config.namespace, identity: config.name, clock, logger, dataConverter: await openDataConverter(config) }));
  const keys = await ensureApiKeys(config);
  if (config.protection.codecServer) opening.use(await startCodecProcess(config, { telemetry }));
  const registry = createRegistry(orchestrated(options.agents, config.orchestration), gatewayCapabilities);
  await publishPolicies({ config, ports, dir: pathOf(options.policies), capabilities: registry.list(), now: clock.now(), ...(options.groups === undefined ? {} : { groups: options.groups }) });
  const shared = { telemetry, ports, temporal };
  const workflows = options.workflows === undefined ? {} : { workflows: await joinedWorkflows(options.workflows, config.home) };
  if (usesGateway(options.agents)) {
    opening.use(await startModelWorker(config));
    opening.use(await startGateway(config, { telemetry, bus: ports.bus }));
  }
  opening.use(await startAgentHost(config, { agents: options.agents, registry, partitions: '*', telemetry, ports }));
  opening.use(await startBridgeProcess(config, shared));
  const brain = opening.use(await startBrain(config, { ...shared, registry, ...workflows, ...(options.effects === undefined ? {} : { effects: options.effects }) }));
  const url = brain.http?.url ?? '';
  const client = connect({ url, key: keys.helpdesk });
  const open = opening.move();
  return {
    config,
    keys,
    url,
    client,
    tasks: brain.tasks,
    ask: (capability, input, given) => client.run(capability, input, given),
    run: (workflow, parameters, given) => temporal.client.workflow.execute(workflow.name, { args: parameters as never, taskQueue: TASK_QUEUE, workflowId: given?.id ?? readableId(workflow.name, random.bytes(10)), memo: { [PRINCIPAL_MEMO]: PRINCIPAL } }) as never,
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

async function configWithServers(options: HostOptions, opening: AsyncDisposableStack): Promise<Config> {
  const home = resolve(options.home ?? process.env['AIOS_HOME'] ?? '.aios');
  const base = readConfig('host', { ...process.env, AIOS_HOME: home, AIOS_LOG_LEVEL: process.env['AIOS_LOG_LEVEL'] ?? 'error' });
  const progress = options.onProgress === undefined ? {} : { onProgress: options.onProgress };
  const codec = { ...base.codec, port: await freePortNear(base.codec.port) };
  const nats = options.natsUrl === undefined ? opening.use(await startNatsServer({ dir: join(home, 'nats'), config: base, ...progress, ...(base.protection.storeCipher ? { storeKey: await ensureStoreKey(base) } : {}) })) : { url: options.natsUrl };
  const temporal = options.temporalAddress === undefined ? opening.use(await startTemporalServer({ dir: join(home, 'temporal'), config: base, ...progress, ...(base.protection.codecServer ? { codecEndpoint: `http://${base.http.host}:${codec.port}` } : {}) })) : { address: options.temporalAddress, uiUrl: base.temporalUi };
  const port = await freePortNear(base.http.port);
  return Object.freeze({ ...base, natsUrl: nats.url, temporalAddress: temporal.address, temporalUi: temporal.uiUrl, http: { host: base.http.host, port }, codec });
}

/** Only what an agent names decides whether models and retrieval are started. */
function usesGateway(agents: readonly AnyAgent[]): boolean {
  const offered = new Set<string>(gatewayCapabilities.map(({ id }) => id));
  return agents.some((agent) => [...agent.handlers.values()].some(({ capability }) => capability.uses.some((id) => offered.has(id))));
}

/**
 * One entry file that exports the shipped workflows and the embedder's. Its text carries the digest of the embedder's folder,
 * because bundles are kept under the digest of their entry.
 */
async function joinedWorkflows(own: URL, home: string): Promise<URL> {
  const file = fileURLToPath(own);
  const digest = createHash('sha256');
  for (const name of (await readdir(dirname(file))).filter((one) => /\.[cm]?[jt]s$/.test(one)).sort()) digest.update(name).update(await readFile(join(dirname(file), name)));
  const folder = join(home, 'run', 'workflows');
  await mkdir(folder, { recursive: true });
  const entry = join(folder, 'entry.js');
  await writeFile(entry, `// ${digest.digest('hex')}\nexport * from ${JSON.stringify(fileURLToPath(SHIPPED_WORKFLOWS))};\nexport * from ${JSON.stringify(file)};\n`);
  return pathToFileURL(entry);
}

const pathOf = (folder: string | URL): string => (typeof folder === 'string' ? resolve(folder) : fileURLToPath(folder));
