// Mandates under attack: every way to end up with more than was given is refused, and none by luck.
// Owns: the attack matrix by name, random mutations (AIOS_PROPERTY_RUNS, default 3,000), the oracle, keys on disk.
// Never asks the code under test what is right: a mutation is judged by comparing grants member by member.

import { createHash, sign } from 'node:crypto';
import { mkdtemp, rm, stat, chmod, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { compactVerify, importJWK } from 'jose';
import { describe, expect, test } from 'vitest';
import { DATA_CLASSES } from '../../../contracts/capability.ts';
import type { Grant } from '../../../contracts/mandate.ts';
import { createKeys, importSecretKey, loadKeys, loadOrCreateKeys, rotateKeys } from '../../../infra/crypto/keys.ts';
import { createMandates, mandatesOf } from '../../../infra/crypto/mandates.ts';
import { createSigner, createVerifier } from '../../../infra/crypto/signer.ts';
import { decodeBase64Url, encodeBase64Url } from '../../../policies/base64url.ts';
import { createRevocations, matches, narrow, requireCover, signingInput, splitEnd } from '../../../policies/mandate.ts';
import { seeded } from '../../kit/cedar-random.ts';

const RUNS = Number(process.env['AIOS_PROPERTY_RUNS'] ?? 3_000);
const NOW = 1_763_850_000_000;
const keys = createKeys();
const time = { at: NOW };
const clock = { now: () => time.at };
const chance = seeded(5);
const random = { bytes: (count: number) => Uint8Array.from({ length: count }, () => Math.floor(chance() * 256)) };
const mandates = mandatesOf(keys, { clock, random });

const GRANT: Grant = {
  tenant: 'acme', task: 't-0123456789', capabilities: ['support.answer', 'text.*'], dataClass: 'confidential', regions: ['eu'],
  models: ['minilm', 'phi'], spaces: ['help-centre'], budgetMicroUsd: 20_000, callsMax: 40, depthMax: 3,
  notBefore: NOW, expiresAt: NOW + 60_000, offline: false, policy: `sha256:${'0'.repeat(64)}`,
};
const invalid = expect.objectContaining({ code: 'AIOS_MANDATE_INVALID' });
const exceeded = expect.objectContaining({ code: 'AIOS_MANDATE_EXCEEDED' });

/** A block as an attacker with the last key writes it: no rule of ours is asked. */
function forge(token: string, grant: Partial<Grant>, change: (block: Record<string, unknown>) => void = () => {}): string {
  const { blocksText, end } = splitEnd(token);
  const last = blocksText.split('~').at(-1) as string;
  const before = JSON.parse(Buffer.from(last.split('.')[1] as string, 'base64url').toString()) as { next: string };
  const next = createKeys().brain;
  const jwk = next.privateKey.export({ format: 'jwk' });
  const block: Record<string, unknown> = { v: 1, id: 't-0123456789.forgedforged', parent: digestOf(last), grant, next: next.publicKey, kid: before.next };
  change(block);
  const input = signingInput(block as never);
  return `${blocksText}~${input}.${rawSign(end.value, input)}~k.${jwk.d}`;
}
const digestOf = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const rawSign = (secret: string, text: string): string => sign(null, Buffer.from(text), importSecretKey(secret)).toString('base64url');

describe('mandate', () => {
  test('a delegation narrows, offline, without the brain key', () => {
    const agent = createMandates({ keyring: keys.keyring, clock, random });
    const root = mandates.mint(GRANT);
    const child = agent.attenuate(root, { capabilities: ['text.embed'], budgetMicroUsd: 500, depthMax: 2 });
    const verified = agent.verify(agent.attenuate(child, { dataClass: 'internal' }));
    expect(verified.depth).toBe(2);
    expect(verified.grant).toEqual({ ...GRANT, capabilities: ['text.embed'], budgetMicroUsd: 500, dataClass: 'internal', depthMax: 2 });
    expect(verified.root).toEqual(GRANT);
    expect(() => agent.mint(GRANT)).toThrow(expect.objectContaining({ code: 'AIOS_FORBIDDEN' }));
  });

  test('jose - reads the same header, payload and signature', async () => {
    const root = mandates.mint(GRANT);
    const key = await importJWK({ kty: 'OKP', crv: 'Ed25519', x: keys.brain.publicKey }, 'EdDSA');
    const { protectedHeader, payload } = await compactVerify(root.split('~')[0] as string, key);
    expect(protectedHeader).toEqual({ alg: 'EdDSA', kid: keys.brain.kid, typ: 'mandate+jwt' });
    expect((JSON.parse(new TextDecoder().decode(payload)) as { grant: Grant }).grant).toEqual(GRANT);
  });

  test('members a root does not name - grant nothing', () => {
    const { tenant, task, expiresAt, policy } = GRANT;
    const input = signingInput({ v: 1, id: 't-0123456789.aaaaaaaaaaaa', grant: { tenant, task, expiresAt, policy } as Partial<Grant>, next: keys.brain.publicKey, kid: keys.brain.kid });
    const text = `${input}.${createSigner(keys.brain).sign(Buffer.from(input))}`;
    const token = `${text}~s.${createSigner(keys.brain).sign(Buffer.from(`aios-seal\n${digestOf(text)}`))}`;
    expect(mandates.verify(token).grant).toEqual({ tenant, task, expiresAt, policy, capabilities: [], dataClass: 'public', regions: [], models: [], spaces: [], budgetMicroUsd: 0, callsMax: 0, depthMax: 0, notBefore: 0, offline: false });
  });

  describe('attack', () => {
    const root = mandates.mint(GRANT);
    const child = mandates.attenuate(root, { capabilities: ['text.embed'], budgetMicroUsd: 500 });

    test('wider limit - a block with more money, calls, time or depth is invalid', () => {
      for (const wider of [{ budgetMicroUsd: 501 }, { callsMax: 41 }, { expiresAt: NOW + 60_001 }, { notBefore: NOW - 1 }, { depthMax: 4 }]) {
        expect(() => mandates.verify(forge(child, wider))).toThrow(invalid);
        expect(() => mandates.attenuate(child, wider)).toThrow(exceeded);
      }
    });
    test('wider resource - a block with another capability, class, region, model, space or offline is invalid', () => {
      const wider: Partial<Grant>[] = [{ capabilities: ['text.embed', 'text.generate'] }, { capabilities: ['text.*'] }, { capabilities: ['*'] }, { dataClass: 'restricted' }, { regions: ['eu', 'us'] }, { regions: ['*'] }, { models: ['gpt'] }, { spaces: ['*'] }, { offline: true }];
      for (const caveat of wider) {
        expect(() => mandates.verify(forge(child, caveat))).toThrow(invalid);
        expect(() => mandates.attenuate(child, caveat)).toThrow(exceeded);
      }
    });
    test('wrong key - a root of an unknown brain, a block of a key its parent does not name, an end of another key', () => {
      const stranger = mandatesOf(createKeys(), { clock, random });
      expect(() => mandates.verify(stranger.mint(GRANT))).toThrow(invalid);
      const other = createKeys().brain;
      const jwk = other.privateKey.export({ format: 'jwk' });
      expect(() => mandates.verify(forge(`${splitEnd(child).blocksText}~k.${jwk.d}`, {}))).toThrow(invalid);
      expect(() => mandates.verify(forge(child, {}, (block) => { block['kid'] = other.publicKey; }))).toThrow(invalid);
      expect(() => mandates.verify(`${splitEnd(child).blocksText}~k.${jwk.d}`)).toThrow(invalid);
    });
    test('wrong audience - another tenant or another task cannot use it, nor can a block rename them', () => {
      const { grant } = mandates.verify(child);
      expect(() => requireCover(grant, { tenant: 'other', task: GRANT.task })).toThrow(expect.objectContaining({ code: 'AIOS_TENANT_MISMATCH' }));
      expect(() => requireCover(grant, { tenant: 'acme', task: 't-another' })).toThrow(invalid);
      expect(() => mandates.verify(forge(child, { tenant: 'other' }))).toThrow(invalid);
      expect(() => mandates.verify(forge(child, { task: 't-another' }))).toThrow(invalid);
      expect(() => mandates.verify(forge(child, { policy: `sha256:${'1'.repeat(64)}` }))).toThrow(invalid);
    });
    test('later block overriding - a third block cannot give back what the second took', () => {
      for (const back of [{ capabilities: GRANT.capabilities }, { budgetMicroUsd: GRANT.budgetMicroUsd }]) expect(() => mandates.verify(forge(child, back))).toThrow(invalid);
    });
    test('cut blocks - a holder of a delegation cannot fall back to its parent', () => {
      const { blocksText, end } = splitEnd(child);
      const rootOnly = blocksText.split('~')[0] as string;
      expect(() => mandates.verify(rootOnly)).toThrow(invalid);
      expect(() => mandates.verify(`${rootOnly}~${end.kind === 'secret' ? 'k' : 's'}.${end.value}`)).toThrow(invalid);
      const sealed = splitEnd(mandates.seal(child));
      expect(() => mandates.verify(`${rootOnly}~s.${sealed.end.value}`)).toThrow(invalid);
    });
    test('end - shown by the commitment of the last block, or by its key where it has none; never by another secret', () => {
      const { blocksText, end } = splitEnd(child);
      const bare = forge(child, {});
      const committed = forge(child, {}, (block) => { block['hold'] = digestOf(`aios-hold\n${end.value}`); });
      expect(mandates.verify(bare).depth).toBe(2);
      expect(() => mandates.verify(committed)).toThrow(invalid);
      expect(mandates.verify(`${splitEnd(committed).blocksText}~k.${end.value}`).depth).toBe(2);
      expect(() => mandates.verify(`${splitEnd(bare).blocksText}~k.${end.value}`)).toThrow(invalid);
      expect(() => mandates.verify(`${blocksText}~k.${splitEnd(root).end.value}`)).toThrow(invalid);
    });
    test('replay - a block moved to another chain, and a proof moved to another call, are refused', () => {
      const otherRoot = mandates.mint({ ...GRANT, budgetMicroUsd: 90_000 });
      const moved = splitEnd(child).blocksText.split('~')[1] as string;
      expect(() => mandates.verify(`${splitEnd(otherRoot).blocksText}~${moved}~k.${splitEnd(child).end.value}`)).toThrow(invalid);
      const verified = mandates.verify(child);
      const proof = mandates.prove(child, Buffer.from('call one'));
      expect(mandates.verifyProof(verified, Buffer.from('call one'), proof)).toBe(true);
      expect(mandates.verifyProof(verified, Buffer.from('call two'), proof)).toBe(false);
      expect(mandates.verifyProof(mandates.verify(root), Buffer.from('call one'), proof)).toBe(false);
    });
    test('alg none - and every other header than ours is refused', () => {
      const [header, payload, signature] = (root.split('~')[0] as string).split('.') as [string, string, string];
      const end = splitEnd(root).end.value;
      const ours = { alg: 'EdDSA', kid: keys.brain.kid, typ: 'mandate+jwt' };
      for (const bad of [{ ...ours, alg: 'none' }, { ...ours, alg: 'HS256' }, { ...ours, typ: 'JWT' }, { ...ours, crit: ['b64'] }, { ...ours, jwk: {} }, { alg: 'EdDSA', typ: 'mandate+jwt' }]) {
        const text = Buffer.from(JSON.stringify(bad)).toString('base64url');
        for (const sig of [signature, '', createSigner(keys.brain).sign(Buffer.from(`${text}.${payload}`))]) expect(() => mandates.verify(`${text}.${payload}.${sig}~k.${end}`)).toThrow(invalid);
      }
      expect(() => mandates.verify(`${header}.${payload}.~k.${end}`)).toThrow(invalid);
    });
    test('expired - refused from that millisecond on, cached or not', () => {
      const short = mandates.mint({ ...GRANT, expiresAt: NOW + 1_000 });
      expect(mandates.verify(short).depth).toBe(0);
      time.at = NOW + 999;
      expect(mandates.verify(short).depth).toBe(0);
      time.at = NOW + 1_000;
      expect(() => mandates.verify(short)).toThrow(invalid);
      time.at = NOW;
    });
    test('clock skew - a mandate from a clock 5 s ahead is taken, one from 6 s ahead is not', () => {
      expect(mandates.verify(mandates.mint({ ...GRANT, notBefore: NOW + 5_000 })).depth).toBe(0);
      expect(() => mandates.verify(mandates.mint({ ...GRANT, notBefore: NOW + 6_000 }))).toThrow(invalid);
    });
    test('sealed - can be presented and not delegated', () => {
      const sealed = mandates.seal(child);
      expect(mandates.verify(sealed)).toEqual(mandates.verify(child));
      expect(() => mandates.attenuate(sealed, {})).toThrow(exceeded);
      expect(() => mandates.prove(sealed, Buffer.from('x'))).toThrow(exceeded);
    });
    test('respelled signature - another text for the same bytes is refused', () => {
      const blocks = splitEnd(root).blocksText;
      const spelled = `${blocks.slice(0, -1)}${ALPHABET[ALPHABET.indexOf(blocks.at(-1) as string) + 1]}`;
      expect(() => mandates.verify(`${spelled}~k.${splitEnd(root).end.value}`)).toThrow(invalid);
    });
    test('depth - a mandate is delegated as often as it says', () => {
      const once = mandates.mint({ ...GRANT, depthMax: 1 });
      const last = mandates.attenuate(once, {});
      expect(() => mandates.attenuate(once, { depthMax: 0 })).toThrow(exceeded);
      expect(() => mandates.attenuate(last, {})).toThrow(exceeded);
      expect(() => mandates.verify(forge(last, {}))).toThrow(invalid);
    });
    test('unknown members, oversized and deeply nested blocks - are refused without a stall', () => {
      expect(() => mandates.verify(forge(child, { admin: true } as Partial<Grant>))).toThrow(invalid);
      expect(() => mandates.verify(forge(child, {}, (block) => { block['v'] = 2; }))).toThrow(invalid);
      expect(() => mandates.verify('x'.repeat(100_000))).toThrow(invalid);
      expect(() => mandates.verify(`${root.split('~')[0]}${'~a.b.c'.repeat(40)}~k.${'A'.repeat(43)}`)).toThrow(invalid);
      const deep = Buffer.from('['.repeat(3_000)).toString('base64url');
      expect(() => mandates.verify(`${deep}.${deep}.${deep}~k.${'A'.repeat(43)}`)).toThrow(invalid);
    });
  });

  test('revocation - takes effect at once, cached or not, and the subtree falls with its root', () => {
    const revocations = createRevocations();
    const watched = mandatesOf(keys, { clock, random, revocations });
    const root = watched.mint(GRANT);
    const child = watched.attenuate(root, { callsMax: 3 });
    const grandchild = watched.attenuate(child, {});
    const { blockIds } = watched.verify(grandchild);
    revocations.add((blockIds[1] as string).slice(0, 20));
    expect(watched.verify(root).depth).toBe(0);
    for (const token of [child, grandchild]) expect(() => watched.verify(token)).toThrow(invalid);
    revocations.replace([]);
    expect(watched.verify(grandchild).depth).toBe(2);
    revocations.replace(['t-0123456789.']);
    for (const token of [root, child, grandchild]) expect(() => watched.verify(token)).toThrow(invalid);
  });

  test(`${RUNS} random mutations of a three-hop mandate - none is accepted that is forged or wider`, { timeout: 3_600_000 }, () => {
    const root = mandates.mint(GRANT);
    const child = mandates.attenuate(root, { capabilities: ['text.*'], budgetMicroUsd: 9_000, regions: ['eu'] });
    const token = mandates.attenuate(child, { capabilities: ['text.embed'], dataClass: 'internal', callsMax: 5 });
    const sealed = mandates.seal(token);
    const { grant: original } = mandates.verify(token);
    const other = mandates.attenuate(mandates.mint({ ...GRANT, task: 't-other', budgetMicroUsd: 1_000_000 }), {});
    const seen = { accepted: 0, refused: 0 };
    fc.assert(
      fc.property(fc.constantFrom(token, sealed), mutationOf(other), (base, mutate) => {
        const mutated = mutate(base);
        fc.pre(mutated !== base);
        const accepted = grantOrUndefined(mutated);
        seen[accepted === undefined ? 'refused' : 'accepted'] += 1;
        if (accepted !== undefined) expect(widerMembers(original, accepted)).toEqual([]);
      }),
      { numRuns: RUNS, seed: 11 },
    );
    // Both kinds must occur: narrower blocks by the rightful holder are accepted, everything else is not.
    expect(seen.accepted).toBeGreaterThan(RUNS / 100);
    expect(seen.refused).toBeGreaterThan(RUNS / 2);
  });
});

describe('key directory', () => {
  test('keys - are made once by whoever comes first, readable by their owner only', async () => {
    await using dir = await temporary();
    const made = await Promise.all(Array.from({ length: 6 }, () => loadOrCreateKeys(dir.path)));
    expect(new Set(made.map(({ brain }) => brain.kid)).size).toBe(1);
    expect((await stat(join(dir.path, 'brain.jwk.json'))).mode & 0o777).toBe(0o600);
    expect(JSON.parse(await readFile(join(dir.path, 'keyring.json'), 'utf8'))).toEqual({ v: 1, keys: made[0]?.keyring.keys });
  });
  test('a private key that others can read - is refused', async () => {
    await using dir = await temporary();
    await loadOrCreateKeys(dir.path);
    await chmod(join(dir.path, 'brain.jwk.json'), 0o644);
    await expect(loadOrCreateKeys(dir.path)).rejects.toThrow(expect.objectContaining({ code: 'AIOS_CONFIG_INVALID' }));
  });
  test('rotation - new signatures by the new key, old ones still verify', async () => {
    await using dir = await temporary();
    const before = await loadOrCreateKeys(dir.path);
    const after = await rotateKeys(dir.path);
    const verifier = createVerifier((await loadKeys(dir.path)).keyring);
    const bytes = Buffer.from('head');
    for (const { brain } of [before, after]) expect(verifier.verify(brain.kid, bytes, createSigner(brain).sign(bytes))).toBe(true);
    expect(after.keyring.keys[0]?.kid).toBe(after.brain.kid);
    expect(verifier.verify(before.brain.kid, bytes, createSigner(after.brain).sign(bytes))).toBe(false);
  });
});

describe('mandate algebra', () => {
  test('patterns - a star at the end covers what starts so, and only a star covers a star', () => {
    expect(matches(['text.*'], 'text.embed')).toBe(true);
    expect(matches(['text.*'], 'text.*')).toBe(true);
    expect(matches(['text.embed'], 'text.*')).toBe(false);
    expect(matches(['te*xt'], 'text')).toBe(false);
    expect(matches([], '*')).toBe(false);
  });
  test('requireCover - names everything that is missing', () => {
    expect(() => requireCover(GRANT, { tenant: 'acme', task: GRANT.task, capability: 'x.y', dataClass: 'restricted', region: 'us', model: 'm', space: 's', microUsd: 20_001, calls: 41, offline: true })).toThrow('capability, dataClass, region, model, space, budget, calls, offline');
    requireCover(GRANT, { tenant: 'acme', task: GRANT.task, capability: 'text.embed', dataClass: 'internal', region: 'eu', model: 'phi', space: 'help-centre', microUsd: 20_000, calls: 40 });
    expect(narrow(GRANT, { action: `sha256:${'2'.repeat(64)}` }, 1).depthMax).toBe(3);
    expect(() => narrow({ ...GRANT, principal: `sha256:${'3'.repeat(64)}` }, { principal: `sha256:${'4'.repeat(64)}` }, 1)).toThrow('principal');
  });
  test('base64url - one text for one byte string', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      const text = encodeBase64Url(bytes);
      expect(text).toBe(Buffer.from(bytes).toString('base64url'));
      expect(decodeBase64Url(text)).toEqual(bytes);
    }));
    for (const bad of ['A', 'AB', 'AA=', 'A A', 'AAé', '+/']) expect(() => decodeBase64Url(bad)).toThrow();
  });
});

