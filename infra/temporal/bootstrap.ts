// Search attributes a governed task is found by, created once in each namespace.
// Owns: their names and types (five of the at most six; values hold no personal data). Never removes any.
// Others may assume: when `bootstrapSearch` resolves, workflows that carry them can be started.

import type { Client } from '@temporalio/client';
import proto from '@temporalio/proto';
import { fail } from '../../contracts/errors.ts';
import type { Clock } from '../../contracts/ports.ts';
import type { TemporalLink } from './connect.ts';
import { convertTemporalError, isAlreadyStarted } from './errors.ts';

/** Name to the type the command line of the development server takes. */
export const SEARCH_ATTRIBUTES: Readonly<Record<string, 'Keyword' | 'KeywordList'>> = {
  AiosTenant: 'Keyword',
  AiosCapability: 'Keyword',
  AiosState: 'Keyword',
  AiosTasks: 'KeywordList',
  AiosWaitingFor: 'Keyword',
};

const { INDEXED_VALUE_TYPE_KEYWORD, INDEXED_VALUE_TYPE_KEYWORD_LIST } = proto.temporal.api.enums.v1.IndexedValueType;
/** A new attribute takes the server a moment to know. */
const KNOWN_MS_MAX = 30_000;

/** @throws AIOS_UNAVAILABLE */
export async function bootstrapSearch(link: TemporalLink, clock: Clock): Promise<void> {
  const { namespace } = link;
  const operator = link.connection.operatorService;
  try {
    const found = await operator.listSearchAttributes({ namespace });
    const missing = Object.entries(SEARCH_ATTRIBUTES).filter(([name]) => found.customAttributes[name] === undefined);
    if (missing.length === 0) return;
    const searchAttributes = Object.fromEntries(missing.map(([name, type]) => [name, type === 'Keyword' ? INDEXED_VALUE_TYPE_KEYWORD : INDEXED_VALUE_TYPE_KEYWORD_LIST]));
    await operator.addSearchAttributes({ namespace, searchAttributes }).catch((thrown: unknown) => {
      if (!isAlreadyStarted(thrown)) throw thrown;
    });
  } catch (thrown) {
    throw convertTemporalError(thrown);
  }
  await untilKnown(link.client, clock);
}

async function untilKnown(client: Client, clock: Clock): Promise<void> {
  const giveUp = clock.monotonic() + KNOWN_MS_MAX;
  const query = Object.keys(SEARCH_ATTRIBUTES).map((name) => `${name} = 'x'`).join(' AND ');
  for (;;) {
    const known = await client.workflow.count(query).then(() => true, () => false);
    if (known) return;
    if (clock.monotonic() > giveUp) throw fail('AIOS_UNAVAILABLE', 'Temporal does not take up the search attributes.');
    await clock.sleep(200);
  }
}
