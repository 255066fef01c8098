// Development servers: NATS with JetStream and Temporal with its UI, as children of this process.
// Owns: their settings (design §9: the ones that are not optional), free ports, readiness, logs, pid files and the stop.
// Never serves production. Others may assume: a started server is ready, keeps its data in `dir` over restarts,
// is stopped by `await using`, and does not outlive this process even when that is killed.

import { mkdir, rename, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fail } from '../../contracts/errors.ts';
import { type Config, readConfig } from '../config.ts';
import type { StoreKey } from '../crypto/store-key.ts';
import { ACCOUNT, accountsConfiguration } from '../nats/auth-callout.ts';
import type { CalloutKeys } from '../nats/identities.ts';
import { type Child, type Exit, startChild } from './child.ts';
import { findServer, type ServerName } from './find-server.ts';
import { isAlive, readPidFile, removePidFile, stopPid, writePidFile } from './pid-file.ts';

export { findServer, type ServerName, type ServerProgram } from './find-server.ts';

interface ServerOptions {
  /** Where data, configuration, log and pid file live; a second start in the same folder finds the data again. */
  readonly dir: string;
  /** 0 or absent = a free one. */
  readonly port?: number;
  readonly config?: Pick<Config, 'cacheDir' | 'servers'>;
  readonly onProgress?: (line: string) => void;
}
export interface NatsServerOptions extends ServerOptions {
  /** `100ms` is the development default; `always` for a single-node edge box. */
  readonly syncInterval?: string;
  /** Monitoring over HTTP on a free port; off unless asked for. */
  readonly monitoring?: boolean;
  /** Encrypts everything the server stores; given to it by its environment. `previous` reads what an earlier key wrote. */
  readonly storeKey?: StoreKey | undefined;
  /** Further lines of nats-server configuration, such as a leaf node block. */
  readonly extra?: string;
  /** Keys of the auth callout that says who may connect; without them everybody may. */
  readonly auth?: Pick<CalloutKeys, 'issuer' | 'callout'>;
}
export interface TemporalServerOptions extends ServerOptions {
  readonly uiPort?: number;
  /** Without the UI: tests that do not look at it start faster. */
  readonly headless?: boolean;
  /** Name to type: Keyword, KeywordList, Int, Datetime, … */
  readonly searchAttributes?: Readonly<Record<string, string>>;
  readonly namespaces?: readonly string[];
  /** Address of a codec server for the UI. */
  readonly codecEndpoint?: string;
}

interface RunningServer extends AsyncDisposable {
  readonly pid: number;
  readonly port: number;
  readonly logFile: string;
  readonly exited: Promise<Exit>;
  readonly running: boolean;
  /** For tests that pull the plug. */
  kill(signal: NodeJS.Signals): void;
  stop(): Promise<void>;
}
export interface NatsServer extends RunningServer {
  readonly url: string;
  readonly monitorUrl: string | undefined;
}
export interface TemporalServer extends RunningServer {
  readonly address: string;
  /** Empty when headless. */
  readonly uiUrl: string;
}

/** @throws AIOS_CONFIG_INVALID when the port is taken, the folder is held by another process or the server does not start */
export async function startNatsServer(options: NatsServerOptions): Promise<NatsServer> {
  const program = await findServer('nats', finding(options));
  const port = await choosePort(options.port);
  const monitor = options.monitoring === true ? await freePort() : undefined;
  const file = join(options.dir, 'nats.conf');
  await mkdir(join(options.dir, 'jetstream'), { recursive: true });
  await adoptStore(join(options.dir, 'jetstream', 'jetstream'));
  await writeFile(file, natsConfiguration(options, port, monitor));
  const server = await startServer({ name: 'nats', dir: options.dir, command: program.path, parameters: ['-c', file], ports: { port }, env: storeKeyEnv(options.storeKey), ready: () => natsReady(port) });
  return { ...server, port, get running() { return server.running; }, url: `nats://127.0.0.1:${port}`, monitorUrl: monitor === undefined ? undefined : `http://127.0.0.1:${monitor}` };
}

