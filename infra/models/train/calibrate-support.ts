// `npm run calibrate`: the support desk's numbers (agents/catalog/support/calibration.json) from the calibration half of the tickets.
// Owns: the recipe (penalised logistic regression over the desk's own features, a threshold from held-out folds) and that file.
// Never lets the report half into a number: it is only scored at the end, for docs/quality.md.
// Others may assume: the desk's own functions compute the features here, so that what was calibrated is what runs.

import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { calibration } from '../../../agents/catalog/support/calibration.ts';
import type { Triage } from '../../../agents/catalog/support/capabilities.ts';
import { compose } from '../../../agents/catalog/support/compose.ts';
import { triageFeatures } from '../../../agents/catalog/support/desk.ts';
import { priorOf, probability, type Found } from '../../../agents/catalog/support/evidence.ts';
import { round } from '../../../agents/catalog/support/groundedness.ts';
import { inspect } from '../../../agents/catalog/support/guards.ts';
import { triageOf } from '../../../agents/catalog/support/team.ts';
import { parseHead } from '../../../agents/model-worker/head.ts';
import { foreignNumbers } from './calibrate-foreign.ts';
import { FRAGMENTS, openMemory, readCorpus, searchCorpus, type Encode } from './corpus.ts';
import { fit, heldOutScores, type Example } from './fit.ts';

const DATA = fileURLToPath(new URL('../../../data/support/', import.meta.url));
const OUTPUT = fileURLToPath(new URL('../../../agents/catalog/support/calibration.json', import.meta.url));
const SHARED = process.env['AIOS_DATA_DIR'] ?? '../shared/data';
/** Largest share of wrong ones among the answered that the threshold may let through, on held-out folds. */
const WRONG_SHARE_MAX = Number(process.env['AIOS_WRONG_SHARE_MAX'] ?? 0.1);
const EFFECT_CONFIDENCE_MIN = 0.4;
const SHIPPED_FEATURES = ['chunkCosine', 'sentenceCosine', 'coverage', 'margin', 'agreement', 'prior', 'priorMargin', 'priorOverNone', 'weakestPart', 'person', 'several', 'unknown', 'heaviestMissing', 'nameMissing', 'nameUnknown', 'length'];

interface Expected { readonly id: string; readonly expect: string; readonly kind: string; readonly split: string; readonly article?: string; readonly also?: readonly string[] }
interface Row extends Example { readonly expected: Expected; readonly triage: Triage; readonly guarded: boolean }

async function main(): Promise<void> {
  const memory = await openMemory();
  try {
    const rows = await featureRows(memory.encode);
    const own = rows.filter(({ expected }) => expected.split === 'calibrate');
    const inform = own.filter((row) => !row.guarded && row.triage.effect < EFFECT_CONFIDENCE_MIN);
    const shipped = fit(inform, SHIPPED_FEATURES);
    const foreign = await foreignNumbers(SHARED, memory.encode);
    if (foreign === undefined) process.stderr.write('the shared data folder is missing: the numbers for foreign documents stay as they are\n');
    const heldOut = heldOutScores(inform, SHIPPED_FEATURES);
    const threshold = thresholdFor(inform, heldOut);
    const numbers = {
      v: 1, shipped: { model: shipped, threshold },
      foreign: foreign ?? calibration.foreign,
      effectConfidenceMin: EFFECT_CONFIDENCE_MIN, trainedOn: createHash('sha256').update(await readFile(`${DATA}tickets.jsonl`)).update(await readFile(`${DATA}questions.jsonl`)).digest('hex'),
    };
    await writeFile(OUTPUT, `${JSON.stringify(numbers, null, 1)}\n`);
    say({ heldOut: tally(inform, heldOut, threshold), curve: curve(inform, heldOut) });
    for (const split of ['calibrate', 'report']) {
      const half = rows.filter((row) => row.expected.split === split && !row.guarded && row.triage.effect < EFFECT_CONFIDENCE_MIN);
      const scores = half.map((row) => probability(shipped, row.features));
      say({ split, tickets: rows.filter((row) => row.expected.split === split).length, ...tally(half, scores, threshold), firstRight: half.filter(({ right }) => right).length, curve: curve(half, scores) });
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
    rows.push({ expected, triage, right: isRight(expected, part.document), features: { ...part.features, ...triageFeatures(triage) }, guarded: guards.injection || guards.personalData || guards.foreignLanguage || guards.wantsPerson });
  }
  return rows;
}

const lines = async <T>(name: string): Promise<T[]> => (await readFile(`${DATA}${name}`, 'utf8')).split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as T);

function isRight(expected: Expected, document: string): boolean {
  const article = document.replace(/\.md$/, '');
  return expected.expect === 'auto' && (expected.article === article || expected.also?.includes(article) === true);
}

/** The lowest threshold whose answers are wrong in at most the allowed share, everywhere above it too. */
function thresholdFor(rows: readonly Row[], scores: readonly number[]): number {
  const sorted = rows.map((row, i) => ({ score: scores[i] ?? 0, right: row.right })).sort((a, b) => b.score - a.score);
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
  return { threshold, answered: answered.length, wrong: answered.filter((row) => !row.right).length, answerable: rows.filter(({ expected }) => expected.expect === 'auto').length };
}

/** `answered:wrong(score)` at every tenth. */
function curve(rows: readonly Row[], scores: readonly number[]): string {
  const sorted = rows.map((row, i) => ({ score: scores[i] ?? 0, right: row.right })).sort((a, b) => b.score - a.score);
  let wrong = 0;
  return sorted.map(({ score, right }, i) => ({ text: `${i + 1}:${right ? wrong : ++wrong}(${score.toFixed(2)})`, i })).filter(({ i }) => i % 10 === 9).map(({ text }) => text).join(' ');
}

const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
