// Local actors: order, bounds, supervision, death watch, stash, behaviours, timers.
// Owns: behaviour tests of agents/runtime/local. Uses the simulated clock only. Others may assume: no real time passes.

import { describe, expect, it } from 'vitest';
import { fail } from '../../contracts/errors.ts';
import type { Directive } from '../../contracts/agent.ts';
import { createActorSystem, type ActorSystemOptions } from '../../agents/runtime/local/system.ts';
import type { ActorContext, ActorRef, Setup, Signal, Strategy } from '../../agents/runtime/local/types.ts';
import { createSeededRandom, createSimulatedClock, silentLogger, silentMetrics, type SimulatedClock } from '../kit/index.ts';

function open(options: ActorSystemOptions = {}) {
  const clock = createSimulatedClock();
  const letters: (readonly [string, unknown, string])[] = [];
  const system = createActorSystem({ clock, random: createSeededRandom(1), logger: silentLogger, metrics: silentMetrics }, { onDeadLetter: (...letter) => letters.push(letter), ...options });
  return { clock, system, letters };
}
const rest = (clock: SimulatedClock, ms = 0): Promise<void> => clock.advance(ms);

/** Counts its messages; `boom` fails it, so that its count shows whether it kept its state. */
const counting = (log: (readonly [string, number])[], name: string): Setup<'add' | 'boom'> => () => {
  let count = 0;
  return (message) => {
    if (message === 'boom') throw new TypeError('boom');
    log.push([name, ++count]);
  };
};
const under = (names: readonly string[], log: (readonly [string, number])[], refs: Map<string, ActorRef<'add' | 'boom'>>): Setup<never> => (ctx: ActorContext<never>) => {
  for (const name of names) refs.set(name, ctx.spawn(name, counting(log, name)));
  return () => undefined;
};

async function family(strategy: Strategy, decide: (error: unknown) => Directive, options: { restartsMax?: number } & ActorSystemOptions = {}) {
  const world = open(options);
  const log: (readonly [string, number])[] = [];
  const refs = new Map<string, ActorRef<'add' | 'boom'>>();
  world.system.spawn('parent', under(['a', 'b', 'c'], log, refs), { children: { strategy, decide, restartsMax: options.restartsMax ?? 3 } });
  for (const ref of refs.values()) ref.tell('add');
  await rest(world.clock);
  refs.get('b')?.tell('boom');
  await rest(world.clock, 1_000);
  for (const ref of refs.values()) ref.tell('add');
  await rest(world.clock, 1_000);
  return { ...world, log: log.slice(3), refs };
}

