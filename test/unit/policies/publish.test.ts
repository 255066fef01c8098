// Publishing: what is shipped passes its own cases, what is wrong is refused by name, and a bundle cannot be altered.
// Owns: tests of infra/cedar and of the shipped policies as a whole.

import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { SignedBundle } from '../../../contracts/bundle.ts';
import { SLICE_BYTES_MAX } from '../../../contracts/bundle.ts';
import { canonicalBytes } from '../../../contracts/canonical.ts';
import { fail } from '../../../contracts/errors.ts';
import type { PolicyStore } from '../../../contracts/ports.ts';
import { supportAnswer } from '../../../agents/catalog/support/capabilities.ts';
import { gatewayCapabilities } from '../../../agents/gateway/capabilities.ts';
import { buildBundle, checkBundle, publishShipped, signBundle, verifyBundle } from '../../../infra/cedar/publish.ts';
import { readPolicyDir } from '../../../infra/cedar/compile.ts';
import { createKeys } from '../../../infra/crypto/keys.ts';
import { createSigner, createVerifier } from '../../../infra/crypto/signer.ts';
import { sliceOf } from '../../../policies/slice.ts';

const NOW = 1_763_850_000_000;
const SHIPPED = fileURLToPath(new URL('../../../policies', import.meta.url));
const capabilities = [supportAnswer, ...gatewayCapabilities];
const options = { capabilities, version: 1, now: NOW };
const keys = createKeys();
const signer = createSigner(keys.brain);
const verifier = createVerifier(keys.keyring);
const invalid = (words: string) => expect.objectContaining({ code: 'AIOS_POLICY_INVALID', message: expect.stringContaining(words) as string });

describe('shipped policies', () => {
  test('all cases pass, and every policy decides at least one of them', async () => {
    const { problems, cases } = checkBundle(await readPolicyDir(SHIPPED), options);
    expect(problems).toEqual([]);
    expect(cases.results.filter(({ passed }) => !passed)).toEqual([]);
    expect(cases.results.length).toBeGreaterThan(40);
    expect(cases.untested).toEqual([]);
  });
  test('every slice fits what a workflow records', async () => {
    const bundle = await buildBundle({ dir: SHIPPED, ...options });
    for (const { id } of capabilities) expect(canonicalBytes(sliceOf(bundle, `sha256:${'0'.repeat(64)}` as never, id)).byteLength).toBeLessThanOrEqual(SLICE_BYTES_MAX);
  });
});

