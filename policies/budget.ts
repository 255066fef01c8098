// Budgets: reserve the worst case, settle what was spent, let forgotten reservations expire; a pure reducer per tenant.
// Owns: the state of one budget root and every rule about it: caps by level and period, rates and concurrency by capability, leases.
// Never reads a clock and never spends more than a cap: room is cap - spent - reserved, checked at every level in one step.
// Others may assume: states are plain JSON of bounded size, inputs are never changed, and the same attempt reserves once.
// Whoever hosts it (agents/budget) keeps the state behind one compare-and-set and applies a batch in one step.

import { type BudgetChange, type BudgetDetail, type BudgetTerms, type Cap, type CapabilityLimit, CAP_LEVEL, type LevelView } from '../contracts/budget.ts';
import type { PolicyBundle } from '../contracts/bundle.ts';
import { fail } from '../contracts/errors.ts';
import type { BudgetView, ReserveAnswer, ReserveRequest, SettleRequest } from '../contracts/ports.ts';
import { periodStart } from './period.ts';

/** Reservations, admissions and leases open at once; past it one is refused by `open-reservations`. The state stays below a message's 256 KiB. */
export const OPEN_MAX = 1_024;
/** Settled attempts remembered at least until their reservation would have expired: nobody repeats an attempt later. Oldest forgotten first. */
export const SETTLED_MAX = 2_048;
/** Expired attempts that still take a late settlement; after that a settlement is unknown and ignored. */
export const EXPIRED_MAX = 256;
/** Leases that ended without a report: they stay charged in full, and the oldest can no longer be given back. */
export const LAPSED_MAX = 64;
/** Accounts of teams, agents and tasks; the idle task longest untouched is dropped first. */
export const ACCOUNTS_MAX = 512;
/** Settled attempts are forgotten in generations of this many. */
const GENERATION = 256;
const HASH_CHARS = 11;
/** Nobody knows when a running task ends; this is when to ask again. */
const CONCURRENCY_RETRY_MS = 500;
const MINUTE_MS = 60_000;

export interface Account {
  readonly spentMicroUsd: number;
  readonly reservedMicroUsd: number;
  /** Spending for which there was no room any more: shown, never hidden in `spent`. */
  readonly unfundedMicroUsd: number;
  /** Start of the running period, ms since 1970; it never goes back. */
  readonly from: number;
}
export interface Reservation {
  readonly microUsd: number;
  readonly expiresAt: number;
  /** Accounts below the tenant that it was charged to, such as `team/support`. */
  readonly accounts: readonly string[];
  readonly kind?: 'admission' | 'lease';
  /** Of an admission: the capability whose concurrency it counts in. Of a lease: who holds it. */
  readonly of?: string;
}
/** An expired lease, with the periods it was charged in, so that a report of a later period gives nothing back. */
interface Lapsed { readonly microUsd: number; readonly at: number; readonly holder: string; readonly charged: readonly (readonly [account: string, from: number, microUsd: number])[] }
interface Generation { readonly until: number; readonly hashes: string; readonly count: number }

export interface BudgetState {
  readonly v: 2;
  /** What the bundle says. */
  readonly terms: BudgetTerms;
  /** What an operator set instead, by level. */
  readonly set: { readonly caps: Readonly<Record<string, Cap>>; readonly limits: Readonly<Record<string, CapabilityLimit>> };
  /** `tenant`, and the levels that have a cap: `team/…`, `agent/…`, `task/…`. */
  readonly accounts: Readonly<Record<string, Account>>;
  /** By reservation id, which is the attempt. */
  readonly open: Readonly<Record<string, Reservation>>;
  /** No open reservation expires before this. */
  readonly earliest: number;
  /** Settled attempts by a 53-bit hash, in generations: short, since the whole state is written each time. */
  readonly settled: readonly Generation[];
  /** Expired attempts -> the accounts a late settlement is charged to. */
  readonly expired: Readonly<Record<string, readonly string[]>>;
  readonly lapsed: Readonly<Record<string, Lapsed>>;
  /** By capability: theoretical arrival time of the next task at a steady rate, ms since 1970. */
  readonly rates: Readonly<Record<string, number>>;
}

