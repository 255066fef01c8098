// Small files that appear complete or not at all: written beside their place first, then linked or renamed into it.
// Owns: that order, and the name of the draft. Never knows what a file holds.
// Others may assume: `createWhole` never replaces what another process made first; `replaceWhole` always does; a draft is gone after either.

import { randomUUID } from 'node:crypto';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { fail } from '../../contracts/errors.ts';

/** For secrets: only their owner reads it. A link fails where a rename would overwrite. @throws AIOS_CONFIG_INVALID */
export async function createWhole(file: string, text: string): Promise<void> {
  const draft = draftOf(file);
  await writeFile(draft, text, { mode: 0o600 });
  try {
    await link(draft, file);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw fail('AIOS_CONFIG_INVALID', 'The key directory cannot be written.', { cause: thrown });
  } finally {
    await rm(draft, { force: true });
  }
}

export async function replaceWhole(file: string, text: string, mode: number): Promise<void> {
  const draft = draftOf(file);
  await writeFile(draft, text, { mode });
  await rename(draft, file);
}

/** Undefined where there is none; `what` names the file to a person. @throws AIOS_CONFIG_INVALID when it cannot be read */
export async function readIfThere(file: string, what: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fail('AIOS_CONFIG_INVALID', `${what} cannot be read.`, { cause: thrown });
  }
}

const draftOf = (file: string): string => `${file}.${randomUUID()}`;
