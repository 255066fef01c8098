// The way back into waiting workflows: every outcome that is stored wakes the activity that waits for it, by task token.
// Owns: the durable reader of the outcome stream. Never judges an outcome: the workflow reads and checks it itself.
// Others may assume: an outcome whose token is not there yet is found by the activity, which looks after it has registered;
// a token of an earlier attempt is refused by the server, so a late agent is fenced.

import type { Client } from '@temporalio/client';
import type { Outcome } from '../../contracts/message.ts';
import type { Logger, Metrics, Outcomes, WaitTokens } from '../../contracts/ports.ts';
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

export function startBridge(options: BridgeOptions): Promise<AsyncDisposable> {
  return options.outcomes.consume(DURABLE, (outcome) => wake(options, outcome));
}

async function wake({ client, tokens, logger, metrics }: BridgeOptions, outcome: Outcome): Promise<void> {
  const token = await tokens.get(outcome.tenant, outcome.task, outcome.id);
  if (token === undefined) return;
  try {
    await client.activity.complete(token, { arrived: outcome.id });
    metrics.count('aios_bridge_completed_total');
  } catch (thrown) {
    if (!isGone(thrown)) throw convertTemporalError(thrown);
    logger.info({ task: outcome.task }, 'an outcome came for a wait that is over');
  }
  await tokens.delete(outcome.tenant, outcome.task, outcome.id);
}

const isGone = (thrown: unknown): boolean => isNotFound(thrown) || (thrown as { name?: unknown }).name === 'ActivityNotFoundError';
