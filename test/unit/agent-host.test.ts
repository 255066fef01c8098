// The agent host over the in-memory ports: delivery, dedup, failures, dead letters, asks, drain.
// Owns: behaviour tests of agents/runtime as its users see it. Never reaches into a cell or a record but through the state log.
// Others may assume: no server, no file, no real time where time matters.

import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { agentDown, defineAgent, defineEvent } from '../../agents/define.ts';
import { createAgentHost, type AgentHostOptions } from '../../agents/runtime/host.ts';
import { defineCapability } from '../../contracts/capability.ts';
import { fail } from '../../contracts/errors.ts';
import { toBytes } from '../../contracts/parse.ts';
import { partitionOf, subjects } from '../../contracts/address.ts';
import type { AnyAgent } from '../../contracts/agent.ts';
import type { AgentId, AgentKind, CapabilityId, TenantId } from '../../contracts/ids.ts';
import type { Outcome, Reply } from '../../contracts/message.ts';
import { createRevocations, type Revocations, taskName } from '../../policies/mandate.ts';
import { createKit, createSimulatedClock, type Kit, type KitOptions, type SimulatedClock } from '../kit/index.ts';

const add = defineCapability('count.add', { input: z.strictObject({ by: z.number() }), output: z.strictObject({ total: z.number() }), actorKey: () => 'shared' });
const echo = defineCapability('text.echo', { input: z.strictObject({ text: z.string() }), output: z.strictObject({ text: z.string() }), delivery: 'ephemeral' });
const counterState = z.strictObject({ total: z.number() });

const counter = defineAgent('counter', { state: counterState, initial: () => ({ total: 0 }) }).handle(add, ({ by }, ctx) => {
  ctx.state.total += by;
  ctx.note('added');
  return { total: ctx.state.total };
});

interface World extends AsyncDisposable { readonly kit: Kit; readonly clock: SimulatedClock; run<T>(work: Promise<T>, ms?: number): Promise<T> }

async function world(agents: readonly AnyAgent[], options: Partial<AgentHostOptions> = {}, mailboxes: KitOptions['mailboxes'] = {}, onAppend: KitOptions['onAppend'] = () => undefined, more: { readonly revocations?: Revocations } = {}): Promise<World> {
  const clock = createSimulatedClock();
  const kit = createKit({ clock, mailboxes, onAppend });
  const host = createAgentHost({ ...kit, ...more }, { agents, name: 'a', partitions: '*', ...options });
  await host.start();
  return {
    kit,
    clock,
    async run(work, ms = 30_000) {
      let ended = false;
      void work.then(() => (ended = true), () => (ended = true));
      for (let spent = 0; !ended && spent < ms; spent += 10) await clock.advance(10);
      return work;
    },
    async [Symbol.asyncDispose]() {
      const drained = host.drain();
      await clock.advance(5_000);
      await drained;
    },
  };
}

const shared = (kit: Kit, by: unknown, over = {}) => kit.envelope(add, { by }, { actor: 'shared', ...over });
const failedWith = (outcome: Outcome | undefined): string | undefined => (outcome?.status === 'failed' ? outcome.error.code : undefined);

