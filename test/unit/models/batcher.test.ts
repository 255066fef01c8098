// The queue before a device: cost curve, fair shares, admission, order and batch forming.
// Owns: proof of the bounds and shares under seeded loads. Never starts a process; the device here is a number.
// Others may assume: times are simulated, so these tests cannot be slow or flaky.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Batch, createBatcher, type JobRequest } from '../../../agents/model-worker/batcher.ts';
import { type CostCurve, createCostCurve } from '../../../agents/model-worker/cost-curve.ts';
import { createFairShares } from '../../../agents/model-worker/fair-shares.ts';
import { createSeededRandom } from '../../kit/random.ts';

const exact = (fixedMs: number, perTokenMs: number): CostCurve => ({
  predict: (tokens) => fixedMs + perTokenMs * tokens,
  high: (tokens) => fixedMs + perTokenMs * tokens,
  learn: () => undefined,
  view: () => ({ fixedMs, perTokenMs, p95Ratio: 1, samples: 100 }),
});
/** Gains nothing from company: no fixed cost. */
const LINEAR = exact(0, 0.2);
/** Nearly all of it is fixed cost, as on a large device. */
const FIXED = exact(5, 0.001);
const tokens = (count: number): number[] => Array.from({ length: count }, () => 7);
const job = (over: Partial<JobRequest> & { lengths?: readonly number[] } = {}): JobRequest => {
  const { lengths = [16], ...rest } = over;
  return { tenant: 'a', sla: 'interactive', model: 'm', deadline: 1_000_000, texts: lengths.map(tokens), ...rest };
};
const queue = (curve: CostCurve, limits = {}, slots = 1) => createBatcher({ curveOf: () => curve, slots, limits });

describe('cost curve', () => {
  it('cost curve - finds both coefficients from noisy batches of mixed sizes', () => {
    const random = createSeededRandom(3);
    const curve = createCostCurve();
    for (let i = 0; i < 300; i++) {
      const size = [16, 32, 64, 128, 512][i % 5] as number;
      curve.learn(size, (2 + 0.05 * size) * (0.95 + 0.1 * random.next()));
    }
    expect(curve.view().fixedMs).toBeCloseTo(2, 0);
    expect(curve.view().perTokenMs).toBeCloseTo(0.05, 2);
    expect(curve.high(100) / curve.predict(100)).toBeLessThan(1.2);
  });

  it('cost curve - follows a machine that became three times slower within a hundred batches', () => {
    const curve = createCostCurve();
    for (let i = 0; i < 200; i++) curve.learn(16 + (i % 8) * 16, 1 + 0.1 * (16 + (i % 8) * 16));
    for (let i = 0; i < 100; i++) curve.learn(16 + (i % 8) * 16, 3 + 0.3 * (16 + (i % 8) * 16));
    expect(curve.predict(64) / (3 + 0.3 * 64)).toBeGreaterThan(0.75);
  });

  it('cost curve - one stalled batch moves the prediction by less than a fifth, and the 95th percentile not at all', () => {
    const curve = createCostCurve();
    for (let i = 0; i < 200; i++) curve.learn(16 + (i % 8) * 16, 1 + 0.1 * (16 + (i % 8) * 16));
    const before = curve.predict(64);
    curve.learn(64, 5_000);
    expect(curve.predict(64) / before).toBeLessThan(1.2);
    expect(curve.high(64) / curve.predict(64)).toBeLessThan(1.2);
  });

  it('cost curve - stays finite and positive whatever it is told', () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 10_000 }), fc.double({ min: 0, max: 1e6, noNaN: true })), { maxLength: 300 }), (samples) => {
      const curve = createCostCurve();
      for (const [size, ms] of samples) curve.learn(size, ms);
      for (const size of [1, 100, 10_000]) {
        expect(Number.isFinite(curve.predict(size))).toBe(true);
        expect(curve.predict(size)).toBeGreaterThan(0);
        expect(curve.high(size)).toBeGreaterThanOrEqual(curve.predict(size));
      }
    }), { numRuns: 200, seed: 5 });
  });
});

