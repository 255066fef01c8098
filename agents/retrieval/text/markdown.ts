// Markdown as people write it (front matter, MDX, Hugo and GitBook marks) to the plain form the chunker reads.
// Owns: what is kept (headings, lists, code, tables, words of links) and what is dropped (targets, marks, comments).
// Never follows a reference and never runs longer than linear in its input.
// Others may assume: fenced code passes through unchanged, and headings come out as `# ` lines.

import { decodeEntities, stripTags } from './html.ts';

export interface PlainText {
  readonly text: string;
  /** From front matter or the first heading, when there is one. */
  readonly title: string | undefined;
}

export function plainMarkdown(source: string): PlainText {
  const { body, title, description } = splitFrontMatter(source.replaceAll('\r\n', '\n'));
  const lines = splitCode(body).map((part) => (part.code ? part.text : plainProse(part.text)));
  const text = tidy([description ?? '', ...lines].join('\n'));
  return { text, title: title ?? firstHeading(text) };
}

interface Part {
  readonly code: boolean;
  readonly text: string;
}

/** Cuts the text into fenced code and the prose between; an unclosed fence runs to the end. */
function splitCode(source: string): readonly Part[] {
  const parts: Part[] = [];
  let lines: string[] = [];
  let fence = '';
  const flush = (code: boolean) => {
    if (lines.length > 0) parts.push({ code, text: lines.join('\n') });
    lines = [];
  };
  for (const line of source.split('\n')) {
    const mark = /^\s{0,12}(?:[-*]\s+)?(`{3,}|~{3,})(.*)$/.exec(line);
    if (fence === '' && mark?.[1] !== undefined) {
      flush(false);
      fence = mark[1];
      lines.push('```');
    } else if (fence !== '' && mark?.[1]?.startsWith(fence) === true && mark[2]?.trim() === '') {
      lines.push('```');
      flush(true);
      fence = '';
    } else lines.push(fence === '' ? line : line.trimEnd());
  }
  if (fence !== '') lines.push('```');
  flush(fence !== '');
  return parts;
}

function plainProse(source: string): string {
  const bare = withoutComments(source).replace(/^(?:import\s.+\sfrom\s+['"].+|export\s+(?:const|default)\s.*)$/gm, '');
  return outsideCode(unlink(setextHeadings(bare)), stripTags).split('\n').map(plainLine).filter((line) => line !== undefined).join('\n');
}

function withoutComments(text: string): string {
  const [first = '', ...rest] = text.split('<!--');
  return first + rest.map((part) => (part.includes('-->') ? part.slice(part.indexOf('-->') + 3) : '')).join('');
}

const setextHeadings = (text: string): string => text.replace(/^([^\n#>|*-][^\n]{0,200})\n(=+|-{3,})[ \t]*$/gm, (_, title: string, mark: string) => `${mark.startsWith('=') ? '#' : '##'} ${title}`);

/** `undefined` drops the line. */
function plainLine(line: string): string | undefined {
  if (/^\s*\[[^\]]{1,200}\]:\s*\S/.test(line)) return undefined;
  if (/^\s*\|?[\s:|-]*-{3,}[\s:|-]*\|?\s*$/.test(line) && line.includes('|')) return undefined;
  if (/^\s*(?:-{3,}|\*{3,}|_{3,})\s*$/.test(line)) return '';
  const heading = /^\s{0,3}(#{1,6})\s+(.*?)\s*#*\s*$/.exec(line);
  if (heading !== null) return `${heading[1]} ${plainInline(heading[2] ?? '').replace(/\s*\{#[^}]*\}\s*$/, '')}`;
  if (line.trimStart().startsWith('|')) return plainRow(line);
  return plainInline(plainMarks(line));
}

/** Admonitions, tabs and quotes: their marks go, their titles stay. */
function plainMarks(line: string): string {
  const admonition = /^\s*(?::::+|!!!|\?\?\?\+?)\s*(?:[a-z]+)?\s*\[?"?([^"\]]*)"?\]?\s*$/i.exec(line);
  if (admonition !== null) return admonition[1]?.trim() ?? '';
  return line
    .replace(/^\s*>\s?\[![A-Z]+\]\s*/, '')
    .replace(/^\s*(?:>\s?)+/, '')
    .replace(/\{%[^%]{0,300}?(?:title|text)="([^"]{0,200})"[^%]{0,300}?%\}/g, '$1')
    .replace(/\{\{[<%][^}]{0,300}?(?:title|header|text)="?([^"}]{1,200})"?[^}]{0,300}?[>%]\}\}/g, '$1')
    .replace(/\{%.{0,600}?%\}/g, '')
    .replace(/\{\{[<%].{0,600}?[>%]\}\}/g, '');
}

const plainRow = (line: string): string => line.replace(/^\s*\|/, '').replace(/\|\s*$/, '').split(/(?<!\\)\|/).map((cell) => plainInline(cell).trim()).filter((cell) => cell !== '').join(' | ');

/** Links and images become their words; emphasis marks go; inline code keeps its back ticks. */
export function plainInline(line: string): string {
  return outsideCode(line, plainWords).trimEnd();
}

/** Applies `change` to everything but inline code. */
const outsideCode = (text: string, change: (part: string) => string): string => text.split(/(`[^`\n]{1,400}`)/).map((part, index) => (index % 2 === 1 ? part : change(part))).join('');

/** Before lines are looked at: the words of a link may run over several lines and may be code. */
const unlink = (text: string): string => text
  .replace(/!\[([^\]]{0,300})\]\([^)\n]{0,600}\)/g, '$1')
  .replace(/\[([^\][]{0,400})\]\((?:[^()\n]|\([^()\n]{0,200}\)){0,600}\)/g, '$1')
  .replace(/\[([^\][]{1,400})\]\[[^\]]{0,200}\]/g, '$1')
  .replace(/<(https?:\/\/[^>\s]{1,500})>/g, '$1');

const plainWords = (text: string): string => decodeEntities(text)
  .replace(/(\*\*|__)(?=\S)([^\n]{1,600}?)(?<=\S)\1/g, '$2')
  .replace(/(?<![\w*])\*(?=[^\s*])([^*\n]{1,400}?)(?<=\S)\*(?![\w*])/g, '$1')
  .replace(/(?<![\w_])_(?=[^\s_])([^_\n]{1,400}?)(?<=\S)_(?![\w_])/g, '$1')
  .replace(/\\([\\`*_{}[\]()#+.!|<>~-])/g, '$1');

function splitFrontMatter(source: string): { readonly body: string; readonly title: string | undefined; readonly description: string | undefined } {
  const match = /^\uFEFF?---[ \t]*\n([\s\S]{0,8000}?)\n---[ \t]*(?:\n|$)/.exec(source);
  if (match === null) return { body: source, title: undefined, description: undefined };
  const field = (name: string) => new RegExp(`^${name}:[ \\t]*["']?(.{1,400}?)["']?[ \\t]*$`, 'm').exec(match[1] ?? '')?.[1]?.trim();
  const description = field('description');
  return { body: source.slice(match[0].length), title: field('title'), description: description === '>-' || description === '|' || description === '>' ? undefined : description };
}

const firstHeading = (text: string): string | undefined => /^#{1,6} (.+)$/m.exec(text)?.[1]?.trim();

const tidy = (text: string): string => text.replace(/[ \t]+$/gm, '').replace(/\n{3,}/g, '\n\n').trim();
