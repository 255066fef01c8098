// The key of the message server's files: one secret of a home, with the one before it until the server has re-encrypted.
// Owns: the file and its rotation. The server is given the key by its environment only, never in a file of its own.
// Never derived from the payload keys: those rotate while everything runs, this one when the server starts again.
// Others may assume: after a rotation the next start of the server converts what is stored, one rotation at a time.

import { randomBytes } from 'node:crypto';
import { mkdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { fail } from '../../contracts/errors.ts';
import { parseJson, parseValue } from '../../contracts/parse.ts';
import { type Config, STORE_KEY_FORM } from '../config.ts';
import { replaceWhole } from '../files/whole-file.ts';

export interface StoreKey { readonly current: string; readonly previous?: string | undefined }

/** The server reads the value as a word of its settings, where a leading digit would make it a number. */
const keyText = z.string().regex(STORE_KEY_FORM);
const newKey = (): string => `k${randomBytes(32).toString('hex')}`;
const fileSchema = z.strictObject({ v: z.literal(1), current: keyText, previous: keyText.optional() });

export const storeKeyFile = (home: string): string => join(home, 'keys', 'nats-store.json');

/** From the settings, else from the home, where it is made at the first use. @throws AIOS_CONFIG_INVALID */
export async function ensureStoreKey(config: Pick<Config, 'home' | 'storeKey'>): Promise<StoreKey> {
  if (config.storeKey !== undefined) return config.storeKey;
  const file = storeKeyFile(config.home);
  const known = await read(file);
  if (known !== undefined) return known;
  await write(file, { current: newKey() });
  return (await read(file)) as StoreKey;
}

/** Takes effect when the server starts again; the key before is kept so that it can read what it wrote. @throws AIOS_CONFIG_INVALID */
export async function rotateStoreKey(config: Pick<Config, 'home' | 'storeKey'>): Promise<void> {
  if (config.storeKey !== undefined) throw fail('AIOS_CONFIG_INVALID', 'The key comes from AIOS_NATS_STORE_KEY: set that to a new one and AIOS_NATS_STORE_KEY_PREVIOUS to the old one.');
  const { current } = await ensureStoreKey(config);
  await write(storeKeyFile(config.home), { current: newKey(), previous: current });
}

async function read(file: string): Promise<StoreKey | undefined> {
  const text = await readFile(file, 'utf8').catch((thrown: unknown) => { if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') throw thrown; });
  if (text === undefined) return undefined;
  if (((await stat(file)).mode & 0o077) !== 0) throw fail('AIOS_CONFIG_INVALID', `${file} can be read by others: run chmod 600 on it.`);
  try {
    const { current, previous } = parseValue(fileSchema, parseJson(text));
    return { current, previous };
  } catch {
    throw fail('AIOS_CONFIG_INVALID', `${file} is not a key of the message server's files.`);
  }
}

async function write(file: string, key: StoreKey): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await replaceWhole(file, `${JSON.stringify({ v: 1, ...key })}\n`, 0o600);
}
