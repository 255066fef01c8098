// Budgets: reserve the worst case, settle what was spent, let forgotten reservations expire; a pure reducer per tenant.
// Owns: the state of one budget root and every rule about it. Whoever hosts it keeps the state behind one compare-and-set.
// Never reads a clock and never spends more than a cap: room is spent + reserved, checked at every level in one step.
// Others may assume: states are plain JSON of bounded size, inputs are never changed, and the same attempt reserves once.

import { fail } from '../contracts/errors.ts';
import type { BudgetView, ReserveAnswer, ReserveRequest, SettleRequest } from '../contracts/ports.ts';

/** Reservations open at once; past it a reservation is refused by `open-reservations`. The state stays below a KV value's 256 KiB. */
export const OPEN_MAX = 768;
/** Settled attempts remembered, each until its reservation would have expired: nobody repeats an attempt later. Oldest forgotten first. */
export const SETTLED_MAX = 2_048;
/** Expired attempts that still take a late settlement; after that a settlement is unknown and ignored. */
export const EXPIRED_MAX = 256;
/** Accounts of teams, agents and tasks with a limit of their own; the idle task longest untouched is dropped first. */
export const ACCOUNTS_MAX = 512;

/** Optional limits below the tenant's cap, micro-USD; they hold for the period, a task's for its life. */
export interface BudgetLimits {
  readonly teams?: Readonly<Record<string, number>>;
  readonly agents?: Readonly<Record<string, number>>;
  /** For every task alike. */
  readonly taskMicroUsdMax?: number;
}
export interface Account {
  readonly spentMicroUsd: number;
  readonly reservedMicroUsd: number;
}
export interface Reservation {
  readonly task: string;
  readonly microUsd: number;
  readonly expiresAt: number;
  /** Accounts below the tenant that it was charged to, such as `team/support`. */
  readonly accounts: readonly string[];
}
export interface BudgetState {
  readonly v: 1;
  readonly capMicroUsd: number;
  readonly limits: BudgetLimits;
  /** Calendar month of the running period, UTC, as yyyymm; 0 before the first reservation. */
  readonly month: number;
  readonly spentMicroUsd: number;
  readonly reservedMicroUsd: number;
  /** Spending that arrived when there was no room for it any more (late, or past its reservation): shown, never hidden in `spent`. */
  readonly unfundedMicroUsd: number;
  /** Level accounts by `team/…`, `agent/…`, `task/…`. */
  readonly accounts: Readonly<Record<string, Account>>;
  /** By reservation id, which is the attempt. */
  readonly open: Readonly<Record<string, Reservation>>;
  /** Settled attempts by a 53-bit hash (short, since the whole state is written each time) -> when to forget them, ms since 1970. */
  readonly settled: Readonly<Record<string, number>>;
  /** Expired attempts -> the accounts a late settlement is charged to. */
  readonly expired: Readonly<Record<string, readonly string[]>>;
}

/** Levels between tenant and task that a request may name besides what the port carries. */
export type LevelledRequest = ReserveRequest & { readonly team?: string | undefined; readonly agent?: string | undefined };

export function emptyBudget(capMicroUsd: number, limits: BudgetLimits = {}): BudgetState {
  return { v: 1, capMicroUsd: amount(capMicroUsd), limits, month: 0, spentMicroUsd: 0, reservedMicroUsd: 0, unfundedMicroUsd: 0, accounts: {}, open: {}, settled: {}, expired: {} };
}

/** Grants the whole amount or nothing. `by` names the level that refused: `tenant`, `team/…`, `agent/…`, `task/…`, `open-reservations`, `expired`. */
export function reserve(state: BudgetState, request: LevelledRequest, now: number): { readonly state: BudgetState; readonly answer: ReserveAnswer } {
  const { state: next, answers } = reserveAll(state, [request], now);
  return { state: next, answer: answers[0] as ReserveAnswer };
}

/** A batch, decided member by member in order, in one step; the state is copied once. */
export function reserveAll(state: BudgetState, requests: readonly LevelledRequest[], now: number): { readonly state: BudgetState; readonly answers: readonly ReserveAnswer[] } {
  const draft = open(state, now);
  const answers = requests.map((request) => reserveOne(draft, request, now));
  return { state: close(draft), answers };
}

/**
 * Turns a reservation into spending and releases the rest. Settling twice, or what nobody remembers, changes nothing.
 * Spending past the reservation is charged while there is room; what finds none is counted as unfunded, so `spent` never passes the cap.
 */
export function settle(state: BudgetState, request: SettleRequest, now: number): BudgetState {
  return settleAll(state, [request], now);
}

