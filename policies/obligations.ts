// What a decision binds others to do: how much is taken out of text, how long its traces are kept, how much its record shows.
// Owns: the reading of `@redact`, `@retention` and `@record`, how several policies' obligations join, and the classes' lengths.
// Never enforces anything: the gateway redacts, the settlement records, the audit erases. Pure.
// Others may assume: joining only ever binds more (stricter, longer, fuller), and a value that cannot be read binds most.

import type { CedarPolicyJson } from '../contracts/bundle.ts';
import { type Obligations, RECORD_DETAILS, REDACTIONS, RETENTIONS, type Redaction, type Retention, type Verdict } from '../contracts/verdict.ts';

const DAY_MS = 86_400_000;
/**
 * How long each class keeps what a task left behind; nothing ends a `hold` but a person. `standard` is the half year that
 * deployers of high-risk systems must keep their logs (Regulation (EU) 2024/1689, article 26(6)); `legal` is ten years.
 */
export const RETENTION_MS: Readonly<Record<Retention, number>> = { brief: 30 * DAY_MS, standard: 184 * DAY_MS, long: 730 * DAY_MS, legal: 3_652 * DAY_MS, hold: Number.POSITIVE_INFINITY };

const SCALES = { redact: REDACTIONS, retention: RETENTIONS, record: RECORD_DETAILS } as const;
type Name = keyof typeof SCALES;
const NAMES = Object.keys(SCALES) as Name[];

/** Obligations of one policy; undefined when it has none. */
export function obligationsOf(policy: Pick<CedarPolicyJson, 'annotations'>): Obligations | undefined {
  const notes = policy.annotations ?? {};
  const named = NAMES.filter((name) => Object.hasOwn(notes, name));
  if (named.length === 0) return undefined;
  return Object.fromEntries(named.map((name) => [name, rankOf(name, notes[name]) < 0 ? SCALES[name].at(-1) : notes[name]])) as Obligations;
}

/** What publish refuses. */
export function obligationProblems(notes: Readonly<Record<string, string>>): readonly string[] {
  return NAMES.filter((name) => Object.hasOwn(notes, name) && rankOf(name, notes[name]) < 0).map((name) => `@${name} is one of ${SCALES[name].join(', ')}`);
}

/** The one that binds more, member by member. */
export function joinObligations(a: Obligations, b: Obligations): Obligations {
  const joined: Record<string, string> = {};
  for (const name of NAMES) {
    const [one, other] = [a[name], b[name]];
    const more = one === undefined || (other !== undefined && rankOf(name, other) > rankOf(name, one)) ? other : one;
    if (more !== undefined) joined[name] = more;
  }
  return joined as Obligations;
}

/** Over everything that was decided about a task, with the deployment's least. */
export const obligationsOver = (verdicts: readonly Pick<Verdict, 'obligations'>[], least: Required<Obligations>): Required<Obligations> =>
  verdicts.reduce<Obligations>((all, { obligations }) => (obligations === undefined ? all : joinObligations(all, obligations)), least) as Required<Obligations>;

/** What holds where nobody says otherwise. */
export const NO_OBLIGATIONS: Required<Obligations> = Object.freeze({ redact: 'none', retention: 'standard', record: 'full' });

/** ms since 1970 from which the data may go; undefined while it is held. */
export function keptUntil(retention: Retention, settledAt: number): number | undefined {
  const ms = RETENTION_MS[retention];
  return Number.isFinite(ms) ? settledAt + ms : undefined;
}

export const stricter = (a: Redaction, b: Redaction): Redaction => (REDACTIONS.indexOf(a) >= REDACTIONS.indexOf(b) ? a : b);

const rankOf = (name: Name, value: string | undefined): number => (SCALES[name] as readonly string[]).indexOf(value ?? '');
