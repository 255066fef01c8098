// Making a bundle: policies checked and tested, everything a decision depends on put together, named by digest and signed.
// Owns: `buildBundle`, `signBundle`, `verifyBundle`, `publishShipped`. Never publishes what has a problem or a failing case.
// Others may assume: a bundle that verifies was built here, by whoever holds the brain's key, and its slices fit their bound.

import type { PolicyBundle, Price, ProviderTraits, SignedBundle } from '../../contracts/bundle.ts';
import { canonicalJson, digestOfText } from '../../contracts/canonical.ts';
import type { Capability, CapabilityTraits } from '../../contracts/capability.ts';
import { traitsOf } from '../../contracts/capability.ts';
import { fail, hasCode } from '../../contracts/errors.ts';
import type { PolicyStore, SignatureVerifier, Signer } from '../../contracts/ports.ts';
import { DEFAULT_BUDGETS, DEFAULT_GROUPS, DEFAULT_PRICES, DEFAULT_PROVIDERS } from '../../policies/defaults.ts';
import { obligationOf } from '../../policies/evaluate.ts';
import { priceProblems } from '../../policies/price.ts';
import { sliceOf } from '../../policies/slice.ts';
import { runCases } from './cases.ts';
import { readMoney } from './money-file.ts';
import type { CaseReport } from './cases.ts';
import { compileSources, problemText, readPolicyDir } from './compile.ts';
import type { PolicySources, Problem } from './compile.ts';

/** How long a bundle is in force when nobody says otherwise; a stale one only covers offline grants. */
export const VALIDITY_MS_DEFAULT = 365 * 86_400_000;
/** Zipped it must fit one message; this is the text before. */
export const BUNDLE_BYTES_MAX = 2 * 1024 * 1024;

export interface BundleOptions {
  readonly capabilities: readonly (CapabilityTraits | Capability<never, never>)[];
  readonly prices?: Readonly<Record<string, Price>>;
  readonly providers?: Readonly<Record<string, ProviderTraits>>;
  readonly groups?: Readonly<Record<string, readonly string[]>>;
  readonly budgets?: Readonly<Record<string, number>>;
  readonly limits?: NonNullable<PolicyBundle['limits']>;
  readonly version: number;
  /** ms since 1970 */
  readonly now: number;
  /** In force from here; `now` if absent. */
  readonly notBefore?: number;
  readonly validityMs?: number;
}
export interface CheckedBundle {
  readonly bundle: PolicyBundle;
  readonly problems: readonly Problem[];
  readonly cases: CaseReport;
}

/** Reads, checks and tests a policy folder. @throws AIOS_POLICY_INVALID listing every problem and failing case */
export async function buildBundle({ dir, ...options }: BundleOptions & { readonly dir: string }): Promise<PolicyBundle> {
  const { bundle, problems, cases } = checkBundle(await readPolicyDir(dir), { ...(await readMoney(dir)), ...options });
  const failing = cases.results.filter(({ passed }) => !passed).map(({ file, name, why }) => `${file}, case "${name}": ${why}`);
  const all = [...problems.map(problemText), ...failing];
  if (all.length > 0) throw fail('AIOS_POLICY_INVALID', all.join('\n'));
  return bundle;
}

/** The same, with everything that was found instead of the first refusal: what `policy check` and `policy test` show. */
export function checkBundle(files: PolicySources, options: BundleOptions): CheckedBundle {
  const { policies, problems } = compileSources(files);
  const notBefore = options.notBefore ?? options.now;
  const bundle: PolicyBundle = {
    v: 1,
    version: options.version,
    createdAt: options.now,
    notBefore,
    notAfter: notBefore + (options.validityMs ?? VALIDITY_MS_DEFAULT),
    policies,
    sources: files.sources,
    schema: files.schema,
    capabilities: Object.fromEntries(options.capabilities.map((one) => [one.id, traitsOf(one as Capability)])),
    prices: options.prices ?? DEFAULT_PRICES,
    providers: options.providers ?? DEFAULT_PROVIDERS,
    groups: options.groups ?? DEFAULT_GROUPS,
    budgets: options.budgets ?? DEFAULT_BUDGETS,
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  };
  const all = [...problems, ...groupProblems(bundle), ...moneyProblems(bundle), ...(problems.length === 0 ? sizeProblems(bundle) : [])];
  return { bundle, problems: all, cases: all.length === 0 ? runCases(bundle, files.cases) : { results: [], untested: [] } };
}

