// `npm run train`: the intent head from the shipped utterances, with its figures, in one reproducible run.
// Owns: the recipe (cross-validated penalty, temperature from held-out folds, int8 rows) and the three files it writes:
// intents/head.json, intents/README.md's table, and the head's digest in the manifest.
// Never reads tickets: they judge thresholds and the whole desk. Others may assume: with --check nothing is written and
// the exit code says whether the shipped head still agrees with the shipped data and encoder.

import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { type HeadFile, parseHead, softmax } from '../../../agents/model-worker/head.ts';
import { fail } from '../../../contracts/errors.ts';
import { parseJson, parseValue } from '../../../contracts/parse.ts';
import { sha256Of } from '../../onnx/digest.ts';
import { manifestSchema, SHIPPED_MODELS } from '../../onnx/store.ts';
import { type Encoder, openEncoder } from './embed.ts';
import { accuracyOf, aurocOf, calibrationErrorOf, foldsOf, intervalOf, negativeLogLikelihood, scored, temperatureOf } from './evaluate.ts';
import { type Fit, fitLogistic, logitsOf } from './logistic.ts';

const ENCODER = 'minilm-l6-int8';
const HEAD = 'intent';
const NONE = 'none';
const SEED = 11;
const FOLDS = 5;
const ITERATIONS = 200;
const PENALTIES = [3e-3, 1e-3, 3e-4, 1e-4] as const;
const DATA = fileURLToPath(new URL('../../../data/support/intents.jsonl', import.meta.url));
const OUTPUT = fileURLToPath(new URL('../intents/head.json', import.meta.url));
const README = fileURLToPath(new URL('../intents/README.md', import.meta.url));

export interface Example { readonly intent: string; readonly text: string }
const exampleSchema = z.strictObject({ intent: z.string().min(1).max(64), text: z.string().min(1).max(4_000) });

export const parseExamples = (text: string): Example[] => text.split('\n').filter((line) => line !== '').map((line) => parseValue(exampleSchema, parseJson(line)));

export interface Trained {
  readonly labels: readonly string[];
  readonly fit: Fit;
  readonly temperature: number;
  readonly l2: number;
  readonly figures: Figures;
}
export interface Figures {
  readonly texts: number;
  readonly accuracy: number;
  readonly accuracyInterval: readonly [number, number];
  readonly eceBefore: number;
  readonly ece: number;
  /** "None of these" against the rest, by the probability of that label. */
  readonly noneAuroc: number | undefined;
  readonly noneRecall: number | undefined;
  /** Share answered and share right of those, when only confidences of at least 0.7 count. */
  readonly at70: { readonly share: number; readonly accuracy: number };
}

/** Penalty by cross-validated likelihood; every figure on folds the weights and the temperature never saw. */
export function train(vectors: readonly Float32Array[], intents: readonly string[], seed = SEED, penalties: readonly number[] = PENALTIES): Trained {
  const labels = [...new Set(intents)].toSorted();
  const y = intents.map((intent) => labels.indexOf(intent));
  const fold = foldsOf(y, FOLDS, seed);
  const tries = penalties.map((l2) => ({ l2, logits: crossValidated(vectors, y, fold, labels.length, l2) }));
  const best = tries.map((each) => ({ ...each, loss: negativeLogLikelihood(each.logits, y, temperatureOf(each.logits, y)) })).toSorted((a, b) => a.loss - b.loss)[0];
  if (best === undefined) throw fail('AIOS_CONFIG_INVALID', 'no penalty to try');
  const fit = fitLogistic(vectors, y, { classes: labels.length, l2: best.l2, iterationsMax: ITERATIONS });
  return { labels, fit, l2: best.l2, temperature: temperatureOf(best.logits, y), figures: figuresOf(best.logits, y, fold, labels) };
}

function crossValidated(x: readonly Float32Array[], y: readonly number[], fold: readonly number[], classes: number, l2: number): number[][] {
  const logits: number[][] = [];
  for (let held = 0; held < FOLDS; held++) {
    const rows = y.map((_, row) => row).filter((row) => fold[row] !== held);
    const fit = fitLogistic(rows.map((row) => x[row] as Float32Array), rows.map((row) => y[row] as number), { classes, l2, iterationsMax: ITERATIONS });
    y.forEach((_, row) => { if (fold[row] === held) logits[row] = logitsOf(fit, x[row] as Float32Array); });
  }
  return logits;
}

function figuresOf(logits: readonly number[][], y: readonly number[], fold: readonly number[], labels: readonly string[]): Figures {
  /** The temperature a fold is judged with comes from the other folds. */
  const temperatures = Array.from({ length: FOLDS }, (_, held) => temperatureOf(logits.filter((_row, i) => fold[i] !== held), y.filter((_label, i) => fold[i] !== held)));
  const cooled = logits.map((row, i) => row.map((logit) => logit / (temperatures[fold[i] as number] as number)));
  const rows = scored(cooled, y, 1);
  const right = rows.filter((row) => row.right).length;
  const sure = rows.filter((row) => row.confidence >= 0.7);
  const none = labels.indexOf(NONE);
  const noneScores = none < 0 ? undefined : cooled.map((row) => softmax(row)[none] as number);
  return {
    texts: y.length,
    accuracy: accuracyOf(rows),
    accuracyInterval: intervalOf(right, rows.length),
    eceBefore: calibrationErrorOf(scored(logits, y, 1)),
    ece: calibrationErrorOf(rows),
    noneAuroc: noneScores === undefined ? undefined : aurocOf(noneScores.filter((_, i) => y[i] === none), noneScores.filter((_, i) => y[i] !== none)),
    noneRecall: none < 0 ? undefined : logits.filter((row, i) => y[i] === none && topOf(row) === none).length / y.filter((label) => label === none).length,
    at70: { share: sure.length / rows.length, accuracy: sure.length === 0 ? 0 : accuracyOf(sure) },
  };
}