export const NO_TERMS: BudgetTerms = Object.freeze({ caps: {}, limits: {} });

export function emptyBudget(terms: BudgetTerms | number): BudgetState {
  const given = typeof terms === 'number' ? { caps: { tenant: { microUsdMax: amount(terms), period: 'month' as const } }, limits: {} } : terms;
  return { v: 2, terms: given, set: { caps: {}, limits: {} }, accounts: {}, open: {}, earliest: Number.MAX_SAFE_INTEGER, settled: [], expired: {}, lapsed: {}, rates: {} };
}

/** The part of a bundle that concerns one tenant; nobody who is not named and has no `*` may spend. */
export function termsOf(bundle: Pick<PolicyBundle, 'budgets' | 'limits'>, tenant: string): BudgetTerms {
  const { period = 'month', teams = {}, agents = {}, taskMicroUsdMax, capabilities = {} } = own(bundle.limits ?? {}, tenant) ?? own(bundle.limits ?? {}, '*') ?? {};
  const named = (kind: string, caps: Readonly<Record<string, Cap>>) => Object.entries(caps).map(([id, cap]) => [`${kind}/${id}`, cap] as const);
  return {
    caps: {
      tenant: { microUsdMax: own(bundle.budgets, tenant) ?? own(bundle.budgets, '*') ?? 0, period },
      ...Object.fromEntries([...named('team', teams), ...named('agent', agents)]),
      ...(taskMicroUsdMax === undefined ? {} : { task: { microUsdMax: taskMicroUsdMax, period: 'month' as const } }),
    },
    limits: Object.fromEntries(Object.entries(capabilities).map(([name, limit]) => [`capability/${name}`, limit])),
  };
}

// ---- operations, one at a time or in a step of many

/** Grants the whole amount or nothing. `by` names what refused: `tenant`, `team/…`, `agent/…`, `task/…`, `rate/…`, `concurrency/…`, `open-reservations`, `expired`. */
export function reserve(state: BudgetState, request: ReserveRequest, now: number): { readonly state: BudgetState; readonly answer: ReserveAnswer } {
  const { state: next, answers } = reserveAll(state, [request], now);
  return { state: next, answer: answers[0] as ReserveAnswer };
}

/** A batch, decided member by member in order, in one step. */
export function reserveAll(state: BudgetState, requests: readonly ReserveRequest[], now: number): { readonly state: BudgetState; readonly answers: readonly ReserveAnswer[] } {
  const step = beginStep(state, now);
  const answers = requests.map((request) => step.reserve(request));
  return { state: step.end(), answers };
}

/**
 * Turns a reservation into spending and releases the rest. Settling twice, or what nobody remembers, changes nothing.
 * Spending past the reservation is charged while there is room; what finds none is counted as unfunded, so `spent` never passes a cap.
 */
export const settle = (state: BudgetState, request: SettleRequest, now: number): BudgetState => settleAll(state, [request], now);

export function settleAll(state: BudgetState, requests: readonly SettleRequest[], now: number): BudgetState {
  const step = beginStep(state, now);
  for (const request of requests) step.settle(request);
  return step.end();
}

/** Releases reservations whose time has passed and starts new periods. Every step does this first. */
export const expire = (state: BudgetState, now: number): BudgetState => beginStep(state, now).end();

/** Other terms from now on. A cap below what is spent or reserved refuses new reservations and takes nothing back. */
export const withTerms = (state: BudgetState, terms: BudgetTerms): BudgetState => (state.terms === terms ? state : { ...state, terms });

