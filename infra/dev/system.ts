// The whole system on one machine: servers, processes and the files by which a second start finds the first.
// Owns: who holds a home, which ports are used, the environment of the children, the order of start and stop.
// Of the parts it starts it talks to none but the message server, whose auth callout it is. Others may assume: when `startSystem` resolves every part said it was ready,
// and `stop` leaves no process behind within 10 s.

import { existsSync, writeFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { fail } from '../../contracts/errors.ts';
import type { Config } from '../config.ts';
import { ensureStoreKey } from '../crypto/store-key.ts';
import { type DevelopmentKeys, ensureApiKeys } from '../http/api-keys.ts';
import type { CalloutKeys } from '../nats/identities.ts';
import { prepareAuthority } from './authority.ts';
import { CODEC_PROCESS, type Endpoints, pidFileOf, PROCESSES } from './endpoints.ts';
import { readPidFile, removePidFile, writePidFile } from './pid-file.ts';
import { freePort, freePortNear, type NatsServer, startNatsServer, startTemporalServer, type TemporalServer } from './servers.ts';
import { type Part, type PartView, startSupervisor, type Supervisor } from './supervisor.ts';

export interface SystemOptions {
  readonly config: Config;
  readonly onProgress?: (line: string) => void;
  /** Runs when NATS answers and before any process starts: publishes the policy bundle. */
  readonly prepare?: (endpoints: Endpoints) => Promise<void>;
  readonly processes?: readonly string[];
  /** Further environment of the children, such as the data of a demo. */
  readonly env?: Readonly<Record<string, string>>;
  /** Free ports everywhere instead of the usual ones near which we look first. */
  readonly anyPorts?: boolean;
  readonly searchAttributes?: Readonly<Record<string, string>>;
  /** The message server tells its counters over HTTP, for measurements. */
  readonly monitoring?: boolean;
}

export interface System extends AsyncDisposable {
  readonly endpoints: Endpoints;
  /** Keys of the development principals, by principal. */
  readonly keys: DevelopmentKeys;
  views(): readonly PartView[];
  ready(timeoutMs: number): Promise<void>;
  kill(name: string, signal: NodeJS.Signals): void;
  readonly servers: { readonly nats: () => NatsServer; readonly temporal: () => TemporalServer };
  stop(): Promise<void>;
}

/** @throws AIOS_CONFIG_INVALID when another process holds the home or a server does not start, AIOS_UNAVAILABLE when a process does not get ready */
export async function startSystem(options: SystemOptions): Promise<System> {
  const stack = new AsyncDisposableStack();
  try {
    const say = options.onProgress ?? (() => undefined);
    stack.use(await holdHome(options.config.home));
    const ports = await choosePorts(options, say);
    const authority = await prepareAuthority(options.config.home, (options.processes ?? PROCESSES).map((name) => ({ name: `${name}-1`, role: name })));
    const [nats, temporal] = await startServers(options, ports, say, authority.keys);
    stack.use(nats);
    stack.use(temporal);
    stack.use(await authority.open(options.config, nats.current().url));
    const keys = await ensureApiKeys(options.config);
    const endpoints = endpointsOf(options.config, nats.current(), temporal.current(), ports);
    await writeRunFile(options.config.home, 'endpoints.json', endpoints);
    await options.prepare?.(endpoints);
    const states: Record<string, string> = {};
    const onChange = (view: PartView): void => {
      say(words(view));
      states[view.name] = view.state;
      writeFileSync(join(options.config.home, 'run', 'processes.json'), JSON.stringify(states));
    };
    const supervisor = stack.use(startSupervisor({ parts: partsOf(options, endpoints), logDir: join(options.config.home, 'logs'), onChange }));
    await supervisor.ready(READY_MS_MAX);
    return systemOf(stack.move(), supervisor, endpoints, keys, nats, temporal);
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

const READY_MS_MAX = 60_000;

function systemOf(stack: AsyncDisposableStack, supervisor: Supervisor, endpoints: Endpoints, keys: DevelopmentKeys, nats: Revived<NatsServer>, temporal: Revived<TemporalServer>): System {
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= stack.disposeAsync());
  return { endpoints, keys, views: supervisor.views, ready: supervisor.ready, kill: supervisor.kill, servers: { nats: nats.current, temporal: temporal.current }, stop, [Symbol.asyncDispose]: stop };
}

async function holdHome(home: string): Promise<AsyncDisposable> {
  const file = pidFileOf(home);
  await mkdir(dirname(file), { recursive: true });
  const holder = await readPidFile(file);
  if (holder !== undefined && holder.pid !== process.pid) {
    throw fail('AIOS_CONFIG_INVALID', `${home} is held by process ${holder.pid}, which runs since ${new Date(holder.startedAt).toISOString()}: stop it, or set AIOS_HOME to another folder.`);
  }
  await writePidFile(file, { pid: process.pid, owner: process.pid, command: 'node', startedAt: Date.now() });
  return { [Symbol.asyncDispose]: () => removePidFile(file) };
}

interface Ports { readonly nats: number; readonly temporal: number; readonly ui: number; readonly http: number; readonly codec: number }
const portsSchema = z.object({ nats: z.number(), temporal: z.number(), ui: z.number(), http: z.number(), codec: z.number().default(0) });

/** The ports of the last start if they are free, so that links stay valid; else the usual ones; else free ones, which is said. */
async function choosePorts(options: SystemOptions, say: (line: string) => void): Promise<Ports> {
  const { config } = options;
  const file = join(config.home, 'run', 'ports.json');
  const before = portsSchema.safeParse(JSON.parse(await readFile(file, 'utf8').catch(() => '{}')));
  const usual: Ports = before.success ? before.data : options.anyPorts === true ? { nats: 0, temporal: 0, ui: 0, http: 0, codec: 0 } : { nats: 4222, temporal: 7233, ui: 8233, http: config.http.port, codec: config.codec.port };
  const choose = async (name: string, wished: number): Promise<number> => {
    const port = wished === 0 ? await freePort() : await freePortNear(wished);
    if (wished !== 0 && port !== wished) say(`${name}: port ${wished} is taken, using ${port}`);
    return port;
  };
  const ports = { nats: await choose('nats', usual.nats), temporal: await choose('temporal', usual.temporal), ui: await choose('temporal ui', usual.ui), http: await choose('http api', usual.http), codec: config.protection.codecServer ? await choose('codec server', usual.codec) : usual.codec };
  await writeRunFile(config.home, 'ports.json', ports);
  return ports;
}

async function writeRunFile(home: string, name: string, content: unknown): Promise<void> {
  await writeFile(join(home, 'run', name), JSON.stringify(content, null, 2));
}

/** A server that is started again on its data and port when it dies. */
interface Revived<T> extends AsyncDisposable { current(): T }

async function startServers(options: SystemOptions, ports: Ports, say: (line: string) => void, auth: CalloutKeys): Promise<[Revived<NatsServer>, Revived<TemporalServer>]> {
  const { config } = options;
  const common = { config, onProgress: say };
  const extra = options.searchAttributes === undefined ? {} : { searchAttributes: options.searchAttributes };
  const natsDir = join(config.home, 'nats');
  const temporalDir = join(config.home, 'temporal');
  const codec = codecUrl(config, ports);
  const nats = await revive('nats', say, async () => startNatsServer({ ...common, dir: natsDir, port: ports.nats, auth, ...(options.monitoring === true ? { monitoring: true } : {}), ...(config.protection.storeCipher ? { storeKey: await ensureStoreKey(config) } : {}) }));
  try {
    const temporal = await revive('temporal', say, () => startTemporalServer({ ...common, ...extra, ...(codec === undefined ? {} : { codecEndpoint: codec }), dir: temporalDir, port: ports.temporal, uiPort: ports.ui }));
    return [nats, temporal];
  } catch (error) {
    await nats[Symbol.asyncDispose]();
    throw error;
  }
}

async function revive<T extends NatsServer | TemporalServer>(name: string, say: (line: string) => void, start: () => Promise<T>): Promise<Revived<T>> {
  let current = await start();
  const ending = new AbortController();
  const restart = async (): Promise<void> => {
    for (let failures = 0; !ending.signal.aborted && !current.running; failures++) {
      say(`${name}: down, starting it again`);
      await sleep(Math.min(200 * 2 ** failures, 5_000));
      if (!ending.signal.aborted) current = await start().catch(() => current);
    }
  };
  const watch = async (): Promise<void> => {
    while (!ending.signal.aborted) {
      await current.exited;
      await restart();
    }
  };
  const watching = watch();
  const dispose = async (): Promise<void> => {
    ending.abort();
    await current.stop();
    await watching;
    await current.stop();
  };
  return { current: () => current, [Symbol.asyncDispose]: dispose };
}

function endpointsOf(config: Config, nats: NatsServer, temporal: TemporalServer, ports: Ports): Endpoints {
  const codec = codecUrl(config, ports);
  return { natsUrl: nats.url, temporalAddress: temporal.address, temporalUi: temporal.uiUrl, namespace: config.namespace, api: `http://${config.http.host}:${ports.http}`, ...(codec === undefined ? {} : { codec }) };
}

const codecUrl = (config: Config, ports: Ports): string | undefined => (config.protection.codecServer ? `http://${config.http.host}:${ports.codec}` : undefined);

/**
 * The environment by which a process of this home finds everything; the names are those of infra/config.ts.
 * Node keeps what it compiled and stripped of types, which takes a third off the start of each process.
 */
export function environmentOf(config: Config, endpoints: Endpoints): Record<string, string> {
  return {
    AIOS_HOME: config.home,
    AIOS_CACHE_DIR: config.cacheDir,
    AIOS_NATS_URL: endpoints.natsUrl,
    AIOS_TEMPORAL_ADDRESS: endpoints.temporalAddress,
    AIOS_TEMPORAL_UI: endpoints.temporalUi,
    AIOS_NAMESPACE: endpoints.namespace,
    AIOS_HTTP_HOST: config.http.host,
    AIOS_HTTP_PORT: new URL(endpoints.api).port,
    AIOS_LOG_LEVEL: config.logLevel,
    AIOS_PRESET: config.protection.name,
    AIOS_PAYLOAD_CODEC: String(config.protection.payloadCodec),
    AIOS_PROVEN_APPROVERS: String(config.protection.provenApproversOnly),
    ...(endpoints.codec === undefined ? {} : { AIOS_CODEC_PORT: new URL(endpoints.codec).port }),
    NODE_COMPILE_CACHE: join(config.cacheDir, 'compile'),
  };
}

function partsOf(options: SystemOptions, endpoints: Endpoints): readonly Part[] {
  const env = { ...environmentOf(options.config, endpoints), ...options.env };
  return (options.processes ?? processesOf(options.config)).map((name) => ({ name, command: process.execPath, parameters: [...nodeFlags(), processFile(name)], env: { ...env, AIOS_NAME: `${name}-1` } }));
}

const processesOf = ({ protection }: Config): readonly string[] => (protection.codecServer ? [...PROCESSES, CODEC_PROCESS] : PROCESSES);

const extension = extname(fileURLToPath(import.meta.url));

/** Source runs under the condition that points `aios` at itself; the published build needs none. */
export const nodeFlags = (): readonly string[] => (extension === '.ts' ? ['--conditions=aios-source', '--disable-warning=ExperimentalWarning'] : ['--disable-warning=ExperimentalWarning']);

/** @throws AIOS_CONFIG_INVALID when there is no such process */
export function processFile(name: string): string {
  const file = join(dirname(fileURLToPath(import.meta.url)), '..', 'processes', `${name}${extension}`);
  if (!existsSync(file)) throw fail('AIOS_CONFIG_INVALID', `there is no process "${name}".`);
  return file;
}

const words = (view: PartView): string => `${view.name}: ${view.state}${view.restarts > 0 ? ` (restart ${view.restarts})` : ''}`;
