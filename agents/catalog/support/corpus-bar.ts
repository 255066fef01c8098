// The bar an answer must pass on documents we did not ship, set from those documents themselves.
// Owns: the questions made of the corpus's own headings, each asked with its own document left out, and the memory of bars.
// Never uses a shipped ticket or intent. Others may assume: the same epoch of a space gives the same bar on every host,
// it is worked out once per epoch and host, and tickets that arrive meanwhile wait for the same computation.

import type { AgentContext } from '../../../contracts/agent.ts';
import * as gateway from '../../gateway/capabilities.ts';
import { barOf, type Calibration } from './calibration.ts';
import { supportCompose, supportRetrieve } from './capabilities.ts';
import { probability } from './evidence.ts';

export const SAMPLE_QUESTIONS = 32;
const FRAGMENTS_ASKED = 24;
const SPACES_KEPT_MAX = 64;

type Context = AgentContext<undefined>;
const bars = new Map<string, Promise<number>>();

export async function corpusBar(space: string, ctx: Context, settings: Calibration['foreign']): Promise<number> {
  const { epoch, headings } = await ctx.ask(gateway.spaceSample, { space, count: SAMPLE_QUESTIONS });
  const key = `${ctx.tenant}/${space}/${epoch}`;
  const known = bars.get(key);
  if (known !== undefined) return known;
  const bar = Promise.all(headings.map((heading) => unanswered(space, heading, ctx, settings))).then((scores) => barOf(scores, settings));
  if (bars.size >= SPACES_KEPT_MAX) bars.delete(bars.keys().next().value ?? '');
  bars.set(key, bar);
  bar.catch(() => bars.delete(key));
  return bar;
}

/** How sure we would be about a question whose document is not there. */
async function unanswered(space: string, heading: { readonly document: string; readonly question: string }, ctx: Context, settings: Calibration['foreign']): Promise<number> {
  const found = await ctx.delegate(supportRetrieve, { space, question: heading.question, limit: FRAGMENTS_ASKED, lexicalOnly: false });
  const others = found.fragments.filter(({ document }) => document !== heading.document);
  if (others.length === 0) return 0;
  const part = await ctx.delegate(supportCompose, { question: heading.question, parts: [heading.question], found: { fragments: others, weights: found.weights }, lexicalOnly: false });
  return probability(settings.model, part.features);
}
