// HTML to the plain form the chunker reads: headings, paragraphs, lists, code and tables; scripts and navigation dropped.
// Owns: the tag table and the entity decoder. Never loads, resolves or keeps a remote reference, never runs a script.
// Others may assume: one pass over the input, unknown tags in Markdown (placeholders such as <stream>) are left alone.

import type { PlainText } from './markdown.ts';

const DROPPED = new Set(['script', 'style', 'noscript', 'template', 'svg', 'iframe', 'object', 'nav', 'footer', 'head', 'form', 'button', 'select']);
const BREAKING = new Set(['p', 'div', 'section', 'article', 'main', 'header', 'aside', 'blockquote', 'ul', 'ol', 'dl', 'table', 'tbody', 'thead', 'figure', 'figcaption', 'details', 'summary', 'dt', 'dd', 'hr', 'body', 'html']);
const INLINE = new Set(['a', 'abbr', 'b', 'br', 'center', 'cite', 'code', 'del', 'em', 'font', 'i', 'img', 'ins', 'kbd', 'li', 'mark', 'pre', 'q', 's', 'samp', 'small', 'span', 'strong', 'sub', 'sup', 'td', 'th', 'tr', 'tt', 'u', 'var', 'video', 'source', 'picture', 'input', 'label', 'tabs', 'tabitem', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6']);

export function plainHtml(source: string): PlainText {
  const title = /<title[^>]{0,200}>([^<]{1,500})<\/title>/i.exec(source)?.[1];
  const text = tidy(render(source));
  const heading = /^#{1,6} (.+)$/m.exec(text)?.[1];
  return { text, title: (title === undefined ? undefined : decodeEntities(title).replace(/\s+/g, ' ').trim()) ?? heading?.trim() };
}

/** Takes known HTML tags out of Markdown prose and leaves what only looks like one. */
export function stripTags(text: string): string {
  return text.replace(/<(\/?)([A-Za-z][A-Za-z0-9]{0,15})((?:\s[^<>]{0,2000})?)\s*\/?>/g, (tag, _close: string, name: string) => {
    const known = name.toLowerCase();
    if (known === 'br' || known === 'tr') return '\n';
    if (BREAKING.has(known)) return '\n';
    if (known === 'li') return _close === '' ? '\n- ' : '\n';
    if (known === 'td' || known === 'th') return _close === '' ? '' : ' | ';
    return INLINE.has(known) || DROPPED.has(known) ? '' : tag;
  });
}

interface Writer {
  readonly out: string[];
  pre: boolean;
}

/** One pass: text between tags is written, dropped elements are skipped up to their end tag. */
function render(source: string): string {
  const writer: Writer = { out: [], pre: false };
  const tag = /<!--[\s\S]*?(?:-->|$)|<!?\/?([A-Za-z][A-Za-z0-9]{0,30})\b[^>]{0,4000}>/g;
  let at = 0;
  for (let match = tag.exec(source); match !== null; match = tag.exec(source)) {
    write(writer, source.slice(at, match.index));
    at = tag.lastIndex;
    const name = match[1]?.toLowerCase();
    if (name === undefined) continue;
    const closing = match[0].startsWith('</');
    if (!closing && DROPPED.has(name) && !match[0].endsWith('/>')) at = tag.lastIndex = endOf(source, name, at);
    else writer.out.push(markOf(writer, name, closing));
  }
  write(writer, source.slice(at));
  return writer.out.join('');
}

function write(writer: Writer, raw: string): void {
  if (raw === '') return;
  const text = decodeEntities(raw);
  writer.out.push(writer.pre ? text : text.replace(/\s+/g, ' '));
}

function endOf(source: string, name: string, from: number): number {
  const close = source.toLowerCase().indexOf(`</${name}`, from);
  if (close < 0) return source.length;
  const end = source.indexOf('>', close);
  return end < 0 ? source.length : end + 1;
}

function markOf(writer: Writer, name: string, closing: boolean): string {
  const level = /^h([1-6])$/.exec(name)?.[1];
  if (level !== undefined) return closing ? '\n\n' : `\n\n${'#'.repeat(Number(level))} `;
  if (name === 'pre') {
    writer.pre = !closing;
    return closing ? '\n```\n\n' : '\n\n```\n';
  }
  if (name === 'li') return closing ? '' : '\n- ';
  if (name === 'br') return '\n';
  if (name === 'tr') return closing ? '' : '\n';
  if (name === 'td' || name === 'th') return closing ? ' | ' : '';
  if (name === 'code') return writer.pre ? '' : '`';
  return BREAKING.has(name) ? '\n\n' : '';
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: ' ', mdash: '\u2014', ndash: '\u2013', hellip: '\u2026', rsquo: '\u2019', lsquo: '\u2018', ldquo: '\u201c', rdquo: '\u201d', euro: '\u20ac', pound: '\u00a3', copy: '\u00a9', reg: '\u00ae', trade: '\u2122', bull: '\u2022', middot: '\u00b7', times: '\u00d7', laquo: '\u00ab', raquo: '\u00bb', auml: '\u00e4', ouml: '\u00f6', uuml: '\u00fc', Auml: '\u00c4', Ouml: '\u00d6', Uuml: '\u00dc', szlig: '\u00df', eacute: '\u00e9', egrave: '\u00e8', agrave: '\u00e0', ccedil: '\u00e7' };

export function decodeEntities(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(/&(#x[0-9a-fA-F]{1,6}|#[0-9]{1,7}|[A-Za-z]{2,8});/g, (whole, name: string) => {
    if (!name.startsWith('#')) return ENTITIES[name] ?? whole;
    const code = name[1] === 'x' ? Number.parseInt(name.slice(2), 16) : Number.parseInt(name.slice(1), 10);
    return code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? String.fromCodePoint(code) : whole;
  });
}

/** White space outside code; code keeps its indentation. */
const tidy = (text: string): string => text.split(/(```\n[\s\S]*?\n```)/).map((part, index) => (index % 2 === 1 ? part : tidyProse(part))).join('').replace(/\n{3,}/g, '\n\n').trim();

const tidyProse = (text: string): string => text.replace(/ *\| *(?=\n|$)/g, '').replace(/[ \t]+\n/g, '\n').replace(/\n[ \t]+(?=\S)/g, '\n').replace(/\n(- )\n+/g, '\n$1');
