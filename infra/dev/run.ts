// The system as a person runs it: servers, keys, the policy bundle, processes; and the operator's own connection beside them.
// Owns: what happens between "NATS answers" and "the processes start", and the handling of Ctrl-C.
// Never does a task. Others may assume: the first signal starts a stop of at most 10 s, after which the process ends whatever hangs.

import { join } from 'node:path';
import type { Config } from '../config.ts';
import { loadOrCreateKeys } from '../crypto/keys.ts';
import { mandatesOf } from '../crypto/mandates.ts';
import type { Mandates } from '../../contracts/ports.ts';
import { connectPorts, type NatsPorts } from '../nats/index.ts';
import { createTelemetry, type Telemetry } from '../telemetry/index.ts';
import { publishPolicies } from './publish.ts';
import { type Endpoints, startSystem, type System, type SystemOptions } from './system.ts';

export type RunOptions = Omit<SystemOptions, 'prepare'>;

export interface RunningSystem extends System {
  readonly operator: Operator;
}
/** What an operator's tool works with: a connection, and the brain's right to mint mandates. */
export interface Operator extends AsyncDisposable {
  readonly ports: NatsPorts;
  readonly mandates: Mandates;
  readonly telemetry: Telemetry;
}

/** Starts everything and puts the shipped policies in force. @throws as startSystem does, AIOS_POLICY_INVALID */
export async function runSystem(options: RunOptions): Promise<RunningSystem> {
  const stack = new AsyncDisposableStack();
  try {
    let operator: Operator | undefined;
    const prepare = async (endpoints: Endpoints): Promise<void> => {
      operator = await openOperator(options.config, endpoints);
      const { signed, bundle, published } = await publishPolicies({ config: options.config, ports: operator.ports, now: operator.telemetry.clock.now() });
      options.onProgress?.(`policies: version ${bundle.version} ${published ? 'published' : 'is in force already'} (${signed.digest.slice(0, 19)})`);
    };
    const system = stack.use(await startSystem({ ...options, prepare }));
    const opened = stack.use(operator as unknown as Operator);
    const all = stack.move();
    let stopped: Promise<void> | undefined;
    const stop = (): Promise<void> => (stopped ??= all.disposeAsync());
    return { ...system, operator: opened, stop, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

export async function openOperator(config: Config, endpoints: Pick<Endpoints, 'natsUrl'>): Promise<Operator> {
  const telemetry = createTelemetry({ ...config, logLevel: 'error', traces: 'none', name: 'operator' });
  const { logger, metrics, clock, random } = telemetry;
  const keys = await loadOrCreateKeys(join(config.home, 'keys'));
  const ports = await connectPorts({ url: endpoints.natsUrl, name: 'operator', credentials: config.natsCredentials, logger, metrics, clock, random });
  const close = async (): Promise<void> => {
    await ports[Symbol.asyncDispose]();
    await telemetry[Symbol.asyncDispose]();
  };
  return { ports, telemetry, mandates: mandatesOf(keys, { clock, random }), [Symbol.asyncDispose]: close };
}

const STOP_MS_MAX = 10_000;
/** One Ctrl-C arrives several times: from the terminal, from npm, from the program that started us. A later one means "now". */
const SAME_PRESS_MS = 1_000;

export interface Asked extends AsyncDisposable {
  /** Resolves at the first SIGINT, SIGTERM or SIGHUP. */
  readonly signal: Promise<void>;
  readonly aborted: AbortSignal;
}

/** Must be taken before the system is started, so that its disposal comes last and a signal during the start is not lost. */
export function untilAsked(): Asked {
  const asked = new AbortController();
  let first = 0;
  const onSignal = (): void => {
    if (asked.signal.aborted && performance.now() - first > SAME_PRESS_MS) process.exit(130);
    if (asked.signal.aborted) return;
    first = performance.now();
    asked.abort();
    setTimeout(() => process.exit(1), STOP_MS_MAX).unref();
  };
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of names) process.on(name, onSignal);
  return {
    aborted: asked.signal,
    signal: new Promise((resolve) => asked.signal.addEventListener('abort', () => resolve(), { once: true })),
    async [Symbol.asyncDispose]() {
      for (const name of names) process.off(name, onSignal);
    },
  };
}
