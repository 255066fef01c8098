// From a ticket and the customer's record to the one effect the ticket asks for, or to a reason why a person has to look.
// Owns: which payment is meant, where a new address begins and ends, and the keys of effects. Pure and deterministic.
// Never decides whether an effect is allowed: policy does, on facts of the record that travel in `params`.
// Others may assume: amounts, ages and ownership come from the record and never from the words of the ticket,
// and the same request made twice has the same key, so that it happens once.

import { z } from 'zod';
import { digestOfText } from '../../../contracts/canonical.ts';
import type { ProposedEffect } from '../../../contracts/message.ts';
import { parseJson, parseValue } from '../../../contracts/parse.ts';
import type { RecordRow } from '../../../contracts/ports.ts';

export type Proposal =
  | { readonly effect: ProposedEffect; readonly reply: string }
  | { readonly effect: undefined; readonly why: string };
export interface ProposalRequest {
  readonly intent: string;
  readonly text: string;
  /** The row that `records.find` of kind `customer` gave, if there is one. */
  readonly record: RecordRow | undefined;
}

export const recordPaymentSchema = z.strictObject({
  id: z.string(),
  /** US cents as charged, whatever was returned since */
  cents: z.number().int().positive(),
  ageDays: z.number().int().min(0),
  /** Another payment of the same amount for the same period came before it. */
  duplicate: z.boolean(),
});
export type RecordPayment = z.infer<typeof recordPaymentSchema>;
/** Payments of a customer's row, newest first: rows of records are flat, so the list travels as JSON. */
export const PAYMENTS_MAX = 36;
const paymentsSchema = z.array(recordPaymentSchema).max(PAYMENTS_MAX);

/** What each intent that asks for something leads to. Everything else proposes nothing. */
export const EFFECT_KINDS: Readonly<Record<string, (request: Known) => Proposal>> = {
  'refund.request': refund,
  'subscription.cancel': cancellation,
  'address.change': addressChange,
};

export function proposeEffect({ intent, text, record }: ProposalRequest): Proposal {
  const propose = EFFECT_KINDS[intent];
  if (propose === undefined) return none('the intent asks for nothing to be done');
  if (record === undefined) return none('the customer is not in the records');
  return propose({ text, customer: String(record['customer']), owner: record['owner'] === true, record });
}

interface Known { readonly text: string; readonly customer: string; readonly owner: boolean; readonly record: RecordRow }
const none = (why: string): Proposal => ({ effect: undefined, why });

// ---- refunds

const MICRO_USD_PER_CENT = 10_000;

function refund({ text, customer, owner, record }: Known): Proposal {
  const payments = parseValue(paymentsSchema, parseJson(String(record['payments'] ?? '[]')));
  if (payments.length === 0) return none('no payment in the record');
  const meant = EVERYTHING.test(text) ? allOf(payments) : paymentMeant(text, payments);
  if (typeof meant === 'string') return none(meant);
  return {
    effect: {
      kind: 'refund',
      key: `refund:${customer}:${meant.id}`,
      amountMicroUsd: meant.cents * MICRO_USD_PER_CENT,
      params: { customer, owner, paymentId: meant.id, ageDays: meant.ageDays, duplicate: meant.duplicate },
    },
    reply: `Your refund of ${(meant.cents / 100).toFixed(2)} USD is on its way to the payment method that was charged. Cards take 5 to 10 business days, PayPal 3, bank debits 7.`,
  };
}

