// The system as a person runs it: servers, keys, the policy bundle, processes; and the operator's own connection beside them.
// Owns: what happens between "NATS answers" and "the processes start". Never does a task.
// Others may assume: closing it closes the operator's connection and then everything as startSystem does.

import { join } from 'node:path';
import type { Config } from '../config.ts';
import { loadOrCreateKeys } from '../crypto/keys.ts';
import { mandatesOf } from '../crypto/mandates.ts';
import type { Mandates } from '../../contracts/ports.ts';
import { credentialsFor } from '../nats/identities.ts';
import { connectPorts, type NatsPorts } from '../nats/index.ts';
import { createTelemetry, type Telemetry } from '../telemetry/index.ts';
import { OPERATOR } from './authority.ts';
import { publishPolicies } from './publish.ts';
import type { Endpoints } from './endpoints.ts';
import { startSystem, type System, type SystemOptions } from './system.ts';

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
  const ports = await connectPorts({ url: endpoints.natsUrl, name: OPERATOR, credentials: credentialsFor(config, OPERATOR), lifeMs: config.natsLifeMs, logger, metrics, clock, random });
  const close = async (): Promise<void> => {
    await ports[Symbol.asyncDispose]();
    await telemetry[Symbol.asyncDispose]();
  };
  return { ports, telemetry, mandates: mandatesOf(keys, { clock, random }), [Symbol.asyncDispose]: close };
}
