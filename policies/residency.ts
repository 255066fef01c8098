// Residency: which provider may see data of which class, asked before providers are ranked.
// Owns: the rule. Never knows a provider's name, only its traits.
// Others may assume: an empty answer means the next rung of the ladder, never a silent hop outside.

import type { ProviderTraits } from '../contracts/bundle.ts';
import type { DataClass } from '../contracts/capability.ts';
import { covers } from '../contracts/capability.ts';

/** What may leave the boundary unredacted at most; `confidential` and above stay inside whatever a provider is declared for. */
export const OUTSIDE_CLASS_MAX: DataClass = 'internal';

/** True when the provider may see the class and, where `regions` are given (a mandate's), runs in one of them; `*` is any region. */
export function mayProvide(provider: ProviderTraits, dataClass: DataClass, regions?: readonly string[]): boolean {
  if (!covers(provider.dataClassMax, dataClass)) return false;
  if (!provider.inside && !covers(OUTSIDE_CLASS_MAX, dataClass)) return false;
  return regions === undefined || regions.includes('*') || regions.includes(provider.region);
}

/** The names of those who may, in the order given. */
export function candidatesFor(providers: Readonly<Record<string, ProviderTraits>>, dataClass: DataClass, regions?: readonly string[]): readonly string[] {
  return Object.keys(providers).filter((name) => mayProvide(providers[name] as ProviderTraits, dataClass, regions));
}
