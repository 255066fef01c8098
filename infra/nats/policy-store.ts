// The policy bundle in force, distributed by NATS KV and checked by signature before anything in it is believed.
// Owns: the keys `current`, `next` and `bundle.<digest>`, the copy of this process and its slices. Never makes or edits a bundle.
// Others may assume: a slice object stays the same object while its bundle is in force; a published bundle is in force
// in every connected process at once, and after a broken watch within half a minute; a forged one never is.

import { gunzipSync, gzipSync } from 'node:zlib';
import { z } from 'zod';
import { BUCKETS } from '../../contracts/address.ts';
import type { PolicyBundle, PolicySlice, SignedBundle } from '../../contracts/bundle.ts';
import { digestOfText } from '../../contracts/canonical.ts';
import { fail } from '../../contracts/errors.ts';
import { parseDigest } from '../../contracts/ids.ts';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import type { KeyValue, PolicyStore, SignatureVerifier } from '../../contracts/ports.ts';
import { sliceOf } from '../../policies/slice.ts';
import type { NatsLink } from './connect.ts';

const KEYS = { current: 'current', next: 'next' } as const;
const BUNDLE_BYTES_MAX = 4 * 1024 * 1024;
/** Zipped, a bundle must fit one message. */
const STORED_BYTES_MAX = 200 * 1024;

const signedSchema = z.strictObject({ digest: z.string().transform(parseDigest), bytes: z.string(), kid: z.string().max(64), signature: z.string().max(128) });

export interface NatsPolicyStore extends PolicyStore, AsyncDisposable {
  /** The bundle in force, verified. @throws AIOS_POLICY_MISSING */
  bundle(): Promise<PolicyBundle>;
  /** Every bundle that was published here, newest version first. */
  versions(): Promise<readonly StoredBundle[]>;
  /** Puts a bundle that was published earlier in force again, under its own digest, and forgets what was to follow. @throws AIOS_POLICY_MISSING, AIOS_STATE_CONFLICT */
  activate(digest: string): Promise<StoredBundle>;
  /** Who chose what is in force: whoever sets a system up may replace its own choice, never an operator's. */
  chosenBy(): Promise<Chooser>;
  publish(signed: SignedBundle, by?: Chooser): Promise<void>;
}

export type Chooser = 'setup' | 'operator';

export interface StoredBundle {
  readonly digest: string;
  readonly version: number;
  readonly createdAt: number;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly state: 'in force' | 'scheduled' | 'earlier';
}

interface InForce { readonly signed: SignedBundle; readonly bundle: PolicyBundle; readonly slices: Map<string, PolicySlice> }

export function createPolicyStore(link: NatsLink, keyValue: KeyValue, verifier: SignatureVerifier): NatsPolicyStore {
  const held: { current: InForce | undefined; next: InForce | undefined } = { current: undefined, next: undefined };
  let watching: Promise<AsyncDisposable> | undefined;

  const take = (key: keyof typeof KEYS, value: Uint8Array | undefined): void => {
    try {
      const before = held[key];
      const found = value === undefined ? undefined : open(verifier, value);
      held[key] = found !== undefined && before?.signed.digest === found.signed.digest ? before : found;
    } catch (error) {
      link.metrics.count('aios_policy_bundle_refused_total');
      link.logger.error({ key, error: (error as Error).message }, 'a policy bundle was refused; the one before stays in force');
    }
  };
  const ready = (): Promise<AsyncDisposable> => (watching ??= keyValue.watch(BUCKETS.policy, '*', (key, value) => {
    if (key === KEYS.current || key === KEYS.next) take(key, value);
  }).catch((error: unknown) => {
    watching = undefined;
    throw error;
  }));
  const inForce = async (): Promise<InForce> => {
    if (watching === undefined || held.current === undefined) await ready();
    const now = link.clock.now();
    const { current, next } = held;
    const chosen = next !== undefined && next.bundle.notBefore <= now && next.bundle.version > (current?.bundle.version ?? 0) ? next : current;
    if (chosen === undefined) throw fail('AIOS_POLICY_MISSING');
    if (chosen.bundle.notAfter <= now) throw fail('AIOS_POLICY_MISSING', `Version ${chosen.bundle.version} ended.`);
    return chosen;
  };

  return {
    async slice(capability) {
      const { bundle, signed, slices } = await inForce();
      const known = slices.get(capability);
      if (known !== undefined) return known;
      const slice = sliceOf(bundle, signed.digest, capability);
      slices.set(capability, slice);
      return slice;
    },
    current: async () => (await inForce()).signed,
    bundle: async () => (await inForce()).bundle,
    async publish(signed, by = 'setup') {
      const value = gzipSync(toBytes(signed));
      const { bundle } = open(verifier, value);
      if (value.byteLength > STORED_BYTES_MAX) throw fail('AIOS_POLICY_INVALID', `The bundle takes ${value.byteLength} bytes zipped, at most ${STORED_BYTES_MAX}.`);
      const key = bundle.notBefore > link.clock.now() ? KEYS.next : KEYS.current;
      await keyValue.create(BUCKETS.policy, archiveKey(signed.digest), value);
      await replace(keyValue, verifier, key, bundle, signed, value);
      await keyValue.put(BUCKETS.policy, CHOSEN_BY, new TextEncoder().encode(by));
      take(key, value);
    },
    async chosenBy() {
      const found = await keyValue.get(BUCKETS.policy, CHOSEN_BY);
      return found !== undefined && new TextDecoder().decode(found.value) === 'operator' ? 'operator' : 'setup';
    },
    async versions() {
      const keys = await keyValue.keys(BUCKETS.policy, `${ARCHIVE}.*`);
      const found = await Promise.all(keys.map((key) => keyValue.get(BUCKETS.policy, key)));
      const active = await inForce().then(({ signed }) => signed.digest, () => undefined);
      const scheduled = held.next?.signed.digest;
      return found.flatMap((one) => (one === undefined ? [] : [describe(open(verifier, one.value), active, scheduled)])).sort((a, b) => b.version - a.version);
    },
    async activate(digest) {
      const found = await keyValue.get(BUCKETS.policy, archiveKey(digest));
      if (found === undefined) throw fail('AIOS_POLICY_MISSING', 'No bundle of this digest was published here; see "aios policy versions".');
      const chosen = open(verifier, found.value);
      if (chosen.bundle.notAfter <= link.clock.now()) throw fail('AIOS_POLICY_MISSING', `Version ${chosen.bundle.version} ended.`);
      const before = await keyValue.get(BUCKETS.policy, KEYS.current);
      if (before === undefined) await keyValue.create(BUCKETS.policy, KEYS.current, found.value);
      else await keyValue.update(BUCKETS.policy, KEYS.current, found.value, before.revision);
      await keyValue.delete(BUCKETS.policy, KEYS.next);
      await keyValue.put(BUCKETS.policy, CHOSEN_BY, new TextEncoder().encode('operator'));
      take(KEYS.current, found.value);
      take(KEYS.next, undefined);
      return describe(chosen, chosen.signed.digest, undefined);
    },
    async [Symbol.asyncDispose]() {
      const open = await watching?.catch(() => undefined);
      await open?.[Symbol.asyncDispose]();
    },
  };
}

