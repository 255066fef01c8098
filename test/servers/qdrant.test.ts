// The retrieval suite over a real Qdrant, when AIOS_QDRANT_URL names one; otherwise skipped and counted as such.
// Owns: a prefix of its own on that server. Never touches other collections and removes what it made.
// Others may assume: the wire-level fake is what stands in for it in every other run.

import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { QdrantClient } from '@qdrant/js-client-rest';
import { describe } from 'vitest';
import type { Retrieval } from '../../contracts/ports.ts';
import { openVectorCache } from '../../infra/files/vector-cache.ts';
import { connectQdrantRetrieval } from '../../infra/qdrant/retrieval.ts';
import { systemClock } from '../../infra/telemetry/index.ts';
import type { MakeRetrieval } from '../conformance/retrieval.ts';
import { describeRetrieval } from '../conformance/retrieval.ts';
import { silentLogger } from '../kit/silent.ts';

const url = process.env['AIOS_QDRANT_URL'];
const key = process.env['AIOS_QDRANT_KEY'];

/** Spaces of the suite get a prefix of this run; the tenants keep their names, which the suite checks. */
const make: MakeRetrieval = async (embed) => {
  const dir = await mkdtemp(join(tmpdir(), 'aios-qdrant-'));
  const run = `t${randomBytes(6).toString('hex')}-`;
  const real = await connectQdrantRetrieval({ clock: systemClock, log: silentLogger, embedderWaitMs: 0, embed, url: url ?? '', key, cache: await openVectorCache({ dir }) });
  const retrieval: Retrieval = {
    ...real,
    index: (tenant, space, documents, onProgress) => real.index(tenant, run + space, documents, onProgress).then(({ manifest, rebuilt }) => ({ rebuilt, manifest })),
    search: async (request) => {
      const answer = await real.search({ ...request, space: request.space.startsWith('.') ? request.space : run + request.space });
      return { ...answer, receipt: { ...answer.receipt, space: request.space } };
    },
    sample: (request) => (real.sample as NonNullable<Retrieval['sample']>)({ ...request, space: run + request.space }),
    manifest: (tenant, space) => real.manifest(tenant, run + space),
    erase: (tenant, space, document) => real.erase(tenant, run + space, document),
  };
  return { retrieval, async [Symbol.asyncDispose]() { await real[Symbol.asyncDispose](); await removeAll(run); await rm(dir, { recursive: true, force: true }); } };
};

async function removeAll(run: string): Promise<void> {
  const client = new QdrantClient({ url: url ?? '', ...(key === undefined ? {} : { apiKey: key }), checkCompatibility: false });
  const { collections } = await client.getCollections();
  for (const { name } of collections) if (name.includes(`__${run}`)) await client.deleteCollection(name);
}

describe.skipIf(url === undefined)('a real Qdrant', () => describeRetrieval('Qdrant (AIOS_QDRANT_URL)', make));
