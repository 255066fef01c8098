// The bar an answer must pass on documents we did not ship, set from those documents themselves.
// Owns: the questions made of the corpus's own headings, each asked with its own document left out, and the memory of scores.
// Never uses a shipped ticket or intent. Others may assume: a ticket pays for at most a few of these questions, inside its own
// deadline and mandate; tickets of one moment share what they learn, and a bar that too few scores stand behind is the highest.

import type { TeamContext } from '../../../contracts/agent.ts';
import { spaceSample } from '../../gateway/capabilities.ts';
import { barOf, type Calibration } from './calibration.ts';
import { supportCompose, supportRetrieve } from './capabilities.ts';
import { probability } from './evidence.ts';

/** Questions behind a settled bar, and how many of them one ticket asks. */
export const SAMPLE_QUESTIONS = 48;
const QUESTIONS_PER_TICKET = 4;
/** Below this many scores a quantile says nothing yet: the first ticket of an epoch asks as many, and those beside it wait for them. */
const SCORES_MIN = 8;
const FRAGMENTS_ASKED = 24;
const SPACES_KEPT_MAX = 64;

type Context = TeamContext;
type Heading = { readonly document: string; readonly question: string };
interface Gathering {
  readonly scores: number[];
  readonly underWay: Set<Promise<readonly number[]>>;
  /** The next heading nobody has taken yet. */
  next: number;
}
const gatherings = new Map<string, Gathering>();

export async function corpusBar(space: string, ctx: Context, settings: Calibration['foreign']): Promise<number> {
  const { epoch, headings } = await ctx.ask(spaceSample, { space, count: SAMPLE_QUESTIONS });
  const gathering = gatheringOf(`${ctx.tenant}/${space}/${epoch}`);
  const mine = headings.slice(gathering.next, gathering.next + (gathering.next === 0 ? SCORES_MIN : QUESTIONS_PER_TICKET));
  if (mine.length > 0) await gather(gathering, mine.length, () => Promise.all(mine.map((heading) => unanswered(space, heading, ctx, settings))));
  if (gathering.scores.length < SCORES_MIN) await Promise.allSettled(gathering.underWay);
  return barOf(gathering.scores.length < SCORES_MIN ? [] : gathering.scores, settings);
}

/** Headings are taken at once, so that no two tickets ask the same, and given back when they could not be asked. */
async function gather(gathering: Gathering, taken: number, ask: () => Promise<readonly number[]>): Promise<void> {
  gathering.next += taken;
  const asking = ask();
  gathering.underWay.add(asking);
  try {
    gathering.scores.push(...(await asking));
  } catch (error) {
    gathering.next -= taken;
    throw error;
  } finally {
    gathering.underWay.delete(asking);
  }
}

function gatheringOf(key: string): Gathering {
  const known = gatherings.get(key) ?? { scores: [], underWay: new Set<Promise<readonly number[]>>(), next: 0 };
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
