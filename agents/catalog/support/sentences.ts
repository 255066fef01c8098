// Sentences of a fragment, verbatim: what an extractive answer is made of.
// Owns: which lines of a fragment can be quoted. The boundary rule is the chunker's. Never changes a character.
// Others may assume: a sentence is a substring of the text it came from, so that a quote can be checked.

import { splitSentences } from '../../retrieval/sentences.ts';

const SENTENCE_CHARS_MIN = 12;
const SENTENCE_CHARS_MAX = 600;
const SENTENCES_MAX = 64;
/** Headings, rules and fences say nothing on their own. */
const UNQUOTABLE = /^(?:#{1,6}\s|\|?[\s:|-]+\|?$|```)/;

export function sentencesOf(text: string): string[] {
  const lines = text.split('\n').map((line) => line.trim()).filter((line) => !UNQUOTABLE.test(line));
  return lines.flatMap((line) => splitSentences(line)).filter(({ length }) => length >= SENTENCE_CHARS_MIN && length <= SENTENCE_CHARS_MAX).slice(0, SENTENCES_MAX);
}