// ---- mutations

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
type Mutation = (token: string) => string;

function mutationOf(other: string): fc.Arbitrary<Mutation> {
  const at = fc.nat(20_000);
  const char = fc.constantFrom(...ALPHABET, '.', '~', '=');
  const grant: fc.Arbitrary<Partial<Grant>> = fc.record({
    capabilities: fc.subarray(['text.embed', 'text.generate', 'text.*', '*', 'support.answer']), dataClass: fc.constantFrom(...DATA_CLASSES), regions: fc.subarray(['eu', 'us', '*']),
    models: fc.subarray(['minilm', 'phi', 'gpt']), budgetMicroUsd: fc.constantFrom(0, 100, 8_999, 9_000, 9_001, 20_000), callsMax: fc.constantFrom(0, 5, 6, 40), depthMax: fc.constantFrom(0, 2, 3, 4),
    expiresAt: fc.constantFrom(NOW + 1, NOW + 60_000, NOW + 60_001), notBefore: fc.constantFrom(NOW - 1, NOW, NOW + 10), offline: fc.boolean(), tenant: fc.constantFrom('acme', 'other'), task: fc.constantFrom('t-0123456789', 't-other'),
  }, { requiredKeys: [] });
  return fc.oneof(
    fc.tuple(at, char).map(([i, c]): Mutation => (t) => { const k = i % t.length; return t.slice(0, k) + c + t.slice(k + 1); }),
    fc.tuple(at, char).map(([i, c]): Mutation => (t) => { const k = i % t.length; return t.slice(0, k) + c + t.slice(k); }),
    fc.tuple(at, fc.nat(40)).map(([i, n]): Mutation => (t) => { const k = i % t.length; return t.slice(0, k) + t.slice(k + n); }),
    fc.tuple(fc.nat(3), fc.nat(3)).map(([a, b]): Mutation => (t) => { const parts = t.split('~'); [parts[a], parts[b]] = [parts[b] as string, parts[a] as string]; return parts.join('~'); }),
    fc.tuple(fc.nat(3)).map(([a]): Mutation => (t) => t.split('~').filter((_, i) => i !== a).join('~')),
    fc.tuple(fc.nat(3), fc.nat(2)).map(([a, b]): Mutation => (t) => { const parts = t.split('~'); parts[a] = other.split('~')[b] as string; return parts.join('~'); }),
    fc.tuple(fc.nat(2), grant).map(([i, g]): Mutation => (t) => edited(t, i, (block) => ({ ...block, grant: { ...(block['grant'] as object), ...g } }))),
    fc.tuple(fc.nat(2)).map(([i]): Mutation => (t) => edited(t, i, (block) => ({ ...block, next: createKeysOnce.publicKey }))),
    fc.constantFrom<Partial<Grant>>({ callsMax: 1 }, { budgetMicroUsd: 100 }, { regions: [] }, { dataClass: 'public' }, { capabilities: [] }, { notBefore: NOW + 10 }).map((g): Mutation => (t) => (splitEnd(t).end.kind === 'secret' ? forge(t, g) : edited(t, 2, (block) => ({ ...block, grant: g })))),
    grant.map((g): Mutation => (t) => (splitEnd(t).end.kind === 'secret' ? forge(t, g) : edited(t, 2, (block) => ({ ...block, grant: g })))),
    fc.tuple(grant, fc.constantFrom('parent', 'kid', 'id')).map(([g, member]): Mutation => (t) => (splitEnd(t).end.kind === 'secret' ? forge(t, g, (block) => { block[member] = 'x'.repeat(20); }) : `${t}x`)),
  );
}
const createKeysOnce = createKeys().brain;

