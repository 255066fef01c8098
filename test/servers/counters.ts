// Metrics that a test can read: counts, gauges and observations by name.
// Owns: sums in memory. Never exports anything. Others may assume: `total(name, labels)` adds up every count
// whose labels hold the given ones.

import type { Labels, Metrics } from '../../contracts/ports.ts';

export interface Counters extends Metrics {
  total(name: string, labels?: Labels): number;
}

export function createCounters(): Counters {
  const counts: { readonly name: string; readonly labels: Labels; readonly by: number }[] = [];
  return {
    count: (name, labels = {}, by = 1) => void counts.push({ name, labels, by }),
    gauge: () => {},
    observe: () => {},
    total: (name, labels = {}) => counts.filter((one) => one.name === name && Object.entries(labels).every(([key, value]) => one.labels[key] === value)).reduce((sum, one) => sum + one.by, 0),
  };
}
