// Money: what a metered call cost, in integer micro-USD, from disjoint counters and a price table named by its digest.
// Owns: the one formula and its rounding. Never treats an absent price as zero; a price of zero must be written down.
// Others may assume: no usage costs 0, and the cost of a sum is never less than any of its parts.

import type { Price } from '../contracts/bundle.ts';
import { digestOf } from '../contracts/canonical.ts';
import { fail } from '../contracts/errors.ts';
import type { Digest } from '../contracts/ids.ts';
import type { Usage } from '../contracts/receipt.ts';

/** Prices are micro-USD per million tokens, and per second of device time: a million of `deviceUs`. */
const UNIT = 1_000_000n;

/**
 * Cost of one call in micro-USD, rounded up once at the end. `model` only names the model in the refusal.
 * @throws AIOS_PRICE_UNKNOWN when the table has no such price, AIOS_INPUT_INVALID for counters that are no counts
 */
export function costOf(usage: Usage, price: Price | undefined, model = 'this model'): number {
  if (price === undefined) throw fail('AIOS_PRICE_UNKNOWN', `No price for ${model}.`);
  const exact =
    product(usage.inputTokens, price.inputPerMillion) +
    product(usage.cacheReadTokens, price.cacheReadPerMillion) +
    product(usage.cacheWriteTokens, price.cacheWritePerMillion) +
    product(usage.outputTokens, price.outputPerMillion) +
    product(usage.reasoningTokens, price.reasoningPerMillion) +
    product(usage.deviceUs, price.devicePerSecond);
  return Number((exact + UNIT - 1n) / UNIT);
}

/** Names one price for ever; receipts carry it, so that an old bill can be recomputed. */
export const priceDigest = (price: Price): Digest => digestOf(price);

/** Names a whole table: two calls with the same one were priced by the same rules. */
export const priceTableDigest = (prices: Readonly<Record<string, Price>>): Digest => digestOf(prices);

/** The worst case of a generation: every token of the prompt uncached and every token allowed spent. */
export function worstCaseOf(most: { readonly inputTokens: number; readonly outputTokens: number; readonly deviceUs?: number }, price: Price | undefined, model?: string): number {
  return costOf({ inputTokens: most.inputTokens, cacheReadTokens: 0, cacheWriteTokens: 0, outputTokens: most.outputTokens, reasoningTokens: 0, deviceUs: most.deviceUs ?? 0 }, price, model);
}

/** What is wrong with a price, for publish; nothing is rounded silently. */
export function priceProblems(price: Price): readonly string[] {
  const fields = ['inputPerMillion', 'cacheReadPerMillion', 'cacheWritePerMillion', 'outputPerMillion', 'reasoningPerMillion', 'devicePerSecond'] as const;
  return fields.filter((name) => !isCount(price[name])).map((name) => `${name} must be an integer of micro-USD, 0 or more`);
}

function product(count: number, rate: number): bigint {
  if (!isCount(count) || !isCount(rate)) throw fail('AIOS_INPUT_INVALID', 'usage and prices are integers, 0 or more.');
  return BigInt(count) * BigInt(rate);
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;