describe('fair shares', () => {
  it('fair shares - an idle party returns level with the least served, not with credit', () => {
    const shares = createFairShares(() => 1);
    shares.arrive('busy');
    shares.arrive('idle');
    shares.leave('idle');
    shares.charge('busy', 1_000);
    shares.arrive('idle');
    shares.charge('idle', 1);
    expect(shares.order()).toEqual(['busy', 'idle']);
  });

  it('fair shares - who arrives at an empty queue does not overtake who left it a moment ago by the whole past', () => {
    const shares = createFairShares(() => 1);
    shares.arrive('old');
    shares.charge('old', 1_000);
    shares.leave('old');
    shares.arrive('new');
    shares.arrive('old');
    shares.charge('new', 1);
    expect(shares.order()).toEqual(['old', 'new']);
  });
});

/** Runs the queue dry on one device; answers when each piece was done, in device ms. */
function drain(batcher: ReturnType<typeof queue>, from = 0): { readonly tenant: string; readonly sla: string; readonly at: number }[] {
  const done: { tenant: string; sla: string; at: number }[] = [];
  for (let now = from; ; ) {
    const { batch } = batcher.take(now);
    if (batch === undefined) return done;
    now += batch.expectedMs;
    batcher.settle(batch, batch.expectedMs);
    for (const piece of batch.pieces) done.push({ tenant: piece.job.tenant, sla: piece.job.sla, at: now });
  }
}

describe('batcher - order', () => {
  it('batcher - inside a tenant the earliest deadline runs first', () => {
    const batcher = queue(LINEAR);
    const jobs = [500_000, 100_000, 300_000].map((deadline) => batcher.admit(job({ deadline }), 0));
    const order = [0, 1, 2].map(() => batcher.take(0).batch?.pieces[0]?.job.deadline);
    expect(order).toEqual(jobs.map((each) => each.deadline).toSorted((a, b) => a - b));
  });

  it('batcher - a light tenant waits for one batch, not for the flood before it', () => {
    const batcher = queue(LINEAR);
    for (let i = 0; i < 200; i++) batcher.admit(job({ tenant: 'flood', lengths: Array.from({ length: 10 }, () => 16) }), 0);
    for (let i = 0; i < 5; i++) batcher.admit(job({ tenant: 'light' }), 0);
    const light = drain(batcher).filter((done) => done.tenant === 'light');
    expect(light.at(-1)?.at).toBeLessThan(12 * LINEAR.predict(16));
  });

  it('batcher - backlogged classes get device time by weight: 8 to 4 to 1', () => {
    const batcher = queue(LINEAR);
    for (const sla of ['bulk', 'standard', 'interactive'] as const) for (let i = 0; i < 300; i++) batcher.admit(job({ sla, tenant: sla }), 0);
    const first = drain(batcher).slice(0, 260);
    const share = (sla: string): number => first.filter((done) => done.sla === sla).length;
    expect(share('interactive') / share('bulk')).toBeCloseTo(8, 0);
    expect(share('standard') / share('bulk')).toBeCloseTo(4, 0);
  });

  it('batcher - shares count device time: a tenant with long texts gets as much of it as one with short texts', () => {
    const batcher = queue(LINEAR);
    for (let i = 0; i < 150; i++) {
      batcher.admit(job({ tenant: 'long', lengths: [160] }), 0);
      batcher.admit(job({ tenant: 'short', lengths: [16] }), 0);
    }
    const first = drain(batcher).slice(0, 110);
    expect(first.filter((done) => done.tenant === 'long').length * 10).toBeCloseTo(first.filter((done) => done.tenant === 'short').length, -1);
  });
});

