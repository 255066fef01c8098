// What each mandate has used through this gateway: calls counted, micro-USD held for calls in flight and spent.
// Owns: the account of every block of a mandate's chain, and how large a portion of the shared slice it asks for at a time.
// Never prices anything and never talks to the budget's root: the brain reserved the slice, gateways share it by portions.
// Others may assume: calls and money of all gateways together stay inside the grant; a hold that is refused changes nothing,
// and a hold is ended once whatever happens. A refusal may come early by what other gateways hold unused: an eighth each.

import { fail } from '../../contracts/errors.ts';
import type { Grant, VerifiedMandate } from '../../contracts/mandate.ts';
import type { Clock } from '../../contracts/ports.ts';
import { type Block, createLocalSlices, type Portion, type Slices } from './slices.ts';

const ACCOUNTS_MAX = 50_000;
/** One portion is this part of the grant: few exchanges for a task, little that lies idle where another gateway wants it. */
const PORTIONS = 8;
const TAKES_MAX = 64;
const GIVEN_BACK_MAX = 2_000;

export interface Hold {
  /** What was really spent; 0 when the call failed before it cost anything. */
  settle(spentMicroUsd: number): void;
}
export interface Meter {
  /** Counts the call. @throws AIOS_MANDATE_EXCEEDED when the calls are used up */
  countCall(mandate: VerifiedMandate): Promise<void>;
  /** @throws AIOS_BUDGET_EXCEEDED when the slice does not cover what is asked for */
  hold(mandate: VerifiedMandate, worstMicroUsd: number): Promise<Hold>;
  /** Through this gateway. */
  spentMicroUsd(mandate: VerifiedMandate): number;
  /** Before this gateway ends: what it took and did not use. */
  giveAllBack(): Promise<void>;
}

interface Account {
  calls: number;
  spent: number;
  held: number;
  /** Taken of the shared slice so far. */
  part: { microUsd: number; calls: number };
  block: Block | undefined;
  /** The one exchange under way. */
  taking: Promise<Portion | undefined> | undefined;
  readonly expiresAt: number;
}

export function createMeter(clock: Pick<Clock, 'now'>, slices: Slices = createLocalSlices(clock)): Meter {
  const accounts = new Map<string, Account>();
  const of = (mandate: VerifiedMandate) => mandate.blockIds.map((id) => account(accounts, id, mandate.grant.expiresAt, clock.now()));

  /** Takes portions until they cover the need of that moment, and uses it in the same breath: other calls of this process wait for the same portions. */
  async function use(bound: readonly Bound[], need: (one: Account) => Portion, commit: () => void, refuse: (block: Block, one: Account) => Error): Promise<void> {
    const isShort = ({ one }: Bound): boolean => need(one).microUsd > one.part.microUsd || need(one).calls > one.part.calls;
    for (let takes = 0; ; takes++) {
      const short = bound.filter(isShort);
      if (short.length === 0) return commit();
      if (takes >= TAKES_MAX) throw fail('AIOS_OVERLOADED', 'too many calls of one task at once.', { retryAfterMs: 100 });
      const refused = await Promise.all(short.map(({ one, block }) => (one.taking ??= take(slices, one, block, missing(one, need(one))).finally(() => (one.taking = undefined)))));
      const dry = short.find(({ one }, i) => refused[i] !== undefined && covers(missing(one, need(one)), refused[i]));
      if (dry !== undefined) throw refuse(dry.block, dry.one);
    }
  }

  return {
    async countCall(mandate) {
      const chain = of(mandate);
      const commit = (): void => { for (const one of chain) one.calls++; };
      await use(limits(mandate, chain), (one) => ({ microUsd: 0, calls: one.calls + 1 }), commit, ({ grant }) => fail('AIOS_MANDATE_EXCEEDED', `all ${grant.calls} calls are used.`));
    },
    async hold(mandate, worst) {
      const chain = of(mandate);
      const bound = limits(mandate, chain);
      const commit = (): void => { for (const one of chain) one.held += worst; };
      await use(bound, (one) => ({ microUsd: one.spent + one.held + worst, calls: 0 }), commit, ({ grant }, one) => fail('AIOS_BUDGET_EXCEEDED', `${grant.microUsd} micro-USD granted, ${one.spent + one.held} used or held here.`));
      let ended = false;
      return {
        settle(spent) {
          if (ended) return;
          ended = true;
          for (const one of chain) {
            one.held -= worst;
            one.spent += spent;
          }
          for (const { one, block } of bound) even(slices, one, block);
        },
      };
    },
    spentMicroUsd: (mandate) => of(mandate).at(-1)?.spent ?? 0,
    async giveAllBack() {
      const open = [...accounts.values()].filter(({ block, expiresAt }) => block !== undefined && expiresAt > clock.now()).slice(-GIVEN_BACK_MAX);
      await Promise.allSettled(open.map((one) => giveBack(slices, one, one.block as Block, true)));
    },
  };
}