/** An operator's change; it holds until it is unset, whatever bundles say meanwhile. */
export function configure(state: BudgetState, change: BudgetChange): BudgetState {
  const { level } = change;
  const part = CAP_LEVEL.test(level) ? 'caps' : 'limits';
  const { [level]: _before, ...others } = state.set[part] as Record<string, Cap | CapabilityLimit>;
  const value = 'cap' in change ? { [level]: change.cap } : 'limit' in change ? { [level]: change.limit } : {};
  return { ...state, set: { ...state.set, [part]: { ...others, ...value } } };
}

/** Many operations on one copy of the state: what a host commits with one append. */
export interface BudgetStep {
  reserve(request: ReserveRequest): ReserveAnswer;
  settle(request: SettleRequest): void;
  configure(change: BudgetChange): void;
  end(): BudgetState;
}
export function beginStep(state: BudgetState, now: number): BudgetStep {
  const draft = draftOf(state, now);
  return {
    reserve: (request) => reserveOne(draft, request, now),
    settle: (request) => settleOne(draft, request),
    configure: (change) => void Object.assign(draft, { set: configure(draft, change).set }),
    end: () => close(draft),
  };
}

// ---- what is shown

export function viewOf(tenant: string, state: BudgetState): BudgetView {
  const { spentMicroUsd, reservedMicroUsd } = accountOf(state, 'tenant');
  return { tenant, capMicroUsd: capOf(state, 'tenant')?.microUsdMax ?? 0, spentMicroUsd, reservedMicroUsd };
}

export function detailOf(tenant: string, state: BudgetState): BudgetDetail {
  const names = ['tenant', ...Object.keys({ ...state.terms.caps, ...state.set.caps }).filter((name) => name !== 'tenant').sort(), ...Object.keys(state.accounts).filter((name) => name.startsWith('task/')).slice(-20)];
  const limits = Object.entries({ ...state.terms.limits, ...state.set.limits }).sort(([a], [b]) => (a < b ? -1 : 1));
  const running = runningBy(state);
  const open = Object.entries(state.open);
  return {
    tenant,
    levels: names.map((name) => levelView(state, name)),
    limits: limits.map(([level, limit]) => ({ level, ...limit, running: running.get(level.slice('capability/'.length)) ?? 0, set: Object.hasOwn(state.set.limits, level) })),
    leases: [
      ...open.filter(([, { kind }]) => kind === 'lease').map(([lease, { of = '', microUsd, expiresAt }]) => ({ lease, holder: of, microUsd, expiresAt, lapsed: false })),
      ...Object.entries(state.lapsed).map(([lease, { microUsd, at, holder }]) => ({ lease, holder, microUsd, expiresAt: at, lapsed: true })),
    ],
    openReservations: open.length,
  };
}

function levelView(state: BudgetState, level: string): LevelView {
  const cap = capOf(state, level) ?? { microUsdMax: 0, period: 'month' };
  const { spentMicroUsd, reservedMicroUsd, unfundedMicroUsd } = accountOf(state, level);
  const ofTask = level === 'task' || level.startsWith('task/');
  const set = Object.hasOwn(state.set.caps, ofTask ? 'task' : level);
  return { level, microUsdMax: cap.microUsdMax, period: ofTask ? 'life' : cap.period, spentMicroUsd, reservedMicroUsd, leftMicroUsd: room(state, level), unfundedMicroUsd, set };
}

/** Whether starting tasks of a capability is limited at all: where not, nobody has to ask. */
export const limitOf = (state: Pick<BudgetState, 'terms' | 'set'>, capability: string): CapabilityLimit | undefined => {
  const limits = { ...state.terms.limits, ...state.set.limits };
  return own(limits, `capability/${capability}`) ?? own(limits, 'capability/*');
};

// ---- one step on a draft

type Draft = { -readonly [K in keyof BudgetState]: BudgetState[K] } & {
  accounts: Record<string, Account>;
  open: Record<string, Reservation>;
  settled: Generation[];
  expired: Record<string, readonly string[]>;
  lapsed: Record<string, Lapsed>;
  rates: Record<string, number>;
};

