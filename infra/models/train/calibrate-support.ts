// `npm run calibrate`: the support desk's numbers (agents/catalog/support/calibration.json) from the calibration half of the tickets.
// Owns: the recipe (penalised logistic regression over the desk's own features, a threshold from held-out folds) and that file.
// Never lets the report half into a number: it is only scored at the end, for docs/quality.md.
// Others may assume: the desk's own functions compute the features here, so that what was calibrated is what runs.

import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Triage } from '../../../agents/catalog/support/capabilities.ts';
import { compose } from '../../../agents/catalog/support/compose.ts';
import { triageFeatures } from '../../../agents/catalog/support/desk.ts';
import { priorOf, probability, type Found, type Logistic } from '../../../agents/catalog/support/evidence.ts';
import { round } from '../../../agents/catalog/support/groundedness.ts';
import { inspect } from '../../../agents/catalog/support/guards.ts';
import { triageOf } from '../../../agents/catalog/support/team.ts';
import { parseHead } from '../../../agents/model-worker/head.ts';
import { chunkDocument, indexedText, type Chunk } from '../../../agents/retrieval/chunk.ts';
import { fuse, topRows } from '../../../agents/retrieval/fuse.ts';
import { createLexicalIndex, type LexicalIndex } from '../../../agents/retrieval/lexical.ts';
import { dot } from '../../../agents/retrieval/vectors.ts';
import type { Fragment } from '../../../contracts/ports.ts';
import { loadDocuments } from '../../corpus/load.ts';
import { readConfig } from '../../config.ts';
import { openEncoder } from './embed.ts';
import { fitLogistic } from './logistic.ts';

const DATA = fileURLToPath(new URL('../../../data/support/', import.meta.url));
const OUTPUT = fileURLToPath(new URL('../../../agents/catalog/support/calibration.json', import.meta.url));
const FRAGMENTS = 24;
const FOLDS = 10;
const PENALTY = 0.02;
/** Largest share of wrong ones among the answered that the threshold may let through, on held-out folds. */
const WRONG_SHARE_MAX = Number(process.env['AIOS_WRONG_SHARE_MAX'] ?? 0.1);
const EFFECT_CONFIDENCE_MIN = 0.4;
const SHIPPED_FEATURES = ['chunkCosine', 'sentenceCosine', 'coverage', 'margin', 'agreement', 'prior', 'priorMargin', 'priorOverNone', 'weakestPart', 'person', 'several'];
const FOREIGN_FEATURES = ['chunkCosine', 'sentenceCosine', 'coverage', 'margin', 'agreement'];

type Encode = (texts: readonly string[]) => Promise<readonly Float32Array[]>;
export interface Corpus { readonly chunks: readonly Chunk[]; readonly vectors: readonly Float32Array[]; readonly lexical: LexicalIndex }
interface Expected { readonly id: string; readonly expect: string; readonly kind: string; readonly split: string; readonly article?: string; readonly also?: readonly string[] }
interface Row { readonly expected: Expected; readonly features: Readonly<Record<string, number>>; readonly triage: Triage; readonly document: string; readonly guarded: boolean }

/** Each text alone through the encoder, remembered on the disk by digest: a run again is a matter of seconds. */
export async function openMemory(): Promise<{ encode: Encode; close(): Promise<void> }> {
  const dir = join(readConfig('calibrate').cacheDir, 'train');
  await mkdir(dir, { recursive: true });
  const file = join(dir, 'vectors.json');
  const known = new Map<string, number[]>(Object.entries(JSON.parse(await readFile(file, 'utf8').catch(() => '{}')) as Record<string, number[]>));
  const encoder = await openEncoder('minilm-l6-int8');
  const one = async (text: string): Promise<Float32Array> => {
    const key = createHash('sha256').update(text).digest('base64url').slice(0, 24);
    const vector = known.get(key) ?? Array.from(await encoder.embed(text), (value) => Math.round(value * 1e5) / 1e5);
    known.set(key, vector);
    return Float32Array.from(vector);
  };
  return {
    async encode(texts) {
      const vectors: Float32Array[] = [];
      for (const text of texts) vectors.push(await one(text));
      return vectors;
    },
    async close() {
      await writeFile(file, JSON.stringify(Object.fromEntries(known)));
      await encoder[Symbol.asyncDispose]();
    },
  };
}

