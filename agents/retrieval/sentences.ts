// Sentence boundaries of running text, by punctuation and a list of abbreviations.
// Owns: the rule shared by the chunker and by whoever quotes sentences. Never changes a character but outer white space.
// Others may assume: the sentences joined by one space give the text back, up to white space.

const ABBREVIATION = /(?:^|[\s(])(?:e\.g|i\.e|etc|cf|vs|approx|no|nos|fig|sec|dr|mr|mrs|ms|prof|inc|ltd|co|corp|st|jr|sr|dept|est|min|max|vol|ed|eds|al|z\.B|bzw|usw|ca|Nr)\.$/i;

export function splitSentences(text: string): readonly string[] {
  const sentences: string[] = [];
  let start = 0;
  for (const match of text.matchAll(/[.!?\u2026]+["')\]\u201d\u2019]*(?=\s)|[\u3002\uff01\uff1f]/g)) {
    const end = match.index + match[0].length;
    const sentence = text.slice(start, end).trim();
    if (!isBoundary(sentence, text.slice(end))) continue;
    if (sentence !== '') sentences.push(sentence);
    start = end;
  }
  const rest = text.slice(start).trim();
  return rest === '' ? sentences : [...sentences, rest];
}

/** Not after an abbreviation, an initial or a list number; not before a lower-case letter. */
function isBoundary(sentence: string, after: string): boolean {
  if (ABBREVIATION.test(sentence) || /(?:^|\s)[A-Z]\.$/.test(sentence) || /^(?:- )?\d{1,3}\.$/.test(sentence)) return false;
  const next = /^\s+["'([\u201c\u2018]*(.)/u.exec(after)?.[1];
  return next === undefined || !/^\p{Ll}$/u.test(next);
}
