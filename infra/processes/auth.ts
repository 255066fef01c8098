// The auth process: answers the message server's questions about who connects, for deployments whose server is not ours.
// Owns: opening and closing. It holds the issuer's key, so it runs where nothing else does; the brain's key it never needs.
// Never serves a task. Others may assume: the line {"msg":"ready"} means that hosts are let in; any number may run, and while
// none does, connected hosts go on until their tokens end.

import type { DeployedCapabilities } from '../../policies/hosts.ts';
import type { Config } from '../config.ts';
import { openCallout, shippedDeployment } from '../dev/authority.ts';
import { ensureCalloutKeys } from '../nats/identities.ts';
import { runProcess } from './run-process.ts';

/** @param deployed what is deployed besides or instead of the shipped agents. @throws AIOS_CONFIG_INVALID, AIOS_DISCONNECTED, AIOS_UNAUTHENTICATED */
export async function startAuth(config: Config, deployed: DeployedCapabilities = shippedDeployment()): Promise<AsyncDisposable> {
  return openCallout(config, config.natsUrl, await ensureCalloutKeys(config.home), deployed);
}

if (import.meta.main) await runProcess('auth', (config) => startAuth(config), () => ({}));
