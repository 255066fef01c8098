// The support desk: reads a ticket, asks its team, and decides locally what to offer; the brain decides what happens.
// Owns: the order of the steps, the reasons to abstain, and the words of scripted replies. Never commits an effect.
// Others may assume: instructions inside a ticket change nothing here, an effect's amount comes from the records,
// an answer is either verbatim from cited fragments or a fixed sentence of this file, and the plan is pure: who walks
// its steps, in one turn or in many, changes neither the answer nor the lineage.

import { z } from 'zod';
import type { SeenOf, TeamNext, TeamStep } from '../../../contracts/agent.ts';
import type { Rung } from '../../../contracts/capability.ts';
import type { Facts } from '../../../contracts/verdict.ts';
import * as gateway from '../../gateway/capabilities.ts';
import { defineAgent } from '../../define.ts';
import { asked, delegated } from '../../teams/follow.ts';
import { calibration, type Calibration } from './calibration.ts';
import { corpusBar } from './corpus-bar.ts';
import { HELP_CENTRE_QUESTIONS, NO_SIGNALS, supportAnswer, supportCompose, supportRetrieve, supportTriage, type Composed, type Signals, type SupportAnswer, type Ticket, type Triage } from './capabilities.ts';
import { proposeEffect } from './effects.ts';
import { probability } from './evidence.ts';
import { round } from './groundedness.ts';
import { inspect, type Guards } from './guards.ts';

const FRAGMENTS_ASKED = 24;
const NO_TRIAGE: Triage = { intent: 'none', confidence: 0, person: 0, effect: 0, effectIntent: 'none' };

/** `effect` looks into the books, and what it finds there leads to a proposal; `bar` is for documents that are not ours. */
const steps = {
  triage: delegated(supportTriage),
  effect: asked(gateway.recordsFind),
  retrieve: delegated(supportRetrieve),
  answer: delegated(supportCompose),
  bar: { output: z.number(), run: (space, ctx) => corpusBar(space, ctx, calibration.foreign) } satisfies TeamStep<string, number>,
};
type Seen = SeenOf<typeof steps>;
type Next = TeamNext<typeof steps, SupportAnswer>;
/** A ticket with what is known of it before anybody is asked. */
interface Case {
  readonly ticket: Ticket;
  readonly rung: Rung;
  readonly guards: Guards;
  readonly signals: Signals;
}

export const supportDesk = defineAgent('support-desk').team(supportAnswer, {
  steps,
  plan(ticket, rung) {
    const guards = inspect(ticket.text);
    const open: Case = { ticket, rung, guards, signals: signalsOf(ticket, guards) };
    return (seen) => nextOf(open, seen);
  },
});

function nextOf(open: Case, seen: Seen): Next {
  const { ticket, rung, guards, signals } = open;
  if (guards.foreignLanguage) return abstain('none', signals, 'other-language', 'Thank you for writing. A colleague who reads your language will answer you.');
  if (rung === 'script') return script(open, seen);
  if (!ticket.foreign && seen.triage === undefined) return { step: 'triage', input: { text: ticket.text }, facts: factsOf(signals) };
  const triage = seen.triage ?? NO_TRIAGE;
  return triage.effect >= calibration.effectConfidenceMin ? proposal(open, triage, seen) : inform(open, triage, seen);
}

/** What policies may know before a step: nothing a customer wrote. */
const factsOf = (signals: Signals, intent = 'none'): Facts => ({ ...signals, intent });

// ---- tickets that ask for something to be done

function proposal({ ticket, signals }: Case, triage: Triage, seen: Seen): Next {
  const intent = triage.effectIntent;
  if (seen.effect === undefined) return { step: 'effect', input: { kind: 'customer', where: { customer: ticket.customer }, limit: 1 }, facts: factsOf(signals, intent) };
  const found = proposeEffect({ intent, text: ticket.text, record: seen.effect.records[0] });
  if (found.effect === undefined) return abstain(intent, signals, reasonToken(found.why), 'A colleague will look at your account and answer you.');
  const { params } = found.effect;
  return {
    effect: found.effect,
    notes: [`propose:${found.effect.kind}`],
    done: {
      ...blank(intent, { ...signals, paymentAgeDays: whole(params['ageDays']), duplicateCharge: params['duplicate'] === true, requesterIsOwner: params['owner'] !== false }),
      text: found.reply, confidence: triage.effect, groundedness: 1, abstained: false, reason: 'effect',
    },
  };
}