export async function readCorpus(path: string, encode: Encode): Promise<Corpus> {
  const chunks: Chunk[] = [];
  for await (const document of loadDocuments(path)) chunks.push(...chunkDocument(document));
  const texts = chunks.map(indexedText);
  return { chunks, vectors: await encode(texts), lexical: createLexicalIndex(texts) };
}

export function searchCorpus({ chunks, vectors, lexical }: Corpus, query: string, queryVector: Float32Array, limit: number): Found {
  const bm25 = lexical.scores(query);
  const cosine = Float32Array.from(vectors, (vector) => dot(vector, queryVector));
  const hits = fuse(topRows(bm25, () => true, 0), topRows(cosine, () => true, -1)).slice(0, limit);
  const fragments = hits.flatMap(({ row, score, denseRank, lexicalRank }): Fragment[] => {
    const chunk = chunks[row];
    return chunk === undefined ? [] : [{ document: chunk.document, chunk: chunk.id, title: chunk.title, heading: chunk.heading, text: chunk.text, digest: chunk.digest, score, signals: { cosine: cosine[row] ?? 0, bm25: bm25[row] ?? 0, denseRank, lexicalRank } }];
  });
  return { fragments, weights: lexical.weights(query) };
}

async function main(): Promise<void> {
  const memory = await openMemory();
  try {
    const rows = await featureRows(memory.encode);
    const own = rows.filter(({ expected }) => expected.split === 'calibrate');
    const inform = own.filter((row) => !row.guarded && row.triage.effect < EFFECT_CONFIDENCE_MIN);
    const shipped = fit(inform, SHIPPED_FEATURES);
    const foreign = fit(inform, FOREIGN_FEATURES);
    // The foreign bar's bounds: at 0.67 a fifth of the answers to the calibration half are wrong when the help centre is treated as foreign.
    const heldOut = heldOutScores(inform, SHIPPED_FEATURES);
    const threshold = thresholdFor(inform, heldOut);
    const numbers = {
      v: 1, shipped: { model: shipped, threshold },
      foreign: { model: foreign, thresholdMin: 0.35, thresholdMax: 0.67, negativeQuantile: 0.6 },
      effectConfidenceMin: EFFECT_CONFIDENCE_MIN, trainedOn: createHash('sha256').update(await readFile(`${DATA}tickets.jsonl`)).update(await readFile(`${DATA}questions.jsonl`)).digest('hex'),
    };
    await writeFile(OUTPUT, `${JSON.stringify(numbers, null, 1)}\n`);
    say({ heldOut: tally(inform, heldOut, threshold), curve: curve(inform, heldOut) });
    for (const split of ['calibrate', 'report']) {
      const half = rows.filter((row) => row.expected.split === split && !row.guarded && row.triage.effect < EFFECT_CONFIDENCE_MIN);
      const scores = half.map((row) => probability(shipped, row.features));
      say({ split, tickets: rows.filter((row) => row.expected.split === split).length, ...tally(half, scores, threshold), firstRight: half.filter(isRight).length, curve: curve(half, scores) });
    }
  } finally {
    await memory.close();
  }
}

async function featureRows(encode: Encode): Promise<Row[]> {
  const corpus = await readCorpus(`${DATA}help-centre`, encode);
  const questions = await readCorpus(`${DATA}questions.jsonl`, encode);
  const head = parseHead(await readFile(new URL('../intents/head.json', import.meta.url)));
  const texts = new Map((await lines<{ id: string; text: string }>('tickets.jsonl')).map(({ id, text }) => [id, text]));
  const rows: Row[] = [];
  for (const expected of await lines<Expected>('expected.jsonl')) {
    const text = texts.get(expected.id) ?? '';
    const guards = inspect(text);
    const [vector] = await encode([text]);
    if (vector === undefined) continue;
    const scores = head.score(vector);
    const triage = triageOf(head.labels.map((label, i) => ({ label, score: scores[i] ?? 0 })));
    const found: Found = { ...searchCorpus(corpus, text, vector, FRAGMENTS), prior: priorOf(searchCorpus(questions, text, vector, FRAGMENTS).fragments) };
    const part = await compose(text, guards.questions, found, encode);
    rows.push({ expected, triage, document: part.document, features: { ...part.features, ...triageFeatures(triage) }, guarded: guards.injection || guards.personalData || guards.foreignLanguage || guards.wantsPerson });
  }
  return rows;
}

