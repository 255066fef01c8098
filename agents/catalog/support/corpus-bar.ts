// The bar an answer must pass on documents we did not ship, set from those documents themselves.
// Owns: the questions made of the corpus's own headings, each asked with its own document left out, and the memory of scores.
// Never uses a shipped ticket or intent. Others may assume: a ticket pays for at most a few of these questions, inside its own
// deadline and mandate; the first tickets of an epoch meet the highest bar there is, and the bar settles after a handful.

import type { AgentContext } from '../../../contracts/agent.ts';
import { spaceSample } from '../../gateway/capabilities.ts';
import { barOf, type Calibration } from './calibration.ts';
import { supportCompose, supportRetrieve } from './capabilities.ts';
import { probability } from './evidence.ts';

/** Questions behind a settled bar, and how many of them one ticket asks. */
export const SAMPLE_QUESTIONS = 24;
const QUESTIONS_PER_TICKET = 4;
/** Below this many scores a quantile says nothing yet: the first tickets of an epoch meet the highest bar. */
const SCORES_MIN = 8;
const FRAGMENTS_ASKED = 24;
const SPACES_KEPT_MAX = 64;

type Context = AgentContext<undefined>;
type Heading = { readonly document: string; readonly question: string };
interface Gathering {
  readonly scores: number[];
  /** The next heading nobody has taken yet. */
  next: number;
}
const gatherings = new Map<string, Gathering>();

export async function corpusBar(space: string, ctx: Context, settings: Calibration['foreign']): Promise<number> {
  const { epoch, headings } = await ctx.ask(spaceSample, { space, count: SAMPLE_QUESTIONS });
  const gathering = gatheringOf(`${ctx.tenant}/${space}/${epoch}`);
  const mine = headings.slice(gathering.next, gathering.next + QUESTIONS_PER_TICKET);
  gathering.next += mine.length;
  try {
    gathering.scores.push(...(await Promise.all(mine.map((heading) => unanswered(space, heading, ctx, settings)))));
  } catch (error) {
    gathering.next -= mine.length;
    throw error;
  }
  return barOf(gathering.scores.length < SCORES_MIN ? [] : gathering.scores, settings);
}

function gatheringOf(key: string): Gathering {
  const known = gatherings.get(key) ?? { scores: [], next: 0 };
  if (!gatherings.has(key) && gatherings.size >= SPACES_KEPT_MAX) gatherings.delete(gatherings.keys().next().value ?? '');
  gatherings.set(key, known);
  return known;
}

/** How sure we would be about a question whose document is not there. */
async function unanswered(space: string, { document, question }: Heading, ctx: Context, settings: Calibration['foreign']): Promise<number> {
  const found = await ctx.delegate(supportRetrieve, { space, question, limit: FRAGMENTS_ASKED, lexicalOnly: false });
  const others = found.fragments.filter((fragment) => fragment.document !== document);
  if (others.length === 0) return 0;
  const part = await ctx.delegate(supportCompose, { question, parts: [question], found: { fragments: others, weights: found.weights }, lexicalOnly: false });
  return probability(settings.model, part.features);
}