describe('batcher - batches', () => {
  it('batcher - runs texts one by one where company saves nothing', () => {
    const batcher = queue(LINEAR);
    batcher.admit(job({ lengths: [16, 16, 16] }), 0);
    expect(batcher.take(0).batch?.pieces).toHaveLength(1);
  });

  it('batcher - fills a batch where the fixed cost dominates, other tenants included, and never mixes models', () => {
    const batcher = queue(FIXED);
    batcher.admit(job({ lengths: [16, 20, 24] }), 0);
    batcher.admit(job({ tenant: 'b', lengths: [18] }), 0);
    batcher.admit(job({ tenant: 'b', model: 'other', lengths: [18] }), 0);
    const { batch } = batcher.take(0);
    expect(batch?.pieces.map((piece) => piece.job.model)).toEqual(['m', 'm', 'm', 'm']);
    expect(batch?.width).toBe(24);
  });

  it('batcher - keeps batches under their bound in time, texts and padded tokens', () => {
    const batcher = queue(exact(5, 0.05), { batchMsMax: 20, batchTextsMax: 12 });
    batcher.admit(job({ lengths: Array.from({ length: 64 }, () => 20) }), 0);
    for (let taken = batcher.take(0).batch; taken !== undefined; taken = batcher.take(0).batch) {
      expect(taken.expectedMs).toBeLessThanOrEqual(20);
      expect(taken.pieces.length).toBeLessThanOrEqual(12);
    }
  });

  it('batcher - does not let a long text join where padding would cost more than it saves', () => {
    const batcher = queue(exact(1, 0.1));
    batcher.admit(job({ lengths: [8, 8, 200] }), 0);
    expect(batcher.take(0).batch?.pieces.map((piece) => piece.ids.length)).toEqual([8, 8]);
  });

  it('batcher - a retried text runs next and alone', () => {
    const batcher = queue(FIXED);
    batcher.admit(job({ lengths: [16, 16, 16] }), 0);
    const first = batcher.take(0).batch as Batch;
    batcher.settle(first, undefined);
    batcher.admit(job({ lengths: [16] }), 0);
    batcher.retry(first.pieces);
    for (let i = 0; i < 3; i++) expect(batcher.take(0).batch?.pieces).toEqual([first.pieces[i]]);
  });

  it('batcher - waits for company only where waiting pays: dense arrivals and a fixed cost worth it', () => {
    const dense = queue(FIXED);
    for (let i = 0; i < 4; i++) dense.admit(job(), i * 0.2);
    expect(dense.waitMs(0.7)).toBeGreaterThan(0);
    expect(dense.waitMs(100)).toBe(0);
    const sparse = queue(FIXED);
    for (let i = 0; i < 4; i++) sparse.admit(job(), i * 50);
    expect(sparse.waitMs(150)).toBe(0);
    const cpu = queue(exact(0.1, 0.2));
    for (let i = 0; i < 4; i++) cpu.admit(job(), i * 0.2);
    expect(cpu.waitMs(0.7)).toBe(0);
    expect(queue(FIXED).waitMs(0)).toBe(Infinity);
  });

  it('batcher - never waits past what the head can spare', () => {
    const batcher = queue(FIXED);
    batcher.admit(job(), 0);
    batcher.settle(batcher.take(0).batch as Batch, 0);
    batcher.admit(job({ deadline: 7.2 }), 0.2);
    expect(batcher.waitMs(0.2)).toBeGreaterThan(1);
    expect(batcher.waitMs(0.2)).toBeLessThan(2.1);
  });
});

