// Addresses: the one place that builds and reads NATS subjects, stream names and bucket names.
// Owns: the layout `ai.v1.<tenant>.<plane>.…`. Never accepts raw text: every part is a parsed id.
// Others may assume: a subject built here has no wildcard, space or line break, and partition numbers are stable for ever.

import { type AgentId, type AgentKind, type CapabilityId, isId, type TaskId, type TenantId } from './ids.ts';

export const PARTITIONS = 64;
export const SUBJECT_ROOT = 'ai.v1';

/** FNV-1a over `kind/id`; stable because stored mailboxes depend on it. */
export function partitionOf(kind: string, id: string): number {
  let hash = 0x811c9dc5;
  const text = `${kind}/${id}`;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % PARTITIONS;
}

/** Capability names are dotted; as one subject token the dots become underscores, which names cannot contain. */
export const capabilityToken = (capability: CapabilityId | string): string => capability.replaceAll('.', '_');

export const subjects = {
  /** Durable mailbox of one agent. */
  mailbox: (tenant: TenantId, kind: AgentKind, id: AgentId) => `${SUBJECT_ROOT}.${tenant}.mbx.${partitionOf(kind, id)}.${kind}.${id}`,
  /** State log of one agent; one subject is one CAS line. */
  state: (tenant: TenantId, kind: AgentKind, id: AgentId) => `${SUBJECT_ROOT}.${tenant}.st.${partitionOf(kind, id)}.${kind}.${id}`,
  /** Ephemeral ask of a capability, answered by a queue group (gateway, stateless agents). */
  capability: (tenant: TenantId, capability: CapabilityId) => `${SUBJECT_ROOT}.${tenant}.cap.${capabilityToken(capability)}`,
  /** Outcome of one dispatch; read as a core subscription by who waits, and kept in a stream for who comes later. */
  outcome: (tenant: TenantId, task: TaskId) => `${SUBJECT_ROOT}.${tenant}.out.${task}`,
  /** States of a task for those who watch; best effort. */
  taskEvent: (tenant: TenantId, task: TaskId) => `${SUBJECT_ROOT}.${tenant}.evt.task.${task}`,
  /** Published events with durable subscriptions. */
  topic: (tenant: TenantId, topic: string) => `${SUBJECT_ROOT}.${tenant}.topic.${topic}`,
  deadLetter: (tenant: TenantId, reason: string) => `${SUBJECT_ROOT}.${tenant}.dlq.${reason}`,
  control: (tenant: TenantId, verb: string) => `${SUBJECT_ROOT}.${tenant}.ctl.${verb}`,
  /** Changes of a tenant's budget, to the process that holds its root. */
  budget: (tenant: TenantId, holder: string) => `${SUBJECT_ROOT}.${tenant}.ctl.budget.${holder}`,
  /** A host's own door for those who look whether it is there. */
  alive: (tenant: TenantId, host: string) => `${SUBJECT_ROOT}.${tenant}.ctl.alive.${host}`,
  /** Model workers: work by model, beacons once a second. */
  model: (model: string) => `${SUBJECT_ROOT}.sys.model.${model}`,
  /** One worker's own door, for callers that chose it by its beacon. */
  modelAt: (model: string, worker: string) => `${SUBJECT_ROOT}.sys.model.${model}.${worker}`,
  beacon: (worker: string) => `${SUBJECT_ROOT}.sys.beacon.${worker}`,
} as const;

/** What servers subscribe to: the same layout with the tenant open. Wildcards live here and in `STREAMS` only. */
export const patterns = {
  capability: (capability: CapabilityId | string) => `${SUBJECT_ROOT}.*.cap.${capabilityToken(capability)}`,
  budget: (holder: string) => `${SUBJECT_ROOT}.*.ctl.budget.${holder}`,
  partition: (partition: number) => `${SUBJECT_ROOT}.*.mbx.${partition}.>`,
  topic: (topic: string) => `${SUBJECT_ROOT}.*.topic.${topic}`,
} as const;

/** Tenant of any subject built here; `undefined` when the text is no such subject. */
export function tenantOf(subject: string): TenantId | undefined {
  const parts = subject.split('.');
  return parts.length > 3 && `${parts[0]}.${parts[1]}` === SUBJECT_ROOT && isId(parts[2]) ? (parts[2] as TenantId) : undefined;
}

export interface MailboxAddress {
  readonly tenant: TenantId;
  readonly partition: number;
  readonly kind: AgentKind;
  readonly id: AgentId;
}
/** The way back from a mailbox subject; `undefined` when it is none, or when the partition is not the address's own. */
export function parseMailboxSubject(subject: string): MailboxAddress | undefined {
  const [, , tenant, plane, partition, kind, id, ...rest] = subject.split('.');
  if (tenantOf(subject) === undefined || plane !== 'mbx' || rest.length > 0 || !isId(tenant) || !isId(kind) || !isId(id)) return undefined;
  if (partition !== String(partitionOf(kind, id))) return undefined;
  return { tenant: tenant as TenantId, partition: Number(partition), kind: kind as AgentKind, id: id as AgentId };
}

export const STREAMS = {
  mailbox: { name: 'AIOS_MBX', subjects: [`${SUBJECT_ROOT}.*.mbx.>`] },
  state: { name: 'AIOS_STATE', subjects: [`${SUBJECT_ROOT}.*.st.>`] },
  outcomes: { name: 'AIOS_OUT', subjects: [`${SUBJECT_ROOT}.*.out.>`] },
  deadLetters: { name: 'AIOS_DLQ', subjects: [`${SUBJECT_ROOT}.*.dlq.>`] },
  topics: { name: 'AIOS_TOPICS', subjects: [`${SUBJECT_ROOT}.*.topic.>`] },
  timers: { name: 'AIOS_TIMERS', subjects: [`${SUBJECT_ROOT}.*.tmr.>`] },
} as const;

export const BUCKETS = {
  policy: 'aios_policy',
  tasks: 'aios_tasks',
  tokens: 'aios_tokens',
  leases: 'aios_leases',
  revoked: 'aios_revoked',
  watches: 'aios_watches',
  slices: 'aios_slices',
} as const;
