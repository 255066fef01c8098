// WordPiece, uncased BERT flavour: text to token ids, fast enough that it never shows beside the model it feeds.
// Owns: BERT's normaliser and pre-tokeniser, greedy longest match, and a bounded cache of words already split.
// Never reads a file; never turns text that spells a special token ("[SEP]") into that token, so nobody can write structure.
// Others may assume: on text without special tokens the ids equal those of the reference tokenizer (a test compares them),
// and that work and memory are bounded by `piecesMax`, whatever the length of the text.

import { fail } from '../../contracts/errors.ts';

export interface WordPiece {
  /** Ids of the pieces, no special tokens, at most `piecesMax`. */
  pieces(text: string, piecesMax: number): number[];
  /** `[CLS] pieces [SEP]`, at most `tokensMax` ids in all. */
  encode(text: string, tokensMax: number): number[];
  readonly size: number;
}

export interface WordPieceOptions {
  /** One piece a line, in id order; continuing pieces start with `##`. */
  readonly vocabulary: readonly string[];
  /** Words kept in the cache; at the bound the older half is forgotten. */
  readonly cacheWordsMax?: number;
}

/** BERT gives up on longer words and calls them unknown. */
const WORD_CHARS_MAX = 100;
/** Longer words are split again each time: they are rare, and caching them would let one text fill the cache. */
const CACHED_CHARS_MAX = 24;
/** Normalising is done in slices of this many characters, so that a long text costs what its first pieces cost. */
const SLICE_CHARS = 4_096;

/** @throws AIOS_CONFIG_INVALID when the vocabulary lacks a special token */
export function createWordPiece({ vocabulary, cacheWordsMax = 32_768 }: WordPieceOptions): WordPiece {
  const table = new Map(vocabulary.map((piece, id) => [piece, id] as const));
  const [unknown, first, last] = [special(table, '[UNK]'), special(table, '[CLS]'), special(table, '[SEP]')];
  const longest = Math.max(...vocabulary.map((piece) => piece.length));
  const cache = createWordCache(cacheWordsMax);

  /** The ids of one normalised word, from the cache when it was seen before. */
  const split = (word: string): readonly number[] => {
    const known = cache.get(word);
    if (known !== undefined) return known;
    const ids = splitWord(word, table, unknown, longest);
    if (word.length <= CACHED_CHARS_MAX) cache.set(word, ids);
    return ids;
  };

  const pieces = (text: string, piecesMax: number): number[] => {
    const out: number[] = [];
    if (isPlain(text)) collectPlain(text, split, piecesMax, out);
    else collectUnicode(text, split, piecesMax, out);
    if (out.length > piecesMax) out.length = piecesMax;
    return out;
  };

  return { size: vocabulary.length, pieces, encode: (text, tokensMax) => [first, ...pieces(text, tokensMax - 2), last] };
}

// ---- words

const SPACE = 1;
const LETTER = 2;
const PUNCTUATION = 3;
const DROPPED = 0;
const CLASSES = Uint8Array.from({ length: 128 }, (_, code) => asciiClass(code));

/** Tab, newline and return are space to BERT; every other control character vanishes and joins its neighbours. */
function asciiClass(code: number): number {
  if (code === 32 || code === 9 || code === 10 || code === 13) return SPACE;
  if (code < 32 || code === 127) return DROPPED;
  const char = String.fromCharCode(code);
  return /[A-Za-z0-9]/.test(char) ? LETTER : PUNCTUATION;
}

/** ASCII without characters that vanish: the words are substrings of the lower-cased text. */
function isPlain(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127 || CLASSES[code] === DROPPED) return false;
  }
  return true;
}

type Split = (word: string) => readonly number[];

function collectPlain(text: string, split: Split, piecesMax: number, out: number[]): void {
  const lower = text.toLowerCase();
  let start = -1;
  for (let i = 0; i < lower.length && out.length < piecesMax; i++) {
    const kind = CLASSES[lower.charCodeAt(i)];
    if (kind === LETTER) {
      if (start < 0) start = i;
      continue;
    }
    if (start >= 0) append(out, split(lower.slice(start, i)));
    start = -1;
    if (kind === PUNCTUATION) append(out, split(lower.charAt(i)));
  }
  if (start >= 0 && out.length < piecesMax) append(out, split(lower.slice(start)));
}

