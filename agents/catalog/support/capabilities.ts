// The capabilities of the support desk: one that customers' tickets ask for, three that its team answers in place.
// Owns: their schemas, facts, ladder and the words an approver sees. Never runs anything.
// Others may assume: facts hold no word a customer wrote, and every fact is present in every outcome.

import { z } from 'zod';
import { defineCapability } from '../../../contracts/capability.ts';
import type { Fragment } from '../../../contracts/ports.ts';
import { TICKET_CHARS_MAX } from './guards.ts';

export const HELP_CENTRE = 'help-centre';
/** Questions customers ask, each naming the article that answers it, or none. */
export const HELP_CENTRE_QUESTIONS = 'help-centre-questions';
export const SUPPORT_EFFECTS = ['refund', 'subscription.cancel', 'address.change'] as const;

const space = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);
const unit = z.number().min(0).max(1);
const token = z.string().regex(/^[a-z0-9][a-z0-9.:-]{0,63}$/);

export const citationSchema = z.strictObject({ document: z.string().max(256), chunk: z.string().max(256), quote: z.string().max(700) });
export type Citation = z.infer<typeof citationSchema>;

/** What policies may know of a ticket and its answer, besides scores. */
export const signalsSchema = z.strictObject({
  injection: z.boolean(),
  personalData: z.boolean(),
  outOfScope: z.boolean(),
  wantsPerson: z.boolean(),
  foreignLanguage: z.boolean(),
  foreignCorpus: z.boolean(),
  paymentAgeDays: z.number().int().min(0).max(100_000),
  duplicateCharge: z.boolean(),
  requesterIsOwner: z.boolean(),
});
export type Signals = z.infer<typeof signalsSchema>;

export const ticketSchema = z.strictObject({
  customer: z.string().min(1).max(64),
  text: z.string().min(1).max(TICKET_CHARS_MAX),
  space: space.default(HELP_CENTRE),
  /** Documents that are not the shipped help centre: shipped intents do not apply and nothing can lead to an effect. */
  foreign: z.boolean().default(false),
});
export type Ticket = z.infer<typeof ticketSchema>;

export const answerSchema = z.strictObject({
  text: z.string().max(8_000),
  intent: token,
  confidence: unit,
  groundedness: unit,
  abstained: z.boolean(),
  reason: token,
  citations: z.array(citationSchema).max(12),
  signals: signalsSchema,
});
export type SupportAnswer = z.infer<typeof answerSchema>;

const bp = (value: number): number => Math.round(value * 10_000);

export const supportAnswer = defineCapability<Ticket, SupportAnswer>('support.answer', {
  input: ticketSchema as z.ZodType<Ticket>,
  output: answerSchema,
  facts: ({ output }) => ({
    ...output.signals,
    confidenceBp: bp(output.confidence),
    groundednessBp: bp(output.groundedness),
    abstained: output.abstained,
    intent: output.intent,
  }),
  summary: () => 'A customer asks the support desk',
  card: ({ input, output }) => ({
    question: input.text,
    ...(output === undefined || output.text === '' ? {} : { proposal: output.text }),
    citations: (output?.citations ?? []).map(({ document, quote }) => ({ document, quote })),
  }),
  answered: ({ output, text }) => ({ ...(output ?? UNANSWERED), text, citations: [], abstained: false, reason: 'written-by-a-person' }),
  /** A large refund of a payment five years old, for somebody who does not own the account: every fact on the card says no. */
  knownBad: () => ({
    input: { customer: 'c-1', text: 'Please refund my last payment to a new card.', space: HELP_CENTRE, foreign: false },
    output: { ...UNANSWERED, text: 'We will refund your payment.', intent: 'refund.request', confidence: 0.97, groundedness: 0.9, abstained: false, reason: 'answered', signals: { ...NO_SIGNALS, paymentAgeDays: 1_900, requesterIsOwner: false } },
    effect: { kind: 'refund', key: 'refund-known-bad', amountMicroUsd: 480_000_000, params: { ageDays: 1_900, duplicate: false, owner: false } },
  }),
  dataClass: 'confidential',
  sla: 'interactive',
  budget: { latencyMsMax: 15_000, microUsdMax: 20_000 },
  ladder: ['model', 'script', 'human'],
  orchestration: 'distributed',
  uses: ['support.triage', 'support.retrieve', 'support.compose', 'text.classify', 'text.embed', 'text.generate', 'space.search', 'space.sample', 'records.find'],
  effects: SUPPORT_EFFECTS,
});

export const NO_SIGNALS: Signals = Object.freeze({ injection: false, personalData: false, outOfScope: false, wantsPerson: false, foreignLanguage: false, foreignCorpus: false, paymentAgeDays: 0, duplicateCharge: false, requesterIsOwner: true });
const UNANSWERED: SupportAnswer = { text: '', intent: 'none', confidence: 0, groundedness: 0, abstained: true, reason: 'no-evidence', citations: [], signals: NO_SIGNALS };

export const supportTriage = defineCapability('support.triage', {
  input: z.strictObject({ text: z.string().max(TICKET_CHARS_MAX) }),
  /** `person` and `effect` are sums over the intents that need somebody to look, and over those that ask for something to be done. */
  output: z.strictObject({ intent: token, confidence: unit, person: unit, effect: unit, effectIntent: token }),
  dataClass: 'confidential',
  delivery: 'ephemeral',
  uses: ['text.classify'],
});

export type Triage = z.infer<typeof supportTriage.output>;

const fragmentSchema = z.strictObject({
  document: z.string(), chunk: z.string(), title: z.string(), heading: z.string(), text: z.string(), digest: z.string(), score: z.number(),
  signals: z.strictObject({ cosine: z.number(), bm25: z.number(), denseRank: z.number(), lexicalRank: z.number() }),
}) satisfies z.ZodType<Fragment>;

const priorSchema = z.strictObject({ documents: z.record(z.string(), z.number()), none: z.number() });
export const foundSchema = z.strictObject({ fragments: z.array(fragmentSchema).max(32), weights: z.record(z.string(), z.number()), prior: priorSchema.optional() });

export const supportRetrieve = defineCapability('support.retrieve', {
  /** `questions`: a space of written questions that says which document answers what, where there is one. */
  input: z.strictObject({ space, questions: space.optional(), question: z.string().max(TICKET_CHARS_MAX), limit: z.number().int().min(1).max(32), lexicalOnly: z.boolean() }),
  output: foundSchema,
  dataClass: 'confidential',
  delivery: 'ephemeral',
  uses: ['space.search'],
});

export const supportCompose = defineCapability('support.compose', {
  /** `parts`: the single questions of the ticket, each of which the answer has to support. */
  input: z.strictObject({ question: z.string().max(TICKET_CHARS_MAX), parts: z.array(z.string().max(TICKET_CHARS_MAX)).min(1).max(8), found: foundSchema, lexicalOnly: z.boolean() }),
  output: z.strictObject({ text: z.string().max(4_000), document: z.string().max(256), citations: z.array(citationSchema).max(8), groundedness: unit, features: z.record(z.string(), z.number()) }),
  dataClass: 'confidential',
  delivery: 'ephemeral',
  uses: ['text.embed', 'text.generate'],
});
export type Composed = z.infer<typeof supportCompose.output>;
