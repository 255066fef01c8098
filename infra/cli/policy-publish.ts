// The commands `policy publish|versions|rollback|diff`: what is in force on a running system, and what would be.
// Owns: talking to the system's policy store as its operator, and signed bundles in files. The work is in infra/cedar and infra/nats.
// Never publishes what has a problem or a failing case. Others may assume: exit code 1 when something is refused;
// what an operator published or rolled back to survives restarts of the system.

import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import type { PolicyBundle, SignedBundle } from '../../contracts/bundle.ts';
import { canonicalJson } from '../../contracts/canonical.ts';
import { fail } from '../../contracts/errors.ts';
import { parseDigest } from '../../contracts/ids.ts';
import { parseJson, parseValue } from '../../contracts/parse.ts';
import type { SignatureVerifier } from '../../contracts/ports.ts';
import { buildBundle, verifyBundle } from '../cedar/publish.ts';
import { loadKeys } from '../crypto/keys.ts';
import { createVerifier } from '../crypto/signer.ts';
import { OPERATOR } from '../dev/authority.ts';
import { publishPolicies, SHIPPED_POLICIES, shippedCapabilities } from '../dev/publish.ts';
import { credentialsFor } from '../nats/identities.ts';
import { connectPorts, type NatsPorts } from '../nats/index.ts';
import type { NatsPolicyStore, StoredBundle } from '../nats/policy-store.ts';
import { createTelemetry } from '../telemetry/index.ts';
import { act, type CliContext } from './shared.ts';

interface PublishFlags { readonly dir?: string; readonly at?: string; readonly out?: string; readonly bundle?: string }

export function registerPublishing(policy: Command): void {
  policy
    .command('publish')
    .description('check, test, sign and put a folder in force')
    .option('--dir <folder>', 'folder of .cedar files; the shipped one when absent')
    .option('--at <time>', 'in force from then on: an ISO time, or a duration such as 30s, 10m, 2h, 1d from now')
    .option('--out <file>', 'write the signed bundle to a file instead')
    .option('--bundle <file>', 'publish a signed bundle as it is')
    .action(act(publish));
  policy.command('versions').description('every bundle that was published here').action(act(versions));
  policy.command('rollback <digest>').description('put an earlier bundle in force again: its digest, the beginning of one, or its version').action(act(rollback));
  policy
    .command('diff')
    .description('what publishing a folder or a bundle would change')
    .option('--dir <folder>', 'folder of .cedar files; the shipped one when absent')
    .option('--bundle <file>', 'a signed bundle instead of a folder')
    .action(act(diff));
}

async function publish(context: CliContext, { dir, at, out, bundle: file }: PublishFlags): Promise<void> {
  await using system = await connected(context);
  if (file !== undefined) return publishFile(context, system, file);
  const { bundle, signed, published } = await publishPolicies({ config: context.config, ports: system.ports, dir: folderOf(dir), now: Date.now(), by: OPERATOR, dry: out !== undefined, ...(at === undefined ? {} : { notBefore: timeOf(at) }) });
  if (out !== undefined) await writeFile(out, JSON.stringify(signed));
  context.print({ json: { published, version: bundle.version, digest: signed.digest, notBefore: bundle.notBefore }, text: wordsOf(bundle, signed, published, out) });
}

function wordsOf({ version, notBefore }: PolicyBundle, { digest }: SignedBundle, published: boolean, out: string | undefined): string {
  if (out !== undefined) return `version ${version} is in ${out}, signed: ${digest}`;
  if (!published) return `nothing changed; version ${version} stays in force`;
  return notBefore > Date.now() ? `version ${version} comes into force at ${new Date(notBefore).toISOString()}: ${digest}` : `version ${version} is in force: ${digest}`;
}

async function publishFile(context: CliContext, { store, verifier }: Connected, file: string): Promise<void> {
  const { signed, bundle } = await readBundle(file, verifier);
  await store.publish(signed, OPERATOR);
  context.print({ json: { published: true, version: bundle.version, digest: signed.digest, notBefore: bundle.notBefore }, text: wordsOf(bundle, signed, true, undefined) });
}

async function versions(context: CliContext): Promise<void> {
  await using system = await connected(context);
  const found = await system.store.versions();
  context.print({ json: found, text: found.map(({ version, digest, createdAt, notBefore, state }) => `${String(version).padStart(4)}  ${digest.slice(0, 19)}  ${new Date(createdAt).toISOString()}  ${state}${state === 'scheduled' ? ` for ${new Date(notBefore).toISOString()}` : ''}`).join('\n') || 'nothing was published yet' });
}

