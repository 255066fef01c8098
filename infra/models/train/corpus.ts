// A corpus in memory for training and benches: read, cut, embedded and searched with the engine's own functions.
// Owns: the memory of vectors on the disk, so that a run again is a matter of seconds. Never part of the running system.
// Others may assume: chunks, fusion and composition are those of the desk and the embedded engine.

import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { compose, type Composition } from '../../../agents/catalog/support/compose.ts';
import type { Found } from '../../../agents/catalog/support/evidence.ts';
import { inspect } from '../../../agents/catalog/support/guards.ts';
import { chunkDocument, indexedText, type Chunk } from '../../../agents/retrieval/chunk.ts';
import { fuse, topRows } from '../../../agents/retrieval/fuse.ts';
import { createLexicalIndex, type LexicalIndex } from '../../../agents/retrieval/lexical.ts';
import { dot } from '../../../agents/retrieval/vectors.ts';
import type { Fragment } from '../../../contracts/ports.ts';
import { loadDocuments } from '../../corpus/load.ts';
import { readConfig } from '../../config.ts';
import { openEncoder } from './embed.ts';

export const FRAGMENTS = 24;

export type Encode = (texts: readonly string[]) => Promise<readonly Float32Array[]>;
export interface Corpus { readonly chunks: readonly Chunk[]; readonly vectors: readonly Float32Array[]; readonly lexical: LexicalIndex }

/** Each text alone through the encoder, remembered by digest. */
export async function openMemory(): Promise<{ encode: Encode; close(): Promise<void> }> {
  const dir = join(readConfig('calibrate').cacheDir, 'train');
  await mkdir(dir, { recursive: true });
  const file = join(dir, 'vectors.json');
  const known = new Map<string, number[]>(Object.entries(JSON.parse(await readFile(file, 'utf8').catch(() => '{}')) as Record<string, number[]>));
  const encoder = await openEncoder('minilm-l6-int8');
  const one = async (text: string): Promise<Float32Array> => {
    const key = createHash('sha256').update(text).digest('base64url').slice(0, 24);
    const vector = known.get(key) ?? Array.from(await encoder.embed(text), (value) => Math.round(value * 1e5) / 1e5);
    known.set(key, vector);
    return Float32Array.from(vector);
  };
  return {
    async encode(texts) {
      const vectors: Float32Array[] = [];
      for (const text of texts) vectors.push(await one(text));
      return vectors;
    },
    async close() {
      await writeFile(file, JSON.stringify(Object.fromEntries(known)));
      await encoder[Symbol.asyncDispose]();
    },
  };
}

export async function readCorpus(path: string, encode: Encode): Promise<Corpus> {
  const chunks: Chunk[] = [];
  for await (const document of loadDocuments(path)) chunks.push(...chunkDocument(document));
  const texts = chunks.map(indexedText);
  return { chunks, vectors: await encode(texts), lexical: createLexicalIndex(texts) };
}

export function searchCorpus({ chunks, vectors, lexical }: Corpus, query: string, queryVector: Float32Array, limit: number): Found {
  const bm25 = lexical.scores(query);
  const cosine = Float32Array.from(vectors, (vector) => dot(vector, queryVector));
  const hits = fuse(topRows(bm25, () => true, 0), topRows(cosine, () => true, -1)).slice(0, limit);
  const fragments = hits.flatMap(({ row, score, denseRank, lexicalRank }): Fragment[] => {
    const chunk = chunks[row];
    return chunk === undefined ? [] : [{ document: chunk.document, chunk: chunk.id, title: chunk.title, heading: chunk.heading, text: chunk.text, digest: chunk.digest, score, signals: { cosine: cosine[row] ?? 0, bm25: bm25[row] ?? 0, denseRank, lexicalRank } }];
  });
  return { fragments, weights: lexical.weights(query) };
}

/** What the desk would compose for a question on documents it does not know; `without` leaves one document out. */
export async function askForeign(corpus: Corpus, text: string, encode: Encode, without?: string): Promise<Composition> {
  const [vector = new Float32Array()] = await encode([text]);
  const found = searchCorpus(corpus, text, vector, FRAGMENTS);
  const fragments = found.fragments.filter(({ document }) => document !== without);
  return compose(text, inspect(text).questions, { fragments, weights: found.weights }, encode);
}
