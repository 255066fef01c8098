// Lineage for people: a tree in the terminal, a page of HTML, and W3C PROV-JSON for other tools.
// Owns: the three renderings. Never fetches anything; the page loads no script, font or image from anywhere.
// Others may assume: every value is escaped for its medium, control characters included.

import type { Detail, LineageNode } from './lineage.ts';

export function toText(tree: LineageNode): string {
  const lines: string[] = [];
  walk(tree, '', '', lines);
  return `${lines.join('\n')}\n`;
}

function walk(at: LineageNode, lead: string, below: string, lines: string[]): void {
  lines.push(`${lead}${printable(at.title)}${detailText(at.detail)}`);
  at.children.forEach((child, i) => {
    const last = i === at.children.length - 1;
    walk(child, `${below}${last ? '└─ ' : '├─ '}`, `${below}${last ? '   ' : '│  '}`, lines);
  });
}

function detailText(detail: Detail): string {
  const parts = Object.entries(detail).filter(([, value]) => !(Array.isArray(value) && value.length === 0)).map(([key, value]) => `${key}=${shorten(String(value))}`);
  return parts.length === 0 ? '' : `  [${printable(parts.join(' '))}]`;
}

/** Digests are cut for reading; `--json` has them whole. */
const shorten = (value: string): string => (value.startsWith('sha256:') ? value.slice(0, 19) : value);

/** Control and format characters are made visible: a record must not be able to redraw a terminal. */
export const printable = (text: string): string => text.replace(/[\p{Cc}\p{Cf}]/gu, (c) => `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`);

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escapeHtml = (text: string): string => printable(text).replace(/[&<>"']/g, (c) => escapes[c] ?? c);

export function toHtml(tree: LineageNode): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Lineage: ${escapeHtml(tree.title)}</title><style>${STYLE}</style></head><body><main><h1>${escapeHtml(tree.title)}</h1>${tree.children.map(htmlNode).join('')}</main></body></html>\n`;
}

function htmlNode(at: LineageNode): string {
  const rows = Object.entries(at.detail).map(([key, value]) => `<dt>${escapeHtml(key)}</dt><dd>${escapeHtml(Array.isArray(value) ? value.join(', ') : String(value))}</dd>`).join('');
  const open = at.kind === 'history' ? '' : ' open';
  return `<details class="${at.kind}"${open}><summary><span class="kind">${escapeHtml(at.kind)}</span> ${escapeHtml(at.title)}</summary>${rows === '' ? '' : `<dl>${rows}</dl>`}${at.children.map(htmlNode).join('')}</details>`;
}

const STYLE = 'body{font:15px/1.5 system-ui,sans-serif;margin:0;background:#f6f7f9;color:#1b1f24}main{max-width:60rem;margin:2rem auto;padding:0 1rem}h1{font-size:1.25rem}details{background:#fff;border:1px solid #d9dee5;border-radius:8px;margin:.5rem 0;padding:.5rem .75rem}details details{background:#fafbfc}summary{cursor:pointer;font-weight:600}.kind{display:inline-block;min-width:5.5rem;color:#57606a;font-weight:400}dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:.5rem 0;font-size:13px}dt{color:#57606a}dd{margin:0;overflow-wrap:anywhere;font-family:ui-monospace,monospace}.effect{border-left:4px solid #bf8700}.human{border-left:4px solid #8250df}.policy{border-left:4px solid #0969da}.outcome{border-left:4px solid #1a7f37}';

interface Prov {
  readonly prefix: object;
  readonly entity: Record<string, object>;
  readonly activity: Record<string, object>;
  readonly agent: Record<string, object>;
  readonly used: Record<string, object>;
  readonly wasGeneratedBy: Record<string, object>;
  readonly wasAssociatedWith: Record<string, object>;
}

const PROV_ROOT = 'aios:task';

/** W3C PROV-JSON: turns, models and policies are agents of the task; what it read and wrote are entities. */
export function toProv(tree: LineageNode): unknown {
  const prov: Prov = { prefix: { aios: 'urn:aios:' }, entity: {}, activity: {}, agent: {}, used: {}, wasGeneratedBy: {}, wasAssociatedWith: {} };
  prov.activity[PROV_ROOT] = { 'prov:label': tree.title };
  tree.children.forEach((child, i) => addProv(prov, child, `${child.kind}-${i}`));
  return prov;
}

function addProv(prov: Prov, at: LineageNode, id: string): void {
  const name = `aios:${id}`;
  const attributes = { 'prov:label': at.title, ...Object.fromEntries(Object.entries(at.detail).map(([key, value]) => [`aios:${key}`, Array.isArray(value) ? value.join(',') : value])) };
  if (at.kind === 'turn' || at.kind === 'policy' || at.kind === 'model') {
    prov.agent[name] = attributes;
    prov.wasAssociatedWith[`_:a-${id}`] = { 'prov:activity': PROV_ROOT, 'prov:agent': name };
  } else if (at.kind === 'outcome' || at.kind === 'effect') {
    prov.entity[name] = attributes;
    prov.wasGeneratedBy[`_:g-${id}`] = { 'prov:entity': name, 'prov:activity': PROV_ROOT };
  } else if (at.kind !== 'history') {
    prov.entity[name] = attributes;
    prov.used[`_:u-${id}`] = { 'prov:activity': PROV_ROOT, 'prov:entity': name };
  }
  at.children.forEach((child, i) => addProv(prov, child, `${id}-${child.kind}-${i}`));
}
