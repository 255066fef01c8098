// How well and how fast retrieval finds: nDCG@10 on SciFact and recall on XQuAD passages, each ranking beside the fused one.
// Owns: the two data sets' reading and the figures. Never tunes: weights are the shipped ones, others are shown beside them.
// Others may assume: a missing data folder is counted in `skipped`, and vectors are cached, so a second run measures the same faster.

import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { startWorker } from '../../agents/model-worker/worker.ts';
import type { Embed } from '../../agents/retrieval/embed-corpus.ts';
import { createEmbeddedRetrieval } from '../../agents/retrieval/engine.ts';
import type { Fusion } from '../../agents/retrieval/fuse.ts';
import { DEFAULT_FUSION } from '../../agents/retrieval/fuse.ts';
import { digestOf } from '../../contracts/canonical.ts';
import { parseDigest } from '../../contracts/ids.ts';
import type { Retrieval } from '../../contracts/ports.ts';
import { readConfig } from '../../infra/config.ts';
import { loadDocuments } from '../../infra/corpus/load.ts';
import { openIndexStore } from '../../infra/files/index-store.ts';
import { openVectorCache } from '../../infra/files/vector-cache.ts';
import { createOnnxSlots } from '../../infra/onnx/slot.ts';
import { openModelStore } from '../../infra/onnx/store.ts';
import { systemClock } from '../../infra/telemetry/index.ts';
import { silentLogger, silentMetrics } from '../kit/silent.ts';

const MODEL = 'minilm-l6-int8';
const TENANT = 'bench';
const PRINCIPAL = { id: 'bench', type: 'service', tenant: TENANT, roles: [] } as const;

export interface RankingFigures { readonly bm25: number; readonly dense: number; readonly fused: number; readonly convex30: number; readonly rrf60: number }
export interface RetrievalBench {
  readonly scifactNdcg10?: RankingFigures;
  readonly xquadRecall1?: RankingFigures;
  readonly xquadRecall5?: RankingFigures;
  readonly indexChunks: number;
  readonly indexSeconds: number;
  /** Embedding the query included. */
  readonly searchP50Ms: number;
  readonly lexicalP50Ms: number;
  readonly skipped: number;
}
const RANKINGS: Readonly<Record<keyof RankingFigures, Fusion | 'lexical'>> = { bm25: 'lexical', dense: { kind: 'convex', lexicalWeight: 0 }, fused: DEFAULT_FUSION, convex30: { kind: 'convex', lexicalWeight: 0.3 }, rrf60: { kind: 'reciprocal', k: 60 } };

interface Question { readonly text: string; readonly relevant: ReadonlySet<string> }
interface DataSet { readonly space: string; readonly corpus: string; readonly questions: () => readonly Question[] }

