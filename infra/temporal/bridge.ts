// The way back into waiting workflows: every outcome that is stored wakes the activity that waits for it, by task token.
// Owns: the durable reader of the outcome stream and the set of waits there are; most outcomes were heard in place, and finding
// that nobody waits costs no question. Never judges an outcome: the workflow reads and checks it itself.
// Others may assume: an outcome and a wait meet whichever comes first: for a wait that is reported the store is searched, and
// the activity itself looks after it has registered; a token of an earlier attempt is refused by the server, so a late agent is fenced.

import type { Client } from '@temporalio/client';
import type { Logger, Metrics, Outcomes, Wait, WaitTokens } from '../../contracts/ports.ts';
import { convertTemporalError, isNotFound } from './errors.ts';

export interface BridgeOptions {
  readonly client: Client;
  readonly outcomes: Outcomes;
  readonly tokens: WaitTokens;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** Shared by all bridge processes, so that each outcome is handled by one of them. */
const DURABLE = 'bridge';
/** Waits remembered at once, about 200 bytes each; past it the tokens are asked about every outcome. */
const WAITS_MAX = 100_000;

export async function startBridge(options: BridgeOptions): Promise<AsyncDisposable> {
  await using opening = new AsyncDisposableStack();
  const waits = new Set<string>();
  opening.use(await options.tokens.watch((wait, there) => {
    if (!there) return void waits.delete(nameOf(wait));
    if (waits.size < WAITS_MAX) waits.add(nameOf(wait));
    void lookBack(options, wait);
  }));
  opening.use(await options.outcomes.consume(DURABLE, async ({ tenant, task, id }) => {
    const wait: Wait = { tenant, task, envelopeId: id };
    if (waits.has(nameOf(wait)) || waits.size >= WAITS_MAX) await wake(options, wait);
  }));
  const open = opening.move();
  return { [Symbol.asyncDispose]: () => open.disposeAsync() };
}

const nameOf = ({ tenant, task, envelopeId }: Wait): string => `${tenant}/${task}/${envelopeId}`;

/** The outcome may have been handled before its wait was known here. A look that fails is made again by the activity. */
async function lookBack(options: BridgeOptions, wait: Wait): Promise<void> {
  try {
    if ((await options.outcomes.find(wait.tenant, wait.task, wait.envelopeId)) !== undefined) await wake(options, wait);
  } catch (thrown) {
    options.logger.warn({ task: wait.task, code: convertTemporalError(thrown).code }, 'the outcome of a wait could not be looked for');
  }
}

async function wake({ client, tokens, logger, metrics }: BridgeOptions, { tenant, task, envelopeId }: Wait): Promise<void> {
  const token = await tokens.get(tenant, task, envelopeId);
  if (token === undefined) return;
  try {
    await client.activity.complete(token, { arrived: envelopeId });
    metrics.count('aios_bridge_completed_total');
  } catch (thrown) {
    if (!isGone(thrown)) throw convertTemporalError(thrown);
    logger.info({ task }, 'an outcome came for a wait that is over');
  }
  await tokens.delete(tenant, task, envelopeId);
}

const isGone = (thrown: unknown): boolean => isNotFound(thrown) || (thrown as { name?: unknown }).name === 'ActivityNotFoundError';
