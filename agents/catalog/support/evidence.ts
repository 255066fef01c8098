// Evidence: how well what was found carries the question, as numbers that mean the same in every corpus.
// Owns: the features, the choice of sentences, and the logistic score over them. Pure: vectors and fragments come in.
// Never sees an intent or a customer. Others may assume: every feature is in [0, 1] or a difference of such,
// features are recomputed from raw signals, so leaving one document out needs no second search.

import type { Fragment } from '../../../contracts/ports.ts';
import { termsOf } from '../../retrieval/terms.ts';
import { dot } from '../../retrieval/vectors.ts';
import { sentencesOf } from './sentences.ts';

/** Fragments whose sentences may be quoted, and sentences that are scored. */
export const FRAGMENTS_READ_MAX = 4;
const SENTENCES_SCORED_MAX = 48;
const QUOTES_MAX = 4;

export interface Sentence {
  readonly fragment: Fragment;
  readonly order: number;
  readonly text: string;
}
export interface ScoredSentence extends Sentence {
  readonly cosine: number;
  readonly coverage: number;
  readonly score: number;
}

export interface Features {
  /** Cosine of question and best fragment. */
  readonly chunkCosine: number;
  /** Cosine of question and best sentence of the fragments read. */
  readonly sentenceCosine: number;
  /** Share of the question's weight (idf) whose terms the best document's fragments contain. */
  readonly coverage: number;
  /** Lead of the best document over the next. */
  readonly margin: number;
  /** 1 when both rankings put the best fragment first, 0.5 when one does. */
  readonly agreement: number;
  /** Nearness to the written questions of the best document; 0 where there are none. */
  readonly prior: number;
  /** Its lead over the next document's. */
  readonly priorMargin: number;
  /** Its lead over the written questions that nothing answers. */
  readonly priorOverNone: number;
  /** Share of the question's terms that no document of the corpus uses. */
  readonly unknown: number;
  /** Weight of the heaviest term that the best document's fragments lack, against the heaviest of the question. */
  readonly heaviestMissing: number;
  /** 1 when the question names something that the best document's fragments never name. */
  readonly nameMissing: number;
  /** 1 when it names something that no document names. */
  readonly nameUnknown: number;
  /** Distinct terms against 24. */
  readonly length: number;
}

export interface Logistic {
  readonly bias: number;
  readonly weights: Readonly<Record<string, number>>;
}

/** Probability by the logistic model; features the model does not name count nothing. */
export function probability(model: Logistic, features: Readonly<Record<string, number>>): number {
  let z = model.bias;
  for (const [name, weight] of Object.entries(model.weights)) z += weight * (features[name] ?? 0);
  return 1 / (1 + Math.exp(-z));
}

/** How near the question is to questions that were written down with the documents that answer them, or with none. */
export interface Prior {
  readonly documents: Readonly<Record<string, number>>;
  readonly none: number;
}
export interface Found {
  readonly fragments: readonly Fragment[];
  readonly weights: Readonly<Record<string, number>>;
  readonly prior?: Prior | undefined;
}

/** Sharpness of the soft maximum over a document's written questions; chosen on the calibration half. */
const SHARPNESS = 14;
const NEAR_DOCUMENT = 'none';

/** Hits in the space of written questions, whose ids are `<document>--<number>`, or `none--…` for questions nothing answers. */
export function priorOf(hits: readonly Fragment[]): Prior {
  const sums = new Map<string, number>();
  for (const hit of hits) {
    const document = hit.document.split('--')[0] ?? NEAR_DOCUMENT;
    sums.set(document, (sums.get(document) ?? 0) + Math.exp(SHARPNESS * hit.signals.cosine));
  }
  const soft = [...sums].map(([document, sum]) => [document, Math.log(sum) / SHARPNESS] as const);
  const documents = Object.fromEntries(soft.filter(([document]) => document !== NEAR_DOCUMENT));
  return { documents, none: soft.find(([document]) => document === NEAR_DOCUMENT)?.[1] ?? 0 };
}