function append(out: number[], ids: readonly number[]): void {
  for (let i = 0; i < ids.length; i++) out.push(ids[i] as number);
}

const WORDS = /[^\s\p{P}\u0021-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u007E]+|[\p{P}\u0021-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u007E]/gu;

function collectUnicode(text: string, split: Split, piecesMax: number, out: number[]): void {
  for (const slice of slices(text)) {
    for (const [word] of normalise(slice).matchAll(WORDS)) {
      append(out, split(word));
      if (out.length >= piecesMax) return;
    }
  }
}

/** Cuts only at spaces, so that no word, accent or surrogate pair is torn; text without spaces stays whole. */
function* slices(text: string): Generator<string> {
  let start = 0;
  while (text.length - start > SLICE_CHARS) {
    const cut = text.indexOf(' ', start + SLICE_CHARS);
    if (cut < 0) break;
    yield text.slice(start, cut);
    start = cut;
  }
  yield text.slice(start);
}

const INVISIBLE = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u{FFFD}]/u;
const INVISIBLES = /(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u{FFFD}]/gu;
/** The blocks BERT treats as one word a character; Hangul and kana are written with spaces or as words and stay out. */
const IDEOGRAPHS = /[\u4E00-\u9FFF\u3400-\u4DBF\uF900-\uFAFF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B820}-\u{2CEAF}\u{2F800}-\u{2FA1F}]/gu;

/** BERT's normaliser in its order: clean, space out ideographs, lower-case, strip accents. */
function normalise(text: string): string {
  const clean = INVISIBLE.test(text) ? text.replace(INVISIBLES, '') : text;
  return clean.replace(IDEOGRAPHS, ' $& ').toLowerCase().normalize('NFD').replace(/\p{Mn}/gu, '');
}

// ---- pieces

/** Greedy longest match; a word that cannot be covered is unknown as a whole. */
function splitWord(word: string, table: ReadonlyMap<string, number>, unknown: number, longest: number): readonly number[] {
  const whole = table.get(word);
  if (whole !== undefined) return [whole];
  const chars = Array.from(word);
  if (chars.length > WORD_CHARS_MAX) return [unknown];
  const ids: number[] = [];
  for (let start = 0; start < chars.length; ) {
    const found = longestPiece(chars, start, table, longest);
    if (found === undefined) return [unknown];
    ids.push(found.id);
    start = found.end;
  }
  return ids;
}

function longestPiece(chars: readonly string[], start: number, table: ReadonlyMap<string, number>, longest: number): { readonly id: number; readonly end: number } | undefined {
  const prefix = start === 0 ? '' : '##';
  for (let end = Math.min(chars.length, start + longest); end > start; end--) {
    const id = table.get(prefix + chars.slice(start, end).join(''));
    if (id !== undefined) return { id, end };
  }
  return undefined;
}

function special(table: ReadonlyMap<string, number>, token: string): number {
  const id = table.get(token);
  if (id === undefined) throw fail('AIOS_CONFIG_INVALID', `the vocabulary has no ${token}`);
  return id;
}

interface WordCache {
  get(word: string): readonly number[] | undefined;
  set(word: string, ids: readonly number[]): void;
}

/** Two generations: words used since the last turn-over survive it, the others go; no bookkeeping on a hit in the young one. */
function createWordCache(wordsMax: number): WordCache {
  const half = Math.max(1, wordsMax >> 1);
  let young = new Map<string, readonly number[]>();
  let old = new Map<string, readonly number[]>();
  const set = (word: string, ids: readonly number[]): void => {
    if (young.size >= half) [old, young] = [young, new Map()];
    young.set(word, ids);
  };
  const get = (word: string): readonly number[] | undefined => {
    const hit = young.get(word);
    if (hit !== undefined) return hit;
    const earlier = old.get(word);
    if (earlier !== undefined) set(word, earlier);
    return earlier;
  };
  return { get, set };
}
