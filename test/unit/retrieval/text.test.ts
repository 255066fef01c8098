// Documents as people write them come out as plain text that can be read, cut and quoted.
// Owns: the checks of agents/retrieval/text, chunk and sentences. Opens nothing.
// Others may assume: what is asserted here is what every index is built from.

import { describe, expect, it } from 'vitest';
import { CHUNK_CHARS_MAX, chunkDocument } from '../../../agents/retrieval/chunk.ts';
import { splitSentences } from '../../../agents/retrieval/sentences.ts';
import { plainText } from '../../../agents/retrieval/text/plain.ts';

describe('plain text of Markdown', () => {
  it('takes the title from front matter and keeps the words of links, tables and code', () => {
    const source = '---\ntitle: "Refunds"\nweight: 3\n---\n\nSee [the *policy*](https://example.com/a(b)) and [more\nhere][ref].\n\n| Plan | Price |\n|------|------:|\n| Team | $12 |\n\n```sh\nnpm install  # <b>kept</b>\n```\n\n[ref]: https://example.com\n';
    expect(plainText('refunds.md', source)).toEqual({ title: 'Refunds', text: 'See the policy and more\nhere.\n\nPlan | Price\nTeam | $12\n\n```\nnpm install  # <b>kept</b>\n```' });
  });
  it('drops marks of site generators but not placeholders that only look like tags', () => {
    const source = "import Tabs from '@theme/Tabs';\n\n:::tip Good to know\n\nUse `nats <stream>` or <stream> here.<br/>Next\n\n:::\n\n{% tab title=\"Go\" %}\nBody {{< param x >}}\n{% endtab %}\n\n> [!NOTE]\n> Quoted.";
    expect(plainText('a.md', source).text).toBe('Good to know\n\nUse `nats <stream>` or <stream> here.\nNext\n\nGo\nBody\n\nQuoted.');
  });
  it('reads setext headings, strips anchors and keeps snake_case and a * b', () => {
    expect(plainText('a.md', 'Title\n=====\n\n## Sub {#sub}\n\nmax_payload_size and a * b * c, **bold** _it_').text).toBe('# Title\n\n## Sub\n\nmax_payload_size and a * b * c, bold it');
  });
  it('survives hostile input in linear time', () => {
    const started = performance.now();
    for (const source of ['['.repeat(50_000), '*'.repeat(50_000), '<'.repeat(50_000), '`'.repeat(50_000), '{%'.repeat(30_000), '<!--'.repeat(20_000), '|-'.repeat(30_000), '# '.repeat(30_000), `![${'](('.repeat(20_000)}`]) plainText('x.md', source);
    expect(performance.now() - started).toBeLessThan(20_000);
  });
});

describe('plain text of HTML', () => {
  it('keeps headings, lists, tables and code, drops scripts, navigation and comments', () => {
    const source = '<!doctype html><html><head><title>A &amp; B</title><script>alert(1)</script></head><body><nav>menu</nav><h1>A</h1><p>One <b>two</b>&nbsp;three.</p><ul><li>x</li><li>y</li></ul><table><tr><th>k</th><th>v</th></tr><tr><td>1</td><td>2</td></tr></table><pre><code>  if (a) {\n    b();\n  }</code></pre><!-- gone --><img src="https://example.com/x.png"></body></html>';
    expect(plainText('a.html', source)).toEqual({ title: 'A & B', text: '# A\n\nOne two three.\n\n- x\n- y\n\nk | v\n1 | 2\n\n```\n  if (a) {\n    b();\n  }\n```' });
  });
  it('ends at an unclosed script instead of showing it', () => {
    expect(plainText('a.html', '<p>seen</p><script>hidden').text).toBe('seen');
  });
});

describe('sentences', () => {
  it('do not end at abbreviations, initials, versions or list numbers', () => {
    expect(splitSentences('Use e.g. version 2.10 of it. J. Smith wrote it! "Really?" Yes. 1. First')).toEqual(['Use e.g. version 2.10 of it.', 'J. Smith wrote it!', '"Really?"', 'Yes.', '1. First']);
  });
});

describe('chunks', () => {
  const paragraph = (n: number) => Array.from({ length: n }, (_, i) => `Sentence number ${i} says something about refunds and invoices.`).join(' ');
  const page = { id: 'help/refunds.md', title: 'Refunds', text: `# Refunds\n\n${paragraph(30)}\n\n## Limits\n\n${paragraph(12)}\n\n### Fine print\n\nShort one.\n\n### More\n\nAlso short.` };
  it('carry the path of headings, end at sentences and stay under the bound', () => {
    const chunks = chunkDocument(page);
    expect(chunks.length).toBeGreaterThan(4);
    expect(chunks.every((chunk) => chunk.text.length <= CHUNK_CHARS_MAX && /[.]$/.test(chunk.text))).toBe(true);
    expect([...new Set(chunks.map((chunk) => chunk.heading))]).toEqual(['Refunds', 'Refunds > Limits']);
  });
  it('of short neighbouring sections are one chunk with their headings inside', () => {
    const last = chunkDocument(page).at(-1);
    expect(last?.heading).toBe('Refunds > Limits');
    expect(last?.text).toBe('Fine print\nShort one.\n\nMore\nAlso short.');
  });
  it('keep their ids when another part of the page changes', () => {
    const before = chunkDocument(page).map((chunk) => chunk.id);
    const after = chunkDocument({ ...page, text: page.text.replace('Also short.', 'Changed.') }).map((chunk) => chunk.id);
    expect(after.slice(0, -1)).toEqual(before.slice(0, -1));
    expect(after.at(-1)).not.toBe(before.at(-1));
  });
  it('number repeats of the same words inside one page', () => {
    const ids = chunkDocument({ id: 'a', title: 'A', text: `# A\n\n${'x'.repeat(600)}\n\n${'x'.repeat(600)}` }).map((chunk) => chunk.id);
    expect(ids[1]).toBe(`${ids[0]}-2`);
  });
  it('cut a line longer than a chunk, never inside a character', () => {
    const chunks = chunkDocument({ id: 'a', title: 'A', text: `\`\`\`\n${'\u{1F600}'.repeat(2_000)}\n\`\`\`` });
    expect(chunks.every((chunk) => chunk.text.length <= CHUNK_CHARS_MAX && chunk.text.isWellFormed())).toBe(true);
    expect(chunks.map((chunk) => chunk.text).join('')).toHaveLength(4_000);
  });
  it('keep the indentation of code', () => {
    expect(chunkDocument({ id: 'a', title: 'A', text: '```\na:\n  b: 1\n```' })[0]?.text).toBe('a:\n  b: 1');
  });
});
