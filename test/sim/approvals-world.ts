// The small world of simulated approvals: three groups, six people, one capability, a policy that may turn to refusing.
// Owns: the data only. Never decides. Others may assume: the same groups and policy give the same slice object, so it compiles once.

import type { CedarPolicyJson, PolicySlice } from '../../contracts/bundle.ts';
import { defineCapability, traitsOf } from '../../contracts/capability.ts';
import { z } from 'zod';

/** `guest` belongs to no group; `helpdesk` only asks. `ana` belongs to two groups, and asks in half of the runs. */
export const PEOPLE = ['ana', 'ben', 'cem', 'dora', 'olga', 'guest'] as const;
export const GROUPS = { desk: ['ana', 'ben', 'cem'], board: ['dora', 'ben', 'ana'], owners: ['olga', 'dora', 'cem'] } as const satisfies Readonly<Record<string, readonly string[]>>;
export type GroupName = keyof typeof GROUPS;

const shape = z.looseObject({});
export const capability = defineCapability('sim.refund', { input: shape, output: z.looseObject({ text: z.string() }), effects: ['refund'] });

const any = { op: 'All' } as const;
const policy = (effect: 'permit' | 'forbid', id: string): CedarPolicyJson => ({ effect, principal: any, action: any, resource: any, conditions: [], annotations: { id } });
const slices = new Map<string, PolicySlice>();

export function sliceFor(groups: Readonly<Record<string, readonly string[]>>, denies: boolean): PolicySlice {
  const key = `${JSON.stringify(groups)} ${denies}`;
  const known = slices.get(key);
  if (known !== undefined) return known;
  const slice: PolicySlice = { bundle: `sha256:${'00'.repeat(32)}` as never, version: 1, capability: traitsOf(capability), policies: { all: policy('permit', 'all'), ...(denies ? { frozen: policy('forbid', 'frozen') } : {}) }, groups };
  slices.set(key, slice);
  return slice;
}
