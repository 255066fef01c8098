// Documents from real paths: folders, single files and JSON lines, with everything that can be wrong in them.
// Owns: the checks of infra/corpus/load on a temporary directory.
// Others may assume: what is skipped is named by line or path, and nothing outside the folder is ever read.

import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SourceDocument } from '../../../contracts/ports.ts';
import { loadDocuments, type Skipped } from '../../../infra/corpus/load.ts';

let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'aios-docs-'));
  await mkdir(join(dir, 'docs', 'deep', '.hidden'), { recursive: true });
  await writeFile(join(dir, 'secret.md'), 'outside');
  await writeFile(join(dir, 'docs', 'b.md'), '# Bee\n\nBody.');
  await writeFile(join(dir, 'docs', 'a-page_name.txt'), 'Just text.\r\nMore.');
  await writeFile(join(dir, 'docs', 'deep', 'c.html'), '<h1>Sea</h1><p>Waves</p>');
  await writeFile(join(dir, 'docs', 'deep', '.hidden', 'd.md'), 'hidden');
  await writeFile(join(dir, 'docs', 'image.png'), 'no');
  await writeFile(join(dir, 'docs', 'empty.md'), '---\ntitle: Nothing\n---\n');
  await symlink(join(dir, 'secret.md'), join(dir, 'docs', 'link-out.md'));
  await symlink(join(dir, 'docs', 'b.md'), join(dir, 'docs', 'link-in.md'));
  await symlink(join(dir, 'docs'), join(dir, 'docs', 'deep', 'loop'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function load(path: string): Promise<{ readonly documents: readonly SourceDocument[]; readonly skipped: readonly Skipped[] }> {
  const skipped: Skipped[] = [];
  const documents: SourceDocument[] = [];
  for await (const document of loadDocuments(path, { onSkipped: (one) => skipped.push(one) })) documents.push(document);
  return { documents, skipped };
}

describe('documents of a folder', () => {
  it('are its readable files in order, with titles, and no link leads out', async () => {
    const { documents, skipped } = await load(join(dir, 'docs'));
    expect(documents.map(({ id, title }) => [id, title])).toEqual([['a-page_name.txt', 'a page name'], ['b.md', 'Bee'], ['deep/c.html', 'Sea'], ['link-in.md', 'Bee']]);
    expect(skipped).toEqual([{ where: 'empty.md', why: 'no text' }, { where: 'link-out.md', why: 'a link that leads out of the folder' }]);
  });
  it('may be one file', async () => {
    expect((await load(join(dir, 'docs', 'b.md'))).documents).toEqual([{ id: 'b.md', title: 'Bee', text: '# Bee\n\nBody.' }]);
  });
  it('are refused when the path is of no kind we read, or not there', async () => {
    await expect(load(join(dir, 'docs', 'image.png'))).rejects.toMatchObject({ code: 'AIOS_INPUT_INVALID' });
    await expect(load(join(dir, 'nowhere'))).rejects.toMatchObject({ code: 'AIOS_INPUT_INVALID' });
  });
});

describe('documents of JSON lines', () => {
  const lines = ['{"id":"1","title":"One","text":"First."}', 'not json', '', '{"path":"two.html","content":"<p>Second</p>"}', '{"title":"x"}', '{"id":3,"text":"Third.","labels":{"roles":"finance"},"extra":1}', '{"id":"1","text":"again"}', '{"id":"5"}', '[]'];
  it('keep what can be read and name the other lines by number', async () => {
    await writeFile(join(dir, 'docs.jsonl'), lines.join('\n'));
    const { documents, skipped } = await load(join(dir, 'docs.jsonl'));
    expect(documents).toEqual([
      { id: '1', title: 'One', text: 'First.' },
      { id: 'two.html', title: 'two', text: 'Second' },
      { id: '3', title: '3', text: 'Third.', labels: { roles: 'finance' } },
    ]);
    expect(skipped.map(({ where }) => where)).toEqual(['line 2', 'line 5', '1', 'line 8', 'line 9']);
  });
  it('may be zipped, and a broken archive is refused', async () => {
    await writeFile(join(dir, 'docs.jsonl.gz'), gzipSync(lines.join('\n')));
    expect((await load(join(dir, 'docs.jsonl.gz'))).documents).toHaveLength(3);
    await writeFile(join(dir, 'broken.jsonl.gz'), 'not an archive');
    await expect(load(join(dir, 'broken.jsonl.gz'))).rejects.toMatchObject({ code: 'AIOS_INPUT_INVALID' });
  });
  it('have ids of at most 200 characters that stay apart', async () => {
    await writeFile(join(dir, 'long.jsonl'), ['x', 'y'].map((end) => JSON.stringify({ id: `${end}${'p'.repeat(400)}`, text: 'T.' })).join('\n'));
    const ids = (await load(join(dir, 'long.jsonl'))).documents.map(({ id }) => id);
    expect(ids.map((id) => id.length <= 200)).toEqual([true, true]);
    expect(new Set(ids).size).toBe(2);
  });
});
