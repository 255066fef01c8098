// The support desk: reads a ticket, asks its team, and decides locally what to offer; the brain decides what happens.
// Owns: the order of the steps, the reasons to abstain, and the words of scripted replies. Never commits an effect.
// Others may assume: instructions inside a ticket change nothing here, an effect's amount comes from the records,
// and an answer is either verbatim from cited fragments or a fixed sentence of this file.

import type { AgentContext } from '../../../contracts/agent.ts';
import * as gateway from '../../gateway/capabilities.ts';
import { defineAgent } from '../../define.ts';
import { calibration, type Calibration } from './calibration.ts';
import { corpusBar } from './corpus-bar.ts';
import { HELP_CENTRE_QUESTIONS, NO_SIGNALS, supportAnswer, supportCompose, supportRetrieve, supportTriage, type Composed, type Signals, type SupportAnswer, type Ticket, type Triage } from './capabilities.ts';
import { proposeEffect } from './effects.ts';
import { probability } from './evidence.ts';
import { round } from './groundedness.ts';
import { inspect, type Guards } from './guards.ts';

const FRAGMENTS_ASKED = 24;

type Context = AgentContext<undefined>;
const NO_TRIAGE: Triage = { intent: 'none', confidence: 0, person: 0, effect: 0, effectIntent: 'none' };

export const supportDesk = defineAgent('support-desk').handle(supportAnswer, async (ticket, ctx) => {
  const guards = inspect(ticket.text);
  const signals = signalsOf(ticket, guards);
  if (guards.foreignLanguage) return abstain(ctx, 'none', signals, 'other-language', 'Thank you for writing. A colleague who reads your language will answer you.');
  if (ctx.rung === 'script') return script(ticket, guards, signals, ctx);
  const triage = ticket.foreign ? NO_TRIAGE : await ctx.delegate(supportTriage, { text: ticket.text });
  if (triage.effect >= calibration.effectConfidenceMin) return proposal(ticket, triage, signals, ctx);
  return inform(ticket, guards, triage, signals, ctx);
});

// ---- tickets that ask for something to be done

async function proposal(ticket: Ticket, triage: Triage, signals: Signals, ctx: Context): Promise<SupportAnswer> {
  const { records } = await ctx.ask(gateway.recordsFind, { kind: 'customer', where: { customer: ticket.customer }, limit: 1 });
  const found = proposeEffect({ intent: triage.effectIntent, text: ticket.text, record: records[0] });
  if (found.effect === undefined) return abstain(ctx, triage.effectIntent, signals, reasonToken(found.why), 'A colleague will look at your account and answer you.');
  ctx.propose(found.effect);
  ctx.note(`propose:${found.effect.kind}`);
  const { params } = found.effect;
  return {
    ...blank(triage.effectIntent, { ...signals, paymentAgeDays: whole(params['ageDays']), duplicateCharge: params['duplicate'] === true, requesterIsOwner: params['owner'] !== false }),
    text: found.reply, confidence: triage.effect, groundedness: 1, abstained: false, reason: 'effect',
  };
}

const whole = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? Math.max(0, Math.round(value)) : 0);
const reasonToken = (why: string): string => why.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '').slice(0, 64) || 'no-effect';

// ---- tickets that ask for information

async function inform(ticket: Ticket, guards: Guards, triage: Triage, signals: Signals, ctx: Context): Promise<SupportAnswer> {
  const part = await find(ticket, guards, ctx);
  const bar = ticket.foreign ? await corpusBar(ticket.space, ctx, calibration.foreign) : calibration.shipped.threshold;
  const confidence = part.text === '' ? 0 : confidenceOf(ticket, triage, part, calibration);
  const outOfScope = !ticket.foreign && triage.person >= OUT_OF_SCOPE_MIN && confidence < bar;
  const reason = reasonNotTo(confidence >= bar, outOfScope, guards);
  ctx.note(reason === undefined ? 'answer' : `abstain:${reason}`);
  return {
    text: part.text, intent: triage.intent, confidence: round(confidence), groundedness: round(part.groundedness),
    abstained: reason !== undefined, reason: reason ?? 'answered', citations: [...part.citations], signals: { ...signals, outOfScope },
  };
}

async function find(ticket: Ticket, guards: Guards, ctx: Context): Promise<Composed> {
  const lexicalOnly = ctx.rung === 'script';
  const { space, text: question } = ticket;
  const found = await ctx.delegate(supportRetrieve, { space, question, limit: FRAGMENTS_ASKED, lexicalOnly, ...(ticket.foreign ? {} : { questions: HELP_CENTRE_QUESTIONS }) });
  return ctx.delegate(supportCompose, { question, parts: [...guards.questions], found, lexicalOnly });
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
async function script(ticket: Ticket, guards: Guards, signals: Signals, ctx: Context): Promise<SupportAnswer> {
  const part = await find(ticket, guards, ctx);
  ctx.note('abstain:script');
  return { ...blank('none', signals), text: part.text, groundedness: part.groundedness, citations: [...part.citations], reason: 'script' };
}

function abstain(ctx: Context, intent: string, signals: Signals, reason: string, text: string): SupportAnswer {
  ctx.note(`abstain:${reason}`);
  return { ...blank(intent, signals), text, reason };
}

const blank = (intent: string, signals: Signals): SupportAnswer => ({ text: '', intent, confidence: 0, groundedness: 0, abstained: true, reason: 'no-evidence', citations: [], signals });

const signalsOf = (ticket: Ticket, guards: Guards): Signals => ({ ...NO_SIGNALS, injection: guards.injection, personalData: guards.personalData, wantsPerson: guards.wantsPerson, foreignLanguage: guards.foreignLanguage, foreignCorpus: ticket.foreign });