const EVERYTHING = /\b(?:(?:every|all|each)(?: (?:the|my|our|of the|of my|of our))? (?:payments?|charges?|fees?|money)|everything (?:i|we)(?:'ve| have)?(?: ever)? paid)\b/i;
const TWICE = /\b(?:twice|doubled?|duplicates?|duplicated|two times|2 times|both|identical|second (?:payment|charge|one)|(?:two|2) (?:identical |equal )?(?:payments|charges|receipts|debits|invoices))\b/i;

/** All payments as one claim, as old as the oldest: too large or too old for policy, or a matter for a person. */
function allOf(payments: readonly RecordPayment[]): RecordPayment | string {
  const oldest = payments.reduce((old, payment) => (payment.ageDays > old.ageDays ? payment : old));
  if (payments.length > 1 && oldest.ageDays <= 90) return 'several payments are asked for';
  return { ...oldest, cents: payments.reduce((sum, { cents }) => sum + cents, 0), duplicate: false };
}

/** The payment the customer means, or why that cannot be told. Words choose among payments of the record; they never make one up. */
function paymentMeant(text: string, payments: readonly RecordPayment[]): RecordPayment | string {
  const twice = TWICE.test(text);
  let candidates = payments.filter(({ duplicate }) => duplicate === twice);
  if (candidates.length === 0) return twice ? 'no duplicate payment in the record' : 'no such payment in the record';
  const amounts = amountsIn(text);
  if (amounts.length > 0) candidates = candidates.filter(({ cents }) => amounts.includes(cents));
  if (candidates.length === 0) return 'the amount named is not in the record';
  const age = ageIn(text);
  const newest = candidates.reduce((best, payment) => (payment.ageDays < best.ageDays ? payment : best));
  if (age === undefined) return newest;
  const nearest = candidates.reduce((best, payment) => (Math.abs(payment.ageDays - age) < Math.abs(best.ageDays - age) ? payment : best));
  return Math.abs(nearest.ageDays - age) <= Math.max(4, age * 0.35) ? nearest : 'no payment of that time in the record';
}

const MONEY = /(?:\$|usd\s?)\s?(\d[\d,]*(?:\.\d{1,2})?)|(\d[\d,]*(?:\.\d{1,2})?)\s?(?:usd|us dollars?|dollars?|bucks|\$)/gi;

/** Amounts named with a currency, in cents. */
export function amountsIn(text: string): readonly number[] {
  return [...text.matchAll(MONEY)].map((match) => Math.round(Number((match[1] ?? match[2] ?? '').replaceAll(',', '')) * 100)).filter((cents) => cents > 0);
}

const NUMBERS = ['a', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten', 'eleven', 'twelve'];
const AGO = new RegExp(`\\b(\\d{1,3}|an?|${NUMBERS.slice(1).join('|')}) (day|week|month)s? ago\\b`, 'i');
const DAYS: Readonly<Record<string, number>> = { day: 1, week: 7, month: 30 };

/** Days ago of the time the ticket names, if it names one. */
export function ageIn(text: string): number | undefined {
  if (/\byesterday\b/i.test(text)) return 1;
  const match = AGO.exec(text);
  if (match === null) return undefined;
  const word = (match[1] ?? '').toLowerCase();
  const count = /^\d/.test(word) ? Number(word) : Math.max(1, NUMBERS.indexOf(word));
  return count * (DAYS[(match[2] ?? '').toLowerCase()] ?? 1);
}

// ---- cancellations

function cancellation({ customer, owner, record }: Known): Proposal {
  if (record['status'] === 'cancelled') return none('there is no active subscription');
  const subscription = String(record['subscription']);
  return {
    effect: { kind: 'subscription.cancel', key: `subscription.cancel:${customer}:${subscription}`, amountMicroUsd: 0, params: { customer, owner, subscription } },
    reply: 'Your subscription ends with the period that is paid. You can sign in, read and export for 60 days after that.',
  };
}

// ---- addresses

function addressChange({ text, customer, owner }: Known): Proposal {
  const address = addressIn(text);
  if (address === undefined) return none('the new address is not complete');
  return {
    effect: { kind: 'address.change', key: `address.change:${customer}:${digestOfText(address).slice(7, 31)}`, amountMicroUsd: 0, params: { customer, owner, address } },
    reply: `The billing address of your account is now: ${address}. It appears on the next invoice.`,
  };
}

const ADDRESS_CHARS_MAX = 200;
/** The last of these before the street begins; what stands in front of it is talk. */
const CUE = /^.*(?:\b(?:to|now|is|be|at|with|into|have|put|one)\b:?|[:;])\s+(?=\S)/i;
const COURTESY = /(?:\.\s+[a-z].*|[\s,.!]*(?:\b(?:[Pp]lease|[Pp]ls|[Tt]hanks?|[Tt]hank you|[Cc]heers|from now on|going forward|on future invoices|from the next invoice on|the boss)\b.*)?)$/;

/** The postal address in a ticket: the sentence with a number and two commas, without the words around it. */
export function addressIn(text: string): string | undefined {
  const sentences = text.split(/\n|(?<=[.!?])\s+(?=[A-Z])/);
  for (const sentence of sentences.toReversed()) {
    const street = firstPart(sentence);
    const found = sentence.slice(street).replace(COURTESY, '').trim();
    if (complete(found)) return found;
  }
  return undefined;
}

/** Where the street begins: after the last cue in front of the first comma that follows a digit. Talk may hold commas too. */
function firstPart(sentence: string): number {
  const commas = [...sentence.matchAll(/,(?=\s)/g)].map(({ index }) => index);
  const end = commas.find((at) => /\d/.test(sentence.slice(0, at))) ?? 0;
  return CUE.exec(sentence.slice(0, end))?.[0].length ?? 0;
}

/** Strict on purpose: an address that may hold words of talk is left to a person. */
function complete(address: string): boolean {
  const long = address.length >= 12 && address.length <= ADDRESS_CHARS_MAX;
  return long && /,/.test(address) && /\d/.test(address) && /^[\p{Lu}\p{N}]/u.test(address) && !/[<>{}?!]|\. [a-z]/.test(address);
}
