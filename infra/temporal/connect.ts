// The one connection of a process to Temporal, shared by worker and client, which eager starts need.
// Owns: waiting for the server within a bound, and the order of closing. Never registers anything.
// Others may assume: the client speaks over the worker's own connection, and disposing closes it once.

import { Client } from '@temporalio/client';
import type { DataConverter } from '@temporalio/common';
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import { fail } from '../../contracts/errors.ts';
import type { Clock, Logger } from '../../contracts/ports.ts';
import { convertTemporalError } from './errors.ts';

export interface TemporalOptions {
  readonly address: string;
  readonly namespace: string;
  readonly identity: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long the first connection may take; 60 s unless told. */
  readonly firstConnectMsMax?: number;
  /** Encrypts what is stored; payloads in the clear without it. */
  readonly dataConverter?: DataConverter | undefined;
}
export interface TemporalLink extends AsyncDisposable {
  readonly connection: NativeConnection;
  readonly client: Client;
  readonly namespace: string;
  /** That of the client, for the worker beside it. */
  readonly dataConverter: DataConverter | undefined;
}

const FIRST_CONNECT_MS_MAX = 60_000;
const RETRY_MS = 250;

/** @throws AIOS_UNAVAILABLE when the server is not there in time */
export async function connectTemporal(options: TemporalOptions): Promise<TemporalLink> {
  installLogger(options.logger);
  const connection = await connectPatiently(options);
  const { namespace, identity, dataConverter } = options;
  const client = new Client({ connection, namespace, identity, ...(dataConverter === undefined ? {} : { dataConverter }) });
  return { connection, client, namespace, dataConverter, [Symbol.asyncDispose]: () => connection.close() };
}

async function connectPatiently(options: TemporalOptions): Promise<NativeConnection> {
  const giveUp = options.clock.monotonic() + (options.firstConnectMsMax ?? FIRST_CONNECT_MS_MAX);
  for (let attempt = 1; ; attempt++) {
    try {
      return await NativeConnection.connect({ address: options.address });
    } catch (thrown) {
      if (options.clock.monotonic() > giveUp) throw fail('AIOS_UNAVAILABLE', 'Temporal cannot be reached.', { cause: convertTemporalError(thrown) });
      if (attempt === 4) options.logger.warn({ address: options.address }, 'waiting for Temporal');
      await options.clock.sleep(RETRY_MS);
    }
  }
}

let installed = false;
/** The SDK has one logger a process, set before its first connection; its words go where ours go, from `warn` up. */
function installLogger(logger: Logger): void {
  if (installed) return;
  installed = true;
  try {
    Runtime.install({
      logger: new DefaultLogger('WARN', ({ level, message, meta }) => {
        const fields = { sdk: String(meta?.['sdkComponent'] ?? 'temporal'), ...(meta?.['workflowId'] === undefined ? {} : { workflow: String(meta['workflowId']) }), ...(meta?.['error'] === undefined ? {} : { error: String(meta['error']).slice(0, 500) }) };
        if (level === 'ERROR') logger.error(fields, message);
        else logger.warn(fields, message);
      }),
      shutdownSignals: [],
    });
  } catch {
    logger.warn({}, 'the Temporal runtime was started before this connection; its words are not ours');
  }
}
