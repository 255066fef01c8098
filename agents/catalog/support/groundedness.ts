// Groundedness: how far an answer is carried by the fragments it cites, between 0 and 1.
// Owns: the checks (words, content words, unsupported words, numbers) and how they combine. Needs no model.
// Never judges whether the answer is useful. Others may assume: a verbatim quote scores 1, an invented number halves
// the score, and the weights were compared on published human labels: figures are in docs/quality.md.

import { termsOf } from '../../retrieval/terms.ts';

export interface Groundedness {
  readonly score: number;
  /** Share of the answer's words, function words included, that the evidence uses. */
  readonly words: number;
  /** Share of its content words, stemmed. */
  readonly content: number;
  /** Distinct content words that the evidence never uses. */
  readonly unsupported: number;
  /** Numbers that the evidence does not name. */
  readonly strayNumbers: readonly string[];
}

/** Cost of each unsupported content word: a long answer with one invention is still an invention. */
const UNSUPPORTED_COST = 0.02;

export function groundedness(answer: string, evidence: readonly string[]): Groundedness {
  const source = evidence.join('\n');
  const known = new Set(termsOf(source));
  const terms = termsOf(answer);
  const words = share(wordsOf(answer), new Set(wordsOf(source)));
  const content = share(terms, known);
  const unsupported = new Set(terms.filter((term) => !known.has(term))).size;
  const named = new Set(numbersOf(source));
  const strayNumbers = numbersOf(answer).filter((number) => !named.has(number));
  const score = Math.max(0, (2 * words + content) / 3 - UNSUPPORTED_COST * unsupported);
  return { score: round(strayNumbers.length > 0 ? score / 2 : score), words: round(words), content: round(content), unsupported, strayNumbers };
}

const share = (items: readonly string[], known: ReadonlySet<string>): number => (items.length === 0 ? 1 : items.filter((item) => known.has(item)).length / items.length);

const wordsOf = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

/** Digits only: `$1,000` and `1000 USD` are the same number. */
const numbersOf = (text: string): string[] => [...text.matchAll(/(?<![\w.])\d+(?:[.,]\d+)*/g)].map(([found]) => found.replaceAll(',', '').replace(/\.0+$/, ''));

/** Scores are kept to a basis point, the unit policies see. */
export const round = (value: number): number => Math.round(value * 10_000) / 10_000;
