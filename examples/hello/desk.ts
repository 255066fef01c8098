// Hello world, the part that is inert: a capability, an agent that handles it, and a workflow that asks it.
// Importing this file opens no socket, so it loads unchanged in the workflow sandbox, on an edge box and in a test.
// What needs a person is not decided here: see policies/desk.cedar.

import { defineAgent, defineCapability } from 'aios';
import { ask } from 'aios/workflow';
import { z } from 'zod';

export const answer = defineCapability('hello.answer', {
  input: z.strictObject({ customer: z.string(), question: z.string() }),
  output: z.strictObject({ text: z.string(), confidence: z.number().min(0).max(1) }),
  facts: ({ output }) => ({ confidenceBp: Math.round(output.confidence * 10_000) }), // the only thing policies see
  summary: ({ customer }) => `a question of ${customer}`,
  dataClass: 'internal',
  budget: { latencyMsMax: 2_000, microUsdMax: 0 },
});

export const helloDesk = defineAgent('hello-desk').handle(answer, ({ question }) =>
  question.endsWith('?') ? { text: `You asked: ${question}`, confidence: 0.9 } : { text: 'Was that a question?', confidence: 0.3 },
);

export async function handleTicket(ticket: { customer: string; question: string }): Promise<string> {
  return (await ask(answer, ticket)).text; // policies run here; a verdict of `escalate` pauses durably
}
