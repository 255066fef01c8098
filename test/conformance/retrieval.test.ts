// The retrieval suite over the embedded engine on files and over Qdrant on the wire-level fake, and both compared.
// Owns: how each member is made. Never needs a server: the real Qdrant is in test/servers/qdrant.test.ts.
// Others may assume: every directory and server opened here is gone afterwards.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createEmbeddedRetrieval } from '../../agents/retrieval/engine.ts';
import type { SearchAnswer } from '../../contracts/ports.ts';
import { openIndexStore } from '../../infra/files/index-store.ts';
import { openVectorCache } from '../../infra/files/vector-cache.ts';
import { connectQdrantRetrieval } from '../../infra/qdrant/retrieval.ts';
import { systemClock } from '../../infra/telemetry/index.ts';
import { startFakeQdrant } from '../kit/fake-qdrant.ts';
import { silentLogger } from '../kit/silent.ts';
import type { MakeRetrieval } from './retrieval.ts';
import { CORPUS, createTestEmbed, describeRetrieval } from './retrieval.ts';

const shared = { clock: systemClock, log: silentLogger, embedderWaitMs: 0 };

const embedded: MakeRetrieval = async (embed) => {
  const dir = await mkdtemp(join(tmpdir(), 'aios-index-'));
  const retrieval = createEmbeddedRetrieval({ ...shared, embed, store: await openIndexStore({ dir: join(dir, 'index') }), cache: await openVectorCache({ dir: join(dir, 'vectors') }) });
  return { retrieval, async [Symbol.asyncDispose]() { await retrieval[Symbol.asyncDispose](); await rm(dir, { recursive: true, force: true }); } };
};
const onFake: MakeRetrieval = async (embed) => {
  const dir = await mkdtemp(join(tmpdir(), 'aios-index-'));
  const server = await startFakeQdrant();
  const retrieval = await connectQdrantRetrieval({ ...shared, embed, url: server.url, cache: await openVectorCache({ dir }) });
  return { retrieval, async [Symbol.asyncDispose]() { await retrieval[Symbol.asyncDispose](); await server[Symbol.asyncDispose](); await rm(dir, { recursive: true, force: true }); } };
};

describeRetrieval('files', embedded);
describeRetrieval('Qdrant (wire-level fake)', onFake);

describe('both engines', () => {
  it('give the same fragments with the same scores and signals', async () => {
    await using one = await embedded(createTestEmbed().embed);
    await using two = await onFake(createTestEmbed().embed);
    const ask = (member: typeof one, query: string): Promise<SearchAnswer> => member.retrieval.search({ tenant: 'acme', space: 'help', query, limit: 10, principal: { id: 'ada', type: 'user', tenant: 'acme', roles: [] }, deadline: Date.now() + 10_000 });
    for (const member of [one, two]) await member.retrieval.index('acme', 'help', CORPUS);
    for (const query of ['refund a double payment', 'change the billing address', 'seat', 'what does an export hold', 'zebra']) {
      const [a, b] = [await ask(one, query), await ask(two, query)];
      expect(b.fragments.map(rounded)).toEqual(a.fragments.map(rounded));
      expect(b.weights).toEqual(a.weights);
      expect(b.receipt.filterDigest).toBe(a.receipt.filterDigest);
    }
  });
});

describe('Qdrant', () => {
  it('that fails is answered by the table: wait, away, wrong key', async () => {
    await using server = await startFakeQdrant();
    const dir = await mkdtemp(join(tmpdir(), 'aios-index-'));
    await using retrieval = await connectQdrantRetrieval({ ...shared, url: server.url, cache: await openVectorCache({ dir }) });
    server.failWith(429, { 'retry-after': '17' });
    await expect(retrieval.manifest('acme', 'help')).rejects.toMatchObject({ code: 'AIOS_OVERLOADED', retryAfterMs: 1_000 });
    server.failWith(500);
    await expect(retrieval.manifest('acme', 'help')).rejects.toMatchObject({ code: 'AIOS_UNAVAILABLE' });
    server.failWith(403);
    await expect(retrieval.manifest('acme', 'help')).rejects.toMatchObject({ code: 'AIOS_CONFIG_INVALID' });
    await rm(dir, { recursive: true, force: true });
  });
  it('that is not there is AIOS_UNAVAILABLE at the start', async () => {
    const { url } = await startFakeQdrant().then(async (server) => { await server[Symbol.asyncDispose](); return server; });
    await expect(connectQdrantRetrieval({ ...shared, url, cache: await openVectorCache({ dir: tmpdir() }) })).rejects.toMatchObject({ code: 'AIOS_UNAVAILABLE' });
  });
});

const rounded = (fragment: SearchAnswer['fragments'][number]) => ({
  ...fragment,
  score: Number(fragment.score.toFixed(4)),
  signals: { ...fragment.signals, cosine: Number(fragment.signals.cosine.toFixed(4)), bm25: Number(fragment.signals.bm25.toFixed(4)) },
});
