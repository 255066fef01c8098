// The message server for commands that look at it directly: one short connection, closed when the command ends.
// Owns: finding the address and being quiet. Never starts a server.
// Others may assume: failures are errors of the table.

import { OPERATOR } from '../dev/authority.ts';
import { credentialsFor } from '../nats/identities.ts';
import { connectPorts, type NatsPorts } from '../nats/index.ts';
import { createLogger } from '../log/logger.ts';
import { systemClock, systemRandom } from '../telemetry/index.ts';
import type { CliContext } from './shared.ts';

const FIRST_CONNECT_MS = 3_000;
const quiet = (): void => undefined;

export async function withPorts<T>(context: CliContext, work: (ports: NatsPorts) => Promise<T>): Promise<T> {
  const { natsUrl } = await context.endpoints();
  await using ports = await connectPorts({
    url: natsUrl, name: `cli-${process.pid}`, credentials: credentialsFor(context.config, OPERATOR), firstConnectMsMax: FIRST_CONNECT_MS,
    logger: createLogger({ process: 'cli', level: 'silent' }), metrics: { count: quiet, gauge: quiet, observe: quiet }, clock: systemClock, random: systemRandom,
  });
  return await work(ports);
}
