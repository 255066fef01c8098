// The embedding model as retrieval sees it: which one answers, and when to go on without it.
// Owns: the wait for a worker that still starts, the fall back to a lexical answer, the name of "no embedder".
// Never compares vectors of two models. Others may assume: an answer without vectors says so by having no model receipt.

import { hasCode, isAiosError } from '../../contracts/errors.ts';
import type { Clock, EmbedAnswer, Logger, SearchRequest } from '../../contracts/ports.ts';
import type { Embed } from './embed-corpus.ts';
import { probeEmbedder } from './embed-corpus.ts';

/** Named as embedder when an epoch was built without one. */
export const NO_EMBEDDER = 'none';
/** A build waits this long for a model worker that is not there before it goes without vectors. */
const EMBEDDER_WAIT_MS = 30_000;

export interface EmbedderOptions {
  /** Absent: every epoch and every search is lexical. */
  readonly embed?: Embed;
  readonly clock: Clock;
  readonly log: Logger;
  readonly embedderWaitMs?: number;
}

/** Waits for a model worker that is still starting; gives up after a bound and builds a lexical epoch. */
export async function findEmbedder({ embed, clock, log, embedderWaitMs = EMBEDDER_WAIT_MS }: EmbedderOptions, tenant: string): Promise<string> {
  if (embed === undefined) return NO_EMBEDDER;
  const until = clock.monotonic() + embedderWaitMs;
  for (;;) {
    try {
      return (await probeEmbedder({ embed, clock, tenant })).modelDigest;
    } catch (error) {
      if (!isAway(error) && !hasCode(error, 'AIOS_DEADLINE_EXCEEDED')) throw error;
      if (clock.monotonic() >= until) break;
      await clock.sleep(500);
    }
  }
  log.warn({}, 'no embedder within the wait; the epoch is built without vectors and is built again when one is there');
  return NO_EMBEDDER;
}

/** `undefined` makes the answer lexical: asked for, no vectors, the embedder is away, or it is another model than built the epoch. */
export async function embedQuery(options: EmbedderOptions, { embedder, epoch }: { readonly embedder: string; readonly epoch: string }, request: SearchRequest): Promise<EmbedAnswer | undefined> {
  if (options.embed === undefined || request.lexicalOnly === true || embedder === NO_EMBEDDER) return undefined;
  try {
    const answer = await options.embed({ texts: [request.query], deadline: request.deadline, tenant: request.tenant, trace: request.trace });
    if (answer.receipt.modelDigest === embedder) return answer;
    options.log.warn({ space: request.space, epoch }, 'the epoch was built with another embedding model; answering without vectors');
  } catch (error) {
    if (!isAway(error)) throw error;
    options.log.warn({ space: request.space, code: isAiosError(error) ? error.code : undefined }, 'no embedder; answering without vectors');
  }
  return undefined;
}

const isAway = (error: unknown): boolean => (['AIOS_MODEL_UNAVAILABLE', 'AIOS_MODEL_UNKNOWN', 'AIOS_MODEL_FAULT', 'AIOS_UNAVAILABLE', 'AIOS_OVERLOADED', 'AIOS_DISCONNECTED', 'AIOS_DEADLINE_INFEASIBLE'] as const).some((code) => hasCode(error, code));
