// `space.search`, `space.sample` and `space.index`: retrieval for agents, and the one way documents get into a space.
// Owns: the mandate's list of spaces, the indexing jobs and their long poll. Never builds a filter: the engine does, from the principal.
// Others may assume: a search's receipts are [retrieval, model?], and one space is indexed by one job at a time.

import { fail, toErrorBody } from '../../../contracts/errors.ts';
import type { Clock, IndexManifest, IndexProgress, Logger, Retrieval, SourceDocument } from '../../../contracts/ports.ts';
import { grantsName } from '../../runtime/authority.ts';
import { spaceIndex, spaceSample, spaceSearch } from '../capabilities.ts';
import type { GatewayCall, GatewayHandler } from './handler.ts';
import { untyped } from './handler.ts';

export interface Skipped {
  readonly where: string;
  readonly why: string;
}
export interface SpaceHandlerOptions {
  readonly retrieval: Retrieval;
  /** Reads documents from a path on this machine. */
  readonly loadDocuments: (path: string, onSkipped: (skipped: Skipped) => void) => AsyncIterable<SourceDocument>;
  /** What a query's embedding is expected to cost at most. */
  readonly expectedMicroUsd: () => number;
  readonly clock: Clock;
  readonly log: Logger;
}

const INDEXING_ROLE = 'operator';
const SKIPPED_MAX = 100;
const JOBS_MAX = 64;

export function spaceHandlers(options: SpaceHandlerOptions): readonly GatewayHandler[] {
  const jobs = new Map<string, Job>();
  return [
    untyped({
      capability: spaceSearch,
      cacheable: false,
      async handle({ space, query, limit, lexicalOnly }, call) {
        checkSpace(call, space);
        const { tenant, principal, trace } = call.envelope;
        const hold = await call.hold(lexicalOnly === true ? 0 : options.expectedMicroUsd());
        let spent = 0;
        try {
          const answer = await options.retrieval.search({ tenant, space, query, limit, principal, deadline: call.scope.deadline, trace, ...(lexicalOnly === undefined ? {} : { lexicalOnly }) });
          spent = answer.model?.costMicroUsd ?? 0;
          return {
            output: { fragments: [...answer.fragments], ...(answer.weights === undefined ? {} : { weights: answer.weights }) },
            receipts: [answer.receipt, ...(answer.model === undefined ? [] : [{ ...answer.model, space }])],
          };
        } finally {
          hold.settle(spent);
        }
      },
    }),
    untyped({
      capability: spaceSample,
      cacheable: false,
      async handle({ space, count }, call) {
        checkSpace(call, space);
        const { tenant, principal } = call.envelope;
        const sample = await options.retrieval.sample?.({ tenant, space, count, principal });
        if (sample === undefined) throw fail('AIOS_UNAVAILABLE', `the engine ${options.retrieval.engine} gives no samples.`);
        return { output: { epoch: sample.epoch, headings: [...sample.headings] }, receipts: [] };
      },
    }),
    untyped({
      capability: spaceIndex,
      cacheable: false,
      async handle({ space, path, waitMs }, call) {
        checkSpace(call, space);
        if (!call.envelope.principal.roles.includes(INDEXING_ROLE)) throw fail('AIOS_FORBIDDEN', `indexing needs the role ${INDEXING_ROLE}.`);
        const job = join(options, jobs, call.envelope.tenant, space, path);
        const left = Math.max(0, Math.min(waitMs, call.scope.deadline - options.clock.now() - 200));
        await Promise.race([job.ended, options.clock.sleep(left)]);
        if (job.state !== 'running') jobs.delete(job.key);
        return { output: viewOf(job), receipts: [] };
      },
    }),
  ];
}

function checkSpace({ mandate }: GatewayCall, space: string): void {
  if (!grantsName(mandate.grant.spaces, space)) throw fail('AIOS_MANDATE_EXCEEDED', `the space ${space} is not granted.`);
}

interface Job {
  readonly key: string;
  ended: Promise<void>;
  state: 'running' | 'done' | 'failed';
  progress: IndexProgress;
  readonly skipped: Skipped[];
  manifest?: IndexManifest;
  rebuilt?: boolean;
  error?: { readonly code: string; readonly message: string };
}

/** The job of this space and path, started when there is none; one of another path has to end first. */
function join(options: SpaceHandlerOptions, jobs: Map<string, Job>, tenant: string, space: string, path: string): Job {
  const key = `${tenant}/${space}/${path}`;
  const known = jobs.get(key);
  if (known !== undefined) return known;
  if ([...jobs.values()].some((job) => job.state === 'running' && job.key.startsWith(`${tenant}/${space}/`))) throw fail('AIOS_OVERLOADED', 'this space is being indexed from another path.', { retryAfterMs: 1_000 });
  if (jobs.size >= JOBS_MAX) forgetEnded(jobs);
  const job: Job = { key, ended: Promise.resolve(), state: 'running', progress: { stage: 'chunk', done: 0, total: 0 }, skipped: [] };
  jobs.set(key, job);
  job.ended = run(options, job, tenant, space, path);
  return job;
}

function forgetEnded(jobs: Map<string, Job>): void {
  for (const [key, job] of jobs) if (job.state !== 'running') jobs.delete(key);
  if (jobs.size >= JOBS_MAX) throw fail('AIOS_OVERLOADED', 'too many spaces are being indexed.', { retryAfterMs: 1_000 });
}

async function run({ retrieval, loadDocuments, log }: SpaceHandlerOptions, job: Job, tenant: string, space: string, path: string): Promise<void> {
  const onSkipped = (skipped: Skipped) => job.skipped.length < SKIPPED_MAX && job.skipped.push(skipped);
  try {
    const { manifest, rebuilt } = await retrieval.index(tenant, space, loadDocuments(path, onSkipped), (progress) => (job.progress = progress));
    Object.assign(job, { state: 'done', manifest, rebuilt });
    log.info({ space, epoch: manifest.epoch, documents: manifest.documents, chunks: manifest.chunks, rebuilt, skipped: job.skipped.length }, 'indexed');
  } catch (error) {
    const { code, message } = toErrorBody(error);
    Object.assign(job, { state: 'failed', error: { code, message } });
    log.warn({ space, code }, 'indexing failed');
  }
}

const viewOf = ({ state, progress, manifest, rebuilt, error, skipped }: Job) => ({
  state, ...progress, skipped,
  ...(manifest === undefined ? {} : { manifest }),
  ...(rebuilt === undefined ? {} : { rebuilt }),
  ...(error === undefined ? {} : { error }),
});
