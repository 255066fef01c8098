// Local actors: in-process, in-memory, supervised; for what lives and dies with a process.
// Owns: the vocabulary (references, behaviours, signals, supervision of children). No behaviour.
// Durable agents are addressed and survive; a local actor is spawned, watched and restarted by its parent, and gone with it.
// Others may assume: an actor handles one message at a time, and every message ends handled, refused at `tell`, or as a dead letter.

import type { Directive } from '../../../contracts/agent.ts';

/** Typed by the messages it takes. Holding one keeps nothing alive. */
export interface ActorRef<M> {
  /** `/user/parent/child`, unique while the actor lives. */
  readonly path: string;
  /** False when the mailbox is full (policy `reject`) or the actor has stopped; the message is a dead letter then. */
  tell(message: M): boolean;
  /** Sends a message that carries a reply function. @throws AIOS_DEADLINE_EXCEEDED, AIOS_OVERLOADED, AIOS_UNAVAILABLE when the actor stopped */
  ask<R>(make: (reply: (answer: R) => void) => M, timeoutMs: number): Promise<R>;
}

export type Receive<M> = (message: M) => void | Promise<void>;

/** What an actor is told besides messages. `refused`: a child was refused by policy or budget and goes on; `terminated`: who it watches is gone. */
export type Signal =
  | { readonly kind: 'terminated'; readonly path: string; readonly why: 'stopped' | 'failed' }
  | { readonly kind: 'refused'; readonly path: string; readonly code: string };

export interface Behaviour<M> {
  readonly receive: Receive<M>;
  readonly onSignal?: (signal: Signal) => void;
  /** Before a restart and at the end; must not throw. */
  readonly onStop?: () => void;
}
/** Runs at the start and again at each restart: what it closes over is the actor's state. */
export type Setup<M> = (context: ActorContext<M>) => Receive<M> | Behaviour<M>;

export interface ActorContext<M> {
  readonly self: ActorRef<M>;
  now(): number;
  /** A child: stopped with this actor, supervised by its `children` policy. */
  spawn<C>(name: string, setup: Setup<C>, options?: SpawnOptions): ActorRef<C>;
  stop(child: ActorRef<never>): void;
  stopSelf(): void;
  /** `terminated` comes once, at once when the other is gone already. */
  watch(other: ActorRef<never>): void;
  unwatch(other: ActorRef<never>): void;
  /** The next messages go to `receive`; `unbecome` returns to the one before. At most 16 deep. */
  become(receive: Receive<M>): void;
  unbecome(): void;
  /** Keeps the message at hand for later. @throws AIOS_OVERLOADED when the stash is full: the message then counts as failed */
  stash(): void;
  /** Stashed messages come before all others, in the order they were stashed. */
  unstash(): void;
  /** Tells this actor after `ms`; the same name replaces. Gone at a restart. */
  timer(name: string, ms: number, message: M): void;
  cancelTimer(name: string): void;
}

export type Strategy = 'one-for-one' | 'rest-for-one' | 'one-for-all';
export interface ChildrenPolicy {
  readonly strategy: Strategy;
  /** What a fault of a child means; may look at the error. Default: restart. */
  readonly decide: (error: unknown) => Directive;
  /** More restarts than this within `withinMs` escalate to this actor's own parent. */
  readonly restartsMax: number;
  readonly withinMs: number;
  readonly backoffMs: number;
  readonly backoffMsMax: number;
}
export interface SpawnOptions {
  readonly messagesMax?: number;
  /** `reject` refuses the new message, `drop-oldest` lets the oldest go as a dead letter. */
  readonly overflow?: 'reject' | 'drop-oldest';
  readonly stashMax?: number;
  /** How this actor supervises its own children. */
  readonly children?: Partial<ChildrenPolicy>;
}

/** Runs around every message of every local actor, first of the list outermost. Must call `next` once, or throw to refuse. */
export type LocalInterceptor = (path: string, message: unknown, next: () => void | Promise<void>) => void | Promise<void>;

export interface ActorNode {
  readonly path: string;
  readonly state: 'running' | 'suspended' | 'stopped';
  readonly queued: number;
  readonly restarts: number;
  readonly children: readonly ActorNode[];
}

export interface ActorSystem extends AsyncDisposable {
  spawn<M>(name: string, setup: Setup<M>, options?: SpawnOptions): ActorRef<M>;
  stop(actor: ActorRef<never>): void;
  /** The supervision tree, for people. */
  tree(): ActorNode;
  readonly size: number;
}
