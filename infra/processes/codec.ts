// The codec process: shows payloads in the clear to people who may read them, through the Temporal UI.
// Owns: opening the key ring and the file of API keys, and serving. It has no connection to Temporal or to the messages.
// Never runs where the preset does not ask for it. On SIGTERM it takes no more requests and is gone within eight seconds.
// Others may assume: killing it at any moment loses nothing but sessions; tasks go on without it.

import type { Config } from '../config.ts';
import { openApiKeys } from '../http/api-keys.ts';
import { type CodecServer, startCodecServer } from '../http/codec-server.ts';
import { createTelemetry, type Telemetry } from '../telemetry/index.ts';
import { startMetricsServer } from '../telemetry/metrics.ts';
import { SHARED } from '../temporal/codec.ts';
import { openCodec } from '../temporal/converter.ts';
import { runProcess } from './run-process.ts';

export interface CodecProcess extends AsyncDisposable { readonly server: CodecServer }

/** Resolves when it serves. @throws AIOS_CONFIG_INVALID */
export async function startCodecProcess(config: Config, deps: { readonly telemetry?: Telemetry } = {}): Promise<CodecProcess> {
  await using opening = new AsyncDisposableStack();
  const { logger, metrics, clock } = deps.telemetry ?? opening.use(createTelemetry(config));
  const server = opening.use(await startCodecServer({
    codec: await openCodec(config), keys: await openApiKeys(config.apiKeysFile), namespace: config.namespace, shared: SHARED,
    origins: [new URL(config.temporalUi).origin, ...config.codec.origins], http: { host: config.http.host, port: config.codec.port }, clock, log: logger, metrics,
  }));
  if (config.metricsPort > 0) opening.use(await startMetricsServer(metrics, config.metricsPort));
  const open = opening.move();
  return { server, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

if (import.meta.main) await runProcess('codec', (config, telemetry) => startCodecProcess(config, { telemetry }), ({ server }) => ({ url: server.url }));
