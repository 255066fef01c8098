// What each kind of process may do on the message server, in our words: the manifest from which its NATS permissions are made.
// Owns: the roles, and which capabilities a host serves and asks, derived from the same traits that policies decide on.
// Never names a subject, stream or bucket of the vendor: infra/nats/permissions translates. Pure.
// Others may assume: what a role does not name, the message server refuses it; a role is narrowed here and nowhere else.

import type { CapabilityTraits } from '../contracts/capability.ts';
import { fail } from '../contracts/errors.ts';

export const ROLES = ['brain', 'bridge', 'agents', 'gateway', 'model-worker', 'operator'] as const;
export type Role = (typeof ROLES)[number];

/** Live messages, by the part of the address layout they belong to. */
export const PLANES = ['mailbox', 'state', 'budget', 'outcome', 'event', 'topic', 'dead-letter', 'control', 'timer', 'model', 'beacon', 'alive', 'reply'] as const;
export type Plane = (typeof PLANES)[number];
export const LOGS = ['mailbox', 'state', 'outcomes', 'deadLetters', 'topics', 'timers', 'advisories'] as const;
export type Log = (typeof LOGS)[number];
export const STORES = ['policy', 'tasks', 'tokens', 'leases', 'revoked', 'watches', 'slices', 'blobs'] as const;
export type Store = (typeof STORES)[number];

export interface HostRights {
  /** Capabilities it answers in place, and those it may ask in place. `*` is any. */
  readonly serves: readonly string[];
  readonly asks: readonly string[];
  readonly publishes: readonly Plane[];
  readonly hears: readonly Plane[];
  readonly readsLogs: readonly Log[];
  /** Durable readers it may open, by log; `*` any of that log. */
  readonly consumes: Readonly<Partial<Record<Log, readonly string[]>>>;
  /** Logs of which it may remove single messages. */
  readonly prunes: readonly Log[];
  readonly reads: readonly Store[];
  readonly writes: readonly Store[];
  /** May create logs and stores and change their settings. */
  readonly provisions: boolean;
}

/** One host as it is registered: which process, and which part of the manifest it serves. */
export interface HostIdentity {
  readonly name: string;
  readonly role: Role;
  /** Capabilities whose agents it runs; all that are deployed when absent. Only agent hosts differ by it. */
  readonly capabilities?: readonly string[];
}

const nothing: HostRights = { serves: [], asks: [], publishes: [], hears: [], readsLogs: [], consumes: {}, prunes: [], reads: [], writes: [], provisions: false };

const BASE: Readonly<Record<Role, HostRights>> = {
  /** Governs tasks and hosts budgets, so it sends work and hears outcomes; never takes work, and never asks a model. */
  brain: {
    ...nothing,
    publishes: ['mailbox', 'budget', 'event', 'reply'], hears: ['outcome', 'budget'],
    readsLogs: ['outcomes', 'state'], reads: ['policy', 'revoked', 'tasks', 'tokens', 'leases', 'blobs'], writes: ['tasks', 'tokens', 'leases', 'revoked', 'blobs'],
    provisions: true,
  },
  /** Wakes waiting workflows and gives up what cannot be read. */
  bridge: { ...nothing, publishes: ['dead-letter'], readsLogs: ['outcomes'], consumes: { outcomes: ['bridge'] }, reads: ['tokens', 'blobs'], writes: ['tokens', 'blobs'] },
  /** Runs agents: takes from mailboxes, keeps their state, and tells. Never touches a budget or a policy. */
  agents: {
    ...nothing,
    publishes: ['mailbox', 'state', 'outcome', 'event', 'topic', 'dead-letter', 'timer', 'alive', 'reply'], hears: ['outcome', 'control', 'event', 'alive'],
    readsLogs: ['mailbox', 'state', 'outcomes', 'topics'], consumes: { mailbox: ['*'], topics: ['*'], timers: ['timers'], advisories: ['dead-letters'] }, prunes: ['mailbox', 'timers'],
    reads: ['policy', 'leases', 'revoked', 'watches', 'blobs'], writes: ['leases', 'watches', 'blobs'],
  },
  /** Stands before models, spaces and records. Never sends work to an agent, never sees a mailbox, a state or an outcome. */
  gateway: { ...nothing, publishes: ['model', 'reply'], hears: ['beacon'], reads: ['policy', 'revoked', 'slices'], writes: ['slices'] },
  /** Runs models for whoever asks by the model's name; sees nothing else. */
  'model-worker': { ...nothing, publishes: ['beacon', 'reply'], hears: ['model'] },
  /** People with the command line, and whoever sets a system up. */
  operator: {
    serves: ['*'], asks: ['*'], publishes: PLANES, hears: PLANES, readsLogs: LOGS, prunes: LOGS, reads: STORES, writes: STORES, provisions: true,
    consumes: Object.fromEntries(LOGS.map((log) => [log, ['*']])),
  },
};

/** What is deployed, as the bundle says it: the traits of every capability, and which of them the gateway answers. */
export interface DeployedCapabilities {
  readonly agents: readonly CapabilityTraits[];
  readonly gateway: readonly CapabilityTraits[];
}

/** @throws AIOS_CONFIG_INVALID for a host that names a capability nobody deploys */
export function rightsOf(host: HostIdentity, deployed: DeployedCapabilities): HostRights {
  const base = BASE[host.role];
  if (host.role === 'gateway') return { ...base, serves: ephemeral(deployed.gateway) };
  if (host.role !== 'agents') return base;
  const handled = host.capabilities === undefined ? deployed.agents : host.capabilities.map((name) => named(deployed.agents, name));
  return { ...base, serves: ephemeral(handled), asks: ephemeralUses(handled, deployed) };
}

const ephemeral = (traits: readonly CapabilityTraits[]): readonly string[] => traits.filter(({ delivery }) => delivery === 'ephemeral').map(({ id }) => id as string).sort();

/** What the agents of these capabilities declare to use: a mandate carries no more, and the message server carries no more. */
function ephemeralUses(handled: readonly CapabilityTraits[], { agents, gateway }: DeployedCapabilities): readonly string[] {
  const used = new Set(handled.flatMap(({ uses }) => uses as readonly string[]));
  return ephemeral([...agents, ...gateway]).filter((name) => used.has(name));
}

function named(deployed: readonly CapabilityTraits[], name: string): CapabilityTraits {
  const found = deployed.find(({ id }) => id === name);
  if (found === undefined) throw fail('AIOS_CONFIG_INVALID', `No agent of this deployment handles ${name}.`);
  return found;
}