function draftOf(state: BudgetState, now: number): Draft {
  if (state.v !== 2) throw fail('AIOS_VERSION_UNKNOWN', `Budget state version ${String(state.v)}.`);
  const draft: Draft = {
    ...state, accounts: { ...state.accounts }, open: { ...state.open }, expired: { ...state.expired }, lapsed: { ...state.lapsed }, rates: { ...state.rates },
    settled: state.settled.filter(({ until }) => until > now),
  };
  startPeriods(draft, now);
  if (draft.earliest <= now) lapseAll(draft, now);
  for (const [capability, arrival] of Object.entries(draft.rates)) if (arrival <= now) delete draft.rates[capability];
  return draft;
}

function close(draft: Draft): BudgetState {
  while (draft.settled.length > 0 && draft.settled.reduce((sum, { count }) => sum + count, 0) > SETTLED_MAX) draft.settled.shift();
  dropOldest(draft.expired, EXPIRED_MAX);
  dropOldest(draft.lapsed, LAPSED_MAX);
  dropIdleAccounts(draft);
  return draft;
}

function reserveOne(draft: Draft, request: ReserveRequest, now: number): ReserveAnswer {
  const wanted = amount(request.microUsd);
  if (Object.hasOwn(draft.open, request.attempt) || Object.hasOwn(draft.lapsed, request.attempt) || isSettled(draft, request.attempt)) return granted(draft, request.attempt);
  const levels = levelsOf(draft, request);
  const refused = request.expiresAt <= now ? { by: 'expired' } : Object.keys(draft.open).length >= OPEN_MAX ? { by: 'open-reservations', retryAfterMs: CONCURRENCY_RETRY_MS } : limited(draft, request, now) ?? shortLevel(draft, levels, wanted);
  if (refused !== undefined) return { granted: false, leftMicroUsd: room(draft, 'tenant'), ...refused };
  delete draft.expired[request.attempt];
  const accounts = levels.filter((name) => name !== 'tenant');
  draft.open[request.attempt] = { microUsd: wanted, expiresAt: request.expiresAt, accounts, ...kindOf(request) };
  draft.earliest = Math.min(draft.earliest, request.expiresAt);
  hold(draft, accounts, wanted);
  return granted(draft, request.attempt);
}

const granted = (draft: Draft, reservation: string): ReserveAnswer => ({ granted: true, reservation, leftMicroUsd: room(draft, 'tenant') });

function kindOf({ kind = 'work', capability, task }: ReserveRequest): Pick<Reservation, 'kind' | 'of'> {
  if (kind === 'work') return {};
  return { kind, of: kind === 'admission' ? capability : task };
}

/** The levels that have a cap, widest first; without one a level costs nothing to keep. */
function levelsOf(draft: Draft, { team, agent, task, kind }: ReserveRequest): readonly string[] {
  const below = [team === undefined ? '' : `team/${team}`, agent === undefined ? '' : `agent/${agent}`, kind === 'lease' ? '' : `task/${task}`];
  return ['tenant', ...below.filter((name) => name !== '' && capOf(draft, name) !== undefined)];
}

function capOf(state: Pick<BudgetState, 'terms' | 'set'>, level: string): Cap | undefined {
  const name = level.startsWith('task/') ? 'task' : level;
  return own(state.set.caps, name) ?? own(state.terms.caps, name);
}

const accountOf = (state: Pick<BudgetState, 'accounts'>, level: string): Account => own(state.accounts, level) ?? { spentMicroUsd: 0, reservedMicroUsd: 0, unfundedMicroUsd: 0, from: 0 };

function room(state: BudgetState, level: string): number {
  const { spentMicroUsd, reservedMicroUsd } = accountOf(state, level);
  return Math.max(0, (capOf(state, level)?.microUsdMax ?? 0) - spentMicroUsd - reservedMicroUsd);
}

interface Refused { readonly by: string; readonly retryAfterMs?: number }

function shortLevel(draft: Draft, levels: readonly string[], wanted: number): Refused | undefined {
  const by = levels.find((level) => wanted > room(draft, level));
  return by === undefined ? undefined : { by };
}

