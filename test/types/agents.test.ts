// Types of agents end to end: what is wrong here does not compile, and what no longer fails to compile is an unused directive.
// Owns: the type half of the public API of agents. The assertions run too, so that the file is a test like any other.
// Others may assume: `tsc` checks this file; a `@ts-expect-error` without an error fails the check.

import { expect, it } from 'vitest';
import { z } from 'zod';
import { defineAgent, defineEvent } from '../../agents/define.ts';
import { defineCapability } from '../../contracts/capability.ts';
import type { AnyAgent } from '../../contracts/agent.ts';

const greet = defineCapability('hello.greet', { input: z.strictObject({ name: z.string() }), output: z.strictObject({ text: z.string() }) });
const count = defineCapability('hello.count', { input: z.strictObject({ by: z.number() }), output: z.strictObject({ total: z.number() }) });
const greeted = defineEvent('hello.greeted', z.strictObject({ name: z.string() }));

it('handlers - take the capability\'s input and give its output, or do not compile', () => {
  const agent = defineAgent('greeter', { state: z.strictObject({ seen: z.array(z.string()) }), initial: () => ({ seen: [] }) })
    .handle(greet, async ({ name }, ctx) => {
      ctx.state.seen.push(name);
      const { total } = await ctx.ask(count, { by: 1 });
      ctx.tell({ kind: 'greeter', id: 'x' }, greeted, { name });
      return { text: `${name} ${total.toFixed(0)}` };
    })
    .on(greeted, ({ name }, ctx) => void ctx.state.seen.push(name));
  const any: AnyAgent = agent;
  expect([...any.handlers.keys(), ...(any.events?.keys() ?? [])]).toEqual(['hello.greet', 'hello.greeted']);

  // @ts-expect-error the output lacks `text`
  defineAgent('a').handle(greet, () => ({ words: 'x' }));
  // @ts-expect-error the input has no `age`
  defineAgent('b').handle(greet, ({ age }) => ({ text: String(age) }));
  // @ts-expect-error a stateless agent has no state to write
  defineAgent('c').handle(greet, (_, ctx) => ({ text: ctx.state.seen }));
  // @ts-expect-error the initial state does not match its schema
  defineAgent('d', { state: z.strictObject({ seen: z.array(z.string()) }), initial: () => ({ seen: [1] }) });
  // @ts-expect-error an asked capability takes its own input
  defineAgent('e').handle(greet, async (_, ctx) => ({ text: String((await ctx.ask(count, { name: 'x' })).total) }));
  // @ts-expect-error an asked capability gives its own output
  defineAgent('f').handle(greet, async (_, ctx) => ({ text: (await ctx.ask(count, { by: 1 })).text }));
  // @ts-expect-error an event carries its own payload
  defineAgent('g').handle(greet, (_, ctx) => (ctx.tell({ kind: 'x', id: 'y' }, greeted, { age: 1 }), { text: '' }));
  // @ts-expect-error a listener takes the event's payload
  defineAgent('h').on(greeted, ({ age }: { age: number }) => void age);
});

it('definitions - are inert and frozen; a name is handled once', () => {
  const one = defineAgent('one');
  const two = one.handle(greet, () => ({ text: '' }));
  expect(one.handlers.size).toBe(0);
  expect(two.handlers.size).toBe(1);
  expect(Object.isFrozen(two)).toBe(true);
  expect(() => two.handle(greet, () => ({ text: '' }))).toThrow('twice');
  expect(() => defineAgent('not a name')).toThrow('agent-kind');
});