describe('local actors', () => {
  it('tell - messages are handled in order, one at a time, asynchronous handlers included', async () => {
    const { clock, system } = open();
    const log: string[] = [];
    const actor = system.spawn<number>('a', () => async (n) => {
      log.push(`start ${n}`);
      await clock.sleep(10);
      log.push(`end ${n}`);
    });
    for (const n of [1, 2]) actor.tell(n);
    await rest(clock, 100);
    expect(log).toEqual(['start 1', 'end 1', 'start 2', 'end 2']);
  });

  it('ask - brings the reply, ends at its time, and is refused by who is gone', async () => {
    const { clock, system } = open();
    const actor = system.spawn<{ n: number; reply: (n: number) => void }>('a', () => ({ n, reply }) => void (n > 0 && reply(n * 2)));
    expect(await actor.ask<number>((reply) => ({ n: 2, reply }), 100)).toBe(4);
    const silent = actor.ask<number>((reply) => ({ n: 0, reply }), 100).catch((error: unknown) => error);
    await rest(clock, 200);
    expect(await silent).toMatchObject({ code: 'AIOS_DEADLINE_EXCEEDED' });
    system.stop(actor);
    await expect(actor.ask<number>((reply) => ({ n: 2, reply }), 100)).rejects.toMatchObject({ code: 'AIOS_UNAVAILABLE' });
  });

  it('mailbox - rejects past its bound, or lets the oldest go, and every such message is a dead letter', async () => {
    const { clock, system, letters } = open();
    const seen: number[] = [];
    const strict = system.spawn<number>('strict', () => (n) => void seen.push(n), { messagesMax: 2 });
    const loose = system.spawn<number>('loose', () => (n) => void seen.push(10 + n), { messagesMax: 2, overflow: 'drop-oldest' });
    expect([0, 1, 2].map((n) => strict.tell(n))).toEqual([true, true, false]);
    expect([0, 1, 2].map((n) => loose.tell(n))).toEqual([true, true, true]);
    await rest(clock);
    expect(seen).toEqual([0, 1, 11, 12]);
    expect(letters).toEqual([['/user/strict', 2, 'overflow'], ['/user/loose', 0, 'overflow']]);
  });

  it('restart - one-for-one makes the failed child anew and leaves its siblings alone', async () => {
    const { log } = await family('one-for-one', () => 'restart');
    expect(log).toEqual([['a', 2], ['b', 1], ['c', 2]].sort());
  });

  it('restart - rest-for-one takes those spawned after it along', async () => {
    const { log } = await family('rest-for-one', () => 'restart');
    expect([...log].sort()).toEqual([['a', 2], ['b', 1], ['c', 1]]);
  });

  it('restart - one-for-all takes all', async () => {
    const { log } = await family('one-for-all', () => 'restart');
    expect([...log].sort()).toEqual([['a', 1], ['b', 1], ['c', 1]]);
  });

  it('resume - keeps the state; stop - ends the child', async () => {
    expect((await family('one-for-one', () => 'resume')).log).toEqual([['a', 2], ['b', 2], ['c', 2]]);
    const stopped = await family('one-for-one', () => 'stop');
    expect(stopped.log).toEqual([['a', 2], ['c', 2]]);
    expect(stopped.letters.at(-1)).toEqual(['/user/parent/b', 'add', 'stopped']);
  });

  it('intensity - more restarts than allowed escalate to the parent\'s parent, which restarts the family', async () => {
    const { clock, refs, system } = await family('one-for-one', () => 'restart', { restartsMax: 2 });
    for (let i = 0; i < 2; i++) {
      refs.get('b')?.tell('boom');
      await rest(clock, 1_000);
    }
    const [parent] = system.tree().children;
    expect(parent).toMatchObject({ path: '/user/parent', state: 'running', restarts: 1 });
    expect(parent?.children.map((child) => child.restarts)).toEqual([0, 0, 0]);
  });

  it('escalation - at the top the actor ends and somebody is told', async () => {
    const told: string[] = [];
    const { clock, system } = open({ onEscalation: (path) => told.push(path) });
    const actor = system.spawn<string>('a', () => () => {
      throw new TypeError('boom');
    });
    for (let i = 0; i < 4; i++) {
      actor.tell('x');
      await rest(clock, 6_000);
    }
    expect(told).toEqual(['/user/a']);
    expect(system.size).toBe(0);
  });

  it('refusal - policy and budget refusals are signals to the parent, not faults', async () => {
    const { clock, system } = open();
    const signals: Signal[] = [];
    system.spawn<never>('parent', (ctx) => {
      const child = ctx.spawn<string>('child', () => () => {
        throw fail('AIOS_BUDGET_EXCEEDED');
      });
      child.tell('spend');
      return { receive: () => undefined, onSignal: (signal) => void signals.push(signal) };
    });
    await rest(clock, 100);
    expect(signals).toEqual([{ kind: 'refused', path: '/user/parent/child', code: 'AIOS_BUDGET_EXCEEDED' }]);
    expect(system.tree().children[0]?.children[0]).toMatchObject({ state: 'running', restarts: 0 });
  });

  it('death watch - tells once when the watched actor ends, at once when it is gone already', async () => {
    const { clock, system } = open();
    const signals: Signal[] = [];
    const mortal = system.spawn<string>('mortal', (ctx) => () => ctx.stopSelf());
    const watcher: Setup<'again'> = (ctx) => {
      ctx.watch(mortal as ActorRef<never>);
      return { receive: () => ctx.watch(mortal as ActorRef<never>), onSignal: (signal) => void signals.push(signal) };
    };
    const widow = system.spawn('widow', watcher);
    mortal.tell('end');
    await rest(clock);
    widow.tell('again');
    await rest(clock);
    expect(signals).toEqual([{ kind: 'terminated', path: '/user/mortal', why: 'stopped' }, { kind: 'terminated', path: '/user/mortal', why: 'stopped' }]);
  });

  it('stash and become - what comes too early waits, bounded, and comes first later', async () => {
    const { clock, system, letters } = open();
    const log: string[] = [];
    const door = system.spawn<string>('door', (ctx) => {
      const opened = (message: string): void => void log.push(message);
      return (message) => {
        if (message !== 'open') return ctx.stash();
        ctx.become(opened);
        ctx.unstash();
      };
    }, { stashMax: 2 });
    for (const message of ['a', 'b', 'c', 'open', 'd']) door.tell(message);
    await rest(clock);
    expect(log).toEqual(['a', 'b', 'd']);
    expect(letters).toEqual([['/user/door', 'c', 'failed']]);
  });

  it('timers - fire once, the same name replaces, a restart forgets them', async () => {
    const { clock, system } = open();
    const log: string[] = [];
    const actor = system.spawn<string>('a', (ctx) => (message) => {
      if (message === 'set') {
        ctx.timer('t', 100, 'first');
        ctx.timer('t', 100, 'second');
        ctx.timer('u', 2_000, 'forgotten');
      } else if (message === 'boom') throw new TypeError('boom');
      else log.push(message);
    });
    actor.tell('set');
    await rest(clock, 150);
    actor.tell('boom');
    await rest(clock, 5_000);
    expect(log).toEqual(['second']);
  });

  it('interception - runs around every message and may refuse it', async () => {
    const seen: string[] = [];
    const { clock, system, letters } = open({ intercept: [(path, message, next) => {
      seen.push(`${path} ${String(message)}`);
      if (message === 'secret') throw fail('AIOS_POLICY_DENIED');
      return next();
    }] });
    const got: string[] = [];
    const actor = system.spawn<string>('a', () => (message) => void got.push(message));
    for (const message of ['hello', 'secret']) actor.tell(message);
    await rest(clock);
    expect([got, seen]).toEqual([['hello'], ['/user/a hello', '/user/a secret']]);
    expect(letters).toEqual([['/user/a', 'secret', 'failed']]);
  });

  it('dispose - stops the tree from the leaves up', async () => {
    const { clock, system } = open();
    const order: string[] = [];
    const leaf = (name: string): Setup<never> => () => ({ receive: () => undefined, onStop: () => void order.push(name) });
    system.spawn<never>('parent', (ctx) => {
      ctx.spawn('a', leaf('a'));
      ctx.spawn('b', leaf('b'));
      return { receive: () => undefined, onStop: () => void order.push('parent') };
    });
    await system[Symbol.asyncDispose]();
    await rest(clock);
    expect(order).toEqual(['b', 'a', 'parent']);
    expect(system.size).toBe(0);
  });
});