/** An approval that nobody could give is a refusal in disguise. */
function groupProblems({ policies, groups }: PolicyBundle): readonly Problem[] {
  return Object.entries(policies).flatMap(([id, policy]) => {
    const { obligation } = obligationOf(policy);
    if (obligation.kind !== 'escalate') return [];
    const { approvers, quorum, onExpiry, chain = [] } = obligation.approval;
    const named = onExpiry === 'deny' ? [approvers] : [approvers, onExpiry.escalate, ...chain];
    const missing = named.filter((group) => (groups[group] ?? []).length < quorum);
    return missing.map((group) => ({ file: 'groups', policy: id, message: `the group "${group}" has fewer members than the quorum of ${quorum}` }));
  });
}

function moneyProblems({ prices, budgets }: PolicyBundle): readonly Problem[] {
  const wrongPrices = Object.entries(prices).flatMap(([name, price]) => priceProblems(price).map((message) => ({ file: 'prices', message: `${name}: ${message}` })));
  const wrongCaps = Object.entries(budgets).filter(([, cap]) => !Number.isSafeInteger(cap) || cap < 0).map(([tenant]) => ({ file: 'budgets', message: `the cap of ${tenant} is not an integer of micro-USD` }));
  return [...wrongPrices, ...wrongCaps];
}

function sizeProblems(bundle: PolicyBundle): readonly Problem[] {
  const tooLarge = Buffer.byteLength(canonicalJson(bundle)) > BUNDLE_BYTES_MAX ? [{ file: 'bundle', message: `it is larger than ${BUNDLE_BYTES_MAX} bytes` }] : [];
  const slices = Object.keys(bundle.capabilities).flatMap((capability) => {
    try {
      sliceOf(bundle, digestOfText('size'), capability);
      return [];
    } catch (thrown) {
      return [{ file: 'slices', message: (thrown as Error).message }];
    }
  });
  return [...tooLarge, ...slices];
}

// ---- signing

export function signBundle(bundle: PolicyBundle, signer: Signer): SignedBundle {
  const bytes = canonicalJson(bundle);
  return { digest: digestOfText(bytes), bytes, kid: signer.kid, signature: signer.sign(Buffer.from(bytes)) };
}

/** Digest and signature before a word of it is believed. @throws AIOS_POLICY_INVALID, AIOS_VERSION_UNKNOWN */
export function verifyBundle(signed: SignedBundle, verifier: SignatureVerifier): PolicyBundle {
  if (digestOfText(signed.bytes) !== signed.digest) throw fail('AIOS_POLICY_INVALID', 'Its digest is not that of its content.');
  if (!verifier.verify(signed.kid, Buffer.from(signed.bytes), signed.signature)) throw fail('AIOS_POLICY_INVALID', 'Its signature is not of a key that is trusted here.');
  const bundle = JSON.parse(signed.bytes) as PolicyBundle;
  if (bundle.v !== 1) throw fail('AIOS_VERSION_UNKNOWN', 'The bundle has another format version.');
  return bundle;
}

// ---- publishing

export type PublishOptions = Omit<BundleOptions, 'version'> & {
  readonly dir: string; readonly store: PolicyStore; readonly signer: Signer; readonly verifier: SignatureVerifier;
  /** The highest version that was ever published, where that is known: after a roll back it is above the one in force. */
  readonly versionMin?: number;
  /** Signs, but publishes nothing. */
  readonly dry?: boolean;
};
export interface Published {
  readonly signed: SignedBundle;
  readonly bundle: PolicyBundle;
  /** False when what is in force says the same already. */
  readonly published: boolean;
}

/** Publishes the folder under the next version, unless the bundle in force holds the same content. @throws AIOS_POLICY_INVALID */
export async function publishShipped({ store, signer, verifier, versionMin = 0, dry = false, ...options }: PublishOptions): Promise<Published> {
  const before = await inForce(store, verifier);
  const bundle = await buildBundle({ ...options, version: Math.max(before?.bundle.version ?? 0, versionMin) + 1 });
  if (before !== undefined && contentOf(before.bundle) === contentOf(bundle) && before.bundle.notAfter > options.now + VALIDITY_MS_DEFAULT / 12) return { ...before, published: false };
  const signed = signBundle(bundle, signer);
  if (!dry) await store.publish(signed);
  return { signed, bundle, published: !dry };
}

/** What a bundle says, whoever made it and when. */
const contentOf = ({ version: _version, createdAt: _at, notBefore: _from, notAfter: _to, ...content }: PolicyBundle): string => canonicalJson(content);

/** A bundle that does not verify any more (another home's key) is replaced like one that is not there. */
async function inForce(store: PolicyStore, verifier: SignatureVerifier): Promise<Omit<Published, 'published'> | undefined> {
  try {
    const signed = await store.current();
    return { signed, bundle: verifyBundle(signed, verifier) };
  } catch (thrown) {
    if (hasCode(thrown, 'AIOS_POLICY_MISSING') || hasCode(thrown, 'AIOS_POLICY_INVALID')) return undefined;
    throw thrown;
  }
}