describe('batcher - refusals', () => {
  it('batcher - counts the batches it will form, not texts, where company pays', () => {
    const texts = Array.from({ length: 20 }, () => 16);
    expect(() => queue(FIXED).admit(job({ lengths: texts, deadline: 10 }), 0)).not.toThrow();
    expect(() => queue(FIXED).admit(job({ lengths: texts, deadline: 4 }), 0)).toThrow(expect.objectContaining({ code: 'AIOS_DEADLINE_INFEASIBLE' }));
  });

  it('batcher - refuses at once what cannot meet its deadline, and says how long it would have taken', () => {
    const batcher = queue(LINEAR);
    expect(() => batcher.admit(job({ lengths: [100, 100], deadline: 30 }), 0)).toThrow(expect.objectContaining({ code: 'AIOS_DEADLINE_INFEASIBLE', message: expect.stringContaining('40 ms') }));
    expect(batcher.load(0)).toBe(0);
  });

  it('batcher - a flood of another tenant does not make a short deadline infeasible', () => {
    const batcher = queue(LINEAR);
    for (let i = 0; i < 100; i++) batcher.admit(job({ tenant: 'flood', lengths: [100] }), 0);
    expect(() => batcher.admit(job({ tenant: 'flood', deadline: 100 }), 0)).not.toThrow();
    expect(() => batcher.admit(job({ tenant: 'light', deadline: 20 }), 0)).not.toThrow();
    expect(() => batcher.admit(job({ tenant: 'flood', lengths: [16], deadline: 1_000_001 }), 0)).not.toThrow();
    expect(() => batcher.admit(job({ tenant: 'flood', sla: 'bulk', lengths: [16], deadline: 20 }), 0)).toThrow(expect.objectContaining({ code: 'AIOS_DEADLINE_INFEASIBLE' }));
  });

  it('batcher - refuses past its bound in device time with retry-after, and accepts again when work was done', () => {
    const batcher = queue(LINEAR, { queueMsMax: 100 });
    for (let i = 0; i < 5; i++) batcher.admit(job({ lengths: [100] }), 0);
    expect(() => batcher.admit(job({ lengths: [100] }), 0)).toThrow(expect.objectContaining({ code: 'AIOS_OVERLOADED', retryAfterMs: 50 }));
    drain(batcher);
    expect(() => batcher.admit(job({ lengths: [100] }), 0)).not.toThrow();
  });

  it('batcher - drops what became late while it waited, and hands it back as expired', () => {
    const batcher = queue(LINEAR);
    const late = batcher.admit(job({ deadline: 50 }), 0);
    const fine = batcher.admit(job({ deadline: 500 }), 0);
    const taken = batcher.take(100);
    expect(taken.expired).toEqual([late]);
    expect(taken.batch?.pieces[0]?.job).toBe(fine);
  });

  it('batcher - loses and doubles nothing under random admits, takes, failures and removals', () => {
    const op = fc.oneof(
      fc.record({ do: fc.constant('admit' as const), tenant: fc.constantFrom('a', 'b', 'c'), sla: fc.constantFrom('interactive' as const, 'standard' as const, 'bulk' as const), lengths: fc.array(fc.integer({ min: 3, max: 64 }), { minLength: 1, maxLength: 6 }) }),
      fc.constant({ do: 'take' as const }), fc.constant({ do: 'break' as const }), fc.constant({ do: 'remove' as const }),
    );
    fc.assert(fc.property(fc.array(op, { maxLength: 80 }), fc.constantFrom(LINEAR, FIXED, exact(1, 0.1)), (ops, curve) => {
      const batcher = queue(curve, { queueMsMax: 1e9 });
      const open = new Map<object, number>();
      let now = 0;
      const finish = (batch: Batch | undefined): void => batch?.pieces.forEach((piece) => open.set(piece.job, (open.get(piece.job) ?? 0) - 1));
      for (const each of ops) {
        now += 1;
        if (each.do === 'admit') {
          const admitted = batcher.admit(job({ ...each, deadline: 1e9 }), now);
          open.set(admitted, each.lengths.length);
        } else if (each.do === 'remove') {
          const [victim] = [...open.keys()];
          if (victim === undefined) continue;
          batcher.remove(victim as Parameters<typeof batcher.remove>[0]);
          open.delete(victim);
        } else {
          const { batch } = batcher.take(now);
          if (batch === undefined) continue;
          batcher.settle(batch, each.do === 'take' ? batch.expectedMs : undefined);
          if (each.do === 'take') finish(batch);
          else batcher.retry(batch.pieces);
        }
      }
      for (let taken = batcher.take(now).batch; taken !== undefined; taken = batcher.take(now).batch) {
        batcher.settle(taken, taken.expectedMs);
        finish(taken);
      }
      const left = [...open.values()].filter((count) => count !== 0);
      expect(left).toEqual([]);
      expect(batcher.load(now)).toBeCloseTo(0, 5);
    }), { numRuns: 400, seed: 9 });
  });
});