export function settleAll(state: BudgetState, requests: readonly SettleRequest[], now: number): BudgetState {
  const draft = open(state, now);
  for (const request of requests) settleOne(draft, request);
  return close(draft);
}

/** Releases reservations whose time has passed and starts a new period with the month. Every operation does this first. */
export const expire = (state: BudgetState, now: number): BudgetState => close(open(state, now));

/** Another cap from now on. Below what is spent or reserved it refuses new reservations and takes nothing back. */
export const withCap = (state: BudgetState, capMicroUsd: number, limits: BudgetLimits = state.limits): BudgetState => ({ ...state, capMicroUsd: amount(capMicroUsd), limits });

export const viewOf = (tenant: string, state: BudgetState): BudgetView => ({ tenant, capMicroUsd: state.capMicroUsd, spentMicroUsd: state.spentMicroUsd, reservedMicroUsd: state.reservedMicroUsd });

// ---- one step on a draft

type Draft = { -readonly [K in keyof BudgetState]: BudgetState[K] } & {
  accounts: Record<string, Account>;
  open: Record<string, Reservation>;
  settled: Record<string, number>;
  expired: Record<string, readonly string[]>;
};

function open(state: BudgetState, now: number): Draft {
  if (state.v !== 1) throw fail('AIOS_VERSION_UNKNOWN', `Budget state version ${String(state.v)}.`);
  const draft: Draft = { ...state, accounts: { ...state.accounts }, open: { ...state.open }, settled: { ...state.settled }, expired: { ...state.expired } };
  for (const [hash, until] of Object.entries(draft.settled)) if (until <= now) delete draft.settled[hash];
  for (const [attempt, reservation] of Object.entries(draft.open)) if (reservation.expiresAt <= now) lapse(draft, attempt, reservation);
  startMonth(draft, monthOf(now));
  return draft;
}

function close(draft: Draft): BudgetState {
  dropOldest(draft.settled, SETTLED_MAX);
  dropOldest(draft.expired, EXPIRED_MAX);
  dropIdleAccounts(draft);
  return draft;
}

function reserveOne(draft: Draft, request: LevelledRequest, now: number): ReserveAnswer {
  const wanted = amount(request.microUsd);
  if (Object.hasOwn(draft.open, request.attempt) || Object.hasOwn(draft.settled, hashOf(request.attempt))) return granted(draft, request.attempt);
  const levels = levelsOf(draft, request);
  const refuses = request.expiresAt <= now ? 'expired' : Object.keys(draft.open).length >= OPEN_MAX ? 'open-reservations' : shortLevel(draft, levels, wanted);
  if (refuses !== undefined) return { granted: false, leftMicroUsd: room(draft), by: refuses };
  delete draft.expired[request.attempt];
  draft.open[request.attempt] = { task: request.task, microUsd: wanted, expiresAt: request.expiresAt, accounts: levels.map(({ name }) => name) };
  hold(draft, levels.map(({ name }) => name), wanted);
  return granted(draft, request.attempt);
}

const granted = (draft: Draft, reservation: string): ReserveAnswer => ({ granted: true, reservation, leftMicroUsd: room(draft) });
const room = (draft: BudgetState): number => Math.max(0, draft.capMicroUsd - draft.spentMicroUsd - draft.reservedMicroUsd);

interface Level { readonly name: string; readonly limit: number }

/** The levels that have a limit; without one a level costs nothing to keep. */
function levelsOf(draft: Draft, request: LevelledRequest): readonly Level[] {
  const { teams = {}, agents = {}, taskMicroUsdMax } = draft.limits;
  return [
    ...level('team', request.team, own(teams, request.team)),
    ...level('agent', request.agent, own(agents, request.agent)),
    ...level('task', request.task, taskMicroUsdMax),
  ];
}

const level = (kind: string, id: string | undefined, limit: number | undefined): readonly Level[] => (id === undefined || limit === undefined ? [] : [{ name: `${kind}/${id}`, limit }]);
const own = (limits: Readonly<Record<string, number>>, id: string | undefined): number | undefined => (id !== undefined && Object.hasOwn(limits, id) ? limits[id] : undefined);

function shortLevel(draft: Draft, levels: readonly Level[], wanted: number): string | undefined {
  if (wanted > room(draft)) return 'tenant';
  return levels.find(({ name, limit }) => wanted > limit - used(draft.accounts[name]))?.name;
}

const used = (account: Account | undefined): number => (account === undefined ? 0 : account.spentMicroUsd + account.reservedMicroUsd);