const CHOSEN_BY = 'chosen-by';
const ARCHIVE = 'bundle';
const archiveKey = (digest: string): string => `${ARCHIVE}.${parseDigest(digest).slice('sha256:'.length)}`;

function describe({ signed: { digest }, bundle: { version, createdAt, notBefore, notAfter } }: InForce, active: string | undefined, scheduled: string | undefined): StoredBundle {
  return { digest, version, createdAt, notBefore, notAfter, state: digest === active ? 'in force' : digest === scheduled ? 'scheduled' : 'earlier' };
}

/** Compare and set, so that of two publishers at once the higher version stays. */
async function replace(keyValue: KeyValue, verifier: SignatureVerifier, key: string, bundle: PolicyBundle, signed: SignedBundle, value: Uint8Array): Promise<void> {
  const found = await keyValue.get(BUCKETS.policy, key);
  if (found === undefined) {
    if ((await keyValue.create(BUCKETS.policy, key, value)) === undefined) throw fail('AIOS_STATE_CONFLICT', 'Another bundle was published at the same moment.');
    return;
  }
  const before = open(verifier, found.value);
  if (before.signed.digest === signed.digest) return;
  if (before.bundle.version >= bundle.version) throw fail('AIOS_POLICY_INVALID', `Version ${before.bundle.version} is in force; a new bundle needs a higher one.`);
  await keyValue.update(BUCKETS.policy, key, value, found.revision);
}

/** Digest and signature first; only then is the content read. @throws AIOS_POLICY_INVALID */
function open(verifier: SignatureVerifier, value: Uint8Array): InForce {
  const signed: SignedBundle = parseBytes(signedSchema, unzip(value), BUNDLE_BYTES_MAX);
  if (digestOfText(signed.bytes) !== signed.digest) throw fail('AIOS_POLICY_INVALID', 'Its digest is not that of its content.');
  if (!verifier.verify(signed.kid, new TextEncoder().encode(signed.bytes), signed.signature)) throw fail('AIOS_POLICY_INVALID', 'Its signature is not of a key that is trusted here.');
  const bundle = JSON.parse(signed.bytes) as PolicyBundle;
  if (bundle.v !== 1) throw fail('AIOS_VERSION_UNKNOWN', 'The bundle has another format version.');
  return { signed, bundle, slices: new Map() };
}

function unzip(value: Uint8Array): Uint8Array {
  try {
    return gunzipSync(value, { maxOutputLength: BUNDLE_BYTES_MAX });
  } catch (cause) {
    throw fail('AIOS_POLICY_INVALID', 'It cannot be unpacked.', { cause });
  }
}
