// Budgets as every process sees them: each root is held by one process at a time, the others send it their changes.
// Owns: who holds a root (a lease, taken by whoever needs it first), the way to the holder, and what happens when it is gone.
// Never needs the holder to be right: the root writes by compare-and-set, so two that both believe they hold it never overrun.
// Others may assume: a change is applied once whatever is lost or repeated, asked again under the same attempt it answers the
// same; a holder that dies is replaced at once by whoever asks next. Bounds: TENANTS_MAX roots in memory, OPS_PER_CALL a message.

import { patterns, subjects, tenantOf } from '../../contracts/address.ts';
import { type BudgetChange, budgetCallSchema, type BudgetDetail, type BudgetOp, budgetReplySchema } from '../../contracts/budget.ts';
import { fail, fromErrorBody, hasCode, toErrorBody } from '../../contracts/errors.ts';
import { parseId } from '../../contracts/ids.ts';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import type { BudgetRoots, Bus, BusMessage, Lease, Leases, Logger, ReserveAnswer } from '../../contracts/ports.ts';
import { detailOf, expire, limitOf, viewOf, type BudgetState } from '../../policies/budget.ts';
import { type BudgetRoot, createRoot, type OpAnswers, type RootPorts } from './root.ts';

export interface RootsOptions extends RootPorts {
  readonly bus: Bus;
  readonly leases: Leases;
  readonly logger: Logger;
  /** Unique among the processes of a deployment: owner of leases, and where changes are sent. */
  readonly name: string;
  /** False: never holds a root, only asks those who do. */
  readonly holds?: boolean;
  /** Life of a root's lease: how long others go the slow way after a holder that hangs. */
  readonly leaseMs?: number;
}

const TENANTS_MAX = 1_024;
const OPS_PER_CALL = 256;
const LEASE_MS = 2_400;
/** A holder that does not answer within this is passed over for a lease's life; what it did meanwhile is found in the state. */
const ANSWER_MS = 500;
/** A root nobody changed for so long is given up. */
const IDLE_MS = 60_000;
const LIMITS_SEEN_MS = 2_000;
const ASKS_MAX = 8;
const CALLS_MAX = 1_024;
const PREFIX = 'budget.';
/** Any process that may hold roots: for those that may not, when nobody holds one. */
const ANYONE = '_any';

interface Seat {
  readonly tenant: string;
  readonly root: BudgetRoot;
  /** Who holds the root as far as this process knows. */
  holder: string | undefined;
  lease: Lease | undefined;
  finding: Promise<string | undefined> | undefined;
  /** A holder that did not answer: its lease may live on for a while. */
  shunned: { readonly holder: string; readonly until: number } | undefined;
  /** Changes that wait for the one message that is on its way to the holder. */
  readonly outbox: { readonly op: BudgetOp; resolve(answers: readonly ReserveAnswer[]): void; reject(error: unknown): void }[];
  sending: boolean;
  usedAt: number;
  limits: { readonly at: number; readonly state: BudgetState } | undefined;
}

