// Puts a folder of policies in force for a home: with its key, over its NATS, for the capabilities it offers.
// Owns: which key signs and which capabilities are in the bundle. The bundle itself is made in infra/cedar.
// Never publishes what is in force already. Others may assume: when it resolves, every brain that asks gets this bundle.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { shippedAgents } from '../../agents/index.ts';
import { gatewayCapabilities } from '../../agents/gateway/capabilities.ts';
import { createRegistry } from '../../agents/registry.ts';
import { orchestrated } from '../../agents/orchestrate.ts';
import type { Capability, Orchestration } from '../../contracts/capability.ts';
import { hasCode } from '../../contracts/errors.ts';
import { publishShipped, type Published } from '../cedar/publish.ts';
import type { Config } from '../config.ts';
import { loadOrCreateKeys } from '../crypto/keys.ts';
import { createSigner, createVerifier } from '../crypto/signer.ts';
import type { NatsPorts } from '../nats/index.ts';
import type { Chooser, NatsPolicyStore } from '../nats/policy-store.ts';

export const SHIPPED_POLICIES = fileURLToPath(new URL('../../policies/', import.meta.url));

export interface PublishPoliciesOptions {
  readonly config: Pick<Config, 'home'> & Partial<Pick<Config, 'orchestration'>>;
  readonly ports: Pick<NatsPorts, 'policyStore'>;
  /** Folder of .cedar files; the shipped ones when absent. */
  readonly dir?: string;
  /** What the bundle covers; everything shipped when absent. */
  readonly capabilities?: readonly Capability[];
  readonly groups?: Readonly<Record<string, readonly string[]>>;
  /** ms since 1970 */
  readonly now: number;
  /** In force from here; at once if absent. */
  readonly notBefore?: number;
  /** An operator's choice is not replaced by a later start of the system; `setup` unless told. */
  readonly by?: Chooser;
  /** Signs, but publishes nothing. */
  readonly dry?: boolean;
}

/** @throws AIOS_POLICY_INVALID with every problem and failing case */
export async function publishPolicies(options: PublishPoliciesOptions): Promise<Published> {
  const keys = await loadOrCreateKeys(join(options.config.home, 'keys'));
  const verifier = createVerifier(keys.keyring);
  const { by = 'setup', notBefore, dry } = options;
  await using store = options.ports.policyStore(verifier);
  const kept = by === 'setup' && (await store.chosenBy()) === 'operator' ? await inForce(store) : undefined;
  if (kept !== undefined) return kept;
  return await publishShipped({
    store: { ...store, publish: (signed) => store.publish(signed, by) }, verifier, signer: createSigner(keys.brain), now: options.now,
    versionMin: (await store.versions())[0]?.version ?? 0, ...(dry === undefined ? {} : { dry }), ...(notBefore === undefined ? {} : { notBefore }),
    dir: options.dir ?? SHIPPED_POLICIES,
    capabilities: options.capabilities ?? shippedCapabilities(options.config.orchestration),
    ...(options.groups === undefined ? {} : { groups: options.groups }),
  });
}

/** What an operator chose and still holds. */
async function inForce(store: NatsPolicyStore): Promise<Published | undefined> {
  try {
    return { signed: await store.current(), bundle: await store.bundle(), published: false };
  } catch (thrown) {
    if (hasCode(thrown, 'AIOS_POLICY_MISSING')) return undefined;
    throw thrown;
  }
}

/** What the shipped agents and the gateway offer, its teams orchestrated this way where one is given. */
export const shippedCapabilities = (way?: Orchestration): readonly Capability[] => createRegistry(orchestrated(shippedAgents, way), gatewayCapabilities).list();
