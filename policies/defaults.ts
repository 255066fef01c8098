// What a deployment starts with besides its Cedar files: prices, providers, groups and caps, as plain data.
// Owns: the shipped values. Never read at run time: they are published in the bundle and come back from there.
// Others may assume: every shipped model and provider has a price, and every group that a shipped policy names has members.

import type { Price, ProviderTraits } from '../contracts/bundle.ts';

const free: Price = { inputPerMillion: 0, cacheReadPerMillion: 0, cacheWritePerMillion: 0, outputPerMillion: 0, reasoningPerMillion: 0, devicePerSecond: 0 };

/**
 * Micro-USD. Local models cost device time: 40 micro-USD a second is a two-core share of a machine at about 0.15 USD an hour.
 * `openai` is any server of that protocol, by tokens; what is not listed here is refused, so a deployment adds its own.
 */
export const DEFAULT_PRICES: Readonly<Record<string, Price>> = {
  'minilm-l6-int8': { ...free, devicePerSecond: 40 },
  'minilm-static-256': { ...free, devicePerSecond: 40 },
  workers: { ...free, devicePerSecond: 40 },
  openai: { ...free, inputPerMillion: 500_000, cacheReadPerMillion: 125_000, cacheWritePerMillion: 625_000, outputPerMillion: 1_500_000, reasoningPerMillion: 1_500_000 },
};

/** A provider that is not named here is what it declares itself to be; the bundle can only narrow that. */
export const DEFAULT_PROVIDERS: Readonly<Record<string, ProviderTraits>> = {
  workers: { inside: true, region: 'local', dataClassMax: 'restricted' },
};

/** People of the development home; `operators` are asked when nobody else decided. */
export const DEFAULT_GROUPS: Readonly<Record<string, readonly string[]>> = {
  'support-lead': ['ana', 'ben'],
  'billing-lead': ['ben', 'ana'],
  operators: ['ana', 'ben'],
};

/** Micro-USD a month; `*` is any tenant that is not named. 50 USD is some 2,500 tickets at the desk's full budget. */
export const DEFAULT_BUDGETS: Readonly<Record<string, number>> = { '*': 50_000_000 };
