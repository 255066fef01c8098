// Types of agents end to end: what is wrong here does not compile, and what no longer fails to compile is an unused directive.
// Owns: the type half of the public API of agents. The assertions run too, so that the file is a test like any other.
// Others may assume: `tsc` checks this file; a `@ts-expect-error` without an error fails the check.

import { expect, it } from 'vitest';
import { z } from 'zod';
import { agentDown, defineAgent, defineEvent } from '../../agents/define.ts';
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

const door = defineCapability('door.do', {
  input: z.discriminatedUnion('do', [z.strictObject({ do: z.literal('open'), wide: z.boolean() }), z.strictObject({ do: z.literal('close') })]),
  output: z.strictObject({ state: z.enum(['open', 'closed']) }),
});

it('protocols - a case that is forgotten, or answered like another, does not compile', () => {
  const whole = defineAgent('door').handle(door, (input) => {
    switch (input.do) {
      case 'open': return { state: 'open' as const };
      case 'close': return { state: 'closed' as const };
    }
  });
  expect(whole.handlers.size).toBe(1);
  // @ts-expect-error `close` has no answer
  defineAgent('a').handle(door, (input) => {
    switch (input.do) {
      case 'open': return { state: 'open' };
    }
  });
  // @ts-expect-error there is no case `lock`
  defineAgent('b').handle(door, (input) => ({ state: input.do === 'lock' ? 'closed' : 'open' }));
  // @ts-expect-error only `open` says how wide
  defineAgent('c').handle(door, (input) => ({ state: input.wide ? 'open' : 'closed' }));
  // @ts-expect-error `ajar` is no state of a door
  defineAgent('d').handle(door, () => ({ state: 'ajar' }));
  // @ts-expect-error who asks names a case there is
  defineAgent('e').handle(greet, async (_, ctx) => ({ text: (await ctx.delegate(door, { do: 'lock' })).state }));
});

it('turns - everything a turn may do is typed: events, children, watches, behaviours, the start', () => {
  const state = { state: z.strictObject({ seen: z.array(z.string()) }), initial: () => ({ seen: [] as string[] }) };
  const agent = defineAgent('busy', { ...state, onStart: (ctx) => void ctx.state.seen.push('start') })
    .handle(greet, ({ name }, ctx) => {
      ctx.publish(greeted, { name });
      ctx.timer('later', 1_000, greeted, { name });
      ctx.watch(ctx.spawn({ kind: 'greeter' }, name));
      ctx.become('mute');
      return name === '' ? ctx.stash() : { text: ctx.self };
    })
    .on(greeted, ({ name }, ctx) => void ctx.state.seen.push(name), { actorKey: ({ name }) => name })
    .on(agentDown, ({ why }, ctx) => void ctx.state.seen.push(why))
    .in('mute', (into) => into.handle(greet, () => ({ text: '' })).on(greeted, () => undefined));
  expect([...(agent.behaviours?.keys() ?? [])]).toEqual(['mute']);
  // @ts-expect-error an event is published with its own payload
  defineAgent('a').handle(greet, (_, ctx) => (ctx.publish(greeted, { age: 1 }), { text: '' }));
  // @ts-expect-error a timer brings its event's payload
  defineAgent('b').handle(greet, (_, ctx) => (ctx.timer('x', 1, greeted, { age: 1 }), { text: '' }));
  // @ts-expect-error the key is made from the event's payload
  defineAgent('c').on(greeted, () => undefined, { actorKey: ({ age }: { age: string }) => age });
  // @ts-expect-error a handler of a behaviour gives the capability's output
  defineAgent('d').handle(greet, () => ({ text: '' })).in('x', (into) => into.handle(greet, () => ({ words: '' })));
  // @ts-expect-error the start sees the state as it is declared
  defineAgent('e', { ...state, onStart: (ctx) => void ctx.state.unseen });
  // @ts-expect-error an agent ends for one of the reasons there are
  defineAgent('f').on(agentDown, ({ why }) => void (why === 'bored'));
  // @ts-expect-error who is watched is an address
  defineAgent('g').handle(greet, (_, ctx) => (ctx.watch('greeter/x'), { text: '' }));
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
