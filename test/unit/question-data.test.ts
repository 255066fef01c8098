// The questions on real documents are well formed, and their quotes are in the pages where the corpora are at hand.
// Owns: shape and counts always; quotes only when AIOS_DATA_DIR (default ../shared/data) is there, else skipped.
// Others may assume: `quote` is found in the first page once white space is collapsed.

import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

const here = fileURLToPath(new URL('../data', import.meta.url));
const corpora = resolve(process.env['AIOS_DATA_DIR'] ?? fileURLToPath(new URL('../../../shared/data', import.meta.url)));
const schema = z.discriminatedUnion('expect', [
  z.strictObject({ id: z.string(), text: z.string(), expect: z.literal('auto'), pages: z.array(z.string()).min(1), quote: z.string().min(6) }),
  z.strictObject({ id: z.string(), text: z.string(), expect: z.literal('human') }),
]);
const page = z.object({ path: z.string(), text: z.string() });
const collapse = (text: string): string => text.replace(/\s+/g, ' ');
const linesOf = (text: string): unknown[] => text.trim().split('\n').map((line) => JSON.parse(line) as unknown);

describe.each(['docs-nats', 'docs-otel'])('questions on %s', (corpus) => {
  const questions = linesOf(readFileSync(join(here, `questions-${corpus}.jsonl`), 'utf8')).map((line) => schema.parse(line));

  test('twenty are answerable and ten are not, each once', () => {
    expect(questions.filter((one) => one.expect === 'auto')).toHaveLength(20);
    expect(questions.filter((one) => one.expect === 'human')).toHaveLength(10);
    expect(new Set(questions.map(({ id }) => id)).size).toBe(30);
    expect(new Set(questions.map(({ text }) => text)).size).toBe(30);
  });

  const file = join(corpora, corpus, 'docs.jsonl.gz');
  test.skipIf(!existsSync(file))('each page exists and the first one holds the quote', () => {
    const pages = new Map(linesOf(gunzipSync(readFileSync(file)).toString('utf8')).map((line) => page.parse(line)).map(({ path, text }) => [path, collapse(text)]));
    for (const question of questions) {
      if (question.expect === 'human') continue;
      for (const path of question.pages) expect(pages.has(path), `${question.id} ${path}`).toBe(true);
      expect(pages.get(question.pages[0] ?? ''), question.id).toContain(question.quote);
    }
  });
});