// ---- rates and concurrency: an admission is a reservation of no money that holds a place

/** @returns what refuses; when nothing does, the place is taken */
function limited(draft: Draft, { kind, capability }: ReserveRequest, now: number): Refused | undefined {
  const limit = kind === 'admission' ? limitOf(draft, capability) : undefined;
  if (limit === undefined) return undefined;
  if (limit.concurrentMax !== undefined && (runningBy(draft).get(capability) ?? 0) >= limit.concurrentMax) return { by: `concurrency/${capability}`, retryAfterMs: CONCURRENCY_RETRY_MS };
  return limit.perMinuteMax === undefined ? undefined : paced(draft, capability, limit.perMinuteMax, limit.burstMax ?? Math.max(1, Math.floor(limit.perMinuteMax / 10)), now);
}

/** Generic cell rate algorithm (ITU-T I.371, virtual scheduling): one number a capability, and the exact wait for who is refused. */
function paced(draft: Draft, capability: string, perMinuteMax: number, burstMax: number, now: number): Refused | undefined {
  const interval = MINUTE_MS / perMinuteMax;
  const arrival = Math.max(own(draft.rates, capability) ?? now, now);
  const early = arrival - now - interval * (burstMax - 1);
  if (early > 0) return { by: `rate/${capability}`, retryAfterMs: Math.ceil(early) };
  draft.rates[capability] = arrival + interval;
  return undefined;
}

/** A task that was not started after all gives its place in the rate back. */
function unpace(draft: Draft, capability: string): void {
  const perMinuteMax = limitOf(draft, capability)?.perMinuteMax;
  const arrival = own(draft.rates, capability);
  if (perMinuteMax !== undefined && arrival !== undefined) draft.rates[capability] = arrival - MINUTE_MS / perMinuteMax;
}

function runningBy(state: Pick<BudgetState, 'open'>): ReadonlyMap<string, number> {
  const running = new Map<string, number>();
  for (const { kind, of } of Object.values(state.open)) if (kind === 'admission' && of !== undefined) running.set(of, (running.get(of) ?? 0) + 1);
  return running;
}

// ---- settlement and expiry

function settleOne(draft: Draft, request: SettleRequest): void {
  const spent = amount(request.spentMicroUsd);
  const attempt = request.reservation;
  const reservation = own(draft.open, attempt);
  if (reservation !== undefined) {
    delete draft.open[attempt];
    hold(draft, reservation.accounts, -reservation.microUsd);
    if (request.void === true && reservation.kind === 'admission' && reservation.of !== undefined) unpace(draft, reservation.of);
    remember(draft, attempt, reservation.expiresAt);
    charge(draft, reservation.accounts, spent);
  } else if (Object.hasOwn(draft.expired, attempt)) {
    const accounts = draft.expired[attempt] as readonly string[];
    delete draft.expired[attempt];
    charge(draft, accounts, spent);
  } else if (Object.hasOwn(draft.lapsed, attempt)) {
    const lapsed = draft.lapsed[attempt] as Lapsed;
    delete draft.lapsed[attempt];
    refund(draft, lapsed, spent);
  }
}

/** Each level pays what it has room for; the rest is unfunded there. */
function charge(draft: Draft, accounts: readonly string[], spent: number): void {
  if (spent > 0) for (const name of ['tenant', ...accounts]) {
    const funded = Math.min(spent, room(draft, name));
    change(draft, name, { spent: funded, unfunded: spent - funded });
  }
}

function lapseAll(draft: Draft, now: number): void {
  let earliest = Number.MAX_SAFE_INTEGER;
  for (const [attempt, reservation] of Object.entries(draft.open)) {
    if (reservation.expiresAt <= now) lapse(draft, attempt, reservation);
    else earliest = Math.min(earliest, reservation.expiresAt);
  }
  draft.earliest = earliest;
}