async function rollback(context: CliContext, wanted: string): Promise<void> {
  await using system = await connected(context);
  const { store } = system;
  const chosen = only(await store.versions(), wanted);
  const { version, digest } = await store.activate(chosen.digest);
  context.print({ json: { version, digest }, text: `version ${version} is in force again: ${digest}` });
}

function only(all: readonly StoredBundle[], wanted: string): StoredBundle {
  const found = all.filter(({ digest, version }) => String(version) === wanted || digest === wanted || (wanted.length >= 8 && digest.startsWith(wanted.startsWith('sha256:') ? wanted : `sha256:${wanted}`)));
  const [chosen] = found;
  if (chosen === undefined || found.length > 1) throw fail('AIOS_INPUT_INVALID', `${found.length === 0 ? 'No' : 'More than one'} published bundle is named ${wanted}; see "aios policy versions".`);
  return chosen;
}

async function diff(context: CliContext, { dir, bundle: file }: PublishFlags): Promise<void> {
  await using system = await connected(context);
  const next = file === undefined ? await buildBundle({ dir: folderOf(dir), capabilities: shippedCapabilities(context.config.orchestration), version: 1, now: Date.now() }) : (await readBundle(file, system.verifier)).bundle;
  const changes = differences(await system.store.bundle(), next);
  context.print({ json: changes, text: changes.length === 0 ? 'no difference' : changes.map(({ what, name, how }) => `${how} ${what} ${name}`.trimEnd()).join('\n') });
}

interface Difference { readonly what: string; readonly name: string; readonly how: 'added' | 'removed' | 'changed' }

/** Member by member; the schema counts as one. */
export function differences(before: PolicyBundle, after: PolicyBundle): readonly Difference[] {
  const parts = ['policies', 'capabilities', 'groups', 'prices', 'providers', 'budgets'] as const;
  const schema: Difference[] = before.schema === after.schema ? [] : [{ what: 'schema', name: '', how: 'changed' }];
  return [...parts.flatMap((what) => differencesIn(what, before[what], after[what])), ...schema];
}

function differencesIn(what: string, before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>): readonly Difference[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].sort().flatMap((name): readonly Difference[] => {
    if (!Object.hasOwn(before, name)) return [{ what, name, how: 'added' }];
    if (!Object.hasOwn(after, name)) return [{ what, name, how: 'removed' }];
    return canonicalJson(before[name]) === canonicalJson(after[name]) ? [] : [{ what, name, how: 'changed' }];
  });
}

interface Connected { readonly ports: NatsPorts; readonly store: NatsPolicyStore; readonly verifier: SignatureVerifier }

async function connected(context: CliContext): Promise<Connected & AsyncDisposable> {
  await using opening = new AsyncDisposableStack();
  const { natsUrl } = await context.endpoints();
  const telemetry = opening.use(createTelemetry({ ...context.config, logLevel: 'error' }));
  const { clock, random, metrics, logger } = telemetry;
  const verifier = await verifierOf(context);
  const ports = opening.use(await connectPorts({ url: natsUrl, name: 'cli', credentials: credentialsFor(context.config, OPERATOR), clock, random, metrics, logger, firstConnectMsMax: 5_000 }));
  const store = opening.use(ports.policyStore(verifier));
  const open = opening.move();
  return { ports, store, verifier, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

/** The keys that this home trusts. */
export const verifierOf = async (context: CliContext): Promise<SignatureVerifier> => createVerifier((await loadKeys(join(context.config.home, 'keys'))).keyring);

const signedSchema = z.object({ digest: z.string().transform(parseDigest), bytes: z.string(), kid: z.string(), signature: z.string() });

/** @throws AIOS_CONFIG_INVALID for a file that is not there, AIOS_POLICY_INVALID for one that was not signed by a key of this home */
export async function readBundle(file: string, verifier: SignatureVerifier): Promise<{ readonly signed: SignedBundle; readonly bundle: PolicyBundle }> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => { throw fail('AIOS_CONFIG_INVALID', `There is no bundle at ${file}.`, { cause }); });
  const signed = parseValue(signedSchema, parseJson(text)) as SignedBundle;
  return { signed, bundle: verifyBundle(signed, verifier) };
}

const folderOf = (dir: string | undefined): string => (dir === undefined ? SHIPPED_POLICIES : resolve(dir));
const UNITS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

function timeOf(text: string): number {
  const ahead = /^(\d{1,5})([smhd])$/.exec(text);
  const at = ahead === null ? Date.parse(text) : Date.now() + Number(ahead[1]) * UNITS[ahead[2] as keyof typeof UNITS];
  if (Number.isNaN(at)) throw fail('AIOS_INPUT_INVALID', '--at is an ISO time or a duration such as 10m.');
  return at;
}
