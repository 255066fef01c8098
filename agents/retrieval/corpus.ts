// A corpus as it is indexed: documents read once, cut into chunks, and named by one digest.
// Owns: the bounds, the digest over (id, content) and what makes two builds the same. Never embeds and never writes.
// Others may assume: erased documents are left out before anything is counted.

import { digestOf, digestOfText } from '../../contracts/canonical.ts';
import { fail } from '../../contracts/errors.ts';
import type { Fragment, IndexManifest, IndexProgress, SourceDocument } from '../../contracts/ports.ts';
import { CHUNKER, chunkDocument } from './chunk.ts';
import { NO_EMBEDDER } from './embedder.ts';
import type { StoredChunk } from './store.ts';
import { TERMS_VERSION } from './terms.ts';

export const CHUNKS_MAX = 100_000;

export interface BuildRequest {
  readonly tenant: string;
  readonly space: string;
  readonly documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>;
  readonly onProgress: ((progress: IndexProgress) => void) | undefined;
}
export interface Corpus {
  readonly documents: number;
  readonly chunks: readonly StoredChunk[];
  readonly digest: string;
}

/** Reads all documents but the erased ones. The digest is over (id, content) in the order given. */
export async function readCorpus({ documents, onProgress }: Pick<BuildRequest, 'documents' | 'onProgress'>, erased: ReadonlySet<string>): Promise<Corpus> {
  const chunks: StoredChunk[] = [];
  const contents: (readonly [string, string])[] = [];
  for await (const document of documents) {
    if (document.id.length === 0 || document.id.length > 220) throw fail('AIOS_INPUT_INVALID', 'a document id has 1 to 220 characters.');
    if (erased.has(digestOfText(document.id))) continue;
    const { id, title, text, labels } = document;
    contents.push([id, digestOf({ title, text, labels })]);
    chunks.push(...chunkDocument(document).map((chunk) => (labels === undefined ? chunk : { ...chunk, labels })));
    if (chunks.length > CHUNKS_MAX) throw fail('AIOS_INPUT_TOO_LARGE', `more than ${CHUNKS_MAX} chunks in one space.`);
    onProgress?.({ stage: 'chunk', done: contents.length, total: contents.length });
  }
  return { documents: contents.length, chunks, digest: digestOf(contents) };
}

export const nextEpoch = (current: string | undefined): string => `e${Number(current?.slice(1) ?? 0) + 1}`;

/** An epoch with vectors is not thrown away because the embedder happens to be down. */
export const isSame = (manifest: IndexManifest, corpusDigest: string, embedder: string): boolean =>
  manifest.corpusDigest === corpusDigest && manifest.chunker === CHUNKER && manifest.tokenizer === TERMS_VERSION && (manifest.embedder === embedder || embedder === NO_EMBEDDER);

export function toFragment(chunk: StoredChunk, hit: { readonly score: number; readonly bm25: number; readonly cosine: number; readonly denseRank: number; readonly lexicalRank: number }): Fragment {
  const { document, id, title, heading, text, digest } = chunk;
  const { score, cosine, bm25, denseRank, lexicalRank } = hit;
  return { document, chunk: id, title, heading, text, digest, score, signals: { cosine, bm25, denseRank, lexicalRank } };
}