function settleOne(draft: Draft, request: SettleRequest): void {
  const spent = amount(request.spentMicroUsd);
  const attempt = request.reservation;
  if (Object.hasOwn(draft.open, attempt)) {
    const reservation = draft.open[attempt] as Reservation;
    delete draft.open[attempt];
    hold(draft, reservation.accounts, -reservation.microUsd);
    draft.settled[hashOf(attempt)] = reservation.expiresAt;
    charge(draft, reservation.accounts, spent);
  } else if (Object.hasOwn(draft.expired, attempt)) {
    const accounts = draft.expired[attempt] as readonly string[];
    delete draft.expired[attempt];
    charge(draft, accounts, spent);
  }
}

function charge(draft: Draft, accounts: readonly string[], spent: number): void {
  const funded = Math.min(spent, room(draft));
  draft.spentMicroUsd += funded;
  draft.unfundedMicroUsd += spent - funded;
  for (const name of accounts) change(draft, name, spent, 0);
}

function lapse(draft: Draft, attempt: string, reservation: Reservation): void {
  delete draft.open[attempt];
  draft.expired[attempt] = reservation.accounts;
  hold(draft, reservation.accounts, -reservation.microUsd);
}

function hold(draft: Draft, accounts: readonly string[], microUsd: number): void {
  draft.reservedMicroUsd += microUsd;
  for (const name of accounts) change(draft, name, 0, microUsd);
}

function change(draft: Draft, name: string, spent: number, reserved: number): void {
  const { spentMicroUsd, reservedMicroUsd } = draft.accounts[name] ?? { spentMicroUsd: 0, reservedMicroUsd: 0 };
  delete draft.accounts[name];
  draft.accounts[name] = { spentMicroUsd: spentMicroUsd + spent, reservedMicroUsd: Math.max(0, reservedMicroUsd + reserved) };
}

function dropOldest(record: Record<string, unknown>, max: number): void {
  const names = Object.keys(record);
  for (const name of names.slice(0, Math.max(0, names.length - max))) delete record[name];
}

/** cyrb53, a 53-bit string hash in the public domain, as base 36 with a letter first so that keys keep their order of insertion. */
function hashOf(text: string): string {
  let a = 0xdeadbeef;
  let b = 0x41c6ce57;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 2_654_435_761);
    b = Math.imul(b ^ code, 1_597_334_677);
  }
  a = Math.imul(a ^ (a >>> 16), 2_246_822_507) ^ Math.imul(b ^ (b >>> 13), 3_266_489_909);
  b = Math.imul(b ^ (b >>> 16), 2_246_822_507) ^ Math.imul(a ^ (a >>> 13), 3_266_489_909);
  return `h${(4_294_967_296 * (2_097_151 & b) + (a >>> 0)).toString(36)}`;
}

/** Insertion order is order of use (`change` moves an account to the end). Accounts with an open reservation stay. */
function dropIdleAccounts(draft: Draft): void {
  const names = Object.keys(draft.accounts);
  let excess = names.length - ACCOUNTS_MAX;
  for (const name of names) {
    if (excess <= 0) return;
    if (!name.startsWith('task/') || draft.accounts[name]?.reservedMicroUsd !== 0) continue;
    delete draft.accounts[name];
    excess -= 1;
  }
}

/** Spending starts again at zero with the month; what is still reserved stays reserved. */
function startMonth(draft: Draft, month: number): void {
  if (month <= draft.month) return;
  if (draft.month !== 0) {
    draft.spentMicroUsd = 0;
    draft.unfundedMicroUsd = 0;
    for (const name of Object.keys(draft.accounts)) if (!name.startsWith('task/')) draft.accounts[name] = { spentMicroUsd: 0, reservedMicroUsd: draft.accounts[name]?.reservedMicroUsd ?? 0 };
  }
  draft.month = month;
}

function amount(microUsd: number): number {
  if (Number.isSafeInteger(microUsd) && microUsd >= 0) return microUsd;
  throw fail('AIOS_INPUT_INVALID', 'an amount is an integer of micro-USD, 0 or more.');
}

/** yyyymm, UTC, of ms since 1970. Days to civil date after Howard Hinnant, "chrono-compatible low-level date algorithms". */
export function monthOf(ms: number): number {
  const days = Math.floor(ms / 86_400_000) + 719_468;
  const era = Math.floor(days / 146_097);
  const dayOfEra = days - era * 146_097;
  const yearOfEra = Math.floor((dayOfEra - Math.floor(dayOfEra / 1_460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365);
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shifted = Math.floor((5 * dayOfYear + 2) / 153);
  const month = shifted < 10 ? shifted + 3 : shifted - 9;
  return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0)) * 100 + month;
}