/** @throws AIOS_CONFIG_INVALID when a port is taken, the folder is held by another process or the server does not start */
export async function startTemporalServer(options: TemporalServerOptions): Promise<TemporalServer> {
  const program = await findServer('temporal', finding(options));
  const port = await choosePort(options.port);
  const uiPort = options.headless === true ? undefined : await choosePort(options.uiPort);
  await mkdir(options.dir, { recursive: true });
  const uiUrl = uiPort === undefined ? '' : `http://127.0.0.1:${uiPort}`;
  const ready = async (): Promise<boolean> => (await temporalReady(port)) && (uiPort === undefined || (await httpReady(uiUrl)));
  const ports = uiPort === undefined ? { port } : { port, uiPort };
  const server = await startServer({ name: 'temporal', dir: options.dir, command: program.path, parameters: temporalParameters(options, port, uiPort), ports, ready });
  return { ...server, port, get running() { return server.running; }, address: `127.0.0.1:${port}`, uiUrl };
}

/** A port nobody listens on at this moment; another program may take it before the server does, which the start then reports. */
export function freePort(): Promise<number> {
  return listenOnce(0);
}

/** The wished port when it is free, else a free one. */
export async function freePortNear(wished: number): Promise<number> {
  return listenOnce(wished).catch(() => freePort());
}

/**
 * `transferProcessorMaxPollRPS` is 20 by default, which puts every dispatch on a 50 ms grid. Fairness and principals are off by default.
 * Each line cost somebody a day; see docs/decisions.
 */
const TEMPORAL_DYNAMIC = [
  'history.transferProcessorMaxPollRPS=2000',
  'history.timerProcessorMaxPollRPS=2000',
  'history.visibilityProcessorMaxPollRPS=200',
  'matching.enableFairness=true',
  'matching.autoEnableV2=true',
  'frontend.enablePrincipalPropagation=true',
] as const;

/** WAL with synchronous=full keeps what a power cut must not lose and doubles the throughput of the rollback journal. */
const TEMPORAL_PRAGMAS = ['journal_mode=wal', 'synchronous=full'] as const;

const START_MS_MAX = 90_000;
const STOP_MS_MAX = 6_000;
const NATS_PAYLOAD_BYTES_MAX = 256 * 1024;

export function natsConfiguration(options: NatsServerOptions, port: number, monitor: number | undefined): string {
  return [
    'server_name: aios-development',
    `listen: "127.0.0.1:${port}"`,
    ...(monitor === undefined ? [] : [`http: "127.0.0.1:${monitor}"`]),
    `max_payload: ${NATS_PAYLOAD_BYTES_MAX}`,
    'ping_interval: "5s"',
    'ping_max: 2',
    'jetstream {',
    `  store_dir: ${JSON.stringify(join(options.dir, 'jetstream'))}`,
    `  sync_interval: ${JSON.stringify(options.syncInterval ?? '100ms')}`,
    '  max_memory_store: 268435456',
    ...cipherLines(options.storeKey),
    '}',
    accountsConfiguration(options.auth),
    ...(options.extra === undefined ? [] : [options.extra]),
    '',
  ].join('\n');
}

const STORE_KEY = 'AIOS_NATS_STORE_KEY';
const STORE_KEY_PREVIOUS = 'AIOS_NATS_STORE_KEY_PREVIOUS';

/** The file of settings names the variables, so that no key lies beside what it protects. */
const cipherLines = (key: StoreKey | undefined): readonly string[] => (key === undefined ? [] : ['  cipher: "aes"', `  key: $${STORE_KEY}`, ...(key.previous === undefined ? [] : [`  prev_key: $${STORE_KEY_PREVIOUS}`])]);

const storeKeyEnv = (key: StoreKey | undefined): Readonly<Record<string, string>> => (key === undefined ? {} : { [STORE_KEY]: key.current, ...(key.previous === undefined ? {} : { [STORE_KEY_PREVIOUS]: key.previous }) });

/** Data of a home from before there were accounts move into ours; a folder that is there already stays. */
async function adoptStore(store: string): Promise<void> {
  await rename(join(store, '$G'), join(store, ACCOUNT)).catch(() => undefined);
}

export function temporalParameters(options: TemporalServerOptions, port: number, uiPort: number | undefined): readonly string[] {
  return [
    'server', 'start-dev', '--ip', '127.0.0.1', '--port', String(port), '--log-level', 'warn', '--log-format', 'json',
    '--db-filename', join(options.dir, 'temporal.db'),
    ...TEMPORAL_PRAGMAS.flatMap((pragma) => ['--sqlite-pragma', pragma]),
    ...TEMPORAL_DYNAMIC.flatMap((setting) => ['--dynamic-config-value', setting]),
    ...Object.entries(options.searchAttributes ?? {}).flatMap(([name, type]) => ['--search-attribute', `${name}=${type}`]),
    ...(options.namespaces ?? []).flatMap((namespace) => ['--namespace', namespace]),
    ...(uiPort === undefined ? ['--headless'] : ['--ui-port', String(uiPort)]),
    ...(options.codecEndpoint === undefined ? [] : ['--ui-codec-endpoint', options.codecEndpoint]),
  ];
}

