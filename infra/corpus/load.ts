// Documents from a path: a folder of .md, .txt and .html files, one such file, or a .jsonl / .jsonl.gz with one a line.
// Owns: the walk, the bounds and the report of what was skipped. Never leaves the folder: links that lead out are not followed.
// Others may assume: ids are relative paths with `/` (or the line's own id), unique, at most 200 characters, in sorted order.

import type { Dirent } from 'node:fs';
import { createReadStream } from 'node:fs';
import { open, readdir, realpath, stat } from 'node:fs/promises';
import { basename, extname, join, relative, resolve, sep } from 'node:path';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import { z } from 'zod';
import { plainText } from '../../agents/retrieval/text/plain.ts';
import { digestOfText } from '../../contracts/canonical.ts';
import { fail } from '../../contracts/errors.ts';
import { parseJson } from '../../contracts/parse.ts';
import type { SourceDocument } from '../../contracts/ports.ts';

export const DOCUMENTS_MAX = 20_000;
export const DOCUMENT_BYTES_MAX = 4 * 1024 * 1024;
const DEPTH_MAX = 16;
const ID_CHARS_MAX = 200;
const ENDINGS = new Set(['.md', '.markdown', '.mdx', '.txt', '.html', '.htm']);

/** What was not read and why: a line number of a .jsonl file, or a path. No content. */
export interface Skipped {
  readonly where: string;
  readonly why: string;
}
export interface LoadOptions {
  /** Called for each line or file left out; loading goes on. */
  readonly onSkipped?: (skipped: Skipped) => void;
}

/** @throws AIOS_INPUT_INVALID when the path does not exist or is of no readable kind */
export async function* loadDocuments(path: string, options: LoadOptions = {}): AsyncGenerator<SourceDocument> {
  const skip = options.onSkipped ?? (() => {});
  const seen = new Set<string>();
  for await (const document of await openSource(resolve(path), skip)) {
    if (seen.size >= DOCUMENTS_MAX) throw fail('AIOS_INPUT_TOO_LARGE', `more than ${DOCUMENTS_MAX} documents.`);
    if (seen.has(document.id)) skip({ where: document.id, why: 'a document with this id was read before' });
    else if (document.text.trim() === '') skip({ where: document.id, why: 'no text' });
    else yield document;
    seen.add(document.id);
  }
}

async function openSource(path: string, skip: (skipped: Skipped) => void): Promise<AsyncIterable<SourceDocument>> {
  const info = await stat(path).catch(() => undefined);
  if (info === undefined) throw fail('AIOS_INPUT_INVALID', 'The path of the documents does not exist.');
  if (info.isDirectory()) return folder(path, skip);
  if (/\.jsonl(?:\.gz)?$/i.test(path)) return lines(path, skip);
  if (ENDINGS.has(extname(path).toLowerCase())) return single(path, skip);
  throw fail('AIOS_INPUT_INVALID', 'Documents come from a folder, a .md, .txt or .html file, or a .jsonl or .jsonl.gz file.');
}

// ---- folders

async function* folder(root: string, skip: (skipped: Skipped) => void): AsyncGenerator<SourceDocument> {
  const home = await realpath(root);
  for await (const path of walk(home, home, 0, skip)) yield* single(path, skip, relative(home, path).split(sep).join('/'));
}