const missing = ({ part }: Account, { microUsd, calls }: Portion): Portion => ({ microUsd: Math.max(0, microUsd - part.microUsd), calls: Math.max(0, calls - part.calls) });
const covers = (a: Portion, b: Portion): boolean => a.microUsd >= b.microUsd && a.calls >= b.calls && (a.microUsd > 0 || a.calls > 0);

/** One exchange of one account; what was asked for at least, when there was not so much. */
async function take(slices: Slices, one: Account, block: Block, min: Portion): Promise<Portion | undefined> {
  const got = await slices.take(block, min, wanted(block.grant, one, min));
  one.block = block;
  one.part = { microUsd: one.part.microUsd + got.microUsd, calls: one.part.calls + got.calls };
  return got.microUsd > 0 || got.calls > 0 ? undefined : min;
}

interface Bound { readonly one: Account; readonly block: Block }

/** The meet binds the last block's account; the root's own limits bind all that hangs below it. A last block that narrows nothing needs no slice of its own. */
function limits(mandate: VerifiedMandate, chain: readonly Account[]): readonly Bound[] {
  const { grant, root, blockIds } = mandate;
  const bound = (at: number, { tenant, budgetMicroUsd, callsMax, expiresAt }: Grant): Bound => ({ one: chain[at] as Account, block: { tenant, id: blockIds[at] as string, grant: { microUsd: budgetMicroUsd, calls: callsMax }, expiresAt } });
  const last = chain.length - 1;
  if (last < 0) return [];
  if (last === 0 || root === undefined) return [bound(last, grant)];
  const narrowed = grant.budgetMicroUsd < root.budgetMicroUsd || grant.callsMax < root.callsMax;
  return narrowed ? [bound(0, root), bound(last, grant)] : [bound(0, root)];
}

/** A small need takes a whole portion, of money and calls at once, so that most tasks exchange once; a large one takes what it needs. */
function wanted(grant: Portion, one: Account, min: Portion): Portion {
  const portion = (of: number): number => Math.ceil(of / PORTIONS);
  const money = min.microUsd > 0 || one.part.microUsd === 0 ? Math.max(min.microUsd, portion(grant.microUsd)) : 0;
  const calls = min.calls > 0 || one.part.calls === 0 ? Math.max(min.calls, portion(grant.calls)) : 0;
  return { microUsd: money, calls };
}

/** After a call: what cost more than was held is taken as well, late, since it is spent; what a large call left over goes back. */
function even(slices: Slices, one: Account, block: Block): void {
  const over = one.spent + one.held - one.part.microUsd;
  if (over > 0) {
    one.part = { ...one.part, microUsd: one.part.microUsd + over };
    void slices.take({ ...block, grant: { microUsd: Number.MAX_SAFE_INTEGER, calls: block.grant.calls } }, { microUsd: over, calls: 0 }, { microUsd: over, calls: 0 }).catch(() => undefined);
  } else if (-over > 2 * Math.ceil(block.grant.microUsd / PORTIONS)) {
    void giveBack(slices, one, block, false).catch(() => undefined);
  }
}

/** What is neither spent nor held for a call in flight. */
async function giveBack(slices: Slices, one: Account, block: Block, callsToo: boolean): Promise<void> {
  const back = { microUsd: Math.max(0, one.part.microUsd - one.spent - one.held), calls: callsToo ? Math.max(0, one.part.calls - one.calls) : 0 };
  if (back.microUsd === 0 && back.calls === 0) return;
  one.part = { microUsd: one.part.microUsd - back.microUsd, calls: one.part.calls - back.calls };
  await slices.give(block, back);
}

function account(accounts: Map<string, Account>, id: string, expiresAt: number, now: number): Account {
  const known = accounts.get(id);
  if (known !== undefined) return known;
  if (accounts.size >= ACCOUNTS_MAX) evict(accounts, now);
  const fresh: Account = { calls: 0, spent: 0, held: 0, part: { microUsd: 0, calls: 0 }, block: undefined, taking: undefined, expiresAt };
  accounts.set(id, fresh);
  return fresh;
}

/** Expired accounts go; when none is expired the table is full of live ones and new work is refused rather than uncounted. */
function evict(accounts: Map<string, Account>, now: number): void {
  for (const [id, one] of accounts) if (one.expiresAt <= now && one.held === 0) accounts.delete(id);
  if (accounts.size >= ACCOUNTS_MAX) throw fail('AIOS_OVERLOADED', 'too many tasks are metered at once.', { retryAfterMs: 1_000 });
}
