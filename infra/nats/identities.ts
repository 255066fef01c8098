// Who may connect to the message server: key files of this home's hosts, and the list of public keys with what each may be.
// Owns: `<home>/keys/nats/`: `issuer.nk` and `callout.nk` of the callout, `<host>.nk` of each host, `identities.json`.
// Never holds another host's seed in the list. Others may assume: removing an entry takes the right away, at once for new
// connections and within the life of a token for those that are open; files are readable by their owner only.

import { existsSync } from 'node:fs';
import { mkdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { fail } from '../../contracts/errors.ts';
import { parseJson, parseValue } from '../../contracts/parse.ts';
import { ROLES, type HostIdentity } from '../../policies/hosts.ts';
import { createWhole, readIfThere, replaceWhole } from '../files/whole-file.ts';
import { createSeed, openSeed, type Nkey } from './nkeys.ts';

const IDENTITIES_MAX = 10_000;
const identitySchema = z.strictObject({
  name: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/),
  role: z.enum(ROLES),
  key: z.string().regex(/^U[A-Z2-7]{55}$/),
  capabilities: z.array(z.string().max(64)).max(64).optional(),
});
const listSchema = z.strictObject({ v: z.literal(1), identities: z.array(identitySchema).max(IDENTITIES_MAX) });

/** A host and the public key by which it is known. */
export interface RegisteredHost extends HostIdentity { readonly key: string }

/** What the callout needs: the key that signs tokens, and the one it connects with itself. */
export interface CalloutKeys { readonly issuer: Nkey; readonly callout: Nkey; readonly calloutFile: string }

const dirOf = (home: string): string => join(home, 'keys', 'nats');
export const keyFileOf = (home: string, name: string): string => join(dirOf(home), `${name}.nk`);
const listFile = (home: string): string => join(dirOf(home), 'identities.json');

/** The key file a process of this home shows unless told otherwise; undefined where no server asks for one. */
export function credentialsFor(config: { readonly home: string; readonly natsCredentials: string | undefined }, name: string): string | undefined {
  if (config.natsCredentials !== undefined) return config.natsCredentials;
  const file = keyFileOf(config.home, name);
  return existsSync(file) ? file : undefined;
}

export async function ensureCalloutKeys(home: string): Promise<CalloutKeys> {
  await ensureDir(home);
  const issuer = await ensureSeed(keyFileOf(home, 'issuer'), 'account');
  const callout = await ensureSeed(keyFileOf(home, 'callout'), 'user');
  return { issuer, callout, calloutFile: keyFileOf(home, 'callout') };
}

/** Makes what is missing; hosts that are registered keep their keys. */
export async function ensureIdentities(home: string, hosts: readonly HostIdentity[]): Promise<void> {
  await ensureDir(home);
  const wanted = await Promise.all(hosts.map(async (host) => ({ ...host, key: (await ensureSeed(keyFileOf(home, host.name), 'user')).publicKey })));
  const before = await readIdentities(home);
  const others = before.filter(({ name }) => !wanted.some((host) => host.name === name));
  await writeIdentities(home, [...wanted, ...others]);
}

/** Adds one, or replaces what is known under its name. Its seed may have been made elsewhere: then only the public key comes here. */
export async function registerHost(home: string, host: HostIdentity, key?: string): Promise<RegisteredHost> {
  await ensureDir(home);
  const registered = { ...host, key: key ?? (await ensureSeed(keyFileOf(home, host.name), 'user')).publicKey };
  await writeIdentities(home, [...(await readIdentities(home)).filter(({ name }) => name !== host.name), registered]);
  return registered;
}

/** @returns whether there was one. Its key file, if it is here, goes too. */
export async function removeHost(home: string, name: string): Promise<boolean> {
  const before = await readIdentities(home);
  await writeIdentities(home, before.filter((host) => host.name !== name));
  await rm(keyFileOf(home, name), { force: true });
  return before.some((host) => host.name === name);
}

/** @throws AIOS_CONFIG_INVALID for a list that cannot be read */
export async function readIdentities(home: string): Promise<readonly RegisteredHost[]> {
  const text = await readIfThere(listFile(home), 'A NATS key file');
  if (text === undefined) return [];
  try {
    return parseValue(listSchema, parseJson(text)).identities as readonly RegisteredHost[];
  } catch (cause) {
    throw fail('AIOS_CONFIG_INVALID', 'identities.json is not a list of hosts.', { cause });
  }
}

async function writeIdentities(home: string, identities: readonly RegisteredHost[]): Promise<void> {
  const text = JSON.stringify({ v: 1, identities }, null, 2);
  if (text === (await readIfThere(listFile(home), 'A NATS key file'))) return;
  await replaceWhole(listFile(home), text, 0o600);
}

async function ensureSeed(file: string, kind: 'user' | 'account'): Promise<Nkey> {
  const known = await readIfThere(file, 'A NATS key file');
  if (known !== undefined) return openOwn(file, known);
  await createWhole(file, `${createSeed(kind)}\n`);
  return openOwn(file, (await readIfThere(file, 'A NATS key file')) ?? '');
}

async function openOwn(file: string, text: string): Promise<Nkey> {
  if (((await stat(file)).mode & 0o077) !== 0) throw fail('AIOS_CONFIG_INVALID', 'A NATS key file can be read by others: run chmod 600 on it.');
  return openSeed(text);
}

const ensureDir = (home: string): Promise<unknown> => mkdir(dirname(listFile(home)), { recursive: true, mode: 0o700 });