async function* walk(home: string, at: string, depth: number, skip: (skipped: Skipped) => void): AsyncGenerator<string> {
  const entries = (await readdir(at, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    if (entry.name.startsWith('.') || entry.name === 'node_modules') continue;
    const path = join(at, entry.name);
    const kind = await kindOf(home, path, entry);
    if (kind === 'outside') skip({ where: relative(home, path), why: 'a link that leads out of the folder' });
    else if (kind === 'folder' && depth >= DEPTH_MAX) skip({ where: relative(home, path), why: `folders nested more than ${DEPTH_MAX} deep` });
    else if (kind === 'folder') yield* walk(home, path, depth + 1, skip);
    else if (kind === 'file' && ENDINGS.has(extname(entry.name).toLowerCase())) yield path;
  }
}

/** A link to a file inside the folder counts as that file; a link to a folder is not walked, so there are no loops. */
async function kindOf(home: string, path: string, entry: Dirent): Promise<'file' | 'folder' | 'outside' | 'other'> {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'folder';
  if (!entry.isSymbolicLink()) return 'other';
  const target = await realpath(path).catch(() => undefined);
  if (target === undefined || (target !== home && !target.startsWith(home + sep))) return 'outside';
  return (await stat(target)).isFile() ? 'file' : 'other';
}

async function* single(path: string, skip: (skipped: Skipped) => void, name = basename(path)): AsyncGenerator<SourceDocument> {
  await using file = await open(path, 'r');
  const info = await file.stat();
  if (info.size > DOCUMENT_BYTES_MAX) return skip({ where: name, why: `larger than ${DOCUMENT_BYTES_MAX} bytes` });
  const text = decode(await file.readFile());
  if (text === undefined) return skip({ where: name, why: 'not UTF-8 text' });
  yield toDocument(name, undefined, text);
}

// ---- lines

const lineSchema = z.object({
  id: z.union([z.string().min(1), z.number()]).optional(),
  _id: z.union([z.string().min(1), z.number()]).optional(),
  path: z.string().min(1).optional(),
  title: z.string().optional(),
  text: z.string().optional(),
  content: z.string().optional(),
  version: z.string().max(64).optional(),
  labels: z.record(z.string().max(64), z.string().max(512)).optional(),
});

async function* lines(path: string, skip: (skipped: Skipped) => void): AsyncGenerator<SourceDocument> {
  let number = 0;
  for await (const line of readable(path, () => number)) {
    number++;
    if (line.trim() === '') continue;
    const document = parseLine(line);
    if (typeof document === 'string') skip({ where: `line ${number}`, why: document });
    else yield document;
  }
}

/** The lines of a file or archive. @throws AIOS_INPUT_INVALID where the archive breaks off */
async function* readable(path: string, at: () => number): AsyncGenerator<string> {
  const file = createReadStream(path);
  const input = path.endsWith('.gz') ? file.pipe(createGunzip()) : file;
  let broken: Error | undefined;
  const onError = (error: Error): void => void (broken ??= error);
  file.on('error', (error) => input.destroy(error)).on('error', onError);
  input.on('error', onError);
  try {
    yield* createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  } catch (error) {
    if (broken === undefined) throw error;
  }
  if (broken !== undefined) throw fail('AIOS_INPUT_INVALID', `The file cannot be read past line ${at()}.`, { cause: broken });
}

/** The document, or why the line is none. */
function parseLine(line: string): SourceDocument | string {
  if (line.length > DOCUMENT_BYTES_MAX) return 'too long';
  let value: unknown;
  try {
    value = parseJson(line);
  } catch {
    return 'not valid JSON';
  }
  const parsed = lineSchema.safeParse(value);
  if (!parsed.success) return `${parsed.error.issues[0]?.path.join('.') || 'the line'}: ${parsed.error.issues[0]?.message ?? 'invalid'}`;
  const { id, _id, path, title, text, content, version, labels } = parsed.data;
  const name = id ?? path ?? _id;
  const body = text ?? content;
  if (name === undefined) return 'neither id nor path';
  if (body === undefined) return 'neither text nor content';
  return { ...toDocument(String(name), title, body), ...(version === undefined ? {} : { version }), ...(labels === undefined ? {} : { labels }) };
}

// ---- shared

function toDocument(name: string, title: string | undefined, raw: string): SourceDocument {
  const plain = plainText(name, raw);
  const words = (title?.trim() || plain.title || titleFromName(name)).slice(0, 300);
  return { id: shortId(name), title: words, text: plain.text };
}

const titleFromName = (name: string): string => basename(name, extname(name)).replace(/[-_]+/g, ' ').trim() || name;

/** Longer ids keep their end, which tells more, and a digest that keeps them apart. */
const shortId = (name: string): string => (name.length <= ID_CHARS_MAX ? name : `${digestOfText(name).slice(7, 19)}-${name.slice(13 - ID_CHARS_MAX)}`);

function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
