// The support desk's team: triage, retriever and answerer, each a small agent that answers in place.
// Owns: how the three use the gateway. Never decides what happens to a ticket: that is the desk, and policy after it.
// Others may assume: each asks only for the capabilities it declares, inside the mandate the desk narrowed for it.

import { hasCode } from '../../../contracts/errors.ts';
import type { AgentContext } from '../../../contracts/agent.ts';
import { decodeVectors } from '../../../contracts/model.ts';
import * as gateway from '../../gateway/capabilities.ts';
import { defineAgent } from '../../define.ts';
import { supportCompose, supportRetrieve, supportTriage, type Triage } from './capabilities.ts';
import { compose } from './compose.ts';
import { EFFECT_KINDS } from './effects.ts';
import { priorOf, type Prior } from './evidence.ts';

export const INTENT_HEAD = 'intent';
const TEXTS_PER_ASK_MAX = 64;
const QUESTIONS_ASKED = 24;

/** What an intent means for the desk; the labels are those of the shipped head. */
export const NEEDS_A_PERSON: ReadonlySet<string> = new Set(['none', 'account.investigate', 'complaint.legal']);

export const triageAgent = defineAgent('support-triage').handle(supportTriage, async ({ text }, ctx) => {
  const { results } = await ctx.ask(gateway.textClassify, { head: INTENT_HEAD, texts: [text] });
  return triageOf(results[0]?.scores ?? []);
});

export function triageOf(scores: readonly { readonly label: string; readonly score: number }[]): Triage {
  const sorted = [...scores].sort((a, b) => b.score - a.score);
  const sum = (members: { has(label: string): boolean }) => Math.min(1, sorted.filter(({ label }) => members.has(label)).reduce((total, { score }) => total + score, 0));
  const effects = new Set(Object.keys(EFFECT_KINDS));
  return {
    intent: sorted[0]?.label ?? 'none',
    confidence: sorted[0]?.score ?? 0,
    person: sum(NEEDS_A_PERSON),
    effect: sum(effects),
    effectIntent: sorted.find(({ label }) => effects.has(label))?.label ?? 'none',
  };
}

export const retrieverAgent = defineAgent('support-retriever').handle(supportRetrieve, async ({ space, questions, question, limit, lexicalOnly }, ctx) => {
  const [{ fragments, weights }, prior] = await Promise.all([
    ctx.ask(gateway.spaceSearch, { space, query: question, limit, lexicalOnly }),
    questions === undefined || lexicalOnly ? undefined : written(questions, question, ctx),
  ]);
  return { fragments: [...fragments], weights: { ...weights }, ...(prior === undefined ? {} : { prior: { ...prior, documents: { ...prior.documents } } }) };
});

/** A space of questions that nobody indexed is no failure: the passages alone then decide. */
async function written(space: string, question: string, ctx: AgentContext<undefined>): Promise<Prior | undefined> {
  try {
    return priorOf((await ctx.ask(gateway.spaceSearch, { space, query: question, limit: QUESTIONS_ASKED })).fragments);
  } catch (error) {
    if (!hasCode(error, 'AIOS_SPACE_UNKNOWN')) throw error;
    ctx.note('no-written-questions');
    return undefined;
  }
}

export const answererAgent = defineAgent('support-answerer').handle(supportCompose, async ({ question, parts, found, lexicalOnly }, ctx) => {
  const { text, document, citations, groundedness, features } = await compose(question, parts, found, lexicalOnly ? async () => undefined : (texts) => encode(ctx, texts));
  return { text, document, citations: [...citations], groundedness, features: { ...features } };
});

/** Vectors through the gateway; without an encoder the answer is made of words alone and will score low. */
async function encode(ctx: AgentContext<undefined>, texts: readonly string[]): Promise<readonly Float32Array[] | undefined> {
  try {
    const { vectors, dimensions } = await ctx.ask(gateway.textEmbed, { texts: texts.slice(0, TEXTS_PER_ASK_MAX) });
    return decodeVectors(vectors, dimensions);
  } catch (error) {
    if (!hasCode(error, 'AIOS_MODEL_UNAVAILABLE')) throw error;
    ctx.note('no-encoder');
    return undefined;
  }
}
