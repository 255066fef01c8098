// How a process of this engine connects to the message server: as itself, with the key of its home, for as long as it may.
// Owns: choosing the key file and whether the host provisions streams. Never opens anything.
// Others may assume: where no key is there the server is open, and then every host provisions, so that one process alone works too.

import type { Config } from '../config.ts';
import { credentialsFor } from '../nats/identities.ts';
import type { PortsOptions } from '../nats/index.ts';
import type { Telemetry } from '../telemetry/index.ts';

/** @param provisions whether the role of this process may create streams, as policies/hosts says */
export function connectionOf(config: Config, { logger, metrics, clock, random }: Telemetry, provisions = false): PortsOptions {
  const credentials = credentialsFor(config, config.name);
  return { url: config.natsUrl, name: config.name, credentials, lifeMs: config.natsLifeMs, provision: provisions || credentials === undefined, logger, metrics, clock, random };
}
