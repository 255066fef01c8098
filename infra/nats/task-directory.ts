// The directory of tasks: one claim for each idempotency key, one entry for each task.
// Owns: both buckets. Never starts anything. Others may assume: of many claims of one key exactly one is `ours`,
// and everybody else gets the entry of the winner, with the workflow that governs the task now.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { BUCKETS } from '../../contracts/address.ts';
import { fail, hasCode } from '../../contracts/errors.ts';
import { isId, parseId } from '../../contracts/ids.ts';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import type { KeyValue, TaskDirectory } from '../../contracts/ports.ts';
import type { TaskEntry } from '../../contracts/task.ts';
import type { NatsLink } from './connect.ts';
import { streamOf } from './key-value.ts';
import { newest } from './stored.ts';

const MOVES_MAX = 5;
const LIST_MAX = 1_000;

const entrySchema: z.ZodType<TaskEntry> = z.strictObject({
  taskId: z.string(), tenant: z.string(), capability: z.string(), principal: z.string(), key: z.string(),
  inputDigest: z.string(), workflowId: z.string(), acceptedAt: z.number(), summary: z.string(),
});

export function createTaskDirectory(link: NatsLink, keyValue: KeyValue): TaskDirectory {
  const find = async (tenant: string, taskId: string): Promise<TaskEntry | undefined> => {
    const found = await keyValue.get(BUCKETS.tasks, keyOf(tenant, taskId));
    return found === undefined ? undefined : parseBytes(entrySchema, found.value);
  };

  return {
    async claim(entry) {
      const value = toBytes(entry);
      const claimKey = claimOf(entry);
      const taskKey = keyOf(entry.tenant, entry.taskId);
      const [won] = await Promise.all([keyValue.create(BUCKETS.claims, claimKey, value), keyValue.create(BUCKETS.tasks, taskKey, value)]);
      if (won !== undefined) return { entry, ours: true };
      const winner = await keyValue.get(BUCKETS.claims, claimKey);
      if (winner === undefined) throw fail('AIOS_UNAVAILABLE', 'A claim vanished while it was read.');
      const claimed = parseBytes(entrySchema, winner.value);
      if (claimed.taskId !== entry.taskId) await keyValue.delete(BUCKETS.tasks, taskKey);
      return { entry: (await find(claimed.tenant, claimed.taskId)) ?? claimed, ours: false };
    },
    find,
    async claimed(tenant, capability, key) {
      const winner = await keyValue.get(BUCKETS.claims, claimOf({ tenant, capability, key }));
      if (winner === undefined) return undefined;
      const claimed = parseBytes(entrySchema, winner.value);
      return (await find(claimed.tenant, claimed.taskId)) ?? claimed;
    },
    async moved(tenant, taskId, workflowId) {
      const key = keyOf(tenant, taskId);
      for (let attempt = 0; attempt < MOVES_MAX; attempt++) {
        const found = await keyValue.get(BUCKETS.tasks, key);
        if (found === undefined) throw fail('AIOS_TASK_UNKNOWN');
        const entry = parseBytes(entrySchema, found.value);
        if (entry.workflowId === workflowId) return;
        try {
          await keyValue.update(BUCKETS.tasks, key, toBytes({ ...entry, workflowId }), found.revision);
          return;
        } catch (error) {
          if (!hasCode(error, 'AIOS_STATE_CONFLICT')) throw error;
        }
      }
      throw fail('AIOS_STATE_CONFLICT', 'The entry of the task changes faster than it can be updated.');
    },
    async list(tenant, limit) {
      const filter = `$KV.${BUCKETS.tasks}.${parseId('tenant', tenant)}.*`;
      const found = await newest(link, streamOf(BUCKETS.tasks), filter, Math.min(limit, LIST_MAX));
      return found.map((message) => parseBytes(entrySchema, message.data));
    },
  };
}

function keyOf(tenant: string, taskId: string): string {
  if (!isId(taskId)) throw fail('AIOS_TASK_UNKNOWN');
  return `${parseId('tenant', tenant)}.${taskId}`;
}

/** What a caller wrote as a key never becomes part of a subject: only its hash does. */
const claimOf = ({ tenant, capability, key }: Pick<TaskEntry, 'tenant' | 'capability' | 'key'>): string => createHash('sha256').update(JSON.stringify([tenant, capability, key])).digest('hex');
