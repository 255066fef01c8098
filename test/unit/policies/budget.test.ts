// Budgets against a plain model: whatever order things happen in, no level is ever spent past its limit.
// Owns: tests of policies/budget, price and residency.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NO_USAGE } from '../../../contracts/receipt.ts';
import type { Price } from '../../../contracts/bundle.ts';
import type { BudgetTerms } from '../../../contracts/budget.ts';
import type { BudgetState } from '../../../policies/budget.ts';
import { ACCOUNTS_MAX, OPEN_MAX, SETTLED_MAX, beginStep, configure, detailOf, emptyBudget, expire, reserve, reserveAll, settle, settleAll, termsOf, viewOf, withTerms } from '../../../policies/budget.ts';
import { periodStart } from '../../../policies/period.ts';
import { costOf, priceDigest, priceProblems, worstCaseOf } from '../../../policies/price.ts';
import { candidatesFor, mayProvide } from '../../../policies/residency.ts';

const NOW = 1_763_850_000_000;
const ask = (attempt: string, microUsd: number, more: object = {}) => ({ tenant: 'acme', task: `t-${attempt}`, attempt, capability: 'support.answer', microUsd, expiresAt: NOW + 60_000, ...more });
const caps = (tenant: number, more: Readonly<Record<string, number>> = {}) => ({ caps: Object.fromEntries([['tenant', tenant], ...Object.entries(more)].map(([name, microUsdMax]) => [name, { microUsdMax, period: 'month' as const }])) as BudgetTerms['caps'], limits: {} });
const pay = (reservation: string, spentMicroUsd: number) => ({ tenant: 'acme', reservation, spentMicroUsd });

