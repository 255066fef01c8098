// The bridge process: consumes the outcome stream and completes the activities that wait, by task token.
// Owns: opening and closing in order. On SIGTERM it takes no more outcomes and is gone within eight seconds.
// Never runs workflow code. Others may assume: any number of bridges share the work, and killing one at any moment
// loses nothing: what it had not acknowledged is given to another.

import type { Config } from '../config.ts';
import { connectPorts, type NatsPorts } from '../nats/index.ts';
import { createTelemetry, type Telemetry } from '../telemetry/index.ts';
import { startMetricsServer } from '../telemetry/metrics.ts';
import { startBridge } from '../temporal/bridge.ts';
import { connectTemporal, type TemporalLink } from '../temporal/connect.ts';
import { openDataConverter } from '../temporal/converter.ts';
import { connectionOf } from './connection.ts';
import { runProcess } from './run-process.ts';


export interface BridgeDeps {
  readonly telemetry?: Telemetry;
  /** Connections shared with other parts of one process; their owner closes them. */
  readonly ports?: NatsPorts;
  readonly temporal?: TemporalLink;
}

/** Resolves when outcomes are taken. @throws AIOS_UNAVAILABLE, AIOS_DISCONNECTED, AIOS_SERVER_TOO_OLD */
export async function startBridgeProcess(config: Config, deps: BridgeDeps = {}): Promise<AsyncDisposable> {
  await using opening = new AsyncDisposableStack();
  const telemetry = deps.telemetry ?? opening.use(createTelemetry(config));
  const { logger, metrics, clock } = telemetry;
  const ports = deps.ports ?? opening.use(await connectPorts(connectionOf(config, telemetry)));
  const temporal = deps.temporal ?? opening.use(await connectTemporal({ address: config.temporalAddress, namespace: config.namespace, identity: config.name, clock, logger, dataConverter: await openDataConverter(config) }));
  opening.use(await startBridge({ client: temporal.client, outcomes: ports.outcomes, tokens: ports.waitTokens, logger, metrics }));
  if (config.metricsPort > 0) opening.use(await startMetricsServer(metrics, config.metricsPort));
  const open = opening.move();
  return { [Symbol.asyncDispose]: () => open.disposeAsync() };
}

if (import.meta.main) await runProcess('bridge', (config, telemetry) => startBridgeProcess(config, { telemetry }), () => ({}));
