// Budgets against a plain model: whatever order things happen in, no level is ever spent past its limit.
// Owns: tests of policies/budget, price and residency.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NO_USAGE } from '../../../contracts/receipt.ts';
import type { Price } from '../../../contracts/bundle.ts';
import type { BudgetState } from '../../../policies/budget.ts';
import { ACCOUNTS_MAX, OPEN_MAX, SETTLED_MAX, emptyBudget, expire, monthOf, reserve, reserveAll, settle, settleAll, viewOf, withCap } from '../../../policies/budget.ts';
import { costOf, priceDigest, priceProblems, worstCaseOf } from '../../../policies/price.ts';
import { candidatesFor, mayProvide } from '../../../policies/residency.ts';

const NOW = 1_763_850_000_000;
const ask = (attempt: string, microUsd: number, more: object = {}) => ({ tenant: 'acme', task: `t-${attempt}`, attempt, capability: 'support.answer', microUsd, expiresAt: NOW + 60_000, ...more });
const pay = (reservation: string, spentMicroUsd: number) => ({ tenant: 'acme', reservation, spentMicroUsd });

describe('budget', () => {
  test('1,000 reservations of 0.10 against 5.00 - grants 50 and spends 5.00 exactly', () => {
    const requests = Array.from({ length: 1_000 }, (_, i) => ask(`a${i}`, 100_000));
    const { state, answers } = reserveAll(emptyBudget(5_000_000), requests, NOW);
    expect(answers.filter(({ granted }) => granted)).toHaveLength(50);
    const done = settleAll(state, answers.flatMap((answer) => (answer.granted ? [pay(answer.reservation, 100_000)] : [])), NOW);
    expect(viewOf('acme', done)).toEqual({ tenant: 'acme', capMicroUsd: 5_000_000, spentMicroUsd: 5_000_000, reservedMicroUsd: 0 });
    expect(reserve(done, ask('late', 1), NOW).answer).toEqual({ granted: false, leftMicroUsd: 0, by: 'tenant' });
  });

  test('the same attempt - reserves once, open or settled', () => {
    const first = reserve(emptyBudget(100), ask('a', 60), NOW);
    const again = reserve(first.state, ask('a', 60), NOW);
    expect(again.answer).toEqual({ granted: true, reservation: 'a', leftMicroUsd: 40 });
    expect(again.state.reservedMicroUsd).toBe(60);
    const settled = settle(again.state, pay('a', 10), NOW);
    const third = reserve(settled, ask('a', 60), NOW);
    expect(third.answer.granted).toBe(true);
    expect(viewOf('acme', settle(third.state, pay('a', 10), NOW))).toMatchObject({ spentMicroUsd: 10, reservedMicroUsd: 0 });
  });

  test('a forgotten reservation - is released at its expiry, and its attempt may ask again', () => {
    const { state } = reserve(emptyBudget(100), ask('a', 100), NOW);
    expect(reserve(state, ask('b', 1), NOW + 59_999).answer.granted).toBe(false);
    const later = reserve(state, ask('b', 100, { expiresAt: NOW + 200_000 }), NOW + 60_000);
    expect(later.answer.granted).toBe(true);
    expect(reserve(expire(state, NOW + 60_000), ask('a', 100, { expiresAt: NOW + 200_000 }), NOW + 60_000).answer.granted).toBe(true);
  });

  test('a late settlement - is charged where there is room and counted as unfunded where there is none', () => {
    const { state } = reserve(emptyBudget(100), ask('a', 100), NOW);
    const taken = reserve(state, ask('b', 70, { expiresAt: NOW + 200_000 }), NOW + 60_000).state;
    const late = settle(taken, pay('a', 100), NOW + 60_001);
    expect(late).toMatchObject({ spentMicroUsd: 30, reservedMicroUsd: 70, unfundedMicroUsd: 70 });
    expect(settle(late, pay('a', 100), NOW + 60_002)).toMatchObject({ spentMicroUsd: 30, unfundedMicroUsd: 70 });
  });

  test('settling what nobody reserved, or twice - changes nothing', () => {
    const { state } = reserve(emptyBudget(100), ask('a', 50), NOW);
    const once = settle(state, pay('a', 20), NOW);
    expect(settle(once, pay('a', 20), NOW)).toEqual(once);
    expect(settle(once, pay('ghost', 20), NOW)).toEqual(once);
    expect(settle(once, pay('__proto__', 20), NOW)).toEqual(once);
  });

  test('levels - the tightest of tenant, team, agent and task refuses and is named', () => {
    const budget = emptyBudget(1_000, { teams: { support: 300 }, agents: { desk: 200 }, taskMicroUsdMax: 150 });
    const who = { team: 'support', agent: 'desk' };
    const byOf = (state: BudgetState, request: Parameters<typeof reserve>[1]) => { const { answer } = reserve(state, request, NOW); return answer.granted ? undefined : answer.by; };
    expect(byOf(budget, ask('a', 151, who))).toBe('task/t-a');
    const one = reserve(budget, ask('a', 150, who), NOW).state;
    expect(byOf(one, ask('b', 51, who))).toBe('agent/desk');
    expect(byOf(one, ask('b', 151, { team: 'support' }))).toBe('team/support');
    expect(byOf(one, ask('b', 851))).toBe('tenant');
    const settled = settle(one, pay('a', 20), NOW);
    expect(byOf(settled, ask('b', 150, who))).toBeUndefined();
    expect(settled.accounts['agent/desk']).toEqual({ spentMicroUsd: 20, reservedMicroUsd: 0 });
  });

  test('reservations past the bound - are refused by name and the state stays small', () => {
    const requests = Array.from({ length: OPEN_MAX + 1 }, (_, i) => ask(`attempt-${'x'.repeat(40)}-${i}`, 1));
    const { state, answers } = reserveAll(emptyBudget(1_000_000), requests, NOW);
    expect(answers.at(-1)).toMatchObject({ granted: false, by: 'open-reservations' });
    let settled = settleAll(state, requests.map(({ attempt }) => pay(attempt, 1)), NOW);
    for (let round = 0; round < 4; round++) {
      const batch = Array.from({ length: OPEN_MAX }, (_, i) => ask(`round-${round}-${i}`, 1));
      settled = settleAll(reserveAll(settled, batch, NOW).state, batch.map(({ attempt }) => pay(attempt, 1)), NOW);
    }
    expect(Object.keys(settled.settled)).toHaveLength(SETTLED_MAX);
    expect(JSON.stringify(settled).length + JSON.stringify(state).length).toBeLessThan(256 * 1_024);
    expect(Object.keys(expire(settled, NOW + 60_000).settled)).toHaveLength(0);
  });

  test('task accounts past the bound - the idle ones go, those with an open reservation stay', () => {
    let state = reserve(emptyBudget(1_000_000, { taskMicroUsdMax: 10 }), ask('kept', 5), NOW).state;
    const batch = Array.from({ length: ACCOUNTS_MAX + 40 }, (_, i) => ask(`a${i}`, 1));
    for (const request of batch) state = settle(reserve(state, request, NOW).state, pay(request.attempt, 1), NOW);
    expect(Object.keys(state.accounts)).toHaveLength(ACCOUNTS_MAX);
    expect(state.accounts['task/t-kept']).toEqual({ spentMicroUsd: 0, reservedMicroUsd: 5 });
  });

  test('a new month - spending starts again, reservations stay; a clock that goes back changes nothing', () => {
    const { state } = reserve(emptyBudget(100), ask('a', 40, { expiresAt: NOW + 90 * 86_400_000 }), NOW);
    const spent = settle(reserve(state, ask('b', 60), NOW).state, pay('b', 60), NOW);
    const next = expire(spent, NOW + 31 * 86_400_000);
    expect(next).toMatchObject({ spentMicroUsd: 0, reservedMicroUsd: 40, month: 202_512 });
    expect(expire(next, NOW)).toMatchObject({ month: 202_512, spentMicroUsd: 0 });
    for (let i = 0; i < 3_000; i++) {
      const at = i * 9.7 * 86_400_000;
      const date = new Date(at);
      expect(monthOf(at)).toBe(date.getUTCFullYear() * 100 + date.getUTCMonth() + 1);
    }
  });

  test('amounts that are no amounts - are refused', () => {
    for (const bad of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) expect(() => reserve(emptyBudget(100), ask('a', bad), NOW)).toThrow(/micro-USD/);
    expect(() => emptyBudget(-1)).toThrow(/micro-USD/);
  });

  test('any sequence of operations - stays within every limit, keeps its sums, and survives JSON', () => {
    const attempt = fc.integer({ min: 0, max: 12 }).map((n) => `a${n}`);
    const step = fc.oneof(
      fc.record({ kind: fc.constant('reserve' as const), attempt, microUsd: fc.integer({ min: 0, max: 60 }), ttl: fc.integer({ min: 0, max: 50 }), team: fc.option(fc.constantFrom('x', 'y'), { nil: undefined }), agent: fc.option(fc.constant('desk'), { nil: undefined }) }),
      fc.record({ kind: fc.constant('settle' as const), attempt, spent: fc.integer({ min: 0, max: 60 }) }),
      fc.record({ kind: fc.constant('tick' as const), ms: fc.integer({ min: 0, max: 40 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let state = emptyBudget(200, { teams: { x: 90 }, agents: { desk: 70 }, taskMicroUsdMax: 50 });
        let now = NOW;
        for (const one of steps) {
          if (one.kind === 'tick') state = expire(state, (now += one.ms));
          else if (one.kind === 'settle') state = settle(state, pay(one.attempt, Math.min(one.spent, state.open[one.attempt]?.microUsd ?? 60)), now);
          else state = reserve(state, ask(one.attempt, one.microUsd, { expiresAt: now + one.ttl, team: one.team, agent: one.agent }), now).state;
          state = JSON.parse(JSON.stringify(state)) as BudgetState;
          const openSum = Object.values(state.open).reduce((sum, { microUsd }) => sum + microUsd, 0);
          expect(state.reservedMicroUsd).toBe(openSum);
          expect(state.spentMicroUsd + state.reservedMicroUsd).toBeLessThanOrEqual(200);
          expect(Object.values(state.accounts).every((account) => account.reservedMicroUsd >= 0)).toBe(true);
        }
      }),
      { numRuns: 2_000, seed: 7 },
    );
  });

  test('a lower cap - refuses new reservations and takes nothing back', () => {
    const { state } = reserve(emptyBudget(100), ask('a', 80), NOW);
    const cut = withCap(state, 50);
    expect(reserve(cut, ask('b', 1), NOW).answer).toMatchObject({ granted: false, leftMicroUsd: 0 });
    expect(cut.reservedMicroUsd).toBe(80);
  });
});

const price: Price = { inputPerMillion: 150_000, cacheReadPerMillion: 75_000, cacheWritePerMillion: 180_000, outputPerMillion: 600_000, reasoningPerMillion: 600_000, devicePerSecond: 200 };

describe('price', () => {
  test('cost - sums disjoint counters exactly and rounds up once', () => {
    expect(costOf({ inputTokens: 1_000, cacheReadTokens: 200, cacheWriteTokens: 0, outputTokens: 300, reasoningTokens: 50, deviceUs: 0 }, price)).toBe(150 + 15 + 180 + 30);
    expect(costOf({ ...NO_USAGE, inputTokens: 1 }, price)).toBe(1);
    expect(costOf({ ...NO_USAGE, deviceUs: 5_000_000 }, price)).toBe(1_000);
    expect(costOf({ ...NO_USAGE, inputTokens: 3, outputTokens: 3 }, price)).toBe(3);
  });
  test('cost - no usage costs 0, an unknown price refuses', () => {
    expect(costOf(NO_USAGE, price)).toBe(0);
    expect(() => costOf(NO_USAGE, undefined, 'model-x')).toThrow(expect.objectContaining({ code: 'AIOS_PRICE_UNKNOWN' }));
  });
  test('cost - products past 2^53 stay exact', () => {
    expect(costOf({ ...NO_USAGE, inputTokens: 9_007_199_254 }, { ...price, inputPerMillion: 3_000_001 })).toBe(Number((9_007_199_254n * 3_000_001n + 999_999n) / 1_000_000n));
  });
  test('worst case - is never below what a call within its bounds costs', () => {
    fc.assert(fc.property(fc.nat(100_000), fc.nat(100_000), fc.nat(100_000), fc.nat(100_000), (input, output, used, made) => {
      const usage = { ...NO_USAGE, inputTokens: Math.min(used, input), outputTokens: Math.min(made, output) };
      expect(costOf(usage, price)).toBeLessThanOrEqual(worstCaseOf({ inputTokens: input, outputTokens: output }, price));
    }));
  });
  test('digest - names the price, not the order of its fields', () => {
    expect(priceDigest(price)).toBe(priceDigest(Object.fromEntries(Object.entries(price).reverse()) as unknown as Price));
    expect(priceProblems({ ...price, outputPerMillion: 0.5 })).toEqual(['outputPerMillion must be an integer of micro-USD, 0 or more']);
  });
});

describe('residency', () => {
  const outside = { inside: false, region: 'us', dataClassMax: 'restricted' as const };
  const inside = { inside: true, region: 'eu', dataClassMax: 'confidential' as const };
  test('a provider outside - never sees confidential data, whatever it is declared for', () => {
    expect(mayProvide(outside, 'internal')).toBe(true);
    expect(mayProvide(outside, 'confidential')).toBe(false);
    expect(mayProvide(inside, 'confidential')).toBe(true);
    expect(mayProvide(inside, 'restricted')).toBe(false);
  });
  test('regions - bind where a mandate names them', () => {
    expect(mayProvide(inside, 'public', ['us'])).toBe(false);
    expect(mayProvide(inside, 'public', ['*'])).toBe(true);
    expect(candidatesFor({ outside, inside }, 'public', ['eu', 'us'])).toEqual(['outside', 'inside']);
    expect(candidatesFor({ outside, inside }, 'restricted')).toEqual([]);
  });
});
