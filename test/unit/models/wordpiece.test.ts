// WordPiece against the reference tokenizer, and the static table against its definition.
// Owns: proof that our ids are the reference's ids, on shipped text, hostile text and, where present, other people's data.
// Never compares text that spells special tokens: there we differ on purpose, and a test says how.

import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Tokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createStaticTable } from '../../../agents/model-worker/static-table.ts';
import { createWordPiece } from '../../../agents/model-worker/wordpiece.ts';

const models = new URL('../../../infra/models/', import.meta.url);
const vocabulary = readFileSync(new URL('minilm-static-256/vocab.txt', models), 'utf8').trimEnd().split('\n');
const config = JSON.parse(readFileSync(new URL('all-MiniLM-L6-v2-int8/tokenizer.json', models), 'utf8')) as Record<string, unknown>;
const reference = new Tokenizer({ ...config, truncation: null, padding: null }, {});
const ours = createWordPiece({ vocabulary });
const referenceIds = (text: string): number[] => Array.from(reference.encode(text).ids);

const HELP_CENTRE = [
  'How do I cancel my subscription before the next billing date?',
  "I've been charged twice (EUR 49.00) - please refund order #A-10293!!",
  'Go to Settings > Billing > Invoices, then choose "Download PDF".',
  'SSO/SAML: set ACS URL to https://login.example.com/sso/acs?tenant=42&x=%20y',
  'Rate limits: 600 requests/minute per API key; HTTP 429 with Retry-After: 30.',
  'Kündigung: Ich möchte mein Abonnement zum Monatsende kündigen – geht das?',
  '¿Cómo cambio mi dirección de facturación? Ya no vivo en Córdoba.',
  'Je n’arrive pas à me connecter… «mot de passe oublié» ne marche pas.',
  '我想取消我的订阅 and keep my data',
  'パスワードをリセットしたい。', '비밀번호를 재설정하고 싶어요', 'как отменить подписку?', 'Ελληνικά ΟΔΟΣ', 'İstanbul ILIK ıl',
  'tabs\tand\nnewlines\r\nand\u00a0nbsp\u2003em space\u3000wide', 'zero\u200bwidth\u200djoin\ufeffbom\u00adsoft', 'ctrl\u0001char\u007fdel',
  'emoji 👩‍👩‍👧‍👦 ok 🇩🇪 done', 'fancy ﬁ ligature ½ ² ™ ® x̂ ą́ Ǻ', 'a'.repeat(99), 'b'.repeat(101), 'é'.repeat(120), '', ' ', '...', "don't won't it's", '50%-off_sale$$', 'naïve café ñandú Ångström ß ẞ',
];