export async function startBudgetRoots(options: RootsOptions): Promise<BudgetRoots> {
  const { clock, bus, name, holds = true } = options;
  const seats = new Map<string, Seat>();
  let closed = false;

  const seatOf = (tenant: string): Seat => {
    const known = seats.get(tenant);
    if (known !== undefined) return Object.assign(known, { usedAt: clock.monotonic() });
    if (seats.size >= TENANTS_MAX) throw fail('AIOS_OVERLOADED', `Budgets of ${TENANTS_MAX} tenants change at once.`, { retryAfterMs: 1_000 });
    const seat: Seat = { tenant, root: createRoot(options, tenant), holder: undefined, lease: undefined, finding: undefined, shunned: undefined, outbox: [], sending: false, usedAt: clock.monotonic(), limits: undefined };
    seats.set(tenant, seat);
    return seat;
  };

  /** One change: in place when this process holds the root, otherwise with the next message to who does. */
  async function change(tenant: string, op: BudgetOp): Promise<readonly ReserveAnswer[]> {
    const seat = seatOf(tenant);
    if (seat.lease?.lost.aborted === false) return (await seat.root.change([op]))[0] ?? [];
    return new Promise((resolve, reject) => {
      seat.outbox.push({ op, resolve, reject });
      if (!seat.sending) void sendAll(options, holds && !closed, seat);
    });
  }

  const serving = new AsyncDisposableStack();
  if (holds) {
    serving.use(await bus.subscribe(patterns.budget(name), { concurrencyMax: CALLS_MAX }, (message) => answered(message, (tenant, ops) => held(options, seats, tenant, ops))));
    serving.use(await bus.subscribe(patterns.budget(ANYONE), { queue: 'budgets', concurrencyMax: CALLS_MAX }, (message) => answered(message, (tenant, ops) => place(options, !closed, seatOf(tenant), ops))));
  }
  let cancelSweep = holds ? clock.after(IDLE_MS / 4, () => sweep()) : () => {};
  const sweep = (): void => {
    forgetIdle(seats, clock.monotonic() - IDLE_MS);
    cancelSweep = clock.after(IDLE_MS / 4, () => sweep());
  };

  /** The whole state: of this process where it holds the root, otherwise read. */
  const stateOf = async (tenant: string): Promise<BudgetState> => {
    const seat = seatOf(tenant);
    return expire(await seat.root.state(seat.lease === undefined || seat.lease.lost.aborted), clock.now());
  };

  return {
    async reserve(requests) {
      const answers = await Promise.all([...byTenant(requests)].map(async ([tenant, entries]) => {
        const decided = await change(tenant, { op: 'reserve', requests: entries.map(({ item }) => item) });
        return entries.map(({ index }, position) => ({ index, answer: decided[position] }));
      }));
      return answers.flat().sort((a, b) => a.index - b.index).map(({ answer }) => answer ?? refuse());
    },
    async settle(requests) {
      await Promise.all([...byTenant(requests)].map(([tenant, entries]) => change(tenant, { op: 'settle', requests: entries.map(({ item }) => item) })));
    },
    view: async (tenant) => viewOf(tenant, await stateOf(tenant)),
    detail: async (tenant): Promise<BudgetDetail> => detailOf(tenant, await stateOf(tenant)),
    async configure(tenant, wanted: BudgetChange) {
      await change(tenant, { op: 'configure', change: wanted });
      seatOf(tenant).limits = undefined;
    },
    async limited(tenant, capability) {
      const seat = seatOf(tenant);
      if (seat.lease?.lost.aborted === false) return limitOf(await seat.root.state(false), capability) !== undefined;
      if (seat.limits === undefined || clock.monotonic() - seat.limits.at > LIMITS_SEEN_MS) seat.limits = { at: clock.monotonic(), state: await seat.root.state(true) };
      return limitOf({ terms: await options.termsOf(tenant), set: seat.limits.state.set }, capability) !== undefined;
    },
    async [Symbol.asyncDispose]() {
      closed = true;
      cancelSweep();
      await serving.disposeAsync();
      await Promise.allSettled([...seats.values()].map((seat) => seat.lease?.release()));
      seats.clear();
    },
  };
}

const refuse = (): never => { throw fail('AIOS_INTERNAL'); };

// ---- asking the holder

