// Answers given before to exactly the same question under exactly the same rights.
// Owns: the bounded store and its key. Never shares between tenants, classes, scopes or bundles: all are in the key.
// Others may assume: an entry is gone after its time to live, and what is stored was deep-frozen by nobody: treat it as read only.

import { digestOf } from '../../contracts/canonical.ts';
import type { Clock } from '../../contracts/ports.ts';

export interface CacheScope {
  readonly tenant: string;
  readonly capability: string;
  readonly dataClass: string;
  readonly models: readonly string[];
  readonly regions: readonly string[];
  readonly bundle: string;
  readonly input: unknown;
}
export interface ExactCache<T> {
  get(key: string): T | undefined;
  set(key: string, value: T, chars: number): void;
}

const ENTRIES_MAX = 4_096;
const CHARS_MAX = 32 * 1024 * 1024;
const LIFE_MS = 10 * 60_000;

export const cacheKey = (scope: CacheScope): string => digestOf(scope);

/** Least recently used goes first; past either bound. */
export function createExactCache<T>(clock: Pick<Clock, 'monotonic'>): ExactCache<T> {
  const entries = new Map<string, { readonly value: T; readonly chars: number; readonly until: number }>();
  let chars = 0;
  const drop = (key: string) => {
    chars -= entries.get(key)?.chars ?? 0;
    entries.delete(key);
  };
  return {
    get(key) {
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      drop(key);
      if (entry.until <= clock.monotonic()) return undefined;
      entries.set(key, entry);
      chars += entry.chars;
      return entry.value;
    },
    set(key, value, size) {
      drop(key);
      entries.set(key, { value, chars: size, until: clock.monotonic() + LIFE_MS });
      chars += size;
      while (entries.size > ENTRIES_MAX || chars > CHARS_MAX) {
        const oldest = entries.keys().next().value;
        if (oldest === undefined) return;
        drop(oldest);
      }
    },
  };
}
