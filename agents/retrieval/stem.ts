// The English Snowball stemmer (Porter2): words that differ in inflection only share one index term.
// Owns: the algorithm of snowballstem.org/algorithms/english/stemmer.html. Never looks at context or language.
// Others may assume: input is one lower-case word; words with other letters than a-z and ' come back unchanged.

const VOWEL = /[aeiouy]/;
const DOUBLE = /(?:bb|dd|ff|gg|mm|nn|pp|rr|tt)$/;
const SPECIAL: Readonly<Record<string, string>> = { skis: 'ski', skies: 'sky', idly: 'idl', gently: 'gentl', ugly: 'ugli', early: 'earli', only: 'onli', singly: 'singl', sky: 'sky', news: 'news', howe: 'howe', atlas: 'atlas', cosmos: 'cosmos', bias: 'bias', andes: 'andes' };
/** Left as they are after step 1a. */
const INVARIANT = new Set(['inning', 'outing', 'canning', 'herring', 'earring', 'evening', 'proceed', 'exceed', 'succeed']);

const STEP2: readonly (readonly [string, string])[] = [
  ['ational', 'ate'], ['fulness', 'ful'], ['iveness', 'ive'], ['ization', 'ize'], ['ousness', 'ous'], ['biliti', 'ble'], ['lessli', 'less'], ['tional', 'tion'],
  ['alism', 'al'], ['aliti', 'al'], ['ation', 'ate'], ['entli', 'ent'], ['fulli', 'ful'], ['iviti', 'ive'], ['ousli', 'ous'],
  ['abli', 'able'], ['alli', 'al'], ['anci', 'ance'], ['ator', 'ate'], ['enci', 'ence'], ['izer', 'ize'], ['bli', 'ble'], ['ogi', 'og'], ['ogist', 'og'], ['li', ''],
];
const STEP3: readonly (readonly [string, string])[] = [['ational', 'ate'], ['tional', 'tion'], ['alize', 'al'], ['ative', ''], ['icate', 'ic'], ['iciti', 'ic'], ['ical', 'ic'], ['ness', ''], ['ful', '']];
const STEP4 = ['ement', 'able', 'ance', 'ence', 'ible', 'ment', 'ant', 'ate', 'ent', 'ion', 'ism', 'iti', 'ive', 'ize', 'ous', 'al', 'er', 'ic'];

export function stem(word: string): string {
  if (word.length <= 2 || !/^[a-z']+$/.test(word)) return word;
  const special = SPECIAL[word];
  if (special !== undefined) return special;
  const marked = markY(word.startsWith("'") ? word.slice(1) : word);
  const r1 = regionOne(marked);
  const r2 = regionAfter(marked, r1);
  const first = step1a(marked.replace(/'s'$|'s$|'$/, ''));
  if (INVARIANT.has(first)) return first;
  const second = step1c(step1b(first, r1));
  return step5(step4(step3(step2(second, r1), r1, r2), r2), r1, r2).toLowerCase();
}

/** A `y` at the start or after a vowel is a consonant, written `Y`. */
const markY = (word: string): string => word.replace(/^y/, 'Y').replace(/([aeiouy])y/g, '$1Y');

/** Where the region after the first non-vowel that follows a vowel begins. */
function regionAfter(word: string, from: number): number {
  const match = /[aeiouy][^aeiouy]/.exec(word.slice(from));
  return match === null ? word.length : from + match.index + 2;
}

const regionOne = (word: string): number => {
  const prefix = /^(?:gener|commun|arsen|past|univers|later|emerg|organ|inter)/.exec(word);
  return prefix === null ? regionAfter(word, 0) : prefix[0].length;
};

function step1a(word: string): string {
  if (word.endsWith('sses')) return word.slice(0, -2);
  if (/ie[ds]$/.test(word)) return word.length > 4 ? word.slice(0, -2) : word.slice(0, -1);
  if (/(?:us|ss)$/.test(word)) return word;
  return /[aeiouy].+s$/.test(word) ? word.slice(0, -1) : word;
}

function step1b(word: string, r1: number): string {
  const eed = /eed(?:ly)?$/.exec(word);
  if (eed !== null) return eed.index >= r1 ? `${word.slice(0, eed.index)}ee` : word;
  const match = /(?:ed|edly|ing|ingly)$/.exec(word);
  if (match === null) return word;
  const stemmed = word.slice(0, match.index);
  if (!VOWEL.test(stemmed)) return word;
  if (match[0].startsWith('ing') && /^[^aeiouy]y$/.test(stemmed)) return `${stemmed.slice(0, 1)}ie`;
  if (/(?:at|bl|iz)$/.test(stemmed)) return `${stemmed}e`;
  if (DOUBLE.test(stemmed)) return /^[aeo](?:bb|dd|ff|gg|mm|nn|pp|rr|tt)$/.test(stemmed) ? stemmed : stemmed.slice(0, -1);
  return isShort(stemmed, r1) ? `${stemmed}e` : stemmed;
}

const isShort = (word: string, r1: number): boolean => r1 >= word.length && (/[^aeiouy][aeiouy][^aeiouywxY]$/.test(word) || /^[aeiouy][^aeiouy]$/.test(word) || word === 'past');

const step1c = (word: string): string => (/.[^aeiouy][yY]$/.test(word) ? `${word.slice(0, -1)}i` : word);

function step2(word: string, r1: number): string {
  const found = longest(STEP2, word);
  if (found === undefined) return word;
  const [suffix, put] = found;
  const at = word.length - suffix.length;
  if (at < r1) return word;
  if (suffix === 'ogi' && word[at - 1] !== 'l') return word;
  if (suffix === 'li' && !/[cdeghkmnrt]/.test(word[at - 1] ?? '')) return word;
  return word.slice(0, at) + put;
}

function step3(word: string, r1: number, r2: number): string {
  const found = longest(STEP3, word);
  if (found === undefined) return word;
  const [suffix, put] = found;
  const at = word.length - suffix.length;
  return at < (suffix === 'ative' ? r2 : r1) ? word : word.slice(0, at) + put;
}

function step4(word: string, r2: number): string {
  const suffix = STEP4.find((one) => word.endsWith(one));
  if (suffix === undefined) return word;
  const at = word.length - suffix.length;
  if (at < r2 || (suffix === 'ion' && !/[st]/.test(word[at - 1] ?? ''))) return word;
  return word.slice(0, at);
}

function step5(word: string, r1: number, r2: number): string {
  const at = word.length - 1;
  if (word.endsWith('l')) return at >= r2 && word[at - 1] === 'l' ? word.slice(0, -1) : word;
  if (!word.endsWith('e')) return word;
  const shortBefore = word === 'paste' || /(?:[^aeiouy][aeiouy][^aeiouywxY]|^[aeiouy][^aeiouy])$/.test(word.slice(0, -1));
  return at >= r2 || (at >= r1 && !shortBefore) ? word.slice(0, -1) : word;
}

const longest = (table: readonly (readonly [string, string])[], word: string): readonly [string, string] | undefined => {
  let best: readonly [string, string] | undefined;
  for (const entry of table) if (word.endsWith(entry[0]) && entry[0].length > (best?.[0].length ?? 0)) best = entry;
  return best;
};
