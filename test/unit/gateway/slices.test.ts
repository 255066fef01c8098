// Gateways that share one mandate's slice by portions: whatever they do at once, together they stay inside the grant.
// Owns: tests of agents/gateway/{meter,slices} over the in-memory key-value store.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createMeter, type Meter } from '../../../agents/gateway/meter.ts';
import { createLocalSlices, createSlices } from '../../../agents/gateway/slices.ts';
import type { Grant, VerifiedMandate } from '../../../contracts/mandate.ts';
import { createKit } from '../../kit/index.ts';

const NOW = 1_700_000_000_000;
const clock = { now: () => NOW };
const grant = (over: Partial<Grant> = {}): Grant => ({
  tenant: 'acme', task: 't-1', capabilities: ['*'], dataClass: 'public', regions: ['*'], models: ['*'], spaces: ['*'], budgetMicroUsd: 800, callsMax: 40, depthMax: 4,
  notBefore: 0, expiresAt: NOW + 60_000, offline: false, policy: `sha256:${'0'.repeat(64)}`, ...over,
});
const mandate = (root: Grant, last: Grant = root, ids: readonly string[] = ['t-1.root']): VerifiedMandate => ({ digest: `sha256:${'1'.repeat(64)}` as VerifiedMandate['digest'], grant: last, root, blockIds: ids, holder: 'k', depth: ids.length - 1 });
const codeOf = (work: Promise<unknown>): Promise<string> => work.then(() => 'ok', (error: { code?: string }) => error.code ?? 'unknown');
const gateways = (count: number): readonly Meter[] => {
  const { keyValue } = createKit();
  return Array.from({ length: count }, () => createMeter(clock, createSlices(keyValue, clock)));
};
const at = (meters: readonly Meter[], i: number): Meter => meters[i % meters.length] as Meter;

describe('two gateways', () => {
  test('calls - both together answer as many as are granted, never more', async () => {
    const meters = gateways(2);
    const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => codeOf(at(meters, i).countCall(mandate(grant())))));
    expect(answers.filter((code) => code === 'ok')).toHaveLength(40);
    expect(answers.filter((code) => code === 'AIOS_MANDATE_EXCEEDED')).toHaveLength(60);
  });
  test('money - what one spent the other cannot spend again', async () => {
    const [one, two] = gateways(2) as [Meter, Meter];
    (await one.hold(mandate(grant()), 600)).settle(600);
    expect(await codeOf(two.hold(mandate(grant()), 300))).toBe('AIOS_BUDGET_EXCEEDED');
    (await two.hold(mandate(grant()), 100)).settle(100);
    expect(one.spentMicroUsd(mandate(grant()))).toBe(600);
  });
  test('a large hold that cost little - leaves what it did not use to the other', async () => {
    const [one, two] = gateways(2) as [Meter, Meter];
    (await one.hold(mandate(grant()), 700)).settle(50);
    await expect.poll(() => codeOf(two.hold(mandate(grant()), 700))).toBe('ok');
  });
  test('a call that cost more than was held - is counted for all', async () => {
    const [one, two] = gateways(2) as [Meter, Meter];
    (await one.hold(mandate(grant()), 10)).settle(750);
    await expect.poll(() => codeOf(two.hold(mandate(grant()), 60))).toBe('AIOS_BUDGET_EXCEEDED');
  });
  test('a gateway that ends - gives back what it had taken and not used', async () => {
    const [one, two] = gateways(2) as [Meter, Meter];
    (await one.hold(mandate(grant()), 10)).settle(10);
    expect(await codeOf(two.hold(mandate(grant()), 790))).toBe('AIOS_BUDGET_EXCEEDED');
    await one.giveAllBack();
    expect(await codeOf(two.hold(mandate(grant()), 790))).toBe('ok');
  });
  test('a narrowed block - has a slice of its own inside its root\'s', async () => {
    const meters = gateways(2);
    const narrow = mandate(grant(), grant({ budgetMicroUsd: 200, callsMax: 10 }), ['t-1.root', 't-1.leaf']);
    const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => codeOf(at(meters, i).countCall(narrow))));
    expect(answers.filter((code) => code === 'ok')).toHaveLength(10);
    const rest = await Promise.all(Array.from({ length: 60 }, (_, i) => codeOf(at(meters, i).countCall(mandate(grant())))));
    expect(rest.filter((code) => code === 'ok').length).toBeLessThanOrEqual(30);
    expect(rest.filter((code) => code === 'ok').length).toBeGreaterThan(20);
  });
});

test('any holds and settlements over three gateways - the sum of what is held and spent never passes the grant', async () => {
  const step = fc.record({ gateway: fc.nat(2), worst: fc.integer({ min: 0, max: 300 }), part: fc.integer({ min: 0, max: 100 }), end: fc.boolean() });
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
    const meters = gateways(3);
    let held = 0;
    let spent = 0;
    const open: (() => void)[] = [];
    await Promise.all(steps.map(async ({ gateway, worst, part, end }) => {
      const hold = await at(meters, gateway).hold(mandate(grant()), worst).catch(() => undefined);
      if (hold === undefined) return;
      held += worst;
      expect(held + spent).toBeLessThanOrEqual(800);
      const settle = (): void => {
        const cost = Math.floor((worst * part) / 100);
        hold.settle(cost);
        held -= worst;
        spent += cost;
      };
      if (end) settle();
      else open.push(settle);
    }));
    for (const settle of open) settle();
    expect(spent).toBeLessThanOrEqual(800);
  }), { numRuns: 300, seed: 3 });
});

test('a gateway alone - may use all that is granted', async () => {
  const meter = createMeter(clock, createLocalSlices(clock));
  for (let i = 0; i < 8; i++) (await meter.hold(mandate(grant()), 100)).settle(100);
  expect(await codeOf(meter.hold(mandate(grant()), 1))).toBe('AIOS_BUDGET_EXCEEDED');
});