const lines = async <T>(name: string): Promise<T[]> => (await readFile(`${DATA}${name}`, 'utf8')).split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as T);

function isRight({ expected, document }: Row): boolean {
  const article = document.replace(/\.md$/, '');
  return expected.expect === 'auto' && (expected.article === article || expected.also?.includes(article) === true);
}

/** Features are centred and scaled for the fit, and the scaling is folded into the weights, so that the desk needs none. */
function fit(rows: readonly Row[], names: readonly string[]): Logistic {
  const columns = names.map((name) => rows.map((row) => row.features[name] ?? 0));
  const mean = columns.map((column) => column.reduce((sum, value) => sum + value, 0) / column.length);
  const spread = columns.map((column, j) => Math.sqrt(column.reduce((sum, value) => sum + (value - (mean[j] ?? 0)) ** 2, 0) / column.length) || 1);
  const x = rows.map((row) => Float32Array.from(names, (name, j) => ((row.features[name] ?? 0) - (mean[j] ?? 0)) / (spread[j] ?? 1)));
  const { rows: [no, yes] } = fitLogistic(x, rows.map((row) => (isRight(row) ? 1 : 0)), { classes: 2, l2: PENALTY });
  const slope = names.map((_, j) => (((yes?.[j] ?? 0) - (no?.[j] ?? 0)) / (spread[j] ?? 1)));
  const bias = (yes?.[names.length] ?? 0) - (no?.[names.length] ?? 0) - slope.reduce((sum, weight, j) => sum + weight * (mean[j] ?? 0), 0);
  return { bias: round(bias), weights: Object.fromEntries(names.map((name, j) => [name, round(slope[j] ?? 0)])) };
}

function heldOutScores(rows: readonly Row[], names: readonly string[]): number[] {
  const models = Array.from({ length: FOLDS }, (_, fold) => fit(rows.filter((__, i) => i % FOLDS !== fold), names));
  return rows.map((row, i) => probability(models[i % FOLDS] as Logistic, row.features));
}

/** The lowest threshold whose answers are wrong in at most the allowed share, everywhere above it too. */
function thresholdFor(rows: readonly Row[], scores: readonly number[]): number {
  const sorted = rows.map((row, i) => ({ score: scores[i] ?? 0, right: isRight(row) })).sort((a, b) => b.score - a.score);
  let wrong = 0;
  let threshold = 0.95;
  sorted.forEach(({ score, right }, i) => {
    if (!right) wrong++;
    if (wrong <= WRONG_SHARE_MAX * (i + 1)) threshold = score;
  });
  return round(threshold);
}

function tally(rows: readonly Row[], scores: readonly number[], threshold: number): Record<string, number> {
  const answered = rows.filter((_, i) => (scores[i] ?? 0) >= threshold);
  return { threshold, answered: answered.length, wrong: answered.filter((row) => !isRight(row)).length, answerable: rows.filter(({ expected }) => expected.expect === 'auto').length };
}

/** `answered:wrong(score)` at every tenth. */
function curve(rows: readonly Row[], scores: readonly number[]): string {
  const sorted = rows.map((row, i) => ({ score: scores[i] ?? 0, right: isRight(row) })).sort((a, b) => b.score - a.score);
  let wrong = 0;
  return sorted.map(({ score, right }, i) => ({ text: `${i + 1}:${right ? wrong : ++wrong}(${score.toFixed(2)})`, i })).filter(({ i }) => i % 10 === 9).map(({ text }) => text).join(' ');
}

const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
