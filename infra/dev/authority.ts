// Who may connect to the message server of a home: keys for its hosts, and the auth callout that knows them.
// Owns: the names of the hosts of a development system, and the manifest of what is deployed in it.
// Never decides a right: policies/hosts does. Others may assume: after `open` every registered host is let in with its own
// rights and nobody else is; the callout lives in the process that opened it, so it costs no process of its own.

import { gatewayCapabilities } from '../../agents/gateway/capabilities.ts';
import { shippedAgents } from '../../agents/index.ts';
import { createRegistry } from '../../agents/registry.ts';
import { traitsOf } from '../../contracts/capability.ts';
import { type DeployedCapabilities, type HostIdentity, type Role, ROLES } from '../../policies/hosts.ts';
import type { Config } from '../config.ts';
import { startAuthCallout } from '../nats/auth-callout.ts';
import { type CalloutKeys, ensureCalloutKeys, ensureIdentities, readIdentities } from '../nats/identities.ts';
import { createTelemetry } from '../telemetry/index.ts';

/** The host as which the command line and the runner connect. */
export const OPERATOR = 'operator';

export interface Authority {
  readonly keys: CalloutKeys;
  /** Resolves when connections are authorised. */
  open(config: Config, url: string): Promise<AsyncDisposable>;
}

/** Makes the keys that are missing: to be called before the server starts, whose configuration names them. */
export async function prepareAuthority(home: string, processes: readonly { readonly name: string; readonly role: string }[]): Promise<Authority> {
  const hosts = processes.flatMap(({ name, role }): readonly HostIdentity[] => (isRole(role) ? [{ name, role }] : []));
  const keys = await ensureCalloutKeys(home);
  await ensureIdentities(home, [{ name: OPERATOR, role: 'operator' }, ...hosts]);
  return { keys, open: (config, url) => openCallout(config, url, keys) };
}

/** What the shipped agents and the gateway offer, as the bundle will say it. */
export const shippedDeployment = (): DeployedCapabilities => ({ agents: createRegistry(shippedAgents).list().map(traitsOf), gateway: gatewayCapabilities.map(traitsOf) });

export async function openCallout(config: Config, url: string, keys: CalloutKeys, deployed = shippedDeployment()): Promise<AsyncDisposable> {
  await using opening = new AsyncDisposableStack();
  const { logger, metrics, clock } = opening.use(createTelemetry({ ...config, logLevel: 'error', traces: 'none', name: 'auth' }));
  opening.use(await startAuthCallout({ url, keys, identities: () => readIdentities(config.home), deployed, lifeMs: config.natsLifeMs, clock, logger, metrics }));
  return opening.move();
}

const isRole = (name: string): name is Role => (ROLES as readonly string[]).includes(name);
