// Test layers as vitest projects: `unit` needs nothing, `servers` starts real NATS and Temporal, one file at a time.
// Owns: which file belongs to which layer. Never sets a global; every test opens what it needs with `await using`.
// Others may assume: `vitest run --project unit` finishes without a server, a network or ../shared.

import { defineConfig } from 'vitest/config';

const shared = { resolve: { conditions: ['aios-source', 'node'] }, ssr: { resolve: { conditions: ['aios-source', 'node'] } } };

export default defineConfig({
  ...shared,
  test: {
    projects: [
      { ...shared, test: { name: 'unit', include: ['test/{unit,types,golden,regression,sim,replay,conformance}/**/*.test.ts', 'test/tidy.test.ts'], testTimeout: 60_000 } },
      { ...shared, test: { name: 'servers', include: ['test/{servers,scenario}/**/*.test.ts'], testTimeout: 180_000, hookTimeout: 180_000, fileParallelism: false } },
    ],
  },
});
