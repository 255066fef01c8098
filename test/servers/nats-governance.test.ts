// Bundle distribution and budgets over a real nats-server: signatures believed or not, caps held by many processes at once.
// Owns: what the KV bucket and the compare-and-set line add to the pure rules of policies/.
// Never tests a policy. Others may assume: keys are made here and thrown away.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PolicyBundle, SignedBundle } from '../../contracts/bundle.ts';
import { canonicalJson, digestOfText } from '../../contracts/canonical.ts';
import { traitsOf } from '../../contracts/capability.ts';
import { BUCKETS } from '../../contracts/address.ts';
import { echoSay } from '../../agents/catalog/echo.ts';
import { createKeys } from '../../infra/crypto/keys.ts';
import { createSigner, createVerifier } from '../../infra/crypto/signer.ts';
import { revoke, revokeTask, watchRevocations } from '../../infra/nats/revocations.ts';
import type { NatsPorts } from '../../infra/nats/index.ts';
import { startTestNats, type TestServer } from './nats-server.ts';

const keys = createKeys();
const strangers = createKeys();
const verifier = createVerifier(keys.keyring);
const DAY_MS = 86_400_000;

function bundleOf(version: number, changes: Partial<PolicyBundle> = {}): PolicyBundle {
  const now = Date.now();
  return { v: 1, version, createdAt: now, notBefore: now - 1_000, notAfter: now + DAY_MS, policies: {}, sources: {}, schema: '', capabilities: { 'echo.say': traitsOf(echoSay) }, prices: {}, providers: {}, groups: {}, budgets: { '*': 1_000, rich: 1_000_000 }, ...changes };
}
function sign(bundle: PolicyBundle, pair = keys.brain): SignedBundle {
  const bytes = canonicalJson(bundle);
  return { digest: digestOfText(bytes), bytes, kid: pair.kid, signature: createSigner(pair).sign(new TextEncoder().encode(bytes)) };
}
const codeOf = async (work: Promise<unknown>): Promise<string> => work.then(() => 'none', (error: { code?: string }) => error.code ?? 'unknown');

let nats: TestServer;
let one: NatsPorts;
let two: NatsPorts;
beforeAll(async () => {
  nats = await startTestNats();
  one = await nats.connect('one');
  two = await nats.connect('two');
});
afterAll(() => nats[Symbol.asyncDispose]());

describe('policy store', () => {
  test('nothing in force before a bundle is published; then its slice, everywhere, as one object', async () => {
    await using a = one.policyStore(verifier);
    await using b = two.policyStore(verifier);
    expect(await codeOf(a.slice('echo.say'))).toBe('AIOS_POLICY_MISSING');
    const first = sign(bundleOf(1));
    await a.publish(first);
    await expect.poll(() => b.slice('echo.say').then((slice) => slice.bundle, () => '')).toBe(first.digest);
    expect(await b.slice('echo.say')).toBe(await b.slice('echo.say'));
    expect(await codeOf(b.slice('no.such'))).toBe('AIOS_CAPABILITY_UNKNOWN');
    await a.publish(sign(bundleOf(2)));
    await expect.poll(() => b.slice('echo.say').then((slice) => slice.version)).toBe(2);
    expect(await codeOf(b.publish(first))).toBe('AIOS_POLICY_INVALID');
  });
  test('a bundle of a stranger, or changed on the way, is refused at publishing and never comes into force', async () => {
    await using a = one.policyStore(verifier);
    await a.publish(sign(bundleOf(10)));
    expect(await codeOf(a.publish(sign(bundleOf(11), strangers.brain)))).toBe('AIOS_POLICY_INVALID');
    const honest = sign(bundleOf(12));
    expect(await codeOf(a.publish({ ...honest, bytes: honest.bytes.replace('1000', '9000') }))).toBe('AIOS_POLICY_INVALID');
    await using forger = two.policyStore(createVerifier(strangers.keyring));
    const { revision } = (await two.keyValue.get(BUCKETS.policy, 'current')) ?? { revision: 0 };
    await two.keyValue.delete(BUCKETS.policy, 'current');
    await forger.publish(sign(bundleOf(13), strangers.brain));
    expect((await two.keyValue.get(BUCKETS.policy, 'current'))?.revision).toBeGreaterThan(revision);
    await sleep(300);
    await using late = one.policyStore(verifier);
    expect(await codeOf(late.slice('echo.say'))).toBe('AIOS_POLICY_MISSING');
    await two.keyValue.delete(BUCKETS.policy, 'current');
  });
  test('a bundle for later comes into force at its time, an ended one is missing', async () => {
    await using a = one.policyStore(verifier);
    await a.publish(sign(bundleOf(20)));
    await a.publish(sign(bundleOf(21, { notBefore: Date.now() + 700, notAfter: Date.now() + 1_500 })));
    expect((await a.slice('echo.say')).version).toBe(20);
    await sleep(800);
    expect((await a.slice('echo.say')).version).toBe(21);
    await sleep(800);
    expect(await codeOf(a.slice('echo.say'))).toBe('AIOS_POLICY_MISSING');
  });
});

