// Budgets: the pure reducer of policies/budget.ts behind one compare-and-set line per tenant.
// Owns: the cached state, batching (what arrives while an append is on its way shares the next one), retries on conflict.
// Never grants from a cache alone: an answer is given after its append is stored, so overrun is 0 with any number of processes.
// Others may assume: reserving the same attempt again, after a crash or a lost answer, reserves once. Bounds: OPS_MAX waiting
// calls a tenant, past it AIOS_OVERLOADED; TRIES_MAX conflicts, past it AIOS_STATE_CONFLICT; TENANTS_MAX states in memory.

import { z } from 'zod';
import { STREAMS, subjects } from '../../contracts/address.ts';
import { fail, hasCode } from '../../contracts/errors.ts';
import { parseId } from '../../contracts/ids.ts';
import { decodeText, toBytes } from '../../contracts/parse.ts';
import type { Budgets, Clock, Metrics, Random, StateLog } from '../../contracts/ports.ts';
import { emptyBudget, expire, reserveAll, settleAll, viewOf, withCap, type BudgetState } from '../../policies/budget.ts';

const OPS_MAX = 1_024;
const TRIES_MAX = 12;
const TENANTS_MAX = 1_024;
const STATE_BYTES_MAX = 256 * 1024;
/** The kind under which budgets keep their state; agents cannot be named so (they handle no capability of it). */
const KIND = parseId('agent-kind', 'aios_budget');

export interface BudgetOptions {
  readonly stateLog: StateLog;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
  /** Cap of a tenant for the month, micro-USD, from the bundle in force. */
  capOf(tenant: string): Promise<number>;
}

interface Op { apply(state: BudgetState, now: number): BudgetState; resolve(): void; reject(error: unknown): void }
interface Root { readonly subject: string; state: BudgetState | undefined; revision: number; readonly ops: Op[]; running: boolean }

export function createBudgets(options: BudgetOptions): Budgets {
  const roots = new Map<string, Root>();

  const rootOf = (tenant: string): Root => {
    const known = roots.get(tenant);
    if (known !== undefined) return known;
    if (roots.size >= TENANTS_MAX) forgetIdle(roots);
    const subject = subjects.state(parseId('tenant', tenant), KIND, parseId('agent-id', tenant));
    const root: Root = { subject, state: undefined, revision: 0, ops: [], running: false };
    roots.set(tenant, root);
    return root;
  };
  const change = (tenant: string, apply: Op['apply']): Promise<void> => {
    const root = rootOf(tenant);
    if (root.ops.length >= OPS_MAX) return Promise.reject(fail('AIOS_OVERLOADED', `${OPS_MAX} changes of one budget wait.`, { retryAfterMs: 250 }));
    return new Promise((resolve, reject) => {
      root.ops.push({ apply, resolve, reject });
      if (!root.running) void run(options, tenant, root);
    });
  };

  return {
    async reserve(requests) {
      const answers = await Promise.all([...byTenant(requests)].map(async ([tenant, entries]) => {
        let decided: readonly Awaited<ReturnType<Budgets['reserve']>>[number][] = [];
        await change(tenant, (state, now) => {
          const result = reserveAll(state, entries.map(({ item }) => item), now);
          decided = result.answers;
          return result.state;
        });
        return entries.map(({ index }, position) => ({ index, answer: decided[position] }));
      }));
      const ordered = answers.flat().sort((a, b) => a.index - b.index);
      return ordered.map(({ answer }) => answer ?? refuse());
    },
    async settle(requests) {
      await Promise.all([...byTenant(requests)].map(([tenant, entries]) => change(tenant, (state, now) => settleAll(state, entries.map(({ item }) => item), now))));
    },
    async view(tenant) {
      const { state } = await load(options, tenant, rootOf(tenant).subject);
      return viewOf(tenant, expire(state, options.clock.now()));
    },
  };
}

const refuse = (): never => { throw fail('AIOS_INTERNAL'); };

/** One append at a time; everything that waits goes into the next. */
async function run(options: BudgetOptions, tenant: string, root: Root): Promise<void> {
  root.running = true;
  while (root.ops.length > 0) {
    const batch = root.ops.splice(0);
    try {
      await commit(options, tenant, root, batch);
      for (const op of batch) op.resolve();
    } catch (error) {
      root.state = undefined;
      for (const op of batch) op.reject(error);
    }
  }
  root.running = false;
}

async function commit(options: BudgetOptions, tenant: string, root: Root, batch: readonly Op[]): Promise<void> {
  const { stateLog, clock, random, metrics } = options;
  for (let attempt = 1; ; attempt++) {
    if (root.state === undefined) Object.assign(root, await load(options, tenant, root.subject));
    const now = clock.now();
    const capped = withCap(root.state as BudgetState, await options.capOf(tenant));
    const next = batch.reduce((state, op) => op.apply(state, now), capped);
    try {
      root.revision = await stateLog.append(root.subject, root.revision, toBytes(next));
      root.state = next;
      return;
    } catch (error) {
      root.state = undefined;
      // An append whose result is unknown may have happened: the reducer is idempotent by attempt, so it is done again.
      const again = hasCode(error, 'AIOS_STATE_CONFLICT') || hasCode(error, 'AIOS_UNAVAILABLE');
      if (!again || attempt >= TRIES_MAX) throw error;
      metrics.count('aios_budget_conflicts_total');
      await clock.sleep(random.next() * Math.min(50, 2 ** attempt));
    }
  }
}

async function load({ stateLog, capOf }: BudgetOptions, tenant: string, subject: string): Promise<{ state: BudgetState; revision: number }> {
  const found = await stateLog.read(subject);
  if (found === undefined) return { state: emptyBudget(await capOf(tenant)), revision: 0 };
  return { state: parseState(found.data), revision: found.revision };
}

/** Written by this file only; the version is what could differ. */
function parseState(data: Uint8Array): BudgetState {
  const state = JSON.parse(decodeText(data, STATE_BYTES_MAX)) as BudgetState;
  if (!z.object({ v: z.literal(1), spentMicroUsd: z.number().int(), reservedMicroUsd: z.number().int() }).safeParse(state).success) throw fail('AIOS_VERSION_UNKNOWN', `The budget in ${STREAMS.state.name} has another format.`);
  return state;
}

function byTenant<T extends { readonly tenant: string }>(items: readonly T[]): Map<string, { readonly index: number; readonly item: T }[]> {
  const groups = new Map<string, { index: number; item: T }[]>();
  items.forEach((item, index) => {
    const group = groups.get(item.tenant) ?? [];
    group.push({ index, item });
    groups.set(item.tenant, group);
  });
  return groups;
}

function forgetIdle(roots: Map<string, Root>): void {
  for (const [tenant, root] of roots) if (!root.running && root.ops.length === 0) return void roots.delete(tenant);
  throw fail('AIOS_OVERLOADED', `Budgets of ${TENANTS_MAX} tenants change at once.`, { retryAfterMs: 1_000 });
}
