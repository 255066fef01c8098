// Canary strings and the search for them: what must not be in the clear wherever data lie.
// Owns: the forms a string is looked for in (as it is, JSON-escaped, base64 at each offset, UTF-16, hex) and the walk over files.
// Never says that nothing is there before it has shown that it finds what is: callers search for something known too.

import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';

/** Made-up personal data and secrets, each with a part that nothing else in the world holds. */
export function canaries(count: number): readonly string[] {
  return Array.from({ length: count }, (_none, i) => FORMS[i % FORMS.length]?.(mark()) ?? mark());
}

const mark = (): string => randomBytes(6).toString('hex');
const digits = (from: string): string => (BigInt(`0x${from}`) % 10n ** 10n).toString().padStart(10, '7');
const FORMS: readonly ((mark: string) => string)[] = [
  (at) => `q${at}@canary.example`,
  (at) => `Zanariq Wolde${at}`,
  (at) => `order note ${at} please`,
  (at) => `passport X${at.toUpperCase()}`,
  (at) => `+49 171 ${digits(at)}`,
  (at) => `sk-live-${at}${at}`,
  (at) => `${at} Larchwood Avenue`,
  (at) => `"quoted" \\ ünï-${at}`,
];

export interface Found { readonly file: string; readonly canary: string }

/** Every file under the folders that holds a canary in any form. */
export async function search(root: string, folders: readonly string[], words: readonly string[]): Promise<{ readonly files: number; readonly bytes: number; readonly found: readonly Found[] }> {
  const names = (await Promise.all(folders.map((folder) => filesOf(join(root, folder))))).flat();
  const needles = words.flatMap((canary) => formsOf(canary).map((bytes) => ({ canary, bytes })));
  let bytes = 0;
  const found: Found[] = [];
  for (const name of names) {
    const content = await readFile(name);
    bytes += content.byteLength;
    const here = new Set(needles.filter((needle) => content.includes(needle.bytes)).map(({ canary }) => canary));
    for (const canary of here) found.push({ file: relative(root, name), canary });
  }
  return { files: names.length, bytes, found };
}

async function filesOf(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
}

/** A form shorter than this would be found by chance. */
const NEEDLE_BYTES_MIN = 8;

function formsOf(text: string): readonly Buffer[] {
  const plain = Buffer.from(text);
  const base64 = [0, 1, 2].map((shift) => {
    const encoded = Buffer.concat([Buffer.alloc(shift), plain]).toString('base64').replaceAll('=', '');
    return encoded.slice(shift === 0 ? 0 : shift + 1, -1);
  });
  const forms = [plain, Buffer.from(JSON.stringify(text).slice(1, -1)), Buffer.from(text, 'utf16le'), Buffer.from(plain.toString('hex')), ...base64.flatMap((one) => [Buffer.from(one), Buffer.from(one.replaceAll('+', '-').replaceAll('/', '_'))])];
  return forms.filter((one) => one.byteLength >= NEEDLE_BYTES_MIN);
}