describe('agent host', () => {
  it('turn - keeps state between messages and reports a turn receipt', async () => {
    await using w = await world([counter]);
    await w.run(w.kit.dispatch('counter', shared(w.kit, 2)));
    const outcome = await w.run(w.kit.dispatch('counter', shared(w.kit, 3)));
    expect(outcome).toMatchObject({ status: 'done', output: { total: 5 }, receipts: [{ kind: 'turn', agent: 'counter', capability: 'count.add', local: ['added'] }] });
    expect(w.kit.servers.mailboxes.waiting).toBe(0);
  });

  it('turn - a message sent again after the broker forgot it gets the same outcome and changes nothing', async () => {
    await using w = await world([counter]);
    const envelope = shared(w.kit, 2);
    const first = await w.run(w.kit.dispatch('counter', envelope));
    await w.clock.advance(130_000);
    const again = { ...envelope };
    const second = await w.run(w.kit.dispatch('counter', again));
    expect(second).toEqual(first);
    expect(await w.run(w.kit.dispatch('counter', shared(w.kit, 0)))).toMatchObject({ output: { total: 2 } });
  });

  it('turn - an invalid input is answered and never tried again', async () => {
    await using w = await world([counter]);
    expect(failedWith(await w.run(w.kit.dispatch('counter', shared(w.kit, 'two'))))).toBe('AIOS_INPUT_INVALID');
    expect(w.kit.servers.letters.letters.size).toBe(0);
  });

  it('turn - the revocation of its task, and of no other, aborts it at once; the answer says so and nothing of the draft is kept', async () => {
    const revocations = createRevocations();
    const seen: string[] = [];
    const patient = defineAgent('patient', { state: counterState, initial: () => ({ total: 0 }) }).handle(add, async ({ by }, ctx) => {
      ctx.state.total += by;
      if (by > 0) await new Promise((resolve) => { ctx.signal.addEventListener('abort', resolve); });
      if (by > 0) seen.push(ctx.task);
      return { total: ctx.state.total };
    });
    await using w = await world([patient], {}, {}, undefined, { revocations });
    const envelope = shared(w.kit, 2);
    const waiting = w.kit.dispatch('patient', envelope);
    await w.clock.advance(500);
    revocations.replace([], [taskName('other', envelope.task), taskName(envelope.tenant, 't-another')]);
    await w.clock.advance(500);
    expect(seen).toEqual([]);
    revocations.replace([], [taskName(envelope.tenant, envelope.task)]);
    expect(failedWith(await w.run(waiting, 1_000))).toBe('AIOS_TASK_CANCELLED');
    expect(seen).toEqual([envelope.task]);
    expect(await w.run(w.kit.dispatch('patient', shared(w.kit, 0)))).toMatchObject({ status: 'done', output: { total: 0 } });
    expect(w.kit.servers.letters.letters.size).toBe(0);
  });

  it('turn - a transient failure is tried again after a pause and its draft state is dropped', async () => {
    let tries = 0;
    const flaky = defineAgent('flaky', { state: counterState, initial: () => ({ total: 0 }) }).handle(add, (input, ctx) => {
      ctx.state.total += input.by;
      if (++tries < 3) throw fail('AIOS_UNAVAILABLE');
      return { total: ctx.state.total };
    });
    await using w = await world([flaky]);
    expect(await w.run(w.kit.dispatch('flaky', shared(w.kit, 1)))).toMatchObject({ status: 'done', output: { total: 1 } });
    expect(tries).toBe(3);
  });

  it('turn - a fault restarts the agent; the same message failing three times is poison with a letter and an outcome', async () => {
    let tries = 0;
    const broken = defineAgent('broken').handle(add, () => {
      tries++;
      throw new TypeError('boom');
    });
    const escalated: string[] = [];
    await using w = await world([broken], { onEscalation: (agent) => escalated.push(agent) });
    expect(failedWith(await w.run(w.kit.dispatch('broken', shared(w.kit, 1))))).toBe('AIOS_QUARANTINED');
    expect(tries).toBe(3);
    const [letter] = [...w.kit.servers.letters.letters.values()];
    expect(letter).toMatchObject({ reason: 'poison', code: 'AIOS_QUARANTINED', tenant: 'acme' });
    expect(escalated).toEqual(['broken']);
  });

  it('turn - an agent restarted too often is stopped for a while and says so', async () => {
    const broken = defineAgent('broken', { supervise: { restartsMax: 2, withinMs: 60_000, faultsMax: 2 } }).handle(add, () => {
      throw new TypeError('boom');
    });
    await using w = await world([broken]);
    await w.run(w.kit.dispatch('broken', shared(w.kit, 1)));
    await w.run(w.kit.dispatch('broken', shared(w.kit, 1)));
    const stopped = await w.run(w.kit.dispatch('broken', shared(w.kit, 1)));
    expect(stopped).toMatchObject({ status: 'failed', error: { code: 'AIOS_AGENT_FAULT', retryAfterMs: expect.any(Number) as number } });
  });

  it('turn - ends at its deadline although the handler does not, and the handler can do nothing more', async () => {
    let late: unknown;
    const slow = defineAgent('slow').handle(add, async (_, ctx) => {
      await w.clock.sleep(5_000);
      try {
        ctx.note('late');
      } catch (error) {
        late = error;
      }
      return { total: 0 };
    });
    await using w = await world([slow]);
    expect(failedWith(await w.run(w.kit.dispatch('slow', shared(w.kit, 1, { deadline: w.clock.now() + 1_000 }))))).toBe('AIOS_DEADLINE_EXCEEDED');
    await w.clock.advance(6_000);
    expect(late).toMatchObject({ code: 'AIOS_DEADLINE_EXCEEDED' });
  });

  it('turn - a long turn keeps its message by saying that it is still at it', async () => {
    let runs = 0;
    const slow = defineAgent('slow').handle(add, async () => {
      runs++;
      await w.clock.sleep(40_000);
      return { total: 1 };
    });
    await using w = await world([slow]);
    const outcome = await w.run(w.kit.dispatch('slow', shared(w.kit, 1, { deadline: w.clock.now() + 60_000 }), 60_000), 60_000);
    expect(outcome).toMatchObject({ status: 'done' });
    expect(runs).toBe(1);
  });

  it('dead letters - malformed, expired, unauthorised and unknown messages each leave one with its reason', async () => {
    await using w = await world([counter]);
    const { kit } = w;
    const mailbox = subjects.mailbox('acme' as TenantId, 'counter' as AgentKind, 'shared' as AgentId);
    await kit.mailboxes.publish(mailbox, new TextEncoder().encode('{"v":1'), { messageId: 'm-1' });
    await kit.mailboxes.publish(mailbox, toBytes({ ...shared(kit, 1), v: 2 }), { messageId: 'm-2' });
    expect(failedWith(await w.run(kit.dispatch('counter', shared(kit, 1, { deadline: w.clock.now() - 1 }))))).toBe('AIOS_DEADLINE_EXCEEDED');
    expect(failedWith(await w.run(kit.dispatch('counter', shared(kit, 1, { mandate: 'forged~seal' }))))).toBe('AIOS_MANDATE_INVALID');
    expect(failedWith(await w.run(kit.dispatch('counter', shared(kit, 1, { grant: { capabilities: ['other.thing'] } }))))).toBe('AIOS_MANDATE_EXCEEDED');
    expect(failedWith(await w.run(kit.dispatch('nobody', shared(kit, 1))))).toBe('AIOS_AGENT_UNKNOWN');
    expect(failedWith(await w.run(kit.dispatch('counter', shared(kit, 1, { capability: 'count.other' }))))).toBe('AIOS_CAPABILITY_UNKNOWN');
    const reasons = [...kit.servers.letters.letters.values()].map(({ reason, code }) => `${reason}:${code}`);
    expect(reasons).toEqual(['malformed:AIOS_INPUT_NOT_JSON', 'malformed:AIOS_VERSION_UNKNOWN', 'expired:AIOS_DEADLINE_EXCEEDED', 'policy:AIOS_MANDATE_INVALID', 'policy:AIOS_MANDATE_EXCEEDED', 'unknown-kind:AIOS_AGENT_UNKNOWN', 'unknown-kind:AIOS_CAPABILITY_UNKNOWN']);
    expect(kit.servers.mailboxes.waiting).toBe(0);
  });

  it('dead letters - a replayed letter is handled like the message it was', async () => {
    await using w = await world([counter]);
    const envelope = shared(w.kit, 4, { deadline: w.clock.now() + 60_000 });
    const id = w.kit.servers.letters.add({ tenant: 'acme', reason: 'poison', code: 'AIOS_AGENT_FAULT', subject: subjects.mailbox('acme' as TenantId, 'counter' as AgentKind, 'shared' as AgentId), attempts: 3, data: Buffer.from(toBytes(envelope)).toString('base64') });
    const outcome = w.kit.outcomes.wait('acme', envelope.task, envelope.id, 5_000);
    await w.kit.deadLetters.replay(id);
    expect(await w.run(outcome)).toMatchObject({ output: { total: 4 } });
    expect(await w.kit.deadLetters.get(id)).toBeUndefined();
  });

  it('dead letters - an event that was given up is handled when a person replays it, once', async () => {
    const noted = defineEvent('note.made', z.strictObject({ n: z.number() }), { published: false });
    let broken = true;
    const heard: number[] = [];
    const listener = defineAgent('listener', { supervise: { restartsMax: 10 } }).on(noted, ({ n }) => {
      if (broken) throw new RangeError('broken');
      heard.push(n);
    });
    await using w = await world([listener]);
    await w.kit.mailboxes.publish(subjects.mailbox('acme' as TenantId, 'listener' as AgentKind, 'x' as AgentId), toBytes(w.kit.envelope({ id: noted.name }, { n: 7 }, { actor: 'x', deadline: w.clock.now() + 600_000 })), { messageId: 'm1' });
    await w.clock.advance(10_000);
    const [letter] = await w.kit.deadLetters.list({ limit: 5 });
    expect(letter).toMatchObject({ reason: 'poison', code: 'AIOS_QUARANTINED' });
    broken = false;
    await w.kit.deadLetters.replay(letter?.id ?? '');
    await w.clock.advance(1_000);
    expect([heard, await w.kit.deadLetters.list({ limit: 5 })]).toEqual([[7], []]);
    w.kit.servers.letters.add({ tenant: 'acme', reason: 'poison', code: 'AIOS_QUARANTINED', subject: letter?.subject ?? '', attempts: 3, data: letter?.data ?? '' });
    await w.kit.deadLetters.replay([...w.kit.servers.letters.letters.keys()][0] ?? '');
    await w.clock.advance(1_000);
    expect(heard).toEqual([7]);
  });

  it('start - a message that waited already may ask what the same host answers, even where subscribing takes long', async () => {
    let tries = 0;
    const loud = defineCapability('text.loud', { input: z.strictObject({ text: z.string() }), output: z.strictObject({ text: z.string() }), uses: ['text.echo'] });
    const speaker = defineAgent('speaker').handle(loud, async ({ text }, ctx) => {
      tries += 1;
      return ctx.delegate(echo, { text });
    });
    const echoer = defineAgent('echoer').handle(echo, ({ text }) => ({ text: text.toUpperCase() }));
    const clock = createSimulatedClock();
    const kit = createKit({ clock });
    const slow: Kit['bus'] = { ...kit.bus, subscribe: async (...given) => { await clock.sleep(500); return kit.bus.subscribe(...given); } };
    const host = createAgentHost({ ...kit, bus: slow }, { agents: [speaker, echoer], name: 'a', partitions: '*' });
    const answer = kit.dispatch('speaker', kit.envelope(loud, { text: 'hey' }), 60_000);
    const started = host.start();
    for (let spent = 0; spent < 2_000; spent += 10) await clock.advance(10);
    await started;
    expect(await answer).toMatchObject({ status: 'done', output: { text: 'HEY' } });
    expect(tries).toBe(1);
    await Promise.all([host.drain(), clock.advance(5_000)]);
  });

  it('asks - an ephemeral capability is answered in place, refusals included', async () => {
    const echoer = defineAgent('echoer').handle(echo, ({ text }) => ({ text }));
    await using w = await world([echoer]);
    const ask = async (data: Uint8Array): Promise<Reply> => JSON.parse(new TextDecoder().decode((await w.run(w.kit.bus.request(subjects.capability('acme' as TenantId, 'text.echo' as CapabilityId), data, { timeoutMs: 1_000 }))).data)) as Reply;
    expect(await ask(toBytes(w.kit.envelope(echo, { text: 'hi' })))).toMatchObject({ status: 'done', output: { text: 'hi' } });
    expect(await ask(toBytes({ v: 9 }))).toMatchObject({ status: 'failed', error: { code: 'AIOS_VERSION_UNKNOWN' } });
    expect(await ask(toBytes(w.kit.envelope(echo, { text: 'hi' }, { tenant: 'other', grant: { tenant: 'other' } })))).toMatchObject({ error: { code: 'AIOS_TENANT_MISMATCH' } });
    expect(await ask(toBytes(w.kit.envelope(echo, { text: 'hi' }, { grant: { capabilities: [] } })))).toMatchObject({ error: { code: 'AIOS_MANDATE_EXCEEDED' } });
  });

  it('asks - a turn asks inside its mandate; receipts and cost are collected, failures of the asked arrive as they are', async () => {
    const work = defineCapability('work.do', { input: z.strictObject({ text: z.string() }), output: z.strictObject({ text: z.string() }) });
    const echoer = defineAgent('echoer').handle(echo, ({ text }) => {
      if (text === 'bad') throw fail('AIOS_POLICY_DENIED', 'no.');
      return { text: `${text}!` };
    });
    const worker = defineAgent('worker').handle(work, async ({ text }, ctx) => ctx.ask(echo, { text }));
    await using w = await world([echoer, worker]);
    expect(await w.run(w.kit.dispatch('worker', w.kit.envelope(work, { text: 'hi' })))).toMatchObject({ status: 'done', output: { text: 'hi!' } });
    expect(failedWith(await w.run(w.kit.dispatch('worker', w.kit.envelope(work, { text: 'bad' }))))).toBe('AIOS_POLICY_DENIED');
  });

  it('asks - delegation goes one level deeper under a narrowed mandate and stops at the depth granted', async () => {
    const seen: { depth: number; capabilities: readonly string[] }[] = [];
    const dig = defineCapability('dig.deeper', { input: z.strictObject({ left: z.number() }), output: z.strictObject({ depth: z.number() }), uses: ['dig.deeper'] });
    const digger = defineAgent('digger').handle(dig, async ({ left }, ctx): Promise<{ depth: number }> => {
      return left === 0 ? { depth: 0 } : { depth: 1 + (await ctx.delegate(dig, { left: left - 1 })).depth };
    });
    await using w = await world([digger], { intercept: [async (call, next) => {
      if (call.kind === 'turn') seen.push({ depth: call.envelope.depth, capabilities: call.mandate.grant.capabilities });
      return next();
    }] });
    // Each level is an agent of its own, or the first would wait for itself.
    const keyed = defineCapability('dig.keyed', { input: z.strictObject({ left: z.number() }), output: z.strictObject({ depth: z.number() }), uses: ['dig.keyed'], actorKey: ({ left }) => `level-${left}` });
    const keyedDigger = defineAgent('keyed').handle(keyed, async ({ left }, ctx): Promise<{ depth: number }> => (left === 0 ? { depth: 0 } : { depth: 1 + (await ctx.delegate(keyed, { left: left - 1 })).depth }));
    await using v = await world([keyedDigger]);
    expect(await v.run(v.kit.dispatch('keyed', v.kit.envelope(keyed, { left: 3 }, { actor: 'level-3' })))).toMatchObject({ output: { depth: 3 } });
    expect(failedWith(await v.run(v.kit.dispatch('keyed', v.kit.envelope(keyed, { left: 3 }, { actor: 'level-3', grant: { depthMax: 2 } }))))).toBe('AIOS_MANDATE_EXCEEDED');
    expect(await w.run(w.kit.dispatch('digger', w.kit.envelope(dig, { left: 0 })))).toMatchObject({ output: { depth: 0 } });
    expect(seen).toEqual([{ depth: 0, capabilities: ['*'] }]);
  });

  it('events - a tell leaves with the turn, reaches the other agent once and keeps its order', async () => {
    const noted = defineEvent('note.taken', z.strictObject({ n: z.number() }));
    const work = defineCapability('work.tell', { input: z.strictObject({}), output: z.strictObject({}) });
    const read = defineCapability('notes.read', { input: z.strictObject({}), output: z.strictObject({ list: z.array(z.number()) }) });
    const teller = defineAgent('teller').handle(work, (_, ctx) => {
      for (let n = 0; n < 3; n++) ctx.tell({ kind: 'listener', id: 'one' }, noted, { n });
      return {};
    });
    const listener = defineAgent('listener', { state: z.strictObject({ list: z.array(z.number()) }), initial: () => ({ list: [] as number[] }) })
      .on(noted, ({ n }, ctx) => void ctx.state.list.push(n))
      .handle(read, (_, ctx) => ({ list: ctx.state.list }));
    await using w = await world([teller, listener]);
    await w.run(w.kit.dispatch('teller', w.kit.envelope(work, {})));
    await w.clock.advance(100);
    expect(await w.run(w.kit.dispatch('listener', w.kit.envelope(read, {}, { actor: 'one' })))).toMatchObject({ output: { list: [0, 1, 2] } });
  });

  it('topics - a published event reaches every kind that listens, at the agent its key names, once however often it is stored', async () => {
    const closed = defineEvent('ticket.closed', z.strictObject({ ticket: z.string(), customer: z.string() }));
    const close = defineCapability('ticket.close', { input: z.strictObject({ ticket: z.string() }), output: z.strictObject({}), actorKey: ({ ticket }) => ticket });
    const read = defineCapability('history.read', { input: z.strictObject({}), output: z.strictObject({ list: z.array(z.string()) }) });
    const list = { state: z.strictObject({ list: z.array(z.string()) }), initial: () => ({ list: [] as string[] }) };
    const desk = defineAgent('desk').handle(close, ({ ticket }, ctx) => {
      ctx.publish(closed, { ticket, customer: 'ana' });
      return {};
    });
    const history = defineAgent('history', list).on(closed, ({ ticket }, ctx) => void ctx.state.list.push(ticket), { actorKey: ({ customer }) => customer }).handle(read, (_, ctx) => ({ list: ctx.state.list }));
    const survey = defineAgent('survey', list).on(closed, ({ customer }, ctx) => void ctx.state.list.push(customer)).handle(defineCapability('survey.read', { input: z.strictObject({}), output: z.strictObject({ list: z.array(z.string()) }) }), (_, ctx) => ({ list: ctx.state.list }));
    await using w = await world([desk, history, survey]);
    for (const ticket of ['a1', 'a2']) await w.run(w.kit.dispatch('desk', w.kit.envelope(close, { ticket }, { actor: ticket })));
    await w.clock.advance(200);
    expect(w.kit.servers.topics.waiting).toBe(0);
    expect(await w.run(w.kit.dispatch('history', w.kit.envelope(read, {}, { actor: 'ana' })))).toMatchObject({ output: { list: ['a1', 'a2'] } });
    for (const ticket of ['a1', 'a2']) expect(await w.run(w.kit.dispatch('survey', w.kit.envelope({ id: 'survey.read' }, {}, { actor: ticket })))).toMatchObject({ output: { list: ['ana'] } });
  });

  it('topics - an event that cannot be passed on is a dead letter with its reason; the rest goes on', async () => {
    const noted = defineEvent('note.made', z.strictObject({ to: z.string() }));
    const heard: string[] = [];
    const listener = defineAgent('listener').on(noted, ({ to }) => void heard.push(to), { actorKey: ({ to }) => to });
    await using w = await world([listener]);
    const topic = subjects.topic('acme' as TenantId, noted.name);
    const send = (over: object, messageId: string) => w.kit.topics.publish(topic, toBytes({ ...w.kit.envelope({ id: noted.name }, { to: 'x' }), ...over }), { messageId });
    await send({ input: { to: 'not an id' } }, 'm1');
    await send({ input: { to: 7 } }, 'm2');
    await send({ tenant: 'other' }, 'm3');
    await send({ deadline: w.clock.now() - 1 }, 'm4');
    await send({}, 'm5');
    await w.clock.advance(500);
    const letters = await w.kit.deadLetters.list({ limit: 10 });
    expect(letters.map(({ reason, code }) => [reason, code]).toReversed()).toEqual([['malformed', 'AIOS_INPUT_INVALID'], ['malformed', 'AIOS_INPUT_INVALID'], ['malformed', 'AIOS_TENANT_MISMATCH'], ['expired', 'AIOS_DEADLINE_EXCEEDED']]);
    expect(letters[0]?.subject).toContain('.listener.x');
    expect(heard).toEqual(['x']);
    expect(w.kit.servers.topics.waiting).toBe(0);
  });

  it('topics - a listener whose mailbox is full gets its event later, and only it waits', async () => {
    const noted = defineEvent('note.made', z.strictObject({ n: z.number() }));
    const heard: number[] = [];
    let open = false;
    const listener = defineAgent('listener').on(noted, ({ n }) => {
      if (!open) throw fail('AIOS_UNAVAILABLE');
      heard.push(n);
    });
    await using w = await world([listener], {}, { perSubjectMax: 2 });
    const topic = subjects.topic('acme' as TenantId, noted.name);
    for (const n of [0, 1]) await w.kit.topics.publish(topic, toBytes(w.kit.envelope({ id: noted.name }, { n }, { actor: 'slow', deadline: w.clock.now() + 600_000 })), { messageId: `m${n}` });
    await w.clock.advance(1_000);
    for (const n of [2, 3]) await w.kit.topics.publish(topic, toBytes(w.kit.envelope({ id: noted.name }, { n }, { actor: 'slow', deadline: w.clock.now() + 600_000 })), { messageId: `m${n}` });
    await w.clock.advance(1_000);
    expect([w.kit.servers.mailboxes.waiting, w.kit.servers.topics.waiting]).toEqual([2, 2]);
    open = true;
    await w.clock.advance(60_000);
    expect(heard.toSorted()).toEqual([0, 1, 2, 3]);
  });

  it('onStart - runs before the first message of an activation, in its turn: state, messages and timers are one record', async () => {
    const rang = defineEvent('alarm.rang', z.strictObject({}));
    const poke = defineCapability('alarm.poke', { input: z.strictObject({ fail: z.boolean() }), output: z.strictObject({ log: z.array(z.string()) }), actorKey: () => 'x' });
    const alarm = defineAgent('alarm', {
      state: z.strictObject({ log: z.array(z.string()) }), initial: () => ({ log: [] as string[] }), passivate: { idleMs: 60_000 },
      async onStart(ctx) {
        ctx.state.log.push('start');
        ctx.timer('wake', 10_000, rang, {});
        await ctx.effect('hello', async () => 'said');
      },
    }).handle(poke, (input, ctx) => {
      if (input.fail) throw fail('AIOS_INPUT_INVALID', 'as asked');
      ctx.state.log.push('poke');
      return { log: ctx.state.log };
    }).on(rang, (_, ctx) => void ctx.state.log.push('rang'));
    const appends: string[] = [];
    await using w = await world([alarm], {}, undefined, (subject) => appends.push(subject));
    const send = (refuse: boolean) => w.run(w.kit.dispatch('alarm', w.kit.envelope(poke, { fail: refuse }, { actor: 'x' })));
    expect(failedWith(await send(true))).toBe('AIOS_INPUT_INVALID');
    expect(await send(false)).toMatchObject({ output: { log: ['start', 'poke'] } });
    expect(await send(false)).toMatchObject({ output: { log: ['start', 'poke', 'poke'] } });
    expect(appends).toHaveLength(3);
    await w.clock.advance(15_000);
    expect(await send(false)).toMatchObject({ output: { log: ['start', 'poke', 'poke', 'rang', 'poke'] } });
    await w.clock.advance(70_000);
    expect(await send(false)).toMatchObject({ output: { log: ['start', 'poke', 'poke', 'rang', 'poke', 'start', 'poke'] } });
  });

  it('onStart - a fault of it is the agent\'s: restarted, tried again, and stopped when it goes on', async () => {
    let broken = 2;
    const restarted: string[] = [];
    const starter = defineAgent('starter', { state: counterState, initial: () => ({ total: 0 }), onStart: (ctx) => {
      restarted.push('try');
      if (broken-- > 0) throw new RangeError('not ready');
      ctx.state.total = 100;
    } }).handle(add, ({ by }, ctx) => ({ total: (ctx.state.total += by) }));
    await using w = await world([starter]);
    expect(await w.run(w.kit.dispatch('starter', shared(w.kit, 1)))).toMatchObject({ output: { total: 101 } });
    expect(restarted).toHaveLength(3);
    expect(() => createAgentHost(w.kit, { agents: [defineAgent('mute', { onStart: () => undefined }).handle(echo, ({ text }) => ({ text }))], name: 'b', partitions: '*' })).toThrow('mute has onStart');
  });

  it('watch - an agent is told when the host of another is lost, once, and not when it moves', async () => {
    const clock = createSimulatedClock();
    const kit = createKit({ clock });
    const look = defineCapability('guard.look', { input: z.strictObject({ watch: z.boolean() }), output: z.strictObject({ downs: z.array(z.string()) }), actorKey: () => 'g' });
    const work = defineCapability('worker.work', { input: z.strictObject({}), output: z.strictObject({}), actorKey: () => 'w' });
    const guard = defineAgent('guard', { state: z.strictObject({ downs: z.array(z.string()) }), initial: () => ({ downs: [] as string[] }) })
      .handle(look, ({ watch }, ctx) => {
        if (watch) ctx.watch({ kind: 'worker', id: 'w' });
        return { downs: ctx.state.downs };
      })
      .on(agentDown, ({ kind, id, why }, ctx) => void ctx.state.downs.push(`${kind}/${id} ${why}`));
    const worker = defineAgent('worker').handle(work, () => ({}));
    const eligible = [partitionOf('guard', 'g'), partitionOf('worker', 'w')];
    let cut = false;
    const open = (name: string, severed: () => boolean) => createAgentHost(kit.connect({ clock, call: async (_, effect) => { if (severed()) throw fail('AIOS_DISCONNECTED'); return effect(); }, push: (_, run) => queueMicrotask(run), get connected() { return !severed(); } }), { agents: [guard, worker], name, partitions: 'leased', eligible, limits: { leaseMs: 2_400, drainMs: 1_000 } });
    const send = async (watch: boolean) => {
      const outcome = kit.dispatch('guard', kit.envelope(look, { watch }, { actor: 'g' }));
      await clock.advance(1_000);
      return outcome;
    };
    const first = open('a', () => cut);
    void first.start();
    await clock.advance(1_000);
    expect(await send(true)).toMatchObject({ output: { downs: [] } });
    const second = open('b', () => false);
    void second.start();
    await clock.advance(500);
    const drained = first.drain();
    await clock.advance(5_000);
    await drained;
    expect(await send(false)).toMatchObject({ output: { downs: [] } });
    cut = false;
    const third = open('c', () => cut);
    void third.start();
    await clock.advance(500);
    const gone = second.drain();
    await clock.advance(5_000);
    await gone;
    expect(third.inspect().partitions).toEqual([...eligible].sort((x, y) => x - y));
    cut = true;
    const fourth = open('d', () => false);
    void fourth.start();
    await clock.advance(8_000);
    expect(await send(false)).toMatchObject({ output: { downs: ['worker/w host-lost'] } });
    const end = fourth.drain();
    await clock.advance(5_000);
    await end;
  });

  it('watch - an agent is told when the supervision of another stops it; who does not listen cannot watch', async () => {
    const look = defineCapability('guard.look', { input: z.strictObject({ child: z.boolean() }), output: z.strictObject({ downs: z.array(z.string()) }), actorKey: () => 'g' });
    const broke = defineEvent('child.poked', z.strictObject({}), { published: false });
    const guard = defineAgent('guard', { state: z.strictObject({ downs: z.array(z.string()) }), initial: () => ({ downs: [] as string[] }) })
      .handle(look, ({ child }, ctx) => {
        if (child) ctx.tell(ctx.spawn({ kind: 'worker' }, 'first'), broke, {});
        return { downs: ctx.state.downs };
      })
      .on(agentDown, ({ kind, id, why }, ctx) => void ctx.state.downs.push(`${kind}/${id} ${why}`));
    const worker = defineAgent('worker', { supervise: { onFault: 'stop' } }).on(broke, () => {
      throw new RangeError('broken');
    });
    const deaf = defineAgent('deaf').handle(add, (_, ctx) => (ctx.watch({ kind: 'worker', id: 'w' }), { total: 0 }));
    await using w = await world([guard, worker, deaf]);
    const send = (child: boolean) => w.run(w.kit.dispatch('guard', w.kit.envelope(look, { child }, { actor: 'g' })));
    await send(true);
    await w.clock.advance(1_000);
    const outcome = await send(false);
    expect((outcome as { output: { downs: string[] } }).output.downs).toEqual([expect.stringMatching(/^worker\/first-[0-9a-f]{12} stopped$/)]);
    expect(failedWith(await w.run(w.kit.dispatch('deaf', shared(w.kit, 1))))).toBe('AIOS_INPUT_INVALID');
  });

  it('spawn - the same name is the same child, counted and bounded; an ephemeral handler has none', async () => {
    const breed = defineCapability('parent.breed', { input: z.strictObject({ names: z.array(z.string()) }), output: z.strictObject({ ids: z.array(z.string()) }), actorKey: () => 'p' });
    const parent = defineAgent('parent').handle(breed, ({ names }, ctx) => ({ ids: names.map((name) => ctx.spawn({ kind: 'child' }, name).id) }));
    const lonely = defineAgent('lonely').handle(echo, (_, ctx) => ({ text: ctx.spawn({ kind: 'child' }, 'x').id }));
    await using w = await world([parent, lonely]);
    const send = (names: readonly string[]) => w.run(w.kit.dispatch('parent', w.kit.envelope(breed, { names }, { actor: 'p' })));
    const once = await send(['a', 'b', 'a']);
    const [a, b, again] = (once as { output: { ids: string[] } }).output.ids;
    expect([again, a === b]).toEqual([a, false]);
    expect(await send(['a'])).toMatchObject({ output: { ids: [a] } });
    expect(failedWith(await send(Array.from({ length: 65 }, (_, i) => `n${i}`)))).toBe('AIOS_OVERLOADED');
    const asked = await w.run(w.kit.bus.request(subjects.capability('acme' as TenantId, 'text.echo' as CapabilityId), toBytes(w.kit.envelope(echo, { text: 'x' })), { timeoutMs: 1_000 }));
    expect(new TextDecoder().decode(asked.data)).toContain('AIOS_INPUT_INVALID');
  });

  it('become and stash - what comes too early is put off, comes back under its own id, and the behaviour survives the memory', async () => {
    const ask = defineCapability('door.ask', { input: z.strictObject({ n: z.number() }), output: z.strictObject({ said: z.string() }), actorKey: () => 'd' });
    const turn = defineCapability('door.turn', { input: z.strictObject({ open: z.boolean() }), output: z.strictObject({}), actorKey: () => 'd' });
    const tries: number[] = [];
    const door = defineAgent('door', { state: z.strictObject({ n: z.number() }), initial: () => ({ n: 0 }), passivate: { idleMs: 1_000 } })
      .handle(ask, ({ n }, ctx) => {
        tries.push(n);
        ctx.state.n = 99;
        return ctx.stash();
      })
      .handle(turn, ({ open }, ctx) => {
        if (open) ctx.unstash();
        ctx.become(open ? 'open' : undefined);
        return {};
      })
      .in('open', (into) => into.handle(ask, ({ n }, ctx) => ({ said: `open ${n} ${ctx.state.n}` })));
    await using w = await world([door]);
    const envelopes = [1, 2].map((n) => w.kit.envelope(ask, { n }, { actor: 'd', deadline: w.clock.now() + 60_000 }));
    const outcomes = envelopes.map((envelope) => w.kit.dispatch('door', envelope, 50_000));
    await w.clock.advance(5_000);
    expect([tries, w.kit.servers.mailboxes.waiting]).toEqual([[1, 2], 0]);
    await w.kit.mailboxes.publish(subjects.mailbox('acme' as TenantId, 'door' as AgentKind, 'd' as AgentId), toBytes(envelopes[0]), { messageId: 'sent-again' });
    await w.clock.advance(1_000);
    expect([tries, w.kit.servers.mailboxes.waiting]).toEqual([[1, 2], 0]);
    await w.run(w.kit.dispatch('door', w.kit.envelope(turn, { open: true }, { actor: 'd' })));
    expect(await w.run(Promise.all(outcomes))).toMatchObject([{ id: envelopes[0]?.id, output: { said: 'open 1 0' } }, { id: envelopes[1]?.id, output: { said: 'open 2 0' } }]);
    await w.clock.advance(5_000);
    expect(await w.run(w.kit.dispatch('door', w.kit.envelope(ask, { n: 3 }, { actor: 'd' })))).toMatchObject({ output: { said: 'open 3 0' } });
    await w.run(w.kit.dispatch('door', w.kit.envelope(turn, { open: false }, { actor: 'd' })));
    const many = Array.from({ length: 17 }, (_, n) => w.kit.dispatch('door', w.kit.envelope(ask, { n: 100 + n }, { actor: 'd' }), 2_000));
    expect((await w.run(Promise.all(many))).map(failedWith).filter((code) => code !== undefined)).toEqual(['AIOS_OVERLOADED']);
  });

  it('become - a name that is not declared is refused, and a behaviour declares nothing new', async () => {
    const odd = defineAgent('odd').handle(add, (_, ctx) => (ctx.become('nowhere'), { total: 0 }));
    await using w = await world([odd]);
    expect(failedWith(await w.run(w.kit.dispatch('odd', shared(w.kit, 1))))).toBe('AIOS_INPUT_INVALID');
    expect(() => odd.in('later', (into) => into.handle(echo, ({ text }) => ({ text })))).toThrow('not by itself');
  });

  it('timers - fire once, survive the agent leaving memory, and can be cancelled', async () => {
    const rang = defineEvent('alarm.rang', z.strictObject({ name: z.string() }));
    const set = defineCapability('alarm.set', { input: z.strictObject({ cancel: z.boolean() }), output: z.strictObject({ rang: z.array(z.string()) }) });
    const alarm = defineAgent('alarm', { state: z.strictObject({ rang: z.array(z.string()) }), initial: () => ({ rang: [] as string[] }), passivate: { idleMs: 1_000 } })
      .handle(set, ({ cancel }, ctx) => {
        if (cancel) ctx.cancelTimer('b');
        else for (const name of ['a', 'b']) ctx.timer(name, 10_000, rang, { name });
        return { rang: ctx.state.rang };
      })
      .on(rang, ({ name }, ctx) => void ctx.state.rang.push(name));
    await using w = await world([alarm]);
    await w.run(w.kit.dispatch('alarm', w.kit.envelope(set, { cancel: false }, { actor: 'x' })));
    await w.run(w.kit.dispatch('alarm', w.kit.envelope(set, { cancel: true }, { actor: 'x' })));
    await w.clock.advance(20_000);
    expect(await w.run(w.kit.dispatch('alarm', w.kit.envelope(set, { cancel: true }, { actor: 'x' })))).toMatchObject({ output: { rang: ['a'] } });
  });

  it('effects - run once over all turns of an agent; a proposed effect must be declared', async () => {
    const pay = defineCapability('pay.once', { input: z.strictObject({ propose: z.string() }), output: z.strictObject({ receipt: z.string() }), effects: ['refund.issue'] });
    const paid: string[] = [];
    const payer = defineAgent('payer').handle(pay, async ({ propose }, ctx) => {
      const receipt = await ctx.effect('charge-1', async (key) => `r${paid.push(key)}`);
      ctx.propose({ kind: propose, key: 'k', amountMicroUsd: 1, params: {} });
      return { receipt };
    });
    await using w = await world([payer]);
    expect(await w.run(w.kit.dispatch('payer', w.kit.envelope(pay, { propose: 'refund.issue' }, { actor: 'p' })))).toMatchObject({ output: { receipt: 'r1' }, effect: { kind: 'refund.issue' } });
    expect(await w.run(w.kit.dispatch('payer', w.kit.envelope(pay, { propose: 'refund.issue' }, { actor: 'p' })))).toMatchObject({ output: { receipt: 'r1' } });
    expect(failedWith(await w.run(w.kit.dispatch('payer', w.kit.envelope(pay, { propose: 'money.burn' }, { actor: 'p' }))))).toBe('AIOS_EFFECT_UNKNOWN');
    expect(paid).toEqual(['acme:payer:p:charge-1']);
  });

  it('mailbox - one agent takes messages in order, one at a time, while others run', async () => {
    let running = 0;
    let most = 0;
    const order: number[] = [];
    const work = defineCapability('work.slow', { input: z.strictObject({ n: z.number() }), output: z.strictObject({}) });
    const slow = defineAgent('slow').handle(work, async ({ n }) => {
      most = Math.max(most, ++running);
      await w.clock.sleep(50);
      order.push(n);
      running--;
      return {};
    });
    await using w = await world([slow]);
    const same = [0, 1, 2, 3].map((n) => w.kit.dispatch('slow', w.kit.envelope(work, { n }, { actor: 'same' })));
    await w.run(Promise.all(same));
    expect(order).toEqual([0, 1, 2, 3]);
    expect(most).toBe(1);
    await w.run(Promise.all([4, 5].map((n) => w.kit.dispatch('slow', w.kit.envelope(work, { n })))));
    expect(most).toBe(2);
  });

  it('mailbox - past its bound a message waits in its mailbox and is handled later', async () => {
    const work = defineCapability('work.slow', { input: z.strictObject({}), output: z.strictObject({}) });
    const slow = defineAgent('slow', { mailbox: { messagesMax: 2 } }).handle(work, async () => {
      await w.clock.sleep(50);
      return {};
    });
    await using w = await world([slow]);
    const outcomes = await w.run(Promise.all(Array.from({ length: 8 }, () => w.kit.dispatch('slow', w.kit.envelope(work, {}, { actor: 'same' })))));
    expect(outcomes.map((outcome) => outcome?.status)).toEqual(Array.from({ length: 8 }, () => 'done'));
  });

  it('leases - two hosts share the partitions, a stopped one leaves its own to the other', async () => {
    const clock = createSimulatedClock();
    const kit = createKit({ clock });
    const options = { agents: [counter], partitions: 'leased' as const };
    const first = createAgentHost(kit.connect(), { ...options, name: 'a' });
    const second = createAgentHost(kit.connect(), { ...options, name: 'b' });
    await first.start();
    await second.start();
    await clock.advance(10_000);
    expect([first.inspect().partitions.length, second.inspect().partitions.length]).toEqual([32, 32]);
    const outcome = kit.dispatch('counter', shared(kit, 2));
    await clock.advance(100);
    expect(await outcome).toMatchObject({ status: 'done' });
    const drained = first.drain();
    await clock.advance(10_000);
    await drained;
    expect(second.inspect().partitions.length).toBe(64);
    const again = kit.dispatch('counter', shared(kit, 2));
    await clock.advance(100);
    expect(await again).toMatchObject({ status: 'done', output: { total: 4 } });
    void second.drain();
    await clock.advance(10_000);
    expect(kit.servers.leases.holders().size).toBe(0);
  });

  it('leases - a turn whose lease is lost gives its message back at once, although its handler goes on', async () => {
    const clock = createSimulatedClock();
    const kit = createKit({ clock });
    let runs = 0;
    const stuck = defineAgent('counter', { state: counterState, initial: () => ({ total: 0 }) }).handle(add, async ({ by }, ctx) => {
      if (++runs === 1) await clock.sleep(1_000_000);
      ctx.state.total += by;
      return { total: ctx.state.total };
    });
    const leases = kit.connect();
    let give = new AbortController();
    // The first host's leases can be taken from it, as when its connection stalls.
    const losable = { ...leases, leases: { ...leases.leases, acquire: async (name: string, owner: string, ttlMs: number) => {
      const lease = await leases.leases.acquire(name, owner, ttlMs);
      if (lease === undefined) return undefined;
      give.signal.addEventListener('abort', () => void lease.release());
      return lease;
    } } };
    const first = createAgentHost(losable, { agents: [stuck], partitions: 'leased', name: 'a', limits: { acquireStepMax: 64 } });
    await first.start();
    const outcome = kit.dispatch('counter', shared(kit, 2, { deadline: clock.now() + 500_000 }), 60_000);
    await clock.advance(100);
    const second = createAgentHost(kit.connect(), { agents: [stuck], partitions: 'leased', name: 'b', limits: { acquireStepMax: 64 } });
    give.abort();
    give = new AbortController();
    await second.start();
    await clock.advance(6_000);
    expect(runs).toBe(2);
    expect(await outcome).toMatchObject({ status: 'done', output: { total: 2 } });
    void Promise.all([first.drain(), second.drain()]);
    await clock.advance(10_000);
  });

  it('asks - a drain lets those being served end', async () => {
    const slow = defineAgent('slow').handle(echo, async ({ text }) => {
      await clock.sleep(500);
      return { text };
    });
    const clock = createSimulatedClock();
    const kit = createKit({ clock });
    const host = createAgentHost(kit, { agents: [slow], name: 'a', partitions: '*' });
    await host.start();
    const answer = kit.bus.request(subjects.capability('acme' as TenantId, 'text.echo' as CapabilityId), toBytes(kit.envelope(echo, { text: 'x' })), { timeoutMs: 5_000 });
    await clock.advance(10);
    let drained = false;
    void host.drain().then(() => (drained = true));
    await clock.advance(100);
    expect(drained).toBe(false);
    await clock.advance(1_000);
    expect(drained).toBe(true);
    expect(JSON.parse(new TextDecoder().decode((await answer).data))).toMatchObject({ status: 'done' });
  });

  it('memory - idle agents leave it and come back with their state', async () => {
    await using w = await world([counter]);
    await w.run(w.kit.dispatch('counter', shared(w.kit, 2)));
    await w.clock.advance(200_000);
    expect(await w.run(w.kit.dispatch('counter', shared(w.kit, 3)))).toMatchObject({ output: { total: 5 } });
  });
});
