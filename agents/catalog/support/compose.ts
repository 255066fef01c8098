// From question and fragments to an extractive answer with citations, scores and the features behind them.
// Owns: the order of steps; the parts are in evidence.ts. Pure but for the encoder that is passed in.
// Never writes a sentence of its own: every word of the answer stands in a cited fragment.
// Others may assume: without an encoder the same steps run on words alone, and the features say so by their zeros.

import { dot } from '../../retrieval/vectors.ts';
import type { Citation } from './capabilities.ts';
import { candidates, choose, featuresOf, rank, scoreSentences, type Found, type ScoredSentence, type Sentence } from './evidence.ts';
import { groundedness } from './groundedness.ts';

/** Vectors of the texts, in order; undefined when no encoder can be reached. */
export type Encode = (texts: readonly string[]) => Promise<readonly Float32Array[] | undefined>;

export interface Composition {
  readonly text: string;
  readonly document: string;
  readonly citations: readonly Citation[];
  readonly groundedness: number;
  readonly features: Readonly<Record<string, number>>;
}

const QUOTE_CHARS_MAX = 700;

export async function compose(question: string, parts: readonly string[], found: Found, encode: Encode): Promise<Composition> {
  const ranked = rank(question, found);
  const sentences = candidates(ranked, found.prior);
  const asked = parts.length > 1 ? [question, ...parts] : [question];
  const vectors = sentences.length === 0 ? undefined : await encode([...asked, ...sentences.map(inPlace)]);
  const answers = vectors?.slice(asked.length) ?? [];
  const scored = scoreSentences(question, found.weights, vectors?.[0], sentences, answers);
  const chosen = choose(scored);
  const text = chosen.map((sentence) => sentence.text).join(' ');
  return {
    text,
    document: chosen[0]?.fragment.document ?? '',
    citations: cite(chosen),
    groundedness: chosen.length === 0 ? 0 : groundedness(text, chosen.map(({ fragment }) => fragment.text)).score,
    features: { ...featuresOf(question, found, ranked, scored), weakestPart: weakestPart(vectors?.slice(0, asked.length) ?? [], answers), several: parts.length > 1 ? 1 : 0 },
  };
}

/** A sentence is understood where it stands: its own heading goes before it. */
const inPlace = ({ fragment, text }: Sentence): string => (fragment.heading === '' ? text : `${fragment.heading.split(' > ').at(-1)}: ${text}`);

/** How near any sentence comes to the part of the ticket that is supported least. */
function weakestPart(asked: readonly Float32Array[], answers: readonly Float32Array[]): number {
  const parts = asked.length > 1 ? asked.slice(1) : asked;
  return parts.length === 0 ? 0 : Math.min(...parts.map((part) => Math.max(0, ...answers.map((answer) => dot(part, answer)))));
}

/** One citation per fragment, its quotes joined. */
function cite(chosen: readonly ScoredSentence[]): Citation[] {
  const byChunk = new Map<string, Citation>();
  for (const { fragment, text } of chosen) {
    const known = byChunk.get(fragment.chunk);
    const quote = known === undefined ? text : `${known.quote} ${text}`;
    byChunk.set(fragment.chunk, { document: fragment.document, chunk: fragment.chunk, quote: quote.slice(0, QUOTE_CHARS_MAX) });
  }
  return [...byChunk.values()];
}
