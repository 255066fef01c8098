// A throw-away nats-server with our ports on it, for the tests of this folder.
// Owns: the temporary directory and the order of closing. Never shared between files: each test file starts its own.
// Others may assume: ports from one server see the same streams, and nothing is left behind.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Logger } from '../../contracts/ports.ts';
import { startNatsServer, type NatsServer, type NatsServerOptions } from '../../infra/dev/servers.ts';
import { connectPorts, type NatsPorts } from '../../infra/nats/index.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { createCounters, type Counters } from './counters.ts';

export interface TestServer extends AsyncDisposable {
  readonly server: NatsServer;
  /** A connection of its own, like another process. */
  connect(name?: string, counters?: Counters): Promise<NatsPorts & { readonly counters: Counters }>;
  restart(): Promise<void>;
}

export async function startTestNats(options: Partial<NatsServerOptions> = {}): Promise<TestServer> {
  const dir = await mkdtemp(join(tmpdir(), 'aios-nats-test-'));
  let server = await startNatsServer({ dir, ...options });
  const port = server.port;
  let connections = 0;
  const open: AsyncDisposable[] = [];
  return {
    get server() {
      return server;
    },
    async connect(name = `test-${++connections}`, counters = createCounters()) {
      const ports = await connectPorts({ url: server.url, name, logger: silent, metrics: counters, clock: systemClock, random: systemRandom, firstConnectMsMax: 10_000 });
      open.push(ports);
      return { ...ports, counters };
    },
    async restart() {
      server.kill('SIGKILL');
      await server.exited;
      server = await startNatsServer({ dir, port, ...options });
    },
    async [Symbol.asyncDispose]() {
      await Promise.allSettled(open.map((one) => one[Symbol.asyncDispose]()));
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

const quiet = (): void => {};
export const silent: Logger = { debug: quiet, info: quiet, warn: quiet, error: quiet, child: () => silent };
