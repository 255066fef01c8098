// Puts a folder of policies in force for a home: with its key, over its NATS, for the capabilities it offers.
// Owns: which key signs and which capabilities are in the bundle. The bundle itself is made in infra/cedar.
// Never publishes what is in force already. Others may assume: when it resolves, every brain that asks gets this bundle.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { shippedAgents } from '../../agents/index.ts';
import { gatewayCapabilities } from '../../agents/gateway/capabilities.ts';
import { createRegistry } from '../../agents/registry.ts';
import type { Capability } from '../../contracts/capability.ts';
import { publishShipped, type Published } from '../cedar/publish.ts';
import type { Config } from '../config.ts';
import { loadOrCreateKeys } from '../crypto/keys.ts';
import { createSigner, createVerifier } from '../crypto/signer.ts';
import type { NatsPorts } from '../nats/index.ts';

export const SHIPPED_POLICIES = fileURLToPath(new URL('../../policies/', import.meta.url));

export interface PublishPoliciesOptions {
  readonly config: Pick<Config, 'home'>;
  readonly ports: Pick<NatsPorts, 'policyStore'>;
  /** Folder of .cedar files; the shipped ones when absent. */
  readonly dir?: string;
  /** What the bundle covers; everything shipped when absent. */
  readonly capabilities?: readonly Capability[];
  readonly groups?: Readonly<Record<string, readonly string[]>>;
  /** ms since 1970 */
  readonly now: number;
}

/** @throws AIOS_POLICY_INVALID with every problem and failing case */
export async function publishPolicies(options: PublishPoliciesOptions): Promise<Published> {
  const keys = await loadOrCreateKeys(join(options.config.home, 'keys'));
  const verifier = createVerifier(keys.keyring);
  await using store = options.ports.policyStore(verifier);
  return await publishShipped({
    store, verifier, signer: createSigner(keys.brain), now: options.now,
    dir: options.dir ?? SHIPPED_POLICIES,
    capabilities: options.capabilities ?? shippedCapabilities(),
    ...(options.groups === undefined ? {} : { groups: options.groups }),
  });
}

/** What the shipped agents and the gateway offer. */
export const shippedCapabilities = (): readonly Capability[] => createRegistry(shippedAgents, gatewayCapabilities).list();
