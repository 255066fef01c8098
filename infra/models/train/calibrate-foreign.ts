// The desk's numbers for documents we did not ship: weights over corpus-free evidence, and how a corpus sets its own bar.
// Owns: the recipe. Questions on two published corpora (`foreign/questions-*.jsonl`) set the numbers; two others only report them.
// Never sees a shipped ticket. Others may assume: without the shared data folder the numbers stay as they are.

import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { barOf, type Calibration } from '../../../agents/catalog/support/calibration.ts';
import { SAMPLE_QUESTIONS } from '../../../agents/catalog/support/corpus-bar.ts';
import { probability } from '../../../agents/catalog/support/evidence.ts';
import { sampleHeadings } from '../../../agents/retrieval/sample.ts';
import { askForeign, readCorpus, type Encode } from './corpus.ts';
import { fit, heldOutScores, type Example } from './fit.ts';

const CORPORA = { 'docs-kserve': 'docs.jsonl.gz', 'rag-tau-banking': 'documents.jsonl.gz' } as const;
const FEATURES = ['chunkCosine', 'sentenceCosine', 'coverage', 'margin', 'agreement'];
/** Largest share of wrong answers, over both corpora, on held-out folds. */
const WRONG_SHARE_MAX = 0.2;
const QUANTILES = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
const BARS_MIN = [0.35, 0.4, 0.45, 0.5, 0.55, 0.6];
const BAR_MAX = 0.67;

interface Question { readonly text: string; readonly expect: string; readonly pages?: readonly string[] }
interface Seen {
  readonly examples: readonly Example[];
  /** Evidence of the corpus's own headings, each asked with its own document left out. */
  readonly unanswerable: readonly Example['features'][];
}
type Foreign = Calibration['foreign'];

/** Undefined where the corpora are missing. */
export async function foreignNumbers(sharedDir: string, encode: Encode): Promise<Foreign | undefined> {
  const corpora: Seen[] = [];
  for (const [name, file] of Object.entries(CORPORA)) {
    const path = join(sharedDir, name, file);
    if (await access(path).then(() => false, () => true)) return undefined;
    corpora.push(await look(path, name, encode));
  }
  const examples = corpora.flatMap((corpus) => corpus.examples);
  return setBar(corpora, fit(examples, FEATURES), heldOutScores(examples, FEATURES));
}

async function look(path: string, name: string, encode: Encode): Promise<Seen> {
  const corpus = await readCorpus(path, encode);
  const examples: Example[] = [];
  for (const line of (await readFile(new URL(`foreign/questions-${name}.jsonl`, import.meta.url), 'utf8')).trim().split('\n')) {
    const { text, expect, pages = [] } = JSON.parse(line) as Question;
    const { document, features } = await askForeign(corpus, text, encode);
    examples.push({ features, right: expect === 'auto' && pages.includes(document) });
  }
  const unanswerable: Example['features'][] = [];
  for (const { document, question } of sampleHeadings(corpus.chunks, SAMPLE_QUESTIONS)) unanswerable.push((await askForeign(corpus, question, encode, document)).features);
  return { examples, unanswerable };
}

/** Most right answers whose share of wrong ones is allowed; among equals the stricter bar. */
function setBar(corpora: readonly Seen[], model: Foreign['model'], scores: readonly number[]): Foreign {
  const candidates = QUANTILES.flatMap((negativeQuantile) => BARS_MIN.map((thresholdMin) => ({ model, thresholdMin, thresholdMax: BAR_MAX, negativeQuantile })));
  const strictest: Foreign = { model, thresholdMin: BAR_MAX, thresholdMax: BAR_MAX, negativeQuantile: 1 };
  let best = { settings: strictest, right: 0 };
  for (const settings of candidates) {
    const { right, wrong } = tally(corpora, settings, scores);
    if (wrong <= WRONG_SHARE_MAX * (right + wrong) && right >= best.right) best = { settings, right };
  }
  return best.settings;
}

function tally(corpora: readonly Seen[], settings: Foreign, scores: readonly number[]): { right: number; wrong: number } {
  let at = 0;
  let right = 0;
  let wrong = 0;
  for (const { examples, unanswerable } of corpora) {
    const bar = barOf(unanswerable.map((features) => probability(settings.model, features)), settings);
    const answered = examples.filter((_, i) => (scores[at + i] ?? 0) >= bar);
    at += examples.length;
    right += answered.filter((example) => example.right).length;
    wrong += answered.filter((example) => !example.right).length;
  }
  return { right, wrong };
}
