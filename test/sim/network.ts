// The simulated world between a host and the servers: latency, loss, cuts, pauses, crashes, all from one seed.
// Owns: what a process sees of time and network. Never touches the runtime or the servers: faults happen on the way.
// Others may assume: a crashed process never runs again, a paused one runs nothing and then everything at once in any order,
// and a lost reply means that the effect may have happened.

import type { Clock } from '../../contracts/ports.ts';
import { fail } from '../../contracts/errors.ts';
import { type Link, type SeededRandom, type SimulatedClock, sleepWith } from '../kit/index.ts';

export interface Faults {
  /** Chance per operation that its request, or its reply, is lost. */
  readonly lossChance: number;
  /** Chance that a publish arrives twice. */
  readonly duplicateChance: number;
  /** Chance per operation and side that the process dies right there. */
  readonly crashChance: number;
  /** Chance that a message takes up to `slowMs` instead of up to `fastMs`. */
  readonly slowChance: number;
  readonly fastMs: number;
  readonly slowMs: number;
}
export const CALM: Faults = Object.freeze({ lossChance: 0, duplicateChance: 0, crashChance: 0, slowChance: 0, fastMs: 2, slowMs: 2 });

/** What all hosts of a run share. */
export interface Weather {
  readonly clock: SimulatedClock;
  readonly random: SeededRandom;
  readonly trace: Trace;
  faults: Faults;
  /** How often a process died right before, or right after, an operation took effect. */
  readonly crashes: Map<string, number>;
}

export interface SimProcess {
  readonly name: string;
  readonly link: Link;
  readonly clock: Clock;
  readonly dead: boolean;
  readonly idle: boolean;
  crash(): void;
  pause(ms: number): void;
  cut(ms: number): void;
}

/** A running digest of everything that happened, in order. */
export interface Trace {
  note(text: string): void;
  readonly hash: string;
}
export function createTrace(): Trace {
  let low = 0x811c9dc5;
  let high = 0x1b873593;
  return {
    note(text) {
      for (let i = 0; i < text.length; i++) {
        low = Math.imul(low ^ text.charCodeAt(i), 0x01000193);
        high = Math.imul(high ^ low, 0x85ebca6b) ^ (high >>> 13);
      }
    },
    get hash() {
      return (low >>> 0).toString(16).padStart(8, '0') + (high >>> 0).toString(16).padStart(8, '0');
    },
  };
}

/** Housekeeping is most of the traffic; dying there says little about turns. */
const RARELY = / (lease|bus)\./;
const REPEATABLE = new Set(['mailbox.publish', 'topic.publish', 'outcomes.publish', 'mailbox.ack', 'timers.schedule']);

/** Without `onCrash` the process does not die: it stands for clients that try again from elsewhere. */
export function createProcess(weather: Weather, name: string, onCrash?: () => void): SimProcess {
  const { clock: world, random, trace } = weather;
  const backlog: (() => void)[] = [];
  let dead = false;
  let paused = false;
  let cuts = 0;

  const latency = (): number => random.next() * (random.chance(weather.faults.slowChance) ? weather.faults.slowMs : weather.faults.fastMs);
  /** Something reaches the process: now, at the end of its pause, or never. */
  function arrive(run: () => void): void {
    if (dead) return;
    if (paused) backlog.push(run);
    else run();
  }
  function crash(): void {
    if (dead) return;
    dead = true;
    backlog.length = 0;
    trace.note(`crash ${name} ${world.now()}`);
    onCrash?.();
  }
  /** True when the process dies at this point. */
  function dies(point: string): boolean {
    const chance = RARELY.test(point) ? weather.faults.crashChance / 20 : weather.faults.crashChance;
    if (onCrash === undefined || !random.chance(chance)) return false;
    weather.crashes.set(point, (weather.crashes.get(point) ?? 0) + 1);
    crash();
    return true;
  }

  const clock: Clock = {
    now: () => world.now(),
    monotonic: () => world.monotonic(),
    after(ms, run) {
      let live = true;
      const cancel = world.after(ms, () => arrive(() => live && run()));
      return () => {
        live = false;
        cancel();
      };
    },
    sleep: (ms, signal) => sleepWith(clock.after, ms, signal),
  };

  function call<T>(operation: string, effect: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (dead || dies(`before ${operation}`)) return;
      const { lossChance, duplicateChance } = weather.faults;
      const requestLost = random.chance(lossChance);
      const replyLost = random.chance(lossChance);
      const twice = REPEATABLE.has(operation) && random.chance(duplicateChance);
      const failLater = (): void => void world.after(500 + random.next() * 1_500, () => arrive(() => reject(fail('AIOS_DISCONNECTED'))));
      world.after(latency(), () => {
        if (requestLost || cuts > 0) return failLater();
        const answer = attempt(effect);
        if (twice) attempt(effect);
        trace.note(`${name} ${operation} ${'value' in answer ? 'ok' : 'no'} ${world.now()}`);
        if (replyLost) return failLater();
        world.after(latency(), () => {
          if (cuts > 0) return failLater();
          arrive(() => {
            if (dies(`after ${operation}`)) return;
            if ('value' in answer) resolve(answer.value);
            else reject(answer.error);
          });
        });
      });
    });
  }

  const link: Link = {
    clock,
    call,
    push(operation, run) {
      if (random.chance(weather.faults.lossChance)) return;
      world.after(latency(), () => {
        if (cuts > 0) return;
        trace.note(`${name} ${operation} ${world.now()}`);
        arrive(run);
      });
    },
    get connected() {
      return !dead && cuts === 0;
    },
  };

  return {
    name,
    link,
    clock,
    crash,
    pause(ms) {
      if (dead || paused) return;
      paused = true;
      trace.note(`pause ${name} ${world.now()}`);
      world.after(ms, () => {
        paused = false;
        // What piled up runs in any order: after a stop, timers and sockets race.
        while (backlog.length > 0 && !dead) {
          const run = backlog.splice(random.int(backlog.length), 1)[0] as () => void;
          world.after(0, () => arrive(run));
        }
      });
    },
    cut(ms) {
      cuts++;
      trace.note(`cut ${name} ${world.now()}`);
      world.after(ms, () => void cuts--);
    },
    get dead() {
      return dead;
    },
    get idle() {
      return !paused && cuts === 0;
    },
  };
}

function attempt<T>(effect: () => T): { readonly value: T } | { readonly error: unknown } {
  try {
    return { value: effect() };
  } catch (error) {
    return { error };
  }
}