/** Ids of documents differ from file names by their ending. */
const bare = (document: string): string => document.replace(/\.(?:md|txt|html?)$/, '');
const priorFor = (prior: Prior | undefined, document: string): number => prior?.documents[bare(document)] ?? 0;

/** Own order over raw signals, so that it does not depend on how an engine fuses. Best first. */
export function rank(question: string, found: Found): readonly Fragment[] {
  const weighed = weigh(question, found.weights);
  const top = Math.max(1e-9, ...found.fragments.map((fragment) => fragment.signals.bm25));
  const score = (fragment: Fragment): number => strength(weighed, found.prior, top, fragment);
  return found.fragments.map((fragment) => ({ fragment, score: score(fragment) })).sort((a, b) => b.score - a.score).map(({ fragment }) => fragment);
}

/** With written questions at hand they weigh as much as everything else together. */
function strength(weighed: Weighed, prior: Prior | undefined, top: number, fragment: Fragment): number {
  const own = 0.55 * Math.max(0, fragment.signals.cosine) + 0.25 * (fragment.signals.bm25 / top) + 0.2 * coverageOf(weighed, `${fragment.title} ${fragment.heading} ${fragment.text}`);
  return prior === undefined ? own : own / 2 + 0.6 * priorFor(prior, fragment.document);
}

/** Sentences of the best fragments; of the best document alone when written questions name one. */
export function candidates(ranked: readonly Fragment[], prior?: Prior): readonly Sentence[] {
  const document = ranked[0]?.document;
  const read = prior === undefined ? ranked : ranked.filter((fragment) => fragment.document === document);
  const sentences = read.slice(0, FRAGMENTS_READ_MAX).flatMap((fragment) => sentencesOf(fragment.text).map((text, order) => ({ fragment, order, text })));
  return sentences.slice(0, SENTENCES_SCORED_MAX);
}

/** `vectors` run parallel to `sentences`; an empty list means that no encoder answered and coverage decides alone. */
export function scoreSentences(question: string, weights: Found['weights'], queryVector: Float32Array | undefined, sentences: readonly Sentence[], vectors: readonly Float32Array[]): readonly ScoredSentence[] {
  const weighed = weigh(question, weights);
  return sentences.map((sentence, i) => {
    const vector = vectors[i];
    const cosine = queryVector === undefined || vector === undefined ? 0 : dot(queryVector, vector);
    const coverage = coverageOf(weighed, `${sentence.fragment.heading} ${sentence.text}`);
    return { ...sentence, cosine, coverage, score: vectors.length === 0 ? coverage : 0.7 * Math.max(0, cosine) + 0.3 * coverage };
  });
}

/**
 * The answer: the best sentence with what stands around it in the same fragment, then further good sentences of the same
 * document, in reading order. Verbatim and of one document, so that a citation is a place a person can open.
 */
export function choose(scored: readonly ScoredSentence[]): readonly ScoredSentence[] {
  const best = scored.reduce<ScoredSentence | undefined>((top, sentence) => (top === undefined || sentence.score > top.score ? sentence : top), undefined);
  if (best === undefined) return [];
  const near = (sentence: ScoredSentence): number => (sentence.fragment.chunk === best.fragment.chunk && Math.abs(sentence.order - best.order) === 1 ? 0.12 : 0);
  const same = scored.filter((sentence) => sentence.fragment.document === best.fragment.document && sentence.score + near(sentence) >= best.score * 0.72);
  const kept = same.sort((a, b) => b.score + near(b) - a.score - near(a)).slice(0, QUOTES_MAX);
  return kept.sort((a, b) => (a.fragment.chunk === b.fragment.chunk ? a.order - b.order : a.fragment.chunk < b.fragment.chunk ? -1 : 1));
}