const LEVELS: Readonly<Record<string, number>> = { 'team/x': 90, 'agent/desk': 70, task: 50 };

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
    expect(again.state.accounts['tenant']?.reservedMicroUsd).toBe(60);
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
    expect(late.accounts['tenant']).toMatchObject({ spentMicroUsd: 30, reservedMicroUsd: 70, unfundedMicroUsd: 70 });
    expect(settle(late, pay('a', 100), NOW + 60_002).accounts['tenant']).toMatchObject({ spentMicroUsd: 30, unfundedMicroUsd: 70 });
  });

  test('settling what nobody reserved, or twice - changes nothing', () => {
    const { state } = reserve(emptyBudget(100), ask('a', 50), NOW);
    const once = settle(state, pay('a', 20), NOW);
    expect(settle(once, pay('a', 20), NOW)).toEqual(once);
    expect(settle(once, pay('ghost', 20), NOW)).toEqual(once);
    expect(settle(once, pay('__proto__', 20), NOW)).toEqual(once);
  });

  test('levels - the tightest of tenant, team, agent and task refuses and is named', () => {
    const budget = emptyBudget(caps(1_000, { 'team/support': 300, 'agent/desk': 200, task: 150 }));
    const who = { team: 'support', agent: 'desk' };
    const byOf = (state: BudgetState, request: Parameters<typeof reserve>[1]) => { const { answer } = reserve(state, request, NOW); return answer.granted ? undefined : answer.by; };
    expect(byOf(budget, ask('a', 151, who))).toBe('task/t-a');
    const one = reserve(budget, ask('a', 150, who), NOW).state;
    expect(byOf(one, ask('b', 51, who))).toBe('agent/desk');
    expect(byOf(one, ask('b', 151, { team: 'support' }))).toBe('team/support');
    expect(byOf(one, ask('b', 851))).toBe('tenant');
    const settled = settle(one, pay('a', 20), NOW);
    expect(byOf(settled, ask('b', 150, who))).toBeUndefined();
    expect(settled.accounts['agent/desk']).toMatchObject({ spentMicroUsd: 20, reservedMicroUsd: 0 });
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
    const remembered = settled.settled.reduce((sum, { count }) => sum + count, 0);
    expect(remembered).toBeLessThanOrEqual(SETTLED_MAX);
    expect(remembered).toBeGreaterThan(SETTLED_MAX - 512);
    expect(JSON.stringify(settled).length + JSON.stringify(state).length).toBeLessThan(256 * 1_024);
    expect(expire(settled, NOW + 60_000).settled).toHaveLength(0);
  });

  test('task accounts past the bound - the idle ones go, those with an open reservation stay', () => {
    let state = reserve(emptyBudget(caps(1_000_000, { task: 10 })), ask('kept', 5), NOW).state;
    const batch = Array.from({ length: ACCOUNTS_MAX + 40 }, (_, i) => ask(`a${i}`, 1));
    for (const request of batch) state = settle(reserve(state, request, NOW).state, pay(request.attempt, 1), NOW);
    expect(Object.keys(state.accounts)).toHaveLength(ACCOUNTS_MAX);
    expect(state.accounts['task/t-kept']).toMatchObject({ spentMicroUsd: 0, reservedMicroUsd: 5 });
  });

  test('a new month - spending starts again, reservations stay; a clock that goes back changes nothing', () => {
    const { state } = reserve(emptyBudget(100), ask('a', 40, { expiresAt: NOW + 90 * 86_400_000 }), NOW);
    const spent = settle(reserve(state, ask('b', 60), NOW).state, pay('b', 60), NOW);
    const next = expire(spent, NOW + 31 * 86_400_000);
    expect(next.accounts['tenant']).toMatchObject({ spentMicroUsd: 0, reservedMicroUsd: 40, from: Date.UTC(2025, 11) });
    expect(expire(next, NOW).accounts['tenant']).toMatchObject({ spentMicroUsd: 0, reservedMicroUsd: 40, from: Date.UTC(2025, 11) });
  });

  test('periods - the hour, the day and the month of an instant begin where the calendar says', () => {
    for (let i = 0; i < 3_000; i++) {
      const at = i * 9.7 * 86_400_000;
      const date = new Date(at);
      expect(periodStart('month', at)).toBe(Date.UTC(date.getUTCFullYear(), date.getUTCMonth()));
      expect(periodStart('day', at)).toBe(Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()));
      expect(periodStart('hour', at)).toBe(Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate(), date.getUTCHours()));
    }
  });

  test('caps of a day beside caps of a month - each level starts again with its own period', () => {
    const terms: BudgetTerms = { caps: { tenant: { microUsdMax: 1_000, period: 'month' }, 'team/support': { microUsdMax: 100, period: 'day' } }, limits: {} };
    const spent = settle(reserve(emptyBudget(terms), ask('a', 100, { team: 'support' }), NOW).state, pay('a', 100), NOW);
    expect(reserve(spent, ask('b', 1, { team: 'support' }), NOW).answer).toMatchObject({ granted: false, by: 'team/support' });
    const tomorrow = reserve(spent, ask('b', 100, { team: 'support', expiresAt: NOW + 2 * 86_400_000 }), NOW + 86_400_000);
    expect(tomorrow.answer.granted).toBe(true);
    expect(viewOf('acme', tomorrow.state)).toMatchObject({ spentMicroUsd: 100, reservedMicroUsd: 100 });
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
        let state = emptyBudget(caps(200, LEVELS));
        let now = NOW;
        for (const one of steps) {
          if (one.kind === 'tick') state = expire(state, (now += one.ms));
          else if (one.kind === 'settle') state = settle(state, pay(one.attempt, one.spent), now);
          else state = reserve(state, ask(one.attempt, one.microUsd, { expiresAt: now + one.ttl, team: one.team, agent: one.agent }), now).state;
          state = JSON.parse(JSON.stringify(state)) as BudgetState;
          const openSum = Object.values(state.open).reduce((sum, { microUsd }) => sum + microUsd, 0);
          expect(viewOf('acme', state).reservedMicroUsd).toBe(openSum);
          for (const [name, account] of Object.entries(state.accounts)) {
            const cap = name === 'tenant' ? 200 : LEVELS[name.startsWith('task/') ? 'task' : name] ?? 0;
            expect(account.reservedMicroUsd).toBeGreaterThanOrEqual(0);
            expect(account.spentMicroUsd + account.reservedMicroUsd).toBeLessThanOrEqual(cap);
          }
        }
      }),
      { numRuns: 2_000, seed: 7 },
    );
  });

  test('a lower cap - refuses new reservations and takes nothing back', () => {
    const { state } = reserve(emptyBudget(100), ask('a', 80), NOW);
    const cut = withTerms(state, caps(50));
    expect(reserve(cut, ask('b', 1), NOW).answer).toMatchObject({ granted: false, leftMicroUsd: 0 });
    expect(viewOf('acme', cut).reservedMicroUsd).toBe(80);
  });
});

