// The system of local actors: spawning, the run loop, supervision, death watch.
// Owns: the tree of actors and who runs next. Runs actors in the order they became ready, a slice of messages each, and gives the
// process back to its other work after a bounded number of messages. Never loses a message silently: what is not handled is a dead letter.
// Others may assume: a parent outlives its children, children stop before their parent's restart, and faults go up, never sideways.

import type { Directive } from '../../../contracts/agent.ts';
import { ERRORS, fail, isAiosError } from '../../../contracts/errors.ts';
import type { Clock, Logger, Metrics, Random } from '../../../contracts/ports.ts';
import { backoffMs, classify, createIntensity, type Intensity } from '../supervision.ts';
import { createQueue, type Queue } from './queue.ts';
import type { ActorContext, ActorNode, ActorRef, ActorSystem, Behaviour, ChildrenPolicy, LocalInterceptor, Receive, Setup, Signal, SpawnOptions } from './types.ts';

export interface LocalPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
}
export interface ActorSystemOptions {
  readonly intercept?: readonly LocalInterceptor[];
  /** Told about messages nobody handled: refused at a bound, sent to who is gone, or failed. */
  readonly onDeadLetter?: (path: string, message: unknown, reason: 'overflow' | 'stopped' | 'failed') => void;
  /** A fault that went all the way up; the actor under the root has been stopped. */
  readonly onEscalation?: (path: string, error: unknown) => void;
}

export const CHILDREN_DEFAULTS: ChildrenPolicy = Object.freeze({ strategy: 'one-for-one', decide: () => 'restart' as const, restartsMax: 3, withinMs: 30_000, backoffMs: 50, backoffMsMax: 5_000 });
const MESSAGES_MAX = 10_000;
const STASH_MAX = 100;
const BECOME_MAX = 16;
/** Messages one actor handles before the next gets its turn. */
const SLICE = 64;
/** Messages after which sockets and timers of the process get theirs. */
const BREATH = 20_000;

interface Actor {
  readonly path: string;
  readonly parent: Actor | undefined;
  readonly setup: Setup<unknown>;
  readonly options: SpawnOptions;
  readonly ref: ActorRef<unknown>;
  queue: Queue<unknown> | undefined;
  behaviours: Receive<unknown>[];
  behaviour: Behaviour<unknown> | undefined;
  state: 'running' | 'suspended' | 'stopped';
  scheduled: boolean;
  busy: boolean;
  current: { readonly message: unknown; stashed: boolean } | undefined;
  /** What few actors use is made when they use it; an idle actor is small. */
  children: Map<string, Actor> | undefined;
  watchers: Set<Actor> | undefined;
  watching: Set<Actor> | undefined;
  stash: unknown[] | undefined;
  timers: Map<string, () => void> | undefined;
  intensity: Intensity | undefined;
  restarts: number;
  cancelRestart: (() => void) | undefined;
}

