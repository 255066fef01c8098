// The model store: which artefacts this machine has, proven by digest before anything is computed with them.
// Owns: the manifest, the table from model name to verified files, building what the worker offers.
// Never takes a path from a request: names come from the manifest, paths stay inside its folder.
// Others may assume: `openModelStore` refuses a missing, changed or unknown file by name, and `digest` of a model names
// graph, tokenizer and settings together, so equal digests mean equal vectors.

import { readFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { type Head, parseHead } from '../../agents/model-worker/head.ts';
import { createStaticTable } from '../../agents/model-worker/static-table.ts';
import { createWordPiece, type WordPiece } from '../../agents/model-worker/wordpiece.ts';
import type { ModelEntry } from '../../agents/model-worker/worker.ts';
import { digestOf } from '../../contracts/canonical.ts';
import { fail } from '../../contracts/errors.ts';
import { parseBytes } from '../../contracts/parse.ts';
import { sha256Of } from './digest.ts';

const name = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);
const file = z.strictObject({ path: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,200}$/), sha256: z.string().regex(/^[0-9a-f]{64}$/) });
const common = { model: name, dimensions: z.number().int().positive().max(4_096), tokensMax: z.number().int().min(8).max(8_192), licence: z.string().max(64) };

export const manifestSchema = z.strictObject({
  v: z.literal(1),
  models: z.array(z.discriminatedUnion('engine', [
    z.strictObject({ ...common, engine: z.literal('onnx'), output: z.string().max(64), graph: file, tokenizer: file }),
    z.strictObject({ ...common, engine: z.literal('table'), table: file, vocabulary: file }),
  ])).max(64),
  heads: z.array(z.strictObject({ head: name, file })).max(64),
});
type Manifest = z.infer<typeof manifestSchema>;
type ModelSpec = Manifest['models'][number];
type FileSpec = z.infer<typeof file>;

/** What a slot needs to open a session; it checks the bytes it loads against `sha256` once more. */
export interface GraphSpec {
  readonly model: string;
  readonly path: string;
  readonly sha256: string;
  readonly output: string;
  readonly dimensions: number;
}
export interface ModelStore {
  readonly entries: readonly ModelEntry[];
  readonly heads: readonly Head[];
  readonly graphs: readonly GraphSpec[];
}

export const SHIPPED_MODELS = fileURLToPath(new URL('../models/manifest.json', import.meta.url));

/** @throws AIOS_CONFIG_INVALID naming the file that is missing, changed or not what the manifest says */
export async function openModelStore(manifestPath: string = SHIPPED_MODELS, options: { readonly heads?: boolean } = {}): Promise<ModelStore> {
  const folder = dirname(resolve(manifestPath));
  const manifest = parseBytes(manifestSchema, await readOrRefuse(manifestPath));
  const read = (spec: FileSpec): Promise<Buffer> => readVerified(folder, spec);
  const opened = await Promise.all(manifest.models.map(async (spec) => openModel(folder, spec, read)));
  const wanted = options.heads === false ? [] : manifest.heads;
  const heads = await Promise.all(wanted.map(async (head) => namedHead(head.head, await read(head.file))));
  return { entries: opened.map((each) => each.entry), heads, graphs: opened.flatMap((each) => each.graph ?? []) };
}

async function openModel(folder: string, spec: ModelSpec, read: (file: FileSpec) => Promise<Buffer>): Promise<{ readonly entry: ModelEntry; readonly graph?: GraphSpec }> {
  const shared = { model: spec.model, digest: digestOf(spec), dimensions: spec.dimensions, tokensMax: spec.tokensMax };
  if (spec.engine === 'table') {
    const wordPiece = createWordPiece({ vocabulary: linesOf(await read(spec.vocabulary)) });
    const table = createStaticTable(await read(spec.table), wordPiece);
    return { entry: { ...shared, wordPiece, inline: table.embedPieces } };
  }
  const wordPiece = tokenizerOf(await read(spec.tokenizer));
  await read(spec.graph);
  return { entry: { ...shared, wordPiece }, graph: { model: spec.model, path: inside(folder, spec.graph.path), sha256: spec.graph.sha256, output: spec.output, dimensions: spec.dimensions } };
}

/** The part of a tokenizer.json that WordPiece needs; anything but uncased BERT is refused instead of approximated. */
const tokenizerSchema = z.object({
  normalizer: z.object({ type: z.literal('BertNormalizer'), clean_text: z.literal(true), handle_chinese_chars: z.literal(true), lowercase: z.literal(true), strip_accents: z.union([z.null(), z.literal(true)]) }),
  pre_tokenizer: z.object({ type: z.literal('BertPreTokenizer') }),
  model: z.object({ type: z.literal('WordPiece'), continuing_subword_prefix: z.literal('##'), max_input_chars_per_word: z.literal(100), vocab: z.record(z.string(), z.number().int().nonnegative()) }),
});
const TOKENIZER_BYTES_MAX = 8 * 1024 * 1024;

function tokenizerOf(bytes: Uint8Array): WordPiece {
  const { vocab } = parseBytes(tokenizerSchema, bytes, TOKENIZER_BYTES_MAX).model;
  const vocabulary: string[] = [];
  for (const [piece, id] of Object.entries(vocab)) vocabulary[id] = piece;
  return createWordPiece({ vocabulary });
}

function namedHead(head: string, bytes: Uint8Array): Head {
  const parsed = parseHead(bytes);
  if (parsed.name !== head) throw fail('AIOS_CONFIG_INVALID', `the file of the head ${head} holds ${parsed.name}`);
  return parsed;
}

const linesOf = (bytes: Uint8Array): string[] => new TextDecoder('utf-8', { fatal: true }).decode(bytes).trimEnd().split('\n');

async function readVerified(folder: string, spec: FileSpec): Promise<Buffer> {
  const bytes = await readOrRefuse(inside(folder, spec.path));
  if (sha256Of(bytes) !== spec.sha256) throw fail('AIOS_CONFIG_INVALID', `${spec.path} is not the file the manifest names: its SHA-256 differs`);
  return bytes;
}

function inside(folder: string, path: string): string {
  const full = join(folder, path);
  if (relative(folder, full).startsWith('..')) throw fail('AIOS_CONFIG_INVALID', `${path} is outside the model folder`);
  return full;
}

async function readOrRefuse(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw fail('AIOS_CONFIG_INVALID', `${path} cannot be read`, { cause });
  }
}