describe('admissions', () => {
  const limits = (limit: object): BudgetTerms => ({ ...caps(1_000), limits: { 'capability/support.answer': limit } });
  const enter = (attempt: string, more: object = {}) => ask(attempt, 0, { kind: 'admission', ...more });

  test('a rate - lets the burst through, then one an interval, and says how long to wait', () => {
    let state = emptyBudget(limits({ perMinuteMax: 60, burstMax: 3 }));
    const at = (now: number, attempt: string) => { const step = reserve(state, enter(attempt), now); state = step.state; return step.answer; };
    expect([at(NOW, 'a'), at(NOW, 'b'), at(NOW, 'c')].map(({ granted }) => granted)).toEqual([true, true, true]);
    expect(at(NOW, 'd')).toEqual({ granted: false, leftMicroUsd: 1_000, by: 'rate/support.answer', retryAfterMs: 1_000 });
    expect(at(NOW + 400, 'd')).toMatchObject({ granted: false, retryAfterMs: 600 });
    expect(at(NOW + 1_000, 'd').granted).toBe(true);
    expect(at(NOW + 1_000, 'd').granted).toBe(true);
    expect(at(NOW + 1_000, 'e').granted).toBe(false);
  });
  test('concurrency - is a number of open admissions; a settled, voided or expired one makes room', () => {
    let { state } = reserveAll(emptyBudget(limits({ concurrentMax: 2 })), [enter('a'), enter('b')], NOW);
    expect(reserve(state, enter('c'), NOW).answer).toMatchObject({ granted: false, by: 'concurrency/support.answer', retryAfterMs: 500 });
    state = settle(state, pay('a', 0), NOW);
    expect(reserve(state, enter('c'), NOW).answer.granted).toBe(true);
    expect(reserve(state, enter('c'), NOW + 60_000).answer).toMatchObject({ granted: false, by: 'expired' });
    expect(reserve(state, enter('d', { expiresAt: NOW + 90_000 }), NOW + 60_000).answer.granted).toBe(true);
    expect(viewOf('acme', state)).toMatchObject({ spentMicroUsd: 0, reservedMicroUsd: 0 });
  });
  test('a voided admission - gives its place in the rate back, a settled one does not', () => {
    const one = reserve(emptyBudget(limits({ perMinuteMax: 60, burstMax: 1 })), enter('a'), NOW).state;
    expect(reserve(settle(one, pay('a', 0), NOW), enter('b'), NOW).answer.granted).toBe(false);
    expect(reserve(settle(one, { ...pay('a', 0), void: true }, NOW), enter('b'), NOW).answer.granted).toBe(true);
  });
  test('a capability without a limit, or work - is never paced; `*` stands for those that are not named', () => {
    const state = emptyBudget(limits({ concurrentMax: 1 }));
    expect(reserveAll(state, [enter('a'), enter('b', { capability: 'echo.say' }), enter('c', { capability: 'echo.say' }), ask('d', 1), ask('e', 1)], NOW).answers.map(({ granted }) => granted)).toEqual([true, true, true, true, true]);
    const all = emptyBudget({ ...caps(1_000), limits: { 'capability/*': { concurrentMax: 1 } } });
    expect(reserveAll(all, [enter('a'), enter('b', { capability: 'echo.say' }), enter('c', { capability: 'echo.say' })], NOW).answers.map(({ granted }) => granted)).toEqual([true, true, false]);
  });
  test('any arrivals - no window holds more than the burst and what the rate allows in it', () => {
    fc.assert(fc.property(fc.array(fc.integer({ min: 0, max: 3_000 }), { maxLength: 80 }), fc.integer({ min: 1, max: 240 }), fc.integer({ min: 1, max: 8 }), (gaps, perMinuteMax, burstMax) => {
      let state = emptyBudget(limits({ perMinuteMax, burstMax }));
      let now = NOW;
      const granted: number[] = [];
      gaps.forEach((gap, i) => {
        now += gap;
        const step = reserve(state, enter(`a${i}`, { expiresAt: now + 1_000 }), now);
        ({ state } = step);
        if (step.answer.granted) granted.push(now);
      });
      granted.forEach((from, i) => granted.slice(i).forEach((to, more) => expect(more + 1).toBeLessThanOrEqual(burstMax + ((to - from) * perMinuteMax) / 60_000 + 1e-6)));
    }), { numRuns: 500, seed: 11 });
  });
});

