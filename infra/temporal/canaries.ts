// Canary approvals: a made-up task that waits for a person like any other, and should be refused.
// Owns: how one is started and how the brain knows it again. Its run starts at the approval, with an outcome that carries no effect,
// so there is nothing that settlement could apply. Never reserves money, never reaches an agent.
// Others may assume: only holders of the brain's key can tell a canary by its origin.

import type { Client } from '@temporalio/client';
import { digestOf } from '../../contracts/canonical.ts';
import type { OpenedGroup, OpenedMember } from '../../contracts/governed.ts';
import { fail } from '../../contracts/errors.ts';
import { readableId } from '../../contracts/ids.ts';
import type { CapabilityRegistry, Clock, Random, TaskDirectory } from '../../contracts/ports.ts';
import { type GovernedInput, TASK_QUEUE, type TaskMember, WORKFLOWS } from '../../contracts/task.ts';
import type { Principal, Verdict } from '../../contracts/verdict.ts';

export interface CanaryOptions {
  readonly client: Client;
  readonly directory: TaskDirectory;
  readonly registry: CapabilityRegistry;
  readonly clock: Clock;
  readonly random: Random;
  readonly rateBp: number;
  readonly sealOf: (text: string) => string;
  readonly pin: (capability: string, members: readonly OpenedMember[]) => Promise<OpenedGroup>;
  readonly taskQueue?: string;
}
interface Beside { readonly tenant: string; readonly capability: string; readonly requester: Principal; readonly verdict: Extract<Verdict, { readonly kind: 'escalate' }> }

const DEADLINE_MS = 30_000;
/** As readable ids spell themselves, so that the origin looks like that of any leaver. */
const LETTERS = '0123456789abcdefghjkmnpqrstvwxyz';

export function createCanaries(options: CanaryOptions) {
  const { client, directory, registry, clock, random, sealOf } = options;
  const from = (capability: string, taskId: string): string => `${capability}/group-${[...Buffer.from(sealOf(`canary ${capability} ${taskId}`)).subarray(0, 10)].map((byte) => LETTERS[byte % 32]).join('')}`;
  return {
    rateBp: options.rateBp,
    random,
    from,
    async open({ tenant, capability: name, requester, verdict }: Beside): Promise<void> {
      const capability = registry.get(name);
      const bad = capability?.knownBad?.();
      if (capability === undefined || bad === undefined) throw fail('AIOS_CAPABILITY_UNKNOWN', name);
      const taskId = readableId('t', random.bytes(10));
      const now = clock.now();
      const member: TaskMember = { taskId, key: taskId, principal: requester, input: bad.input, acceptedAt: now, deadline: now + DEADLINE_MS };
      const summary = capability.summary(bad.input).slice(0, 200);
      const opened = await options.pin(name, [{ taskId, summary, inputDigest: digestOf(bad.input) }]);
      const facts = { ...capability.facts(bad), effectKind: bad.effect?.kind ?? 'none', amountMicroUsd: bad.effect?.amountMicroUsd ?? 0 };
      const workflowId = `${name}/${taskId}`;
      await directory.claim({ taskId, tenant, capability: name, principal: requester.id, key: taskId, inputDigest: digestOf(bad.input), workflowId, acceptedAt: now, summary });
      const input: GovernedInput = {
        v: 1, tenant, capability: name, members: [member], claimed: true, opened,
        resume: { from: from(name, taskId), at: 'approval', attempt: 1, rung: opened.slice.capability.ladder[0] ?? 'human', verdicts: [verdict], settled: { status: 'done', output: bad.output, facts, receipts: [], costMicroUsd: 0 } },
      };
      await client.workflow.start<(input: GovernedInput) => Promise<unknown>>(WORKFLOWS.governed, {
        workflowId, taskQueue: options.taskQueue ?? TASK_QUEUE, args: [input], workflowTaskTimeout: 3_000, staticSummary: summary.slice(0, 120),
        typedSearchAttributes: [
          { key: { name: 'AiosTenant', type: 'KEYWORD' }, value: tenant }, { key: { name: 'AiosCapability', type: 'KEYWORD' }, value: name },
          { key: { name: 'AiosState', type: 'KEYWORD' }, value: 'running' }, { key: { name: 'AiosTasks', type: 'KEYWORD_LIST' }, value: [taskId] },
        ],
      });
    },
  };
}