const topOf = (row: readonly number[]): number => row.indexOf(Math.max(...row));

/** Rows as int8 steps of their own scale: the head shrinks to a quarter and no decision of the training set changes. */
export function toHeadFile(trained: Trained, encoder: Pick<Encoder['entry'], 'model' | 'digest' | 'dimensions'>, trainingDigest: string): HeadFile {
  const { labels, fit, l2, temperature, figures } = trained;
  const scales = fit.rows.map((row) => Math.max(...row.slice(0, encoder.dimensions).map(Math.abs), 1e-9) / 127);
  return {
    v: 1, head: HEAD, encoder: encoder.model, encoderDigest: encoder.digest, trainingDigest,
    recipe: { l2, seed: SEED, iterations: ITERATIONS, texts: figures.texts },
    dimensions: encoder.dimensions, temperature: digits(temperature, 6), labels: [...labels],
    ...(labels.includes(NONE) ? { none: NONE } : {}),
    weights: fit.rows.map((row, k) => Array.from(row.slice(0, encoder.dimensions), (value) => Math.round(value / (scales[k] as number)))),
    scales: scales.map((scale) => digits(scale, 8)),
    bias: fit.rows.map((row) => digits(row[encoder.dimensions] as number, 6)),
  };
}

const digits = (value: number, count: number): number => Number(value.toPrecision(count));
const percent = (part: number | undefined): string => (part === undefined ? 'none' : `${(100 * part).toFixed(1)} %`);

function tableOf({ figures, l2, temperature, labels }: Trained): string {
  const [low, high] = figures.accuracyInterval;
  return [
    '| figure (5-fold, held out) | value |', '|---|---|',
    `| utterances, intents | ${figures.texts}, ${labels.length} |`,
    `| accuracy (95 % interval) | ${percent(figures.accuracy)} (${percent(low)} to ${percent(high)}) |`,
    `| calibration error, 10 bins: before, after temperature | ${percent(figures.eceBefore)}, ${percent(figures.ece)} |`,
    `| confidence >= 0.7: share, right of those | ${percent(figures.at70.share)}, ${percent(figures.at70.accuracy)} |`,
    `| "none": AUROC, recall as first choice | ${figures.noneAuroc?.toFixed(3) ?? 'none'}, ${percent(figures.noneRecall)} |`,
    `| chosen penalty, temperature | ${l2}, ${temperature.toFixed(3)} |`,
  ].join('\n');
}

async function main(check: boolean): Promise<void> {
  const data = await readFile(DATA);
  const examples = parseExamples(data.toString('utf8'));
  await using encoder = await openEncoder(ENCODER);
  const vectors: Float32Array[] = [];
  for (const { text } of examples) vectors.push(await encoder.embed(text));
  if (check) return verify(examples, vectors, encoder, sha256Of(data));
  const trained = train(vectors, examples.map((example) => example.intent));
  const file = toHeadFile(trained, encoder.entry, `sha256:${sha256Of(data)}`);
  const bytes = new TextEncoder().encode(`${JSON.stringify(file)}\n`);
  parseHead(bytes);
  await writeFile(OUTPUT, bytes);
  await writeManifest(sha256Of(bytes));
  await writeTable(tableOf(trained));
  process.stdout.write(`${tableOf(trained)}\n`);
}

/** The shipped head must name this data and this encoder, and still know the utterances it was trained on. */
async function verify(examples: readonly Example[], vectors: readonly Float32Array[], encoder: Encoder, dataDigest: string): Promise<void> {
  const bytes = await readFile(OUTPUT);
  const head = parseHead(bytes);
  const named = (JSON.parse(bytes.toString('utf8')) as HeadFile).trainingDigest === `sha256:${dataDigest}` && head.encoderDigest === encoder.entry.digest;
  const right = examples.filter(({ intent }, i) => {
    const scores = head.score(vectors[i] as Float32Array);
    return head.labels[scores.indexOf(Math.max(...scores))] === intent;
  }).length;
  process.stdout.write(`${JSON.stringify({ named, known: right / examples.length })}\n`);
  process.exitCode = named && right / examples.length > 0.9 ? 0 : 1;
}

async function writeManifest(sha256: string): Promise<void> {
  const manifest = parseValue(manifestSchema, parseJson(await readFile(SHIPPED_MODELS, 'utf8')));
  const heads = [...manifest.heads.filter((each) => each.head !== HEAD), { head: HEAD, file: { path: 'intents/head.json', sha256 } }];
  await writeFile(SHIPPED_MODELS, `${JSON.stringify({ ...manifest, heads }, null, 2)}\n`);
}

const TABLE = /<!-- figures -->[\s\S]*?<!-- \/figures -->/;

async function writeTable(table: string): Promise<void> {
  const readme = await readFile(README, 'utf8');
  await writeFile(README, readme.replace(TABLE, `<!-- figures -->\n${table}\n<!-- /figures -->`));
}

if (import.meta.main) await main(process.argv.includes('--check'));