describe('publish', () => {
  const wrong: readonly (readonly [string, string, string])[] = [
    ['an extension type', '@id("x") permit (principal, action, resource) when { decimal("1.0").lessThan(decimal("2.0")) };', 'x.cedar, policy "x": "lessThan" belongs to an extension type'],
    ['a number JSON cannot carry', '@id("x") permit (principal, action == Action::"commit", resource) when { context.amountMicroUsd < 9007199254740993 };', 'policy "x": the number 9007199254740992'],
    ['a template', '@id("x") permit (principal == ?principal, action, resource);', 'x.cedar: templates'],
    ['a policy without an id', 'permit (principal, action, resource);', 'x.cedar: a policy has no @id'],
    ['an id used twice', '@id("commit-permitted") permit (principal, action, resource);', 'policy "commit-permitted": another policy has this @id'],
    ['a fact the schema does not know', '@id("x") permit (principal, action == Action::"commit", resource) when { context.confidense > 1 };', 'x.cedar, policy "x": attribute `confidense`'],
    ['an optional fact without has', '@id("x") permit (principal, action == Action::"commit", resource) when { context.confidenceBp > 1 };', 'policy "x"'],
    ['text that is no Cedar', '@id("x") permit (principal, action, resource) wen { true };', 'x.cedar: '],
    ['an unknown rung', '@id("x") @degrade("cheaper") forbid (principal, action, resource);', 'policy "x": @degrade is one of'],
    ['approvers on a permit', '@id("x") @approvers("operators") permit (principal, action, resource);', 'policy "x": @approvers and @degrade belong on a forbid'],
    ['a group that does not exist', '@id("x") @approvers("nobody") forbid (principal, action, resource);', 'policy "x": the group "nobody" has fewer members'],
    ['a quorum larger than its group', '@id("x") @approvers("operators") @quorum("3") forbid (principal, action, resource);', 'policy "x": the group "operators" has fewer members than the quorum of 3'],
    ['an unreadable expiry', '@id("x") @approvers("operators") @expires("soon") forbid (principal, action, resource);', 'policy "x": @expires'],
    ['a slice that is too large', Array.from({ length: 40 }, (_, i) => `@id("x${i}") @reason("${'long '.repeat(40)}") forbid (principal, action, resource) when { resource.sla == "never" };`).join('\n'), 'slices: '],
  ];
  for (const [what, text, words] of wrong) {
    test(`${what} - is refused with file and policy`, async () => {
      await using dir = await copyOfShipped();
      await writeFile(join(dir.path, 'x.cedar'), text);
      await expect(buildBundle({ dir: dir.path, ...options })).rejects.toThrow(invalid(words));
    });
  }
  test('a failing case - refuses the bundle and says what came instead', async () => {
    await using dir = await copyOfShipped();
    await writeFile(join(dir.path, 'x.cases.yaml'), 'cases:\n  - { name: wish, action: admit, capability: any.thing, expect: { kind: allow, deciding: [] } }\n');
    await expect(buildBundle({ dir: dir.path, ...options })).rejects.toThrow(invalid('x.cases.yaml, case "wish": expected {"kind":"allow","deciding":[]}, got {"kind":"deny","deciding":[]}'));
    await writeFile(join(dir.path, 'x.cases.yaml'), 'cases: 3\n');
    await expect(buildBundle({ dir: dir.path, ...options })).rejects.toThrow(invalid('x.cases.yaml, case "the file"'));
  });
  test('a price that is no price - is refused', async () => {
    const { problems } = checkBundle(await readPolicyDir(SHIPPED), { ...options, prices: { m: { inputPerMillion: 0.1, cacheReadPerMillion: 0, cacheWritePerMillion: 0, outputPerMillion: 0, reasoningPerMillion: 0, devicePerSecond: 0 } } });
    expect(problems.map(({ message }) => message)).toEqual(['m: inputPerMillion must be an integer of micro-USD, 0 or more']);
  });
  test('a changed byte, a foreign signature and a swapped digest - do not verify', async () => {
    const signed = signBundle(await buildBundle({ dir: SHIPPED, ...options }), signer);
    expect(verifyBundle(signed, verifier).version).toBe(1);
    const other = createSigner(createKeys().brain);
    for (const forged of [{ ...signed, bytes: signed.bytes.replace('"version":1', '"version":2') }, { ...signed, signature: other.sign(Buffer.from(signed.bytes)) }, { ...signed, kid: other.kid }, { ...signed, digest: `sha256:${'0'.repeat(64)}` as never }]) {
      expect(() => verifyBundle(forged, verifier)).toThrow(expect.objectContaining({ code: 'AIOS_POLICY_INVALID' }));
    }
  });
  test('publishing the same folder twice - publishes once; a change is the next version', async () => {
    await using dir = await copyOfShipped();
    const store = memoryStore();
    const publish = () => publishShipped({ dir: dir.path, capabilities, now: NOW, store, signer, verifier });
    expect(await publish()).toMatchObject({ published: true, bundle: { version: 1 } });
    expect(await publish()).toMatchObject({ published: false, bundle: { version: 1 } });
    await writeFile(join(dir.path, 'x.cedar'), '@id("x") forbid (principal, action, resource) when { principal.tenant == "closed" };');
    expect(await publish()).toMatchObject({ published: true, bundle: { version: 2 } });
  });
});

function memoryStore(): PolicyStore {
  let held: SignedBundle | undefined;
  return {
    current: () => (held === undefined ? Promise.reject(fail('AIOS_POLICY_MISSING')) : Promise.resolve(held)),
    publish: (signed) => { held = signed; return Promise.resolve(); },
    slice: () => Promise.reject(fail('AIOS_POLICY_MISSING')),
  };
}

async function copyOfShipped(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'aios-policies-'));
  await cp(SHIPPED, path, { recursive: true });
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
