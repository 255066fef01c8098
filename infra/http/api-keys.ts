// API keys: who a caller is. A file holds the SHA-256 of each key and what it stands for; keys themselves are never stored there.
// Owns: reading and checking the file, the constant-time comparison, and the first keys of a development home.
// Never logs a key. Others may assume: an unknown or missing key is AIOS_UNAUTHENTICATED, whatever is wrong with it.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { fail } from '../../contracts/errors.ts';
import { parseJson, parseValue } from '../../contracts/parse.ts';
import type { Principal } from '../../contracts/verdict.ts';
import type { Config } from '../config.ts';
import { replaceWhole } from '../files/whole-file.ts';

const id = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);
const fileSchema = z.array(z.strictObject({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  principal: id,
  type: z.enum(['user', 'service', 'agent', 'team']).default('service'),
  tenant: id,
  roles: z.array(z.string().max(64)).max(32).default([]),
})).max(10_000);

export interface ApiKeys {
  /** The principal a bearer key stands for; undefined when there is none. Takes the same time for every key of the file. */
  principalOf(key: string): Principal | undefined;
}

/** @throws AIOS_CONFIG_INVALID when the file is missing or malformed */
export async function openApiKeys(file: string): Promise<ApiKeys> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw fail('AIOS_CONFIG_INVALID', `the file of API keys cannot be read: ${file}. Run "aios up" once, or set AIOS_API_KEYS.`, { cause });
  });
  return createApiKeys(parseKeys(text, file));
}

export type ApiKeyEntry = z.infer<typeof fileSchema>[number];

export function createApiKeys(entries: readonly ApiKeyEntry[]): ApiKeys {
  const known = entries.map(({ sha256, principal, type, tenant, roles }) => ({ digest: Buffer.from(sha256, 'hex'), principal: Object.freeze({ id: principal, type, tenant, roles }) }));
  return {
    principalOf(key) {
      const digest = createHash('sha256').update(key).digest();
      let found: Principal | undefined;
      for (const entry of known) if (timingSafeEqual(entry.digest, digest)) found = entry.principal;
      return found;
    },
  };
}

export const hashKey = (key: string): string => createHash('sha256').update(key).digest('hex');

/**
 * Who exists in a development home: a service that starts tasks, and two people who decide. The requester of a task may not
 * approve it, so the service is none of them.
 */
const DEVELOPMENT = {
  helpdesk: { type: 'service', tenant: 'demo', roles: ['service'] },
  ana: { type: 'user', tenant: 'demo', roles: ['support-lead', 'operator', 'payload-reader'] },
  ben: { type: 'user', tenant: 'demo', roles: ['support-lead', 'finance-lead', 'payload-reader'] },
} as const;
export type DevelopmentPrincipal = keyof typeof DEVELOPMENT;
export type DevelopmentKeys = Readonly<Record<DevelopmentPrincipal, string>>;
export const DEVELOPMENT_PRINCIPALS = Object.keys(DEVELOPMENT) as DevelopmentPrincipal[];

export const keyFileOf = (home: string, principal: string): string => join(home, 'keys', `${principal}.key`);

/** Makes the keys of a development home where they are missing; each key itself goes to a file that only its owner reads. */
export async function ensureApiKeys(config: Pick<Config, 'home' | 'apiKeysFile'>): Promise<DevelopmentKeys> {
  const entries = existsSync(config.apiKeysFile) ? [...parseKeys(await readFile(config.apiKeysFile, 'utf8'), config.apiKeysFile)] : [];
  let changed = false;
  const keys: Record<string, string> = {};
  for (const principal of DEVELOPMENT_PRINCIPALS) {
    const file = keyFileOf(config.home, principal);
    const kept = existsSync(file) ? (await readFile(file, 'utf8')).trim() : undefined;
    const key = kept ?? `aios_${randomBytes(24).toString('base64url')}`;
    if (kept === undefined) await writeSecret(file, `${key}\n`);
    const roles: string[] = [...DEVELOPMENT[principal].roles];
    const at = entries.findIndex((entry) => entry.sha256 === hashKey(key));
    const entry = entries[at];
    // A home from before a role existed gets it; a role that was added by hand stays.
    if (entry === undefined) entries.push({ sha256: hashKey(key), principal, ...DEVELOPMENT[principal], roles });
    else entries[at] = { ...entry, roles: [...new Set([...entry.roles, ...roles])] };
    changed ||= entry === undefined || entries[at]?.roles.length !== entry.roles.length;
    keys[principal] = key;
  }
  if (changed) await writeSecret(config.apiKeysFile, `${JSON.stringify(entries, null, 2)}\n`);
  return keys as DevelopmentKeys;
}

function parseKeys(text: string, file: string): readonly ApiKeyEntry[] {
  try {
    return parseValue(fileSchema, parseJson(text));
  } catch (cause) {
    throw fail('AIOS_CONFIG_INVALID', `the file of API keys is malformed: ${file}.`, { cause });
  }
}

async function writeSecret(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await replaceWhole(file, text, 0o600);
}
