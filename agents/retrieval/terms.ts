// Text to index terms: fold, split, drop stop words, stem. The same function reads documents and queries.
// Owns: the stop list and the splitting rules. Never keeps positions. Others may assume: terms are lower case,
// at most 40 characters, and scripts without spaces come out as overlapping pairs.

import { stem } from './stem.ts';

/** Changes whenever the same text would give other terms; part of the chunker's name in the manifest. */
export const TERMS_VERSION = 'porter2-1';

const STOP = new Set(
  'a about above after again all am an and any are as at be because been before being below between both but by can could did do does doing down during each few for from further had has have having he her here hers him his how i if in into is it its itself just me more most my no nor not now of off on once only or other our ours out over own same she should so some such than that the their theirs them then there these they this those through to too under until up very was we were what when where which while who whom why will with would you your yours'.split(' '),
);
const WORD = /[\p{L}\p{N}\p{M}]+(?:['\u2019][\p{L}]+)?/gu;
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u;

/** Stemming dominates the cost of indexing, and words repeat: a bounded memory of them makes it three times as fast. */
const MEMORY_MAX = 50_000;
const memory = new Map<string, string>();

export function termsOf(text: string): string[] {
  const terms: string[] = [];
  for (const [word] of fold(text).matchAll(WORD)) {
    if (UNSPACED.test(word)) pairs(word, terms);
    else if (!STOP.has(word)) terms.push(remembered(word));
  }
  return terms;
}

export const isStopWord = (word: string): boolean => STOP.has(word);

/** Lower case without diacritics, compatibility forms unified. */
const fold = (text: string): string => text.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase().replaceAll('\u2019', "'");

function remembered(word: string): string {
  const known = memory.get(word);
  if (known !== undefined) return known;
  const term = stem(word).slice(0, 40);
  if (memory.size >= MEMORY_MAX) memory.clear();
  memory.set(word, term);
  return term;
}

function pairs(word: string, terms: string[]): void {
  const letters = [...word];
  if (letters.length === 1) terms.push(word);
  for (let i = 0; i + 1 < letters.length; i++) terms.push(`${letters[i]}${letters[i + 1]}`);
}