const whole = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? Math.max(0, Math.round(value)) : 0);
const reasonToken = (why: string): string => why.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '').slice(0, 64) || 'no-effect';

// ---- tickets that ask for information

function inform(open: Case, triage: Triage, seen: Seen): Next {
  const { ticket, guards, signals } = open;
  const part = seen.answer;
  if (part === undefined) return evidence(open, seen, triage.intent);
  if (ticket.foreign && seen.bar === undefined) return { step: 'bar', input: ticket.space, facts: factsOf(signals, triage.intent) };
  const bar = seen.bar ?? calibration.shipped.threshold;
  const confidence = part.text === '' ? 0 : confidenceOf(ticket, triage, part, calibration);
  const outOfScope = !ticket.foreign && triage.person >= OUT_OF_SCOPE_MIN && confidence < bar;
  const reason = reasonNotTo(confidence >= bar, outOfScope, guards);
  return {
    notes: [reason === undefined ? 'answer' : `abstain:${reason}`],
    done: {
      text: part.text, intent: triage.intent, confidence: round(confidence), groundedness: round(part.groundedness),
      abstained: reason !== undefined, reason: reason ?? 'answered', citations: [...part.citations], signals: { ...signals, outOfScope },
    },
  };
}

/** Passages first, then the sentences of them that answer. */
function evidence({ ticket, rung, guards, signals }: Case, { retrieve: found }: Seen, intent: string): Next {
  const lexicalOnly = rung === 'script';
  const { space, text: question } = ticket;
  const facts = factsOf(signals, intent);
  if (found === undefined) return { step: 'retrieve', input: { space, question, limit: FRAGMENTS_ASKED, lexicalOnly, ...(ticket.foreign ? {} : { questions: HELP_CENTRE_QUESTIONS }) }, facts };
  return { step: 'answer', input: { question, parts: [...guards.questions], found, lexicalOnly }, facts };
}

function confidenceOf(ticket: Ticket, triage: Triage, part: Composed, numbers: Calibration): number {
  if (ticket.foreign) return probability(numbers.foreign.model, part.features);
  return probability(numbers.shipped.model, { ...part.features, ...triageFeatures(triage) });
}

/** What triage adds to the evidence; shared with the calibration, which must see the same numbers. */
export const triageFeatures = ({ person }: Triage): Readonly<Record<string, number>> => ({ person });

/** Above this share of the intents that need somebody to look, a weak answer is called out of scope instead of unsure. */
const OUT_OF_SCOPE_MIN = 0.5;

function reasonNotTo(passes: boolean, outOfScope: boolean, guards: Guards): string | undefined {
  if (guards.injection) return 'instructions-in-ticket';
  if (guards.personalData) return 'personal-data';
  if (guards.wantsPerson) return 'asks-for-a-person';
  if (outOfScope) return 'out-of-scope';
  return passes ? undefined : 'low-confidence';
}

// ---- the script rung: no model at all

/** Words alone: the likeliest passage is offered to the person who answers, and nothing is sent by itself. */
function script(open: Case, seen: Seen): Next {
  const part = seen.answer;
  if (part === undefined) return evidence(open, seen, 'none');
  return { notes: ['abstain:script'], done: { ...blank('none', open.signals), text: part.text, groundedness: part.groundedness, citations: [...part.citations], reason: 'script' } };
}

const abstain = (intent: string, signals: Signals, reason: string, text: string): Next => ({ notes: [`abstain:${reason}`], done: { ...blank(intent, signals), text, reason } });

const blank = (intent: string, signals: Signals): SupportAnswer => ({ text: '', intent, confidence: 0, groundedness: 0, abstained: true, reason: 'no-evidence', citations: [], signals });

const signalsOf = (ticket: Ticket, guards: Guards): Signals => ({ ...NO_SIGNALS, injection: guards.injection, personalData: guards.personalData, wantsPerson: guards.wantsPerson, foreignLanguage: guards.foreignLanguage, foreignCorpus: ticket.foreign });
