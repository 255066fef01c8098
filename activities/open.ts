// Opening a group: checked input, the policy slice everybody in it is pinned to, and the claim of a direct start.
// Owns: what a member may leave out when a Temporal client starts the workflow itself, and the one-line summary.
// Never decides. Others may assume: an opened member's input passed its capability's schema, or it is refused by name.

import { digestOf } from '../contracts/canonical.ts';
import type { Capability } from '../contracts/capability.ts';
import { fail, isAiosError } from '../contracts/errors.ts';
import type { PolicySlice } from '../contracts/bundle.ts';
import type { OpenArgs, OpenedGroup, OpenedMember, Pinned } from '../contracts/governed.ts';
import { parseId } from '../contracts/ids.ts';
import { parseValue } from '../contracts/parse.ts';
import { GROUP_TASKS_MAX, taskMemberSchema, type GovernedInput, type TaskMember } from '../contracts/task.ts';
import { principalSchema } from '../contracts/verdict.ts';
import { admissionOf, admissionRefusal } from '../policies/admission.ts';
import { bodyOf, capabilityOf } from './judge.ts';
import type { Patience } from './patience.ts';
import type { ActivityPorts } from './ports.ts';

export async function openGroup(ports: ActivityPorts, patience: Patience, args: OpenArgs): Promise<OpenedGroup> {
  checkShape(args.input);
  const capability = capabilityOf(ports, args.input.capability);
  const members = await Promise.all(args.input.members.map((member) => openMember(ports, capability, args, member)));
  return pin(ports, patience, capability.id, members);
}

/** Members whose input was checked, with the slice in force now and the proof that it is the brain's. */
export async function pin(ports: ActivityPorts, patience: Patience, capability: string, members: readonly OpenedMember[]): Promise<OpenedGroup> {
  const slice = await ports.policies.slice(capability);
  return { slice, seal: ports.sealOf(digestOfSlice(slice)), patienceMs: patience.of(capability, members.length), members };
}

/** A store hands out the same slice object while its bundle is in force, so its digest is computed once. */
const sliceDigests = new WeakMap<PolicySlice, string>();
function digestOfSlice(slice: PolicySlice): string {
  const known = sliceDigests.get(slice);
  if (known !== undefined) return known;
  const digest = digestOf(slice);
  sliceDigests.set(slice, digest);
  return digest;
}

/** Whoever may start workflows may write any slice into their input; only what the brain sealed is acted on. @throws AIOS_FORBIDDEN */
export function checkPinned(ports: Pick<ActivityPorts, 'sealOf'>, pinned: Pinned): void {
  if (ports.sealOf(pinned.slice) !== pinned.seal) throw fail('AIOS_FORBIDDEN', 'The policy slice of this workflow was not issued by a brain.');
}

/** A start that is not even a group fails the workflow, by name and for good. */
function checkShape(input: GovernedInput): void {
  if (input.v !== 1) throw fail('AIOS_VERSION_UNKNOWN');
  parseId('tenant', input.tenant);
  if (!Array.isArray(input.members) || input.members.length < 1 || input.members.length > GROUP_TASKS_MAX) throw fail('AIOS_INPUT_INVALID', `members: 1 to ${GROUP_TASKS_MAX}`);
  if (input.members.length > 1 && input.claimed !== true) throw fail('AIOS_INPUT_INVALID', 'members: a direct start governs one task');
}

async function openMember(ports: ActivityPorts, capability: Capability, args: OpenArgs, raw: TaskMember): Promise<OpenedMember> {
  const taskId = taskIdOf(raw, args.workflowId);
  try {
    const member = args.input.claimed === true ? raw : await claimed(ports, capability, args, completed(ports, capability, raw, taskId));
    if (member.principal.tenant !== args.input.tenant) throw fail('AIOS_TENANT_MISMATCH');
    const checked = parseValue(capability.input, member.input);
    const changed = member !== raw || JSON.stringify(checked) !== JSON.stringify(member.input);
    return { taskId, summary: capability.summary(checked).slice(0, 200), inputDigest: digestOf(checked), ...(changed ? { member: { ...member, input: checked } } : {}) };
  } catch (thrown) {
    if (!isAiosError(thrown)) throw thrown;
    ports.metrics.count('aios_refusals_total', { border: 'workflow', code: thrown.code });
    return { taskId, summary: capability.id, inputDigest: '', refused: bodyOf(thrown), member: stub(ports, args, raw, taskId) };
  }
}

/** What a direct start left out: ids come from the workflow id it chose, times from here. */
function completed(ports: ActivityPorts, capability: Capability, raw: TaskMember, taskId: string): TaskMember {
  const acceptedAt = raw.acceptedAt ?? ports.clock.now();
  const full = { ...raw, taskId, key: raw.key ?? taskId, acceptedAt, deadline: raw.deadline ?? acceptedAt + Math.max(30_000, capability.budget.latencyMsMax * 4) };
  const member = parseValue(taskMemberSchema, full);
  parseValue(principalSchema, member.principal);
  return { ...member, principal: member.principal, input: member.input };
}

/** The key of a direct start is claimed here, under its own workflow id; a key that another workflow governs is refused. */
async function claimed(ports: ActivityPorts, capability: Capability, args: OpenArgs, member: TaskMember): Promise<TaskMember> {
  const checked = parseValue(capability.input, member.input);
  await admitted(ports, capability.id, args.input.tenant, member);
  const { entry } = await ports.directory.claim({
    taskId: member.taskId, tenant: args.input.tenant, capability: capability.id, principal: member.principal.id, key: member.key, inputDigest: digestOf(checked),
    workflowId: args.workflowId, acceptedAt: member.acceptedAt, summary: capability.summary(checked).slice(0, 200),
  });
  if (entry.workflowId !== args.workflowId && entry.taskId !== member.taskId) throw fail('AIOS_KEY_CONFLICT', `The workflow ${entry.workflowId} governs this key.`);
  return member;
}

/** Run again, the same task asks for the place it has. @throws AIOS_RATE_LIMITED, AIOS_OVERLOADED */
async function admitted(ports: ActivityPorts, capability: string, tenant: string, { taskId, deadline }: TaskMember): Promise<void> {
  if ((await ports.budgets.limited?.(tenant, capability)) !== true) return;
  const [answer] = await ports.budgets.reserve([admissionOf({ tenant, capability, taskId, deadline })]);
  const refusal = admissionRefusal(capability, answer);
  if (refusal !== undefined) throw refusal;
}

/** A task id for whoever chose only a workflow id: its last part where that is an id, else its digest. */
function taskIdOf(raw: TaskMember, workflowId: string): string {
  if (typeof raw.taskId === 'string' && /^[A-Za-z0-9_-]{1,64}$/.test(raw.taskId)) return raw.taskId;
  const last = workflowId.split('/').at(-1) ?? '';
  return /^[A-Za-z0-9_-]{1,64}$/.test(last) ? last : `t-${digestOf(workflowId).slice(7, 23)}`;
}

/** Enough of a refused member to settle it: who knows what else it held. */
function stub(ports: ActivityPorts, args: OpenArgs, raw: TaskMember, taskId: string): TaskMember {
  const now = ports.clock.now();
  const principal = principalSchema.safeParse(raw.principal);
  return {
    taskId, key: typeof raw.key === 'string' ? raw.key.slice(0, 128) : taskId, input: null, acceptedAt: now, deadline: now + 1,
    principal: principal.success ? principal.data : { id: 'unknown', type: 'service', tenant: args.input.tenant, roles: [] },
  };
}
