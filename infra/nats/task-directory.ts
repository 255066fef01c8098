// The directory of tasks: one entry for each, which is the claim of its key too.
// Owns: the bucket. Never starts anything. Others may assume: of many claims of one key exactly one is `ours`,
// and everybody else gets the entry of the winner, with the workflow that governs the task now.
// A task whose id follows from its key (or has no key but its id) costs one write; one that chose its own id, a direct start
// of a workflow, costs a second for the place where its key is looked for.

import { z } from 'zod';
import { BUCKETS } from '../../contracts/address.ts';
import { fail, hasCode } from '../../contracts/errors.ts';
import { isId, parseId } from '../../contracts/ids.ts';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import type { KeyValue, TaskDirectory } from '../../contracts/ports.ts';
import { type TaskEntry, taskIdOf } from '../../contracts/task.ts';
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
  const read = async (tenant: string, id: string): Promise<TaskEntry | undefined> => {
    const found = await keyValue.get(BUCKETS.tasks, keyOf(tenant, id));
    return found === undefined ? undefined : parseBytes(entrySchema, found.value);
  };
  /** What stands in the place of a key may name a task of another id. */
  const find = async (tenant: string, taskId: string): Promise<TaskEntry | undefined> => {
    const entry = await read(tenant, taskId);
    return entry === undefined || entry.taskId === taskId ? entry : undefined;
  };
  const create = async (entry: TaskEntry, id: string): Promise<boolean> => (await keyValue.create(BUCKETS.tasks, keyOf(entry.tenant, id), toBytes(entry))) !== undefined;

  return {
    async claim(entry) {
      const slot = slotOf(entry);
      const [ours, ownPlace] = await Promise.all([create(entry, slot), slot !== entry.taskId && create(entry, entry.taskId)]);
      if (ours) return { entry, ours: true };
      const holder = await read(entry.tenant, slot);
      if (holder === undefined) throw fail('AIOS_UNAVAILABLE', 'A claim vanished while it was read.');
      if (holder.key !== entry.key || holder.capability !== entry.capability) throw fail('AIOS_KEY_CONFLICT', 'Another task has the id that this key leads to.');
      if (ownPlace && holder.taskId !== entry.taskId) await keyValue.delete(BUCKETS.tasks, keyOf(entry.tenant, entry.taskId));
      return { entry: holder.taskId === slot ? holder : ((await find(holder.tenant, holder.taskId)) ?? holder), ours: false };
    },
    find,
    async claimed(tenant, capability, key) {
      const holder = await read(tenant, taskIdOf(tenant, capability, key));
      if (holder === undefined || holder.key !== key || holder.capability !== capability) return undefined;
      return (await find(tenant, holder.taskId)) ?? holder;
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
      const found = await newest(link, streamOf(BUCKETS.tasks), filter, 2 * Math.min(limit, LIST_MAX));
      const entries = found.map((message) => ({ subject: message.subject, entry: parseBytes(entrySchema, message.data) }));
      return entries.filter(({ subject, entry }) => subject.endsWith(`.${entry.taskId}`)).slice(0, limit).map(({ entry }) => entry);
    },
  };
}

/** Where the claim of a key stands. What a caller wrote as a key never becomes part of a subject: only the id made from it does. */
const slotOf = ({ tenant, capability, key, taskId }: TaskEntry): string => (key === taskId ? taskId : taskIdOf(tenant, capability, key));

function keyOf(tenant: string, taskId: string): string {
  if (!isId(taskId)) throw fail('AIOS_TASK_UNKNOWN');
  return `${parseId('tenant', tenant)}.${taskId}`;
}
