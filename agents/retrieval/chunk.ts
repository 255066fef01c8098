// A document in the plain form cut into chunks of about 700 characters, each with the path of headings above it.
// Owns: the boundaries (headings, then blocks, then sentences), the chunk ids and their digests.
// Never splits a sentence, list item, table row or code line unless it alone is longer than a chunk may be.
// Others may assume: equal input gives equal ids; an id names the content, so an edit elsewhere in the page leaves it.

import { digestOfText } from '../../contracts/canonical.ts';
import type { Digest } from '../../contracts/ids.ts';
import type { SourceDocument } from '../../contracts/ports.ts';
import { splitSentences } from './sentences.ts';

/** Named in the manifest: an index built by another version is built again. */
export const CHUNKER = 'blocks-700-2';
export const CHUNK_CHARS_TARGET = 700;
export const CHUNK_CHARS_MAX = 1_000;
/** A section shorter than this goes on into the next one. */
const SECTION_CHARS_MIN = 200;
const HEADING_CHARS_MAX = 240;

export interface Chunk {
  readonly document: string;
  /** `<document>#<digest of its words, 10 hex digits>`, with `-2`, `-3` for repeats inside one document. */
  readonly id: string;
  readonly title: string;
  /** Headings from the page's title down to the section, joined with ` > `. */
  readonly heading: string;
  readonly text: string;
  /** Over heading and text: what was embedded and what a receipt names. */
  readonly digest: Digest;
}

export function chunkDocument(document: SourceDocument): readonly Chunk[] {
  const seen = new Map<string, number>();
  return mergeShort(sectionsOf(document)).flatMap((section) => pack(section).map((text) => toChunk(document, section.path, text, seen)));
}

/** What is indexed and embedded: the place first, then the words. */
export const indexedText = (chunk: Pick<Chunk, 'heading' | 'text'>): string => `${chunk.heading}\n${chunk.text}`;

interface Unit {
  readonly text: string;
  /** What stands between this unit and the one before. */
  readonly glue: ' ' | '\n' | '\n\n';
  readonly code: boolean;
}
interface Section {
  readonly path: readonly string[];
  readonly units: readonly Unit[];
}

function toChunk(document: SourceDocument, path: readonly string[], text: string, seen: Map<string, number>): Chunk {
  const heading = headingOf(path);
  const digest = digestOfText(`${heading}\n${text}`);
  const name = `${document.id}#${digest.slice(7, 17)}`;
  const repeat = (seen.get(name) ?? 0) + 1;
  seen.set(name, repeat);
  return { document: document.id, id: repeat === 1 ? name : `${name}-${repeat}`, title: document.title, heading, text, digest };
}

/** The same words twice in a row (page title and first heading) are said once. */
function headingOf(path: readonly string[]): string {
  const words = path.filter((part, index) => part !== '' && part.toLowerCase() !== path[index - 1]?.toLowerCase());
  return words.join(' > ').slice(0, HEADING_CHARS_MAX);
}

function sectionsOf(document: SourceDocument): readonly Section[] {
  const sections: { path: readonly string[]; units: Unit[] }[] = [{ path: [document.title], units: [] }];
  const open: string[] = [];
  for (const block of blocksOf(document.text)) {
    const heading = /^(#{1,6}) (.+)$/.exec(block);
    if (heading === null) {
      sections.at(-1)?.units.push(...unitsOf(block));
      continue;
    }
    const level = (heading[1] ?? '#').length;
    open.length = Math.min(open.length, level - 1);
    open[level - 1] = heading[2]?.trim() ?? '';
    sections.push({ path: [document.title, ...Array.from(open, (part) => part ?? '')], units: [] });
  }
  return sections.filter((section) => section.units.length > 0);
}

/** Blocks are separated by empty lines; fenced code is one block; a heading line is a block of its own. */
function blocksOf(text: string): readonly string[] {
  const blocks: string[] = [];
  let lines: string[] = [];
  let fenced = false;
  const flush = () => {
    if (lines.length > 0) blocks.push(lines.join('\n'));
    lines = [];
  };
  for (const line of text.split('\n')) {
    const fence = line.startsWith('```');
    if (fenced) {
      lines.push(line);
      if (fence) flush();
    } else if (fence || /^#{1,6} /.test(line)) {
      flush();
      lines.push(line);
      if (!fence) flush();
    } else if (line.trim() === '') flush();
    else lines.push(line);
    if (fence) fenced = !fenced;
  }
  flush();
  return blocks;
}

function unitsOf(block: string): readonly Unit[] {
  if (block.startsWith('```')) return codeUnits(block);
  const units: Unit[] = [];
  let paragraph: string[] = [];
  const flush = () => {
    const sentences = splitSentences(paragraph.join(' ')).flatMap(splitLong);
    sentences.forEach((text, index) => units.push({ text, glue: index === 0 ? '\n' : ' ', code: false }));
    paragraph = [];
  };
  for (const line of block.split('\n')) {
    if (/^\s*(?:[-*+]|\d{1,3}[.)])\s+/.test(line) || line.includes(' | ')) flush();
    paragraph.push(line.trim().replace(/^[*+]\s+/, '- '));
    if (line.includes(' | ')) flush();
  }
  flush();
  return units.map((unit, index) => (index === 0 ? { ...unit, glue: '\n\n' } : unit));
}