/** One message on its way at a time; everything that waits goes into the next, so a thousand askers are a few messages. */
async function sendAll(options: RootsOptions, holds: boolean, seat: Seat): Promise<void> {
  seat.sending = true;
  while (seat.outbox.length > 0) {
    const batch = seat.outbox.splice(0, OPS_PER_CALL);
    try {
      const answers = await place(options, holds, seat, batch.map(({ op }) => op));
      batch.forEach(({ resolve }, i) => resolve(answers[i] ?? []));
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
  seat.sending = false;
}

/** Whoever may hold roots writes itself when the holder is gone: compare-and-set decides, nobody waits for a lease to end. */
async function place(options: RootsOptions, holds: boolean, seat: Seat, ops: readonly BudgetOp[]): Promise<OpAnswers> {
  const { clock, random, metrics, leaseMs = LEASE_MS } = options;
  for (let asks = 1; ; asks++) {
    const holder = await holderOf(options, holds, seat);
    const shunned = holder === undefined || (seat.shunned?.holder === holder && clock.monotonic() < seat.shunned.until);
    if (holds && (shunned || holder === options.name)) return seat.root.change(ops);
    try {
      return await ask(options, seat.tenant, shunned ? ANYONE : holder, ops, holds ? ANSWER_MS : 4 * ANSWER_MS);
    } catch (error) {
      if (!isGone(error) || asks >= ASKS_MAX) throw error;
      metrics.count('aios_budget_holder_gone_total');
      if (holder !== undefined && (asks > 1 || hasCode(error, 'AIOS_DEADLINE_EXCEEDED'))) seat.shunned = { holder, until: clock.monotonic() + leaseMs };
      seat.holder = undefined;
      if (!holds) await clock.sleep(random.next() * Math.min(500, 20 * 2 ** asks));
    }
  }
}

const isGone = (error: unknown): boolean => hasCode(error, 'AIOS_UNAVAILABLE') || hasCode(error, 'AIOS_DEADLINE_EXCEEDED');

async function ask({ bus }: RootsOptions, tenant: string, holder: string, ops: readonly BudgetOp[], timeoutMs: number): Promise<OpAnswers> {
  const answer = await bus.request(subjects.budget(parseId('tenant', tenant), holder), toBytes({ v: 1, ops }), { timeoutMs });
  const reply = parseBytes(budgetReplySchema, answer.data);
  if ('moved' in reply) throw fail('AIOS_UNAVAILABLE', 'The budget moved.', { retryAfterMs: 50 });
  if ('answers' in reply) return reply.answers as OpAnswers;
  const { code, message, retryAfterMs } = reply.error;
  throw fromErrorBody(retryAfterMs === undefined ? { code, message } : { code, message, retryAfterMs });
}

/** Who is known, else ourselves if the lease is free, else who has it. Concurrent callers look once. */
function holderOf(options: RootsOptions, holds: boolean, seat: Seat): Promise<string | undefined> {
  if (seat.lease?.lost.aborted === false) return Promise.resolve(options.name);
  if (seat.holder !== undefined && seat.holder !== options.name) return Promise.resolve(seat.holder);
  seat.finding ??= find(options, holds, seat).finally(() => (seat.finding = undefined));
  return seat.finding;
}

async function find({ leases, name, leaseMs = LEASE_MS, logger }: RootsOptions, holds: boolean, seat: Seat): Promise<string | undefined> {
  const lease = holds ? await leases.acquire(`${PREFIX}${seat.tenant}`, name, leaseMs) : undefined;
  if (lease !== undefined) {
    logger.debug({ fence: lease.fence }, 'holding a budget root');
    seat.lease = lease;
    return (seat.holder = name);
  }
  seat.holder = (await leases.holders()).get(`${PREFIX}${seat.tenant}`)?.owner;
  return seat.holder;
}

// ---- holding

/** Never rejects: whatever goes wrong is the answer. */
async function answered(message: BusMessage, work: (tenant: string, ops: readonly BudgetOp[]) => Promise<OpAnswers | undefined>): Promise<void> {
  try {
    const { ops } = parseBytes(budgetCallSchema, message.data);
    const tenant = tenantOf(message.subject);
    if (tenant === undefined || ops.some((op) => op.op !== 'configure' && op.requests.some((request) => request.tenant !== tenant))) throw fail('AIOS_TENANT_MISMATCH');
    const answers = await work(tenant, ops);
    message.respond?.(toBytes(answers === undefined ? { v: 1, moved: true } : { v: 1, answers }));
  } catch (error) {
    message.respond?.(toBytes({ v: 1, error: toErrorBody(error) }));
  }
}

/** Changes of other processes go the way our own go; undefined when this process does not hold the root. */
function held({ clock }: RootsOptions, seats: ReadonlyMap<string, Seat>, tenant: string, ops: readonly BudgetOp[]): Promise<OpAnswers | undefined> {
  const seat = seats.get(tenant);
  if (seat?.lease === undefined || seat.lease.lost.aborted) return Promise.resolve(undefined);
  seat.usedAt = clock.monotonic();
  return seat.root.change(ops);
}

function forgetIdle(seats: Map<string, Seat>, before: number): void {
  for (const [tenant, seat] of seats) {
    if (seat.usedAt > before || seat.root.busy || seat.sending || seat.outbox.length > 0) continue;
    seats.delete(tenant);
    void seat.lease?.release();
  }
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
