// Seeded randomness: the same seed gives the same run.
// Owns: the generator (mulberry32). Never for secrets. Others may assume: `next` is in [0, 1) and `bytes` draws from the same stream.

import type { Random } from '../../contracts/ports.ts';

export interface SeededRandom extends Random {
  /** An integer in [0, below). */
  int(below: number): number;
  chance(probability: number): boolean;
  /** In [min, max). */
  between(min: number, max: number): number;
}

export function createSeededRandom(seed: number): SeededRandom {
  let state = seed >>> 0;
  function next(): number {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }
  return {
    next,
    bytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(next() * 256)),
    int: (below) => Math.floor(next() * below),
    chance: (probability) => next() < probability,
    between: (min, max) => min + next() * (max - min),
  };
}