/** Code lines in runs of at most a chunk; indentation is kept, the fences are not. */
function codeUnits(block: string): readonly Unit[] {
  const lines = block.split('\n').filter((line) => !line.startsWith('```'));
  return lines.flatMap((line) => cut(line, CHUNK_CHARS_MAX)).map((text, index) => ({ text, glue: index === 0 ? ('\n\n' as const) : ('\n' as const), code: true }));
}

function splitLong(sentence: string): readonly string[] {
  if (sentence.length <= CHUNK_CHARS_MAX) return [sentence];
  const parts: string[] = [];
  let rest = sentence;
  while (rest.length > CHUNK_CHARS_MAX) {
    const space = rest.lastIndexOf(' ', CHUNK_CHARS_TARGET);
    const at = space > CHUNK_CHARS_TARGET / 2 ? space : safeCut(rest, CHUNK_CHARS_TARGET);
    parts.push(rest.slice(0, at).trim());
    rest = rest.slice(at).trim();
  }
  return rest === '' ? parts : [...parts, rest];
}

function cut(line: string, max: number): readonly string[] {
  const parts: string[] = [];
  let rest = line;
  while (rest.length > max) {
    const at = safeCut(rest, max);
    parts.push(rest.slice(0, at));
    rest = rest.slice(at);
  }
  return [...parts, rest];
}

/** Never between the two halves of a surrogate pair. */
const safeCut = (text: string, at: number): number => ((text.charCodeAt(at) & 0xfc00) === 0xdc00 ? at - 1 : at);

/** A short section takes in the next ones, headings and all, as long as they fit a chunk together. */
function mergeShort(sections: readonly Section[]): readonly Section[] {
  const merged: Section[] = [];
  for (const section of sections) {
    const before = merged.at(-1);
    if (before !== undefined && sizeOf(before) < SECTION_CHARS_MIN && sizeOf(before) + sizeOf(section) <= CHUNK_CHARS_TARGET) merged[merged.length - 1] = join(before, section);
    else merged.push(section);
  }
  return merged;
}

function join(before: Section, section: Section): Section {
  const common = before.path.findIndex((part, index) => part !== section.path[index]);
  const path = common === -1 ? before.path : before.path.slice(0, Math.max(1, common));
  const headed = (from: Section): readonly Unit[] => {
    const words = from.path.slice(path.length).filter((part) => part !== '').join(' > ');
    return words === '' ? from.units : [{ text: words, glue: '\n\n', code: false }, ...from.units.map((unit, index) => (index === 0 ? { ...unit, glue: '\n' as const } : unit))];
  };
  return { path, units: [...headed(before), ...headed(section)] };
}

const sizeOf = (section: Section): number => section.units.reduce((sum, unit) => sum + unit.text.length + unit.glue.length, 0);

/** Units in order until the target is reached; a last piece too small to stand alone joins the one before if it may. */
function pack(section: Section): readonly string[] {
  const texts: string[] = [];
  let text = '';
  for (const unit of section.units) {
    const next = text === '' ? unit.text : `${text}${unit.glue}${unit.text}`;
    if (text !== '' && next.length > CHUNK_CHARS_TARGET) {
      texts.push(text);
      text = unit.text;
    } else text = next;
  }
  const last = texts.at(-1);
  if (last !== undefined && text.length < SECTION_CHARS_MIN && last.length + text.length + 2 <= CHUNK_CHARS_MAX) texts[texts.length - 1] = `${last}\n${text}`;
  else texts.push(text);
  return texts.map((one) => one.trimEnd()).filter((one) => one.trim() !== '');
}