/** The payload of one block changed, its signature left: what a thief of the text can do. */
function edited(token: string, index: number, change: (block: Record<string, unknown>) => Record<string, unknown>): string {
  const parts = token.split('~');
  const [header, payload, signature] = (parts[index] as string).split('.') as [string, string, string];
  const block = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>;
  parts[index] = `${header}.${Buffer.from(JSON.stringify(change(block))).toString('base64url')}.${signature}`;
  return parts.join('~');
}

function grantOrUndefined(token: string): Grant | undefined {
  try {
    return mandates.verify(token).grant;
  } catch (thrown) {
    expect(thrown).toEqual(invalid);
    return undefined;
  }
}

/** Compared by hand, not by the rules under test; patterns are spelled out for the names of this test. */
function widerMembers(original: Grant, accepted: Grant): string[] {
  const everything = ['text.embed', 'text.generate', 'support.answer', 'eu', 'us', 'minilm', 'phi', 'gpt', 'help-centre'];
  const reach = (patterns: readonly string[]): string[] => everything.filter((name) => patterns.some((p) => p === name || p === '*' || (p === 'text.*' && name.startsWith('text.'))));
  const lists = (['capabilities', 'regions', 'models', 'spaces'] as const).filter((name) => reach(accepted[name]).some((one) => !reach(original[name]).includes(one)));
  const numbers = (['budgetMicroUsd', 'callsMax', 'depthMax', 'expiresAt'] as const).filter((name) => accepted[name] > original[name]);
  const rest = [
    accepted.tenant === original.tenant && accepted.task === original.task && accepted.policy === original.policy ? '' : 'audience',
    DATA_CLASSES.indexOf(accepted.dataClass) <= DATA_CLASSES.indexOf(original.dataClass) ? '' : 'dataClass',
    accepted.notBefore >= original.notBefore ? '' : 'notBefore',
    accepted.offline && !original.offline ? 'offline' : '',
  ];
  return [...lists, ...numbers, ...rest.filter((name) => name !== '')];
}

async function temporary(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'aios-keys-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