interface Start {
  readonly name: ServerName;
  readonly dir: string;
  readonly command: string;
  readonly parameters: readonly string[];
  readonly ports: Readonly<Record<string, number>>;
  readonly ready: () => Promise<boolean>;
  readonly env?: Readonly<Record<string, string>>;
}

async function startServer(start: Start): Promise<Omit<RunningServer, 'port'>> {
  const pidFile = join(start.dir, `${start.name}.pid`);
  const logFile = join(start.dir, `${start.name}.log`);
  await stopLeftBehind(pidFile, start);
  const child = await startChild({ command: start.command, parameters: start.parameters, logFile, ...(start.env === undefined ? {} : { env: start.env }) }).catch((cause: unknown) => {
    throw fail('AIOS_CONFIG_INVALID', `${start.command} cannot be started.`, { cause });
  });
  await writePidFile(pidFile, { pid: child.pid, owner: process.pid, command: basename(start.command), startedAt: Date.now(), ports: { ...start.ports } });
  const stop = async (): Promise<void> => {
    await child.stop(STOP_MS_MAX);
    await removePidFile(pidFile);
  };
  await untilReady(start, child, logFile, stop);
  return { pid: child.pid, logFile, exited: child.exited, get running() { return child.running; }, kill: child.kill, stop, [Symbol.asyncDispose]: stop };
}

/** A server whose owner is dead is stopped, so that its ports and data are ours; one whose owner lives is somebody's. */
async function stopLeftBehind(pidFile: string, start: Start): Promise<void> {
  const left = await readPidFile(pidFile);
  if (left === undefined) return;
  if (left.owner !== process.pid && isAlive(left.owner)) throw fail('AIOS_CONFIG_INVALID', `${start.dir} is held by process ${left.owner}, whose ${start.name} server is ${left.pid}; stop that one or choose another folder.`);
  await stopPid(left.pid);
}

async function untilReady(start: Start, child: Child, logFile: string, stop: () => Promise<void>): Promise<void> {
  for (const until = performance.now() + START_MS_MAX; performance.now() < until; await sleep(50)) {
    if (!child.running) break;
    if (await start.ready()) return;
  }
  const { code, signal } = await Promise.race([child.exited, sleep(0, { code: null, signal: null })]);
  await stop();
  throw fail('AIOS_CONFIG_INVALID', `the ${start.name} server did not become ready (exit ${code ?? signal ?? 'none'}); its words are in ${logFile}.`);
}

/** The first line a NATS server sends names its features, so a connection that is never used says whether JetStream is up. */
function natsReady(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, timeout: 1_000 });
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('data', (data) => end(data.toString().includes('"jetstream":true')));
    socket.once('error', () => end(false)).once('timeout', () => end(false)).once('close', () => resolve(false));
  });
}

async function temporalReady(port: number): Promise<boolean> {
  if (!(await portAnswers(port))) return false;
  const { Connection } = await import('@temporalio/client');
  try {
    const connection = await Connection.connect({ address: `127.0.0.1:${port}`, connectTimeout: 2_000 });
    try {
      await connection.withDeadline(Date.now() + 2_000, () => connection.workflowService.describeNamespace({ namespace: 'default' }));
      return true;
    } finally {
      await connection.close();
    }
  } catch {
    return false;
  }
}

function portAnswers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, timeout: 1_000 }, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false)).once('timeout', () => {
      socket.destroy();
      resolve(false);
    });
  });
}

async function httpReady(url: string): Promise<boolean> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    await answer.body?.cancel();
    return answer.status < 500;
  } catch {
    return false;
  }
}

async function choosePort(wished: number | undefined): Promise<number> {
  if (wished === undefined || wished === 0) return freePort();
  return listenOnce(wished).catch((cause: unknown) => {
    throw fail('AIOS_CONFIG_INVALID', `port ${wished} is taken by another program.`, { cause });
  });
}

function listenOnce(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = server.address();
      const taken = typeof address === 'object' && address !== null ? address.port : port;
      server.close(() => resolve(taken));
    });
  });
}

function finding(options: ServerOptions): { config: Pick<Config, 'cacheDir' | 'servers'>; onProgress?: (line: string) => void } {
  const config = options.config ?? readConfig('dev');
  return options.onProgress === undefined ? { config } : { config, onProgress: options.onProgress };
}
