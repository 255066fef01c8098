// Writes cases.json: points as the engine stores them and queries as it asks them, for make.py to run on Qdrant's own engine.
// Owns: the corpus of the comparison. Run `node cases.ts`, then `python make.py`, only when the layout changes.
// Others may assume: it uses the engine's own layout functions, so the filters are the ones searches carry.

import { writeFileSync } from 'node:fs';
import { chunkDocument, indexedText } from '../../../agents/retrieval/chunk.ts';
import { compileFilter } from '../../../agents/retrieval/filter.ts';
import { queryVector, sparseCorpus } from '../../../agents/retrieval/sparse.ts';
import { dequantise, quantise } from '../../../agents/retrieval/vectors.ts';
import { documentFilter, payloadOf, pointId, qdrantFilter } from '../../../infra/qdrant/layout.ts';
import { CORPUS, hashed } from '../../conformance/retrieval.ts';

const topics = ['refund', 'invoice', 'seat', 'export', 'address', 'password', 'webhook', 'report', 'trial', 'currency'];
const pages = topics.flatMap((topic, i) => topics.slice(0, 5).map((other, j) => ({
  id: `page-${i}-${j}.md`, title: `About ${topic}`,
  text: `The ${topic} of an account follows the ${other} of its owner. ${j % 2 === 0 ? `A ${topic} takes ${i + j} days.` : `Ask before the ${topic} and the ${topics[(i + j) % 10]}.`}`,
  ...(i % 4 === 1 ? { labels: { roles: j % 2 === 0 ? 'finance' : 'finance, legal' } } : i % 4 === 3 ? { labels: { owner: 'bob' } } : {}),
})));
const chunks = [...CORPUS, ...pages].flatMap((document) => chunkDocument(document).map((chunk) => ('labels' in document && document.labels !== undefined ? { ...chunk, labels: document.labels as Readonly<Record<string, string>> } : chunk)));
const { table, vectors } = sparseCorpus(chunks.map(indexedText));
const points = chunks.map((chunk, row) => ({ id: pointId(chunk.id), vector: { dense: [...dequantise(quantise(hashed(indexedText(chunk))))], bm25: vectors[row] }, payload: payloadOf(chunk, row % 5 === 4 ? 'beta' : 'acme', row) }));

const who = [
  { id: 'ada', type: 'user', tenant: 'acme', roles: [] },
  { id: 'eve', type: 'user', tenant: 'acme', roles: ['finance'] },
  { id: 'bob', type: 'user', tenant: 'acme', roles: ['legal', 'support'] },
  { id: 'zoe', type: 'user', tenant: 'beta', roles: ['finance'] },
] as const;
const asked = ['how many days does a refund take', 'invoice of the owner', 'change my address', 'ask before the webhook', 'zebra export currency'];
const queries = asked.flatMap((text) => who.map((principal) => ({ text, principal: principal.id, filter: qdrantFilter(compileFilter(principal.tenant, principal)), dense: [...hashed(text)], bm25: queryVector(table, text), limit: 12 })));
const erase = documentFilter('acme', 'refunds.md');

writeFileSync(new URL('cases.json', import.meta.url), `${JSON.stringify({ dimensions: 32, points, queries, erase })}\n`);