describe('leases', () => {
  const lease = (attempt: string, microUsd: number, more: object = {}) => ask(attempt, microUsd, { kind: 'lease', task: 'box-1', ...more });

  test('a lease that is reported in time - is charged what was spent', () => {
    const held = reserve(emptyBudget(100), lease('l', 80), NOW).state;
    expect(detailOf('acme', held).leases).toEqual([{ lease: 'l', holder: 'box-1', microUsd: 80, expiresAt: NOW + 60_000, lapsed: false }]);
    expect(viewOf('acme', settle(held, pay('l', 30), NOW))).toMatchObject({ spentMicroUsd: 30, reservedMicroUsd: 0 });
  });
  test('a lease that ends unreported - is charged in full, and given back when its holder returns', () => {
    const held = reserve(emptyBudget(100), lease('l', 80), NOW).state;
    const over = expire(held, NOW + 60_000);
    expect(viewOf('acme', over)).toMatchObject({ spentMicroUsd: 80, reservedMicroUsd: 0 });
    expect(reserve(over, ask('a', 21, { expiresAt: NOW + 90_000 }), NOW + 60_001).answer).toMatchObject({ granted: false, by: 'tenant' });
    expect(detailOf('acme', over).leases).toMatchObject([{ lease: 'l', lapsed: true }]);
    const back = settle(over, pay('l', 30), NOW + 60_001);
    expect(viewOf('acme', back)).toMatchObject({ spentMicroUsd: 30 });
    expect(settle(back, pay('l', 30), NOW + 60_002)).toEqual(expire(back, NOW + 60_002));
  });
  test('a lease that is reported in a later period - gives nothing back to it', () => {
    const later = NOW + 31 * 86_400_000;
    const over = expire(reserve(emptyBudget(100), lease('l', 80), NOW).state, NOW + 60_000);
    const spent = settle(reserve(over, ask('a', 40, { expiresAt: later + 1_000 }), later).state, pay('a', 40), later);
    expect(viewOf('acme', settle(spent, pay('l', 0), later))).toMatchObject({ spentMicroUsd: 40 });
  });
});

describe('terms', () => {
  const bundle = { budgets: { '*': 50, acme: 1_000 }, limits: { acme: { period: 'day' as const, teams: { support: { microUsdMax: 300, period: 'month' as const } }, taskMicroUsdMax: 20, capabilities: { 'support.answer': { concurrentMax: 3 } } } } };
  test('a bundle says caps and limits by tenant; who is not named has those of `*`', () => {
    expect(termsOf(bundle, 'acme')).toEqual({
      caps: { tenant: { microUsdMax: 1_000, period: 'day' }, 'team/support': { microUsdMax: 300, period: 'month' }, task: { microUsdMax: 20, period: 'month' } },
      limits: { 'capability/support.answer': { concurrentMax: 3 } },
    });
    expect(termsOf(bundle, 'other')).toEqual({ caps: { tenant: { microUsdMax: 50, period: 'month' } }, limits: {} });
    expect(termsOf({ budgets: {} }, '__proto__').caps['tenant']).toEqual({ microUsdMax: 0, period: 'month' });
  });
  test('what an operator sets - holds over the bundle, a later one too, until it is unset', () => {
    const set = configure(emptyBudget(termsOf(bundle, 'acme')), { level: 'tenant', cap: { microUsdMax: 5, period: 'day' } });
    expect(reserve(set, ask('a', 6), NOW).answer).toMatchObject({ granted: false, by: 'tenant', leftMicroUsd: 5 });
    const published = withTerms(set, termsOf({ ...bundle, budgets: { acme: 2_000 } }, 'acme'));
    expect(reserve(published, ask('a', 6), NOW).answer.granted).toBe(false);
    const unset = configure(published, { level: 'tenant', unset: true });
    expect(reserve(unset, ask('a', 15), NOW).answer).toMatchObject({ granted: true, leftMicroUsd: 1_985 });
    expect(detailOf('acme', set).levels.find(({ level }) => level === 'tenant')).toMatchObject({ microUsdMax: 5, set: true });
    const limited = configure(unset, { level: 'capability/echo.say', limit: { concurrentMax: 1 } });
    expect(detailOf('acme', limited).limits).toEqual([{ level: 'capability/echo.say', concurrentMax: 1, running: 0, set: true }, { level: 'capability/support.answer', concurrentMax: 3, running: 0, set: false }]);
  });
  test('a step of many operations - is the same as the operations one by one', () => {
    const step = beginStep(emptyBudget(100), NOW);
    expect(step.reserve(ask('a', 60)).granted).toBe(true);
    step.settle(pay('a', 10));
    expect(step.reserve(ask('b', 90)).granted).toBe(true);
    const one = reserve(settle(reserve(emptyBudget(100), ask('a', 60), NOW).state, pay('a', 10), NOW), ask('b', 90), NOW).state;
    expect(step.end()).toEqual(one);
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