/** A forgotten reservation is released. A lease is not: its holder may have spent it where nobody could see, so it is charged in full until it reports. */
function lapse(draft: Draft, attempt: string, { kind, of, accounts, microUsd, expiresAt }: Reservation): void {
  delete draft.open[attempt];
  hold(draft, accounts, -microUsd);
  if (kind === 'admission') return;
  if (kind !== 'lease') return void (draft.expired[attempt] = accounts);
  const before = ['tenant', ...accounts].map((name) => [name, accountOf(draft, name)] as const);
  charge(draft, accounts, microUsd);
  draft.lapsed[attempt] = { microUsd, at: expiresAt, holder: of ?? '', charged: before.map(([name, { spentMicroUsd }]) => [name, accountOf(draft, name).from, accountOf(draft, name).spentMicroUsd - spentMicroUsd]) };
}

/** The charge of the whole lease becomes the charge of what its holder spent, in accounts whose period still runs. */
function refund(draft: Draft, { microUsd, charged }: Lapsed, spent: number): void {
  for (const [name, from, paid] of charged) {
    if (accountOf(draft, name).from !== from) continue;
    change(draft, name, { spent: -Math.max(0, paid - spent), unfunded: Math.max(0, spent - paid) - (microUsd - paid) });
  }
}

function hold(draft: Draft, accounts: readonly string[], reserved: number): void {
  if (reserved !== 0) for (const name of ['tenant', ...accounts]) change(draft, name, { reserved });
}

function change(draft: Draft, name: string, { spent = 0, reserved = 0, unfunded = 0 }: { readonly spent?: number; readonly reserved?: number; readonly unfunded?: number }): void {
  const { spentMicroUsd, reservedMicroUsd, unfundedMicroUsd, from } = accountOf(draft, name);
  delete draft.accounts[name];
  draft.accounts[name] = { spentMicroUsd: spentMicroUsd + spent, reservedMicroUsd: Math.max(0, reservedMicroUsd + reserved), unfundedMicroUsd: unfundedMicroUsd + unfunded, from };
}

/** Spending starts again at zero with each account's period; what is still reserved stays reserved. A task's account lives as long as the task. */
function startPeriods(draft: Draft, now: number): void {
  for (const level of Object.keys({ ...draft.terms.caps, ...draft.set.caps })) {
    if (level === 'task') continue;
    const from = periodStart(capOf(draft, level)?.period ?? 'month', now);
    const account = accountOf(draft, level);
    if (from <= account.from) continue;
    draft.accounts[level] = account.from === 0 ? { ...account, from } : { spentMicroUsd: 0, reservedMicroUsd: account.reservedMicroUsd, unfundedMicroUsd: 0, from };
  }
}

// ---- bounds

function remember(draft: Draft, attempt: string, until: number): void {
  const hash = hashOf(attempt);
  const newest = draft.settled.at(-1);
  if (newest !== undefined && newest.count < GENERATION) draft.settled[draft.settled.length - 1] = { until: Math.max(newest.until, until), hashes: `${newest.hashes},${hash}`, count: newest.count + 1 };
  else draft.settled.push({ until, hashes: `,${hash}`, count: 1 });
}

function isSettled(draft: Draft, attempt: string): boolean {
  const hash = `,${hashOf(attempt)}`;
  return draft.settled.some(({ hashes }) => hashes.includes(hash));
}

function dropOldest(record: Record<string, unknown>, max: number): void {
  const names = Object.keys(record);
  for (const name of names.slice(0, Math.max(0, names.length - max))) delete record[name];
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

/** cyrb53, a 53-bit string hash in the public domain, as base 36 of fixed length. */
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
  return (4_294_967_296 * (2_097_151 & b) + (a >>> 0)).toString(36).padStart(HASH_CHARS, '0');
}

function own<T>(record: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined;
}

function amount(microUsd: number): number {
  if (Number.isSafeInteger(microUsd) && microUsd >= 0) return microUsd;
  throw fail('AIOS_INPUT_INVALID', 'an amount is an integer of micro-USD, 0 or more.');
}