export function createActorSystem(ports: LocalPorts, options: ActorSystemOptions = {}): ActorSystem {
  const { clock, random, logger, metrics } = ports;
  const ready = createQueue<Actor>();
  const actors = new WeakMap<ActorRef<never>, Actor>();
  let pumping = false;
  let size = 0;
  const intercepted = chainOf(options.intercept ?? []);
  const root = newActor('/user', undefined, () => () => undefined, {});

  // ---- messages

  function tell(actor: Actor, message: unknown): boolean {
    if (actor.state === 'stopped') return deadLetter(actor, message, 'stopped');
    const queue = (actor.queue ??= createQueue());
    if (queue.length >= (actor.options.messagesMax ?? MESSAGES_MAX)) {
      if (actor.options.overflow !== 'drop-oldest') return deadLetter(actor, message, 'overflow');
      deadLetter(actor, queue.shift(), 'overflow');
    }
    queue.push(message);
    schedule(actor);
    return true;
  }
  function deadLetter(actor: Actor, message: unknown, reason: 'overflow' | 'stopped' | 'failed'): false {
    metrics.count('aios_local_dead_letters_total', { reason });
    options.onDeadLetter?.(actor.path, message, reason);
    return false;
  }
  function schedule(actor: Actor): void {
    if (actor.scheduled || actor.busy || actor.state !== 'running') return;
    actor.scheduled = true;
    ready.push(actor);
    if (pumping) return;
    pumping = true;
    queueMicrotask(pump);
  }
  function pump(): void {
    let handled = 0;
    for (let actor = ready.shift(); actor !== undefined; actor = ready.shift()) {
      actor.scheduled = false;
      handled += runSlice(actor);
      if (handled < BREATH) continue;
      clock.after(0, pump);
      return;
    }
    pumping = false;
  }
  function runSlice(actor: Actor): number {
    let handled = 0;
    while (handled < SLICE && actor.state === 'running' && !actor.busy) {
      if (actor.queue === undefined || actor.queue.length === 0) return handled;
      handled++;
      handle(actor, actor.queue.shift());
    }
    if ((actor.queue?.length ?? 0) > 0) schedule(actor);
    return handled;
  }
  function handle(actor: Actor, message: unknown): void {
    const current = { message, stashed: false };
    actor.current = current;
    try {
      const receive = actor.behaviours.at(-1) as Receive<unknown>;
      const pending = intercepted === undefined ? receive(message) : intercepted(actor.path, message, () => receive(message));
      if (pending instanceof Promise) return wait(actor, current, pending);
    } catch (error) {
      afterFailure(actor, current, error);
    }
    actor.current = undefined;
  }
  function wait(actor: Actor, current: NonNullable<Actor['current']>, pending: Promise<void>): void {
    actor.busy = true;
    pending.catch((error: unknown) => afterFailure(actor, current, error)).finally(() => {
      actor.busy = false;
      actor.current = undefined;
      schedule(actor);
    });
  }

  // ---- failures

  /** Refusals are signals to the parent; the actor goes on. Everything else is a fault, and the parent decides. */
  function afterFailure(actor: Actor, current: NonNullable<Actor['current']>, error: unknown): void {
    if (!current.stashed) deadLetter(actor, current.message, 'failed');
    if (actor.state === 'stopped') return;
    if (classify(error) !== 'fault' && isAiosError(error)) {
      metrics.count('aios_local_refusals_total', { code: error.code });
      if (ERRORS[error.code].blame === 'policy' && actor.parent !== undefined) signal(actor.parent, { kind: 'refused', path: actor.path, code: error.code });
      return;
    }
    fault(actor, error);
  }
  function fault(actor: Actor, error: unknown): void {
    const { parent } = actor;
    metrics.count('aios_local_faults_total');
    logger.warn({ actor: actor.path, error: error instanceof Error ? error.name : typeof error }, 'actor fault');
    if (parent === undefined) return;
    const policy = policyOf(parent);
    const directive: Directive = policy.decide(error);
    if (directive === 'resume') return;
    if (directive === 'stop') return stop(actor, 'failed');
    parent.intensity ??= createIntensity(policy);
    if (directive === 'escalate' || !parent.intensity.allow(clock.now())) return escalate(actor, parent, error);
    for (const affected of affectedBy(actor, parent, policy)) restart(affected, policy);
  }
  /** The parent failed with its child; at the top the child ends. */
  function escalate(actor: Actor, parent: Actor, error: unknown): void {
    if (parent !== root) return fault(parent, error);
    stop(actor, 'failed');
    options.onEscalation?.(actor.path, error);
  }
  /** Children go first, state is made anew after a pause, waiting messages are kept. */
  function restart(actor: Actor, policy: ChildrenPolicy): void {
    if (actor.state === 'stopped') return;
    end(actor);
    actor.state = 'suspended';
    actor.restarts++;
    actor.cancelRestart?.();
    metrics.count('aios_local_restarts_total');
    actor.cancelRestart = clock.after(backoffMs(policy, actor.restarts, random.next()), () => {
      actor.cancelRestart = undefined;
      begin(actor);
    });
  }
  function begin(actor: Actor): void {
    actor.state = 'running';
    try {
      const made = actor.setup(contextOf(actor));
      actor.behaviour = typeof made === 'function' ? { receive: made } : made;
      actor.behaviours = [actor.behaviour.receive];
      schedule(actor);
    } catch (error) {
      actor.behaviours = [];
      actor.state = 'suspended';
      fault(actor, error);
    }
  }
  /** Everything a run of the actor held. The stash goes back to the mailbox: its messages were accepted. */
  function end(actor: Actor): void {
    for (const child of [...(actor.children?.values() ?? [])].toReversed()) stop(child, 'stopped');
    for (const cancel of actor.timers?.values() ?? []) cancel();
    actor.timers = undefined;
    unstash(actor);
    for (const other of actor.watching ?? []) other.watchers?.delete(actor);
    actor.watching = undefined;
    actor.behaviour?.onStop?.();
    actor.behaviour = undefined;
  }
  function stop(actor: Actor, why: 'stopped' | 'failed'): void {
    if (actor.state === 'stopped') return;
    end(actor);
    actor.state = 'stopped';
    actor.cancelRestart?.();
    if (actor !== root) size--;
    actor.parent?.children?.delete(actor.path);
    while (actor.queue !== undefined && actor.queue.length > 0) deadLetter(actor, actor.queue.shift(), 'stopped');
    for (const watcher of actor.watchers ?? []) tellTerminated(watcher, actor, why);
    actor.watchers = undefined;
  }
  function tellTerminated(watcher: Actor, actor: Actor, why: 'stopped' | 'failed'): void {
    watcher.watching?.delete(actor);
    signal(watcher, { kind: 'terminated', path: actor.path, why });
  }
  /** Signals come between messages, so they are queued on the microtask queue and not in the bounded mailbox. */
  function signal(actor: Actor, about: Signal): void {
    queueMicrotask(() => {
      if (actor.state === 'stopped') return;
      try {
        actor.behaviour?.onSignal?.(about);
      } catch (error) {
        fault(actor, error);
      }
    });
  }

  // ---- what an actor may do

  function unstash(actor: Actor): void {
    if (actor.stash === undefined) return;
    (actor.queue ??= createQueue()).prepend(actor.stash);
    actor.stash = undefined;
    schedule(actor);
  }
  function contextOf(actor: Actor): ActorContext<unknown> {
    const cancelTimer = (name: string): void => {
      actor.timers?.get(name)?.();
      actor.timers?.delete(name);
    };
    return {
      self: actor.ref,
      now: () => clock.now(),
      spawn: (name, setup, spawned) => spawnUnder(actor, name, setup, spawned),
      stop(child) {
        const found = actors.get(child);
        if (found?.parent === actor) stop(found, 'stopped');
      },
      stopSelf: () => stop(actor, 'stopped'),
      watch(other) {
        const found = actors.get(other);
        if (found === undefined || found.state === 'stopped') return signal(actor, { kind: 'terminated', path: other.path, why: 'stopped' });
        (found.watchers ??= new Set()).add(actor);
        (actor.watching ??= new Set()).add(found);
      },
      unwatch(other) {
        const found = actors.get(other);
        if (found === undefined) return;
        found.watchers?.delete(actor);
        actor.watching?.delete(found);
      },
      become(receive) {
        if (actor.behaviours.length >= BECOME_MAX) throw fail('AIOS_AGENT_FAULT', `behaviours are stacked more than ${BECOME_MAX} deep.`);
        actor.behaviours.push(receive);
      },
      unbecome: () => void (actor.behaviours.length > 1 && actor.behaviours.pop()),
      stash() {
        const stash = (actor.stash ??= []);
        if (actor.current === undefined) throw fail('AIOS_AGENT_FAULT', 'there is no message at hand.');
        if (stash.length >= (actor.options.stashMax ?? STASH_MAX)) throw fail('AIOS_OVERLOADED', 'the stash is full.');
        actor.current.stashed = true;
        stash.push(actor.current.message);
      },
      unstash: () => unstash(actor),
      timer(name, ms, message) {
        cancelTimer(name);
        (actor.timers ??= new Map()).set(name, clock.after(ms, () => {
          actor.timers?.delete(name);
          tell(actor, message);
        }));
      },
      cancelTimer,
    };
  }
  function ask<R>(actor: Actor, make: (reply: (answer: R) => void) => unknown, timeoutMs: number): Promise<R> {
    return new Promise((resolve, reject) => {
      const cancel = clock.after(timeoutMs, () => reject(fail('AIOS_DEADLINE_EXCEEDED')));
      const accepted = tell(actor, make((answer) => {
        cancel();
        resolve(answer);
      }));
      if (accepted) return;
      cancel();
      reject(fail(actor.state === 'stopped' ? 'AIOS_UNAVAILABLE' : 'AIOS_OVERLOADED'));
    });
  }
  function newActor(path: string, parent: Actor | undefined, setup: Setup<unknown>, spawned: SpawnOptions): Actor {
    const ref: ActorRef<unknown> = { path, tell: (message) => tell(actor, message), ask: (make, timeoutMs) => ask(actor, make, timeoutMs) };
    const actor: Actor = {
      path, parent, setup, options: spawned, ref, queue: undefined, behaviours: [], behaviour: undefined, state: 'running', scheduled: false, busy: false, current: undefined,
      children: undefined, watchers: undefined, watching: undefined, stash: undefined, timers: undefined, intensity: undefined, restarts: 0, cancelRestart: undefined,
    };
    actors.set(ref, actor);
    return actor;
  }
  function spawnUnder<M>(parent: Actor, name: string, setup: Setup<M>, spawned: SpawnOptions = {}): ActorRef<M> {
    const path = `${parent.path}/${name}`;
    if (parent.state === 'stopped') throw fail('AIOS_UNAVAILABLE', `${parent.path} has stopped.`);
    if (parent.children?.has(path) === true) throw fail('AIOS_INPUT_INVALID', `${path} exists already.`);
    // Message types are forgotten inside the system and restored at the reference: the only place where they meet.
    const actor = newActor(path, parent, setup as Setup<unknown>, spawned);
    (parent.children ??= new Map()).set(path, actor);
    size++;
    begin(actor);
    return actor.ref as ActorRef<M>;
  }

  return {
    spawn: (name, setup, spawned) => spawnUnder(root, name, setup, spawned),
    stop(ref) {
      const actor = actors.get(ref);
      if (actor !== undefined && actor !== root) stop(actor, 'stopped');
    },
    tree: () => nodeOf(root),
    get size() {
      return size;
    },
    async [Symbol.asyncDispose]() {
      stop(root, 'stopped');
    },
  };
}

const policyOf = (parent: Actor): ChildrenPolicy => ({ ...CHILDREN_DEFAULTS, ...parent.options.children });

/** In the order they were spawned. */
function affectedBy(actor: Actor, parent: Actor, { strategy }: ChildrenPolicy): readonly Actor[] {
  const siblings = [...(parent.children?.values() ?? [])];
  if (strategy === 'one-for-one') return [actor];
  return strategy === 'one-for-all' ? siblings : siblings.slice(siblings.indexOf(actor));
}

function nodeOf(actor: Actor): ActorNode {
  return { path: actor.path, state: actor.state, queued: actor.queue?.length ?? 0, restarts: actor.restarts, children: [...(actor.children?.values() ?? [])].map(nodeOf) };
}

type LocalChain = (path: string, message: unknown, work: () => void | Promise<void>) => void | Promise<void>;

/** Composed once; no interceptors cost nothing per message. */
function chainOf(interceptors: readonly LocalInterceptor[]): LocalChain | undefined {
  return interceptors.reduceRight<LocalChain | undefined>((inner, interceptor) => {
    if (inner === undefined) return interceptor;
    return (path, message, work) => interceptor(path, message, () => inner(path, message, work));
  }, undefined);
}