describe('revocations', () => {
  test('a revoked prefix is seen by every process, a slip of a prefix is refused', async () => {
    await using watched = await watchRevocations(two.keyValue);
    await revoke(one.keyValue, 't-1.abc');
    await expect.poll(() => watched.revocations.has('t-1.abcdef')).toBe(true);
    expect(watched.revocations.has('t-1.ab')).toBe(false);
    expect(await codeOf(revoke(one.keyValue, 't'))).toBe('AIOS_INPUT_INVALID');
  });
  test('a cancelled task is seen by every process, of its own tenant only, and its prefixes stay', async () => {
    await using watched = await watchRevocations(two.keyValue);
    let changes = 0;
    watched.revocations.onChange(() => { changes += 1; });
    await revokeTask(one.keyValue, 'demo', 't-7', Date.now() + 5_000, Date.now());
    await revokeTask(one.keyValue, 'demo', 't-7', Date.now() + 5_000, Date.now());
    await expect.poll(() => watched.revocations.hasTask('demo', 't-7')).toBe(true);
    expect([watched.revocations.hasTask('other', 't-7'), watched.revocations.hasTask('demo', 't-77'), watched.revocations.has('t-7.abc'), watched.revocations.has('t-1.abcdef')]).toEqual([false, false, false, true]);
    expect(changes).toBeGreaterThan(0);
  });
});

describe('budgets', () => {
  const caps = { bundle: async () => bundleOf(1) };
  const ask = (tenant: string, attempt: string, microUsd: number) => ({ tenant, task: attempt, attempt, capability: 'echo.say', microUsd, expiresAt: Date.now() + 60_000 });

  test('two processes under load never grant more than the cap, and settle gives back', async () => {
    await using a = await one.budgets(caps);
    await using b = await two.budgets(caps);
    const answers = await Promise.all(Array.from({ length: 80 }, (_, index) => (index % 2 === 0 ? a : b).reserve([ask('poor', `a-${index}`, 30)])));
    const granted = answers.flat().filter((answer) => answer.granted);
    expect(granted).toHaveLength(33);
    expect(await b.view('poor')).toEqual({ tenant: 'poor', capMicroUsd: 1_000, spentMicroUsd: 0, reservedMicroUsd: 990 });
    await a.settle(granted.map((answer) => ({ tenant: 'poor', reservation: answer.granted ? answer.reservation : '', spentMicroUsd: 10 })));
    expect(await b.view('poor')).toEqual({ tenant: 'poor', capMicroUsd: 1_000, spentMicroUsd: 330, reservedMicroUsd: 0 });
  });
  test('the same attempt reserves once, wherever it is asked; tenants have their own caps, answers keep their order', async () => {
    await using a = await one.budgets(caps);
    await using b = await two.budgets(caps);
    const [first] = await a.reserve([ask('again', 'x', 600)]);
    const [second] = await b.reserve([ask('again', 'x', 600)]);
    expect([first?.granted, second?.granted]).toEqual([true, true]);
    expect((await a.view('again')).reservedMicroUsd).toBe(600);
    const mixed = await a.reserve([ask('again', 'y', 600), ask('rich', 'z', 600), ask('again', 'w', 400)]);
    expect(mixed.map((answer) => answer.granted)).toEqual([false, true, true]);
    expect(mixed[0]).toMatchObject({ by: 'tenant', leftMicroUsd: 400 });
  });
  test('a tenant without a cap may spend nothing', async () => {
    await using budgets = await one.budgets({ bundle: async () => bundleOf(1, { budgets: {} }) });
    const [answer] = await budgets.reserve([ask('none', 'n', 1)]);
    expect(answer?.granted).toBe(false);
  });
});
