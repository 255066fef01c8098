// An agent that remembers a conversation: one agent per person, its state in the log, its past bounded.
// Owns: two capabilities and the agent kind that handles them. Never talks to a store: the runtime keeps `ctx.state`.
// Others may assume: what was said once is remembered once and in order, whatever host is killed meanwhile.

import { defineAgent, defineCapability } from 'aios';
import { z } from 'zod';

const LINES_MAX = 200;
const person = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);
const line = z.strictObject({ at: z.number(), text: z.string().max(1_000) });

/** Says something to a person's memory. The person is the agent: everything said to one is handled in order. */
export const remember = defineCapability('memory.remember', {
  input: z.strictObject({ person, text: z.string().min(1).max(1_000) }),
  output: z.strictObject({ lines: z.number() }),
  actorKey: (input) => input.person,
});

export const recall = defineCapability('memory.recall', {
  input: z.strictObject({ person, about: z.string().max(100).optional() }),
  output: z.strictObject({ lines: z.array(z.string()) }),
  actorKey: (input) => input.person,
});

export const memory = defineAgent('conversation-memory', {
  state: z.strictObject({ lines: z.array(line).max(LINES_MAX) }),
  initial: () => ({ lines: [] }),
})
  .handle(remember, ({ text }, ctx) => {
    // The oldest lines go: a state is bounded like everything else.
    ctx.state.lines = [...ctx.state.lines, { at: ctx.now(), text }].slice(-LINES_MAX);
    return { lines: ctx.state.lines.length };
  })
  .handle(recall, ({ about }, ctx) => {
    const wanted = about?.toLowerCase();
    return { lines: ctx.state.lines.map(({ text }) => text).filter((text) => wanted === undefined || text.toLowerCase().includes(wanted)) };
  });