export async function run({ json }: { readonly json: boolean }): Promise<RetrievalBench> {
  const home = await mkdtemp(join(tmpdir(), 'aios-bench-'));
  try {
    const result = await measure(home, json ? () => {} : (line) => process.stderr.write(`${line}\n`));
    process.stdout.write(json ? `${JSON.stringify(result)}\n` : `${JSON.stringify(result, undefined, 2)}\n`);
    return result;
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

async function measure(home: string, say: (line: string) => void): Promise<RetrievalBench> {
  await using embedder = await openEmbedder();
  const sets = dataSets();
  const times = { search: [] as number[], lexical: [] as number[] };
  let [indexChunks, indexSeconds, skipped] = [0, 0, 0];
  const found: Record<string, Record<string, number[][]>> = {};
  for (const set of sets) {
    if (!existsSync(set.corpus)) {
      skipped++;
      continue;
    }
    const started = performance.now();
    await using retrieval = await openEngine(home, embedder.embed, DEFAULT_FUSION);
    const { manifest } = await retrieval.index(TENANT, set.space, loadDocuments(set.corpus), ({ stage, done, total }) => done % 1_024 < 16 && say(`${set.space}: ${stage} ${done} of ${total}`));
    indexChunks += manifest.chunks;
    indexSeconds += (performance.now() - started) / 1_000;
    found[set.space] = await rank(home, embedder.embed, set, times);
    say(`${set.space}: nDCG@10 ${JSON.stringify(figures(found[set.space] ?? {}, 0))} recall@1 ${JSON.stringify(figures(found[set.space] ?? {}, 1))}`);
  }
  const { scifact, xquad } = found;
  return {
    ...(scifact === undefined ? {} : { scifactNdcg10: figures(scifact, 0) }),
    ...(xquad === undefined ? {} : { xquadRecall1: figures(xquad, 1), xquadRecall5: figures(xquad, 2) }),
    indexChunks, indexSeconds: round(indexSeconds, 1), searchP50Ms: round(median(times.search), 2), lexicalP50Ms: round(median(times.lexical), 2), skipped,
  };
}

/** For each ranking, for each question: [nDCG@10, recall@1, recall@5]. */
async function rank(home: string, embed: Embed, set: DataSet, times: { readonly search: number[]; readonly lexical: number[] }): Promise<Record<string, number[][]>> {
  const known = remembering(embed);
  const scores: Record<string, number[][]> = {};
  for (const [name, fusion] of Object.entries(RANKINGS)) {
    await using retrieval = await openEngine(home, name === 'fused' ? embed : known, fusion === 'lexical' ? DEFAULT_FUSION : fusion);
    const rows: number[][] = (scores[name] = []);
    for (const question of set.questions()) {
      const started = performance.now();
      const answer = await retrieval.search({ tenant: TENANT, space: set.space, query: question.text, limit: 64, principal: PRINCIPAL, deadline: Date.now() + 30_000, lexicalOnly: fusion === 'lexical' });
      if (name === 'fused') times.search.push(performance.now() - started);
      if (name === 'bm25') times.lexical.push(performance.now() - started);
      rows.push(judge([...new Set(answer.fragments.map(({ document }) => document))], question.relevant));
    }
  }
  return scores;
}

/** nDCG with one gain for each relevant document: Järvelin and Kekäläinen (2002). */
function judge(documents: readonly string[], relevant: ReadonlySet<string>): number[] {
  const gain = (ranks: readonly number[]) => ranks.reduce((sum, at) => sum + 1 / Math.log2(at + 2), 0);
  const hits = documents.slice(0, 10).flatMap((id, at) => (relevant.has(id) ? [at] : []));
  const ideal = gain(Array.from({ length: Math.min(10, relevant.size) }, (_, at) => at));
  const recall = (depth: number) => documents.slice(0, depth).filter((id) => relevant.has(id)).length / relevant.size;
  return [gain(hits) / ideal, recall(1), recall(5)];
}

const figures = (scores: Readonly<Record<string, readonly number[][]>>, column: number): RankingFigures =>
  Object.fromEntries(Object.entries(scores).map(([name, rows]) => [name, round(rows.reduce((sum, row) => sum + (row[column] ?? 0), 0) / rows.length, 3)])) as unknown as RankingFigures;

// ---- data

function dataSets(): readonly DataSet[] {
  const dir = resolve(process.env['AIOS_DATA_DIR'] ?? '../shared/data');
  const lines = (path: string): Record<string, string>[] => {
    const bytes = readFileSync(join(dir, path));
    return (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8').split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as Record<string, string>);
  };
  return [
    { space: 'xquad', corpus: join(dir, 'retrieval-xquad/passages.en.jsonl.gz'), questions: () => lines('retrieval-xquad/questions.en.jsonl.gz').map(({ text = '', passage = '' }) => ({ text, relevant: new Set([passage]) })) },
    { space: 'scifact', corpus: join(dir, 'retrieval-scifact/corpus.jsonl.gz'), questions: () => scifactQuestions(lines('retrieval-scifact/queries.jsonl'), readFileSync(join(dir, 'retrieval-scifact/qrels.tsv'), 'utf8')) },
  ];
}

function scifactQuestions(queries: readonly Record<string, string>[], qrels: string): readonly Question[] {
  const relevant = new Map<string, Set<string>>();
  for (const line of qrels.trim().split('\n').slice(1)) {
    const [query = '', document = '', score] = line.split('\t');
    if (Number(score) > 0) relevant.set(query, (relevant.get(query) ?? new Set()).add(document));
  }
  return queries.flatMap(({ _id = '', text = '' }) => ((wanted) => (wanted === undefined ? [] : [{ text, relevant: wanted }]))(relevant.get(_id)));
}

// ---- engine

async function openEngine(home: string, embed: Embed, fusion: Fusion): Promise<Retrieval> {
  const { cacheDir } = readConfig('bench');
  return createEmbeddedRetrieval({ embed, fusion, clock: systemClock, log: silentLogger, store: await openIndexStore({ dir: join(home, 'index') }), cache: await openVectorCache({ dir: join(cacheDir, 'vectors') }) });
}

/** The shipped encoder in its own child process, as the model worker runs it. */
async function openEmbedder(): Promise<{ readonly embed: Embed } & AsyncDisposable> {
  const store = await openModelStore();
  const worker = startWorker({ name: 'bench', incarnation: 'bench', zone: 'local', models: store.entries, heads: [], port: createOnnxSlots({ graphs: store.graphs, slots: 1 }), slots: 1, clock: systemClock, log: silentLogger, metrics: silentMetrics });
  await worker.ready;
  const embed: Embed = async ({ texts, deadline, sla = 'interactive' }) => {
    const { vectors, used } = await worker.embed(MODEL, { texts, tenant: TENANT, sla, deadline });
    return { vectors, receipt: { kind: 'model', capability: 'text.embed', provider: 'bench', model: MODEL, modelDigest: parseDigest(used.modelDigest), priceDigest: digestOf('none'), costMicroUsd: 0, batch: used.batch, queueMs: used.queueMs, usage: { inputTokens: used.tokens, cacheReadTokens: 0, cacheWriteTokens: 0, outputTokens: 0, reasoningTokens: 0, deviceUs: used.deviceUs } } };
  };
  return { embed, [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose]() };
}

/** A question is embedded once for all rankings but the timed one. */
function remembering(embed: Embed): Embed {
  const known = new Map<string, ReturnType<Embed>>();
  return (request) => {
    const key = request.texts.join('\n');
    const answer = known.get(key) ?? embed(request);
    known.set(key, answer);
    return answer;
  };
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
const round = (value: number, digits: number): number => Number(value.toFixed(digits));

if (import.meta.main) await run({ json: process.argv.includes('--json') });