describe('wordpiece', () => {
  it('wordpiece - gives the reference ids on help-centre text in many scripts', () => {
    for (const text of HELP_CENTRE) expect(ours.encode(text, 4_096), text).toEqual(referenceIds(text));
  });

  it('wordpiece - gives the reference ids on the shipped help centre and tickets', () => {
    const lines = ['../../../README.md', '../../../infra/models/README.md', '../../../contracts/errors.ts', '../../../contracts/ports.ts']
      .map((path) => new URL(path, import.meta.url))
      .filter((url) => existsSync(url))
      .flatMap((url) => readFileSync(url, 'utf8').split('\n'));
    expect(lines.length).toBeGreaterThan(100);
    expect(differing(lines)).toEqual([]);
  });

  it('wordpiece - gives the reference ids on arbitrary ASCII and arbitrary Unicode without special tokens', () => {
    const plain = fc.string({ maxLength: 60, unit: 'binary-ascii' });
    const any = fc.string({ maxLength: 40, unit: 'grapheme' });
    fc.assert(fc.property(fc.oneof(plain, any), (text) => {
      fc.pre(isComparable(text));
      expect(ours.encode(text, 4_096)).toEqual(referenceIds(text));
    }), { numRuns: 3_000, seed: 7 });
  });

  const dataDir = resolve(process.env['AIOS_DATA_DIR'] ?? '../shared/data');
  const sets = ['retrieval-xquad/passages.de.jsonl.gz', 'retrieval-xquad/passages.en.jsonl.gz', 'docs-nats/docs.jsonl.gz', 'intent-banking77/queries.csv.gz', 'rag-tau-banking/documents.jsonl.gz'];
  it.skipIf(!existsSync(dataDir))('wordpiece - differs on no line of other people’s text', () => {
    const lines = sets.map((name) => join(dataDir, name)).filter((path) => existsSync(path)).flatMap((path) => gunzipSync(readFileSync(path)).toString('utf8').split(/\n|\\n/));
    expect(lines.length).toBeGreaterThan(10_000);
    expect(differing(lines)).toEqual([]);
  });

  it('wordpiece - never yields a special token for text that spells one', () => {
    const ids = ours.pieces('[CLS] ignore [SEP] this [MASK] [PAD] [UNK]', 64);
    for (const token of ['[CLS]', '[SEP]', '[MASK]', '[PAD]', '[UNK]']) expect(ids).not.toContain(vocabulary.indexOf(token));
  });

  it('wordpiece - stays inside tokensMax with [CLS] first and [SEP] last', () => {
    const text = 'the quick brown fox jumps over the lazy dog '.repeat(2_000);
    const ids = ours.encode(text, 256);
    expect(ids).toHaveLength(256);
    expect(ids.slice(0, 255)).toEqual(referenceIds(text).slice(0, 255));
    expect(ids.at(-1)).toBe(vocabulary.indexOf('[SEP]'));
    expect(ours.encode(`é ${text}`, 64)).toHaveLength(64);
  });

  it('wordpiece - gives the same ids with a cache of two words as with a large one', () => {
    const tiny = createWordPiece({ vocabulary, cacheWordsMax: 2 });
    for (const text of HELP_CENTRE) for (let round = 0; round < 2; round++) expect(tiny.encode(text, 512)).toEqual(ours.encode(text, 512));
  });

  it('wordpiece - refuses a vocabulary without its special tokens', () => {
    expect(() => createWordPiece({ vocabulary: ['a', 'b'] })).toThrow(/\[UNK\]/);
  });
});

describe('static table', () => {
  const npy = readFileSync(new URL('minilm-static-256/table.npy', models));
  const table = createStaticTable(npy, ours);

  it('static table - is the normalised sum of its rows', () => {
    const vector = table.embed('payment');
    const id = vocabulary.indexOf('payment');
    const row = Array.from(new Int8Array(npy.buffer, npy.byteOffset + npy.byteLength - (30_522 - id) * 256, 256));
    const norm = Math.hypot(...row);
    vector.forEach((value, d) => expect(value).toBeCloseTo((row[d] as number) / norm, 5));
  });

  it('static table - ranks the same matter above another and gives zero for nothing', () => {
    const cosine = (a: string, b: string): number => dot(table.embed(a), table.embed(b));
    expect(cosine('refund my payment', 'give me my money back')).toBeGreaterThan(cosine('refund my payment', 'the weather in Oslo') + 0.1);
    expect(Array.from(table.embed('')).every((value) => value === 0)).toBe(true);
  });

  it('static table - refuses a cut-off file and a foreign vocabulary', () => {
    expect(() => createStaticTable(npy.subarray(0, npy.length - 1), ours)).toThrow(/cut off/);
    expect(() => createStaticTable(npy, createWordPiece({ vocabulary: vocabulary.slice(0, 2_000) }))).toThrow(/rows/);
  });
});

const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);
const differing = (lines: readonly string[]): string[] => lines.filter((line) => isComparable(line) && JSON.stringify(ours.encode(line, 100_000)) !== JSON.stringify(referenceIds(line)));
/** The reference reads special tokens out of text, and spaces out ideographs of the first plane only. */
function isComparable(text: string): boolean {
  return !/\[(PAD|UNK|CLS|SEP|MASK)\]/.test(text) && !/[\u{20000}-\u{2FA1F}]/u.test(text);
}
