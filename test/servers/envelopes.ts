// Envelopes as the brain would send them, for tests that have no brain.
// Owns: sensible defaults and the mandate that fits them. Never signs with anything but the port it is given.
// Others may assume: every field can be overridden, to make an envelope wrong on purpose.

import type { Grant } from '../../contracts/mandate.ts';
import type { Envelope } from '../../contracts/message.ts';
import type { Mandates } from '../../contracts/ports.ts';

let counter = 0;

export function envelopeFor(mandates: Pick<Mandates, 'mint'>, fields: Partial<Envelope> & Pick<Envelope, 'capability' | 'task' | 'input'>, narrowed: Partial<Grant> = {}): Envelope {
  const tenant = fields.tenant ?? 'demo';
  const deadline = fields.deadline ?? Date.now() + 30_000;
  const grant: Grant = {
    tenant, task: fields.task, capabilities: [fields.capability], dataClass: 'confidential', regions: ['*'], models: ['*'], spaces: ['*'], budgetMicroUsd: 20_000, callsMax: 64, depthMax: 4,
    notBefore: Date.now() - 60_000, expiresAt: Math.max(deadline, Date.now()) + 60_000, offline: false, policy: `sha256:${'0'.repeat(64)}`, ...narrowed,
  };
  return {
    v: 1, id: `test-envelope-${process.pid}-${++counter}-${fields.task}`, tenant, actor: fields.task,
    principal: { id: 'tester', type: 'service', tenant, roles: [] }, rung: 'model', deadline, mandate: mandates.mint(grant), depth: 0, ...fields,
  };
}
