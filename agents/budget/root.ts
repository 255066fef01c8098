// One budget root: the agent of one tenant's money. Its state is one line of the state log, its messages are changes of the budget.
// Owns: the queue, group commit (what arrives while an append is on its way shares the next one), and the retry on conflict.
// Never answers before its append is stored, and never trusts its own memory: a write by anybody else is a conflict, and the
// state is read again. Others may assume: overrun is 0 with any number of processes, since compare-and-set decides and a lease
// only says who tries first. Bounds: OPS_MAX waiting changes, past it AIOS_OVERLOADED; TRIES_MAX conflicts, past it AIOS_STATE_CONFLICT.

import { z } from 'zod';
import { subjects } from '../../contracts/address.ts';
import type { BudgetOp, BudgetTerms } from '../../contracts/budget.ts';
import { fail, hasCode } from '../../contracts/errors.ts';
import { parseId } from '../../contracts/ids.ts';
import { decodeText, MESSAGE_BYTES_MAX, toBytes } from '../../contracts/parse.ts';
import type { Clock, Metrics, Random, ReserveAnswer, StateLog } from '../../contracts/ports.ts';
import { beginStep, emptyBudget, withTerms, type BudgetState, type BudgetStep } from '../../policies/budget.ts';
import { upgraded } from './upgrade.ts';

export interface RootPorts {
  readonly stateLog: StateLog;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
  /** What the bundle in force says of a tenant. */
  termsOf(tenant: string): Promise<BudgetTerms>;
}
/** Answers in the order of the changes; only reservations have any. */
export type OpAnswers = readonly (readonly ReserveAnswer[])[];
export interface BudgetRoot {
  /** Applied in one append, with whatever else waits. */
  change(ops: readonly BudgetOp[]): Promise<OpAnswers>;
  /** The last state this process stored or read; `fresh` reads it again. */
  state(fresh: boolean): Promise<BudgetState>;
  readonly busy: boolean;
}

const OPS_MAX = 2_048;
const TRIES_MAX = 24;
/** The kind under which budgets keep their state; agents cannot be named so (they handle no capability of it). */
const KIND = parseId('agent-kind', 'aios_budget');

/** The line of the state log that holds a tenant's budget. */
export const rootSubject = (tenant: string): string => subjects.state(parseId('tenant', tenant), KIND, parseId('agent-id', tenant));

interface Waiting { readonly ops: readonly BudgetOp[]; resolve(answers: OpAnswers): void; reject(error: unknown): void }

export function createRoot(ports: RootPorts, tenant: string): BudgetRoot {
  const subject = rootSubject(tenant);
  const queue: Waiting[] = [];
  let known: { readonly state: BudgetState; readonly revision: number } | undefined;
  let waiting = 0;
  let running = false;

  async function load(): Promise<NonNullable<typeof known>> {
    const found = await ports.stateLog.read(subject);
    return found === undefined ? { state: emptyBudget(await ports.termsOf(tenant)), revision: 0 } : { state: parseState(found.data), revision: found.revision };
  }

  /** One append at a time; everything that waits goes into the next. */
  async function run(): Promise<void> {
    running = true;
    while (queue.length > 0) {
      const batch = queue.splice(0);
      waiting = 0;
      try {
        const answers = await commit(batch.flatMap(({ ops }) => ops));
        let at = 0;
        for (const { ops, resolve } of batch) resolve(answers.slice(at, (at += ops.length)));
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    running = false;
  }

  async function commit(ops: readonly BudgetOp[]): Promise<OpAnswers> {
    for (let attempt = 1; ; attempt++) {
      const base = known ?? (await load());
      const step = beginStep(withTerms(base.state, await ports.termsOf(tenant)), ports.clock.now());
      const answers = ops.map((op) => applied(step, op));
      const state = step.end();
      try {
        known = { state, revision: await ports.stateLog.append(subject, base.revision, toBytes(state)) };
        ports.metrics.observe('aios_budget_batch_ops', ops.length);
        return answers;
      } catch (error) {
        known = undefined;
        // An append whose result is unknown may have happened: the reducer is idempotent by attempt, so it is done again.
        const again = hasCode(error, 'AIOS_STATE_CONFLICT') || hasCode(error, 'AIOS_UNAVAILABLE');
        if (!again || attempt >= TRIES_MAX) throw error;
        ports.metrics.count('aios_budget_conflicts_total');
        await ports.clock.sleep(ports.random.next() * Math.min(100, 2 ** attempt));
      }
    }
  }

  return {
    change(ops) {
      if (waiting + ops.length > OPS_MAX) return Promise.reject(fail('AIOS_OVERLOADED', `${OPS_MAX} changes of one budget wait.`, { retryAfterMs: 250 }));
      waiting += ops.length;
      return new Promise((resolve, reject) => {
        queue.push({ ops, resolve, reject });
        if (!running) void run();
      });
    },
    async state(fresh) {
      const current = fresh || known === undefined ? await load() : known;
      // What was read is older than what a commit under way will store, so it never replaces what commits build on.
      return withTerms(current.state, await ports.termsOf(tenant));
    },
    get busy() {
      return running;
    },
  };
}

function applied(step: BudgetStep, op: BudgetOp): readonly ReserveAnswer[] {
  switch (op.op) {
    case 'reserve': return op.requests.map((request) => step.reserve(request));
    case 'settle': {
      for (const request of op.requests) step.settle(request);
      return [];
    }
    case 'configure': {
      step.configure(op.change);
      return [];
    }
  }
}

/** Written by this file only; the version is what could differ. @throws AIOS_VERSION_UNKNOWN */
export function parseState(data: Uint8Array): BudgetState {
  const value = JSON.parse(decodeText(data, MESSAGE_BYTES_MAX)) as unknown;
  const { v } = z.looseObject({ v: z.number() }).parse(value);
  if (v === 1) return upgraded(value);
  if (v !== 2) throw fail('AIOS_VERSION_UNKNOWN', 'The budget in the state log has another format.');
  return value as BudgetState;
}
