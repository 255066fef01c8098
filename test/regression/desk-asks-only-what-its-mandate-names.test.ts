// The desk once asked `space.sample`, which its capability did not declare: every foreign ticket fell to the script rung.
// Owns: that whatever the desk and its team ask, on every path, is in the `uses` its mandate is minted from.
// Never needs a model: the answers are made up. Others may assume: a new ask without its declaration fails here.

import { expect, test } from 'vitest';
import type { AgentContext } from '../../contracts/agent.ts';
import type { Capability } from '../../contracts/capability.ts';
import { encodeVectors } from '../../contracts/model.ts';
import { supportAnswer, ticketSchema, type Ticket } from '../../agents/catalog/support/capabilities.ts';
import { supportDesk } from '../../agents/catalog/support/desk.ts';
import { answererAgent, retrieverAgent, triageAgent } from '../../agents/catalog/support/team.ts';
import { createKit } from '../kit/index.ts';

const team = [supportDesk, answererAgent, retrieverAgent, triageAgent];
const fragment = { document: 'a.md', chunk: 'a.md#1', title: 'A', heading: 'A', text: 'The answer is that refunds take five days.', digest: 'd', score: 1, signals: { cosine: 0.8, bm25: 3, denseRank: 1, lexicalRank: 1 } };

const ANSWERS: Readonly<Record<string, (input: never) => unknown>> = {
  'text.classify': () => ({ results: [{ label: 'refund.request', confidence: 0.9, scores: [{ label: intent, score: 0.9 }, { label: 'none', score: 0.1 }] }] }),
  'text.embed': ({ texts }: { texts: readonly string[] }) => ({ model: 'm', dimensions: 2, vectors: encodeVectors(texts.map(() => Float32Array.of(1, 0))) }),
  'space.search': () => ({ fragments: [fragment], weights: { refund: 2 } }),
  'space.sample': () => ({ epoch: 'e1', headings: [{ document: 'b.md', question: 'B about refunds' }] }),
  'records.find': () => ({ records: [] }),
};
let intent = 'refund.request';

async function asked(ticket: Partial<Ticket>): Promise<ReadonlySet<string>> {
  const seen = new Set<string>();
  const { logger } = createKit();
  const ask = async (capability: Capability, input: unknown): Promise<unknown> => {
    seen.add(capability.id);
    const handler = team.flatMap((agent) => [...agent.handlers.values()]).find((entry) => entry.capability.id === capability.id);
    return handler === undefined ? ANSWERS[capability.id]?.(input as never) : handler.handle(input, context as never);
  };
  const context = { task: 't-1', tenant: 'demo', rung: 'model', deadline: 0, log: logger, note() {}, propose() {}, ask, delegate: ask } as unknown as AgentContext<undefined>;
  const handle = [...supportDesk.handlers.values()][0]?.handle;
  await handle?.(ticketSchema.parse({ customer: 'c-1', text: 'How long does a refund take?', ...ticket }), context);
  return seen;
}

test.each([
  ['a ticket that asks for something to be done', { text: 'Please refund my last payment.' }, 'refund.request'],
  ['a ticket that asks for information', {}, 'refund.info'],
  ['a ticket on foreign documents', { foreign: true, space: 'docs-1' }, 'refund.info'],
])('desk - %s asks only what the mandate names', async (_, ticket, label) => {
  intent = label;
  const seen = await asked(ticket);
  expect(seen.size).toBeGreaterThan(2);
  expect([...seen].filter((id) => !(supportAnswer.uses as readonly string[]).includes(id))).toEqual([]);
});