export function featuresOf(question: string, found: Found, ranked: readonly Fragment[], scored: readonly ScoredSentence[]): Features {
  const best = ranked[0];
  if (best === undefined) return NOTHING;
  const weighed = weigh(question, found.weights);
  const ofBest = ranked.filter((fragment) => fragment.document === best.document);
  const text = ofBest.slice(0, 3).map((fragment) => `${fragment.title} ${fragment.heading} ${fragment.text}`).join(' ');
  const top = Math.max(1e-9, ...ranked.map((fragment) => fragment.signals.bm25));
  const other = ranked.find((fragment) => fragment.document !== best.document);
  const firstLexical = ranked.every((fragment) => fragment.signals.bm25 <= best.signals.bm25);
  const firstDense = ranked.every((fragment) => fragment.signals.cosine <= best.signals.cosine);
  return {
    chunkCosine: best.signals.cosine,
    sentenceCosine: Math.max(0, ...scored.map((sentence) => sentence.cosine)),
    coverage: coverageOf(weighed, text),
    margin: strength(weighed, found.prior, top, best) - (other === undefined ? 0 : strength(weighed, found.prior, top, other)),
    agreement: (firstLexical ? 0.5 : 0) + (firstDense ? 0.5 : 0),
    ...absenceFeatures(question, weighed, found.weights, ofBest),
    ...priorFeatures(found.prior, best.document),
  };
}

function priorFeatures(prior: Prior | undefined, document: string): Pick<Features, 'prior' | 'priorMargin' | 'priorOverNone'> {
  if (prior === undefined) return { prior: 0, priorMargin: 0, priorOverNone: 0 };
  const own = priorFor(prior, document);
  const next = Math.max(0, ...Object.entries(prior.documents).filter(([other]) => other !== bare(document)).map(([, near]) => near));
  return { prior: own, priorMargin: own - next, priorOverNone: own - prior.none };
}

const TERMS_LONG = 24;

/** What the question speaks of and the evidence does not: near misses are told by the one name that is nowhere. */
function absenceFeatures(question: string, { terms }: Weighed, weights: Found['weights'], ofBest: readonly Fragment[]): Pick<Features, 'unknown' | 'heaviestMissing' | 'nameMissing' | 'nameUnknown' | 'length'> {
  const present = new Set(termsOf(ofBest.map((fragment) => `${fragment.title} ${fragment.heading} ${fragment.text}`).join(' ')));
  const heaviest = Math.max(1e-9, ...terms.map(([, weight]) => weight));
  const missing = terms.filter(([term]) => !present.has(term)).map(([, weight]) => weight);
  const names = termsOf(namesOf(question).join(' '));
  return {
    unknown: terms.length === 0 ? 0 : terms.filter(([term]) => weights[term] === undefined).length / terms.length,
    heaviestMissing: Math.max(0, ...missing) / heaviest,
    nameMissing: names.some((name) => !present.has(name)) ? 1 : 0,
    nameUnknown: names.some((name) => weights[name] === undefined) ? 1 : 0,
    length: Math.min(1, terms.length / TERMS_LONG),
  };
}

/** Words with a capital inside, or a capital at the front where no sentence begins. */
function namesOf(text: string): string[] {
  return text.split(/(?<=[.!?])\s+|\n+/).flatMap((sentence) => sentence.split(/\s+/).filter((word, i) => /\p{L}\p{Lu}/u.test(word) || (i > 0 && /^\p{P}*\p{Lu}[\p{L}\p{N}]/u.test(word))));
}

const NOTHING: Features = { chunkCosine: 0, sentenceCosine: 0, coverage: 0, margin: 0, agreement: 0, prior: 0, priorMargin: 0, priorOverNone: 0, unknown: 0, heaviestMissing: 0, nameMissing: 0, nameUnknown: 0, length: 0 };

/** The distinct terms of the question with their weights; a term the engine gave none weighs as much as the heaviest. */
interface Weighed {
  readonly terms: readonly (readonly [term: string, weight: number])[];
  readonly total: number;
}

function weigh(question: string, weights: Found['weights']): Weighed {
  const heaviest = Math.max(1, ...Object.values(weights));
  const terms = [...new Set(termsOf(question))].map((term) => [term, weights[term] ?? heaviest] as const);
  return { terms, total: terms.reduce((sum, [, weight]) => sum + weight, 0) };
}

function coverageOf({ terms, total }: Weighed, text: string): number {
  if (total === 0) return 0;
  const present = new Set(termsOf(text));
  return terms.reduce((sum, [term, weight]) => sum + (present.has(term) ? weight : 0), 0) / total;
}
