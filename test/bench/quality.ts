// `npm run bench -- quality`: how often the support desk is right, on shipped tickets, on documents nobody here wrote, and the scorer on human labels.
// Owns: the tables of docs/quality.md. Never sets a number: the desk's own calibration is read as it ships.
// Others may assume: it runs in process with the desk's own functions and needs no server; what is missing in the shared
// data folder is counted and left out.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { barOf, calibration } from '../../agents/catalog/support/calibration.ts';
import { SAMPLE_QUESTIONS } from '../../agents/catalog/support/corpus-bar.ts';
import { probability } from '../../agents/catalog/support/evidence.ts';
import { groundedness } from '../../agents/catalog/support/groundedness.ts';
import { sampleHeadings } from '../../agents/retrieval/sample.ts';
import { askForeign, openMemory, readCorpus, type Corpus, type Encode } from '../../infra/models/train/corpus.ts';

const SHARED = process.env['AIOS_DATA_DIR'] ?? '../shared/data';

interface Question { readonly id: string; readonly text: string; readonly expect: string; readonly pages?: readonly string[] }
interface Row { readonly corpus: string; readonly answerable: number; readonly right: number; readonly wrong: number; readonly refusedRightly: number; readonly bar: number; readonly firstPageRight: number }

export async function run({ json }: { readonly json: boolean }): Promise<unknown> {
  const memory = await openMemory();
  try {
    const foreign: Row[] = [];
    for (const corpus of ['docs-nats', 'docs-otel']) foreign.push(...(await foreignRow(corpus, memory.encode)));
    const grounding = await groundingRows();
    const result = { foreign, grounding };
    process.stdout.write(json ? `${JSON.stringify(result)}\n` : `${table(foreign)}\n${grounding.map(({ set, rows, auroc, low, high }) => `groundedness on ${set}: AUROC ${auroc} [${low}, ${high}] over ${rows} rows`).join('\n')}\n`);
    return result;
  } finally {
    await memory.close();
  }
}

async function foreignRow(name: string, encode: Encode): Promise<Row[]> {
  const path = join(SHARED, name, 'docs.jsonl.gz');
  if ((await readFile(path).catch(() => undefined)) === undefined) {
    process.stderr.write(`skipped: ${name} is not in the shared data folder\n`);
    return [];
  }
  const corpus = await readCorpus(path, encode);
  const bar = await corpusBar(corpus, encode);
  const questions = lines<Question>(await readFile(new URL(`../data/questions-${name}.jsonl`, import.meta.url), 'utf8'));
  const seen = await Promise.all(questions.map(async (question) => ({ question, ...(await ask(corpus, question.text, encode)) })));
  const answered = seen.filter(({ confidence }) => confidence >= bar);
  const isRight = ({ question, document }: (typeof seen)[number]): boolean => question.expect === 'auto' && question.pages?.includes(document) === true;
  return [{
    corpus: name, bar: round(bar), answerable: questions.filter(({ expect }) => expect === 'auto').length,
    right: answered.filter(isRight).length, wrong: answered.filter((one) => !isRight(one)).length,
    refusedRightly: seen.filter(({ question, confidence }) => question.expect === 'human' && confidence < bar).length,
    firstPageRight: seen.filter(isRight).length,
  }];
}

async function ask(corpus: Corpus, text: string, encode: Encode, without?: string): Promise<{ confidence: number; document: string }> {
  const part = await askForeign(corpus, text, encode, without);
  return { confidence: part.text === '' ? 0 : probability(calibration.foreign.model, part.features), document: part.document };
}

/** The same bar the desk sets: questions made of headings, each with its own page left out. */
async function corpusBar(corpus: Corpus, encode: Encode): Promise<number> {
  const scores: number[] = [];
  for (const { document, question } of sampleHeadings(corpus.chunks, SAMPLE_QUESTIONS)) scores.push((await ask(corpus, question, encode, document)).confidence);
  return barOf(scores, calibration.foreign);
}

interface Grounding { readonly set: string; readonly rows: number; readonly auroc: number; readonly low: number; readonly high: number }

async function groundingRows(): Promise<Grounding[]> {
  const results: Grounding[] = [];
  for (const set of ['wow', 'cmu', 'tc']) {
    const file = await readFile(join(SHARED, 'grounding-begin', `${set}.tsv.gz`)).catch(() => undefined);
    if (file === undefined) continue;
    const [header = [], ...rows] = gunzipSync(file).toString('utf8').replaceAll('\r', '').trim().split('\n').map((line) => line.split('\t'));
    const at = (row: readonly string[], name: string): string => row[header.indexOf(name)] ?? '';
    const scored = rows.map((row) => ({ score: groundedness(at(row, 'response'), [at(row, 'knowledge')]).score, yes: /^fully/i.test(at(row, 'begin_label')) }));
    const auroc = areaUnder(scored);
    const half = 1.96 * hanleyMcNeil(auroc, scored.filter(({ yes }) => yes).length, scored.filter(({ yes }) => !yes).length);
    results.push({ set, rows: rows.length, auroc: round(auroc), low: round(auroc - half), high: round(Math.min(1, auroc + half)) });
  }
  return results;
}

function areaUnder(scored: readonly { readonly score: number; readonly yes: boolean }[]): number {
  const positive = scored.filter(({ yes }) => yes);
  const negative = scored.filter(({ yes }) => !yes);
  let wins = 0;
  for (const p of positive) for (const n of negative) wins += p.score > n.score ? 1 : p.score === n.score ? 0.5 : 0;
  return wins / (positive.length * negative.length);
}

/** Standard error of an AUROC: Hanley and McNeil, Radiology 143 (1982). */
function hanleyMcNeil(area: number, positives: number, negatives: number): number {
  const q1 = area / (2 - area);
  const q2 = (2 * area ** 2) / (1 + area);
  return Math.sqrt((area * (1 - area) + (positives - 1) * (q1 - area ** 2) + (negatives - 1) * (q2 - area ** 2)) / (positives * negatives));
}

function table(rows: readonly Row[]): string {
  return rows.map(({ corpus, answerable, right, wrong, refusedRightly, bar, firstPageRight }) => `${corpus}: ${right} of ${answerable} answered rightly (first page right for ${firstPageRight}), ${wrong} wrong of ${right + wrong} answers, ${refusedRightly} of 10 unanswerable left to a person, bar ${bar}`).join('\n');
}

const lines = <T>(text: string): T[] => text.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as T);
const round = (value: number): number => Math.round(value * 1_000) / 1_000;
