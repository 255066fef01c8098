// Capabilities: the named, typed operations that callers ask for instead of models.
// Owns: `defineCapability` and the traits shared code reads (class, SLA tier, budget, ladder, orchestration, delivery).
// Never holds behaviour beyond pure functions of input and output. Others may assume: a definition is inert and frozen.

import type { z } from 'zod';
import type { ProposedEffect } from './message.ts';
import type { Facts } from './verdict.ts';
import { type CapabilityId, parseCapabilityId } from './ids.ts';

/** From least to most protected. `restricted` never leaves the machine, whatever policy says. */
export const DATA_CLASSES = ['public', 'internal', 'confidential', 'restricted'] as const;
export type DataClass = (typeof DATA_CLASSES)[number];
export const SLA_TIERS = ['interactive', 'standard', 'bulk'] as const;
export type SlaTier = (typeof SLA_TIERS)[number];
/** The fallbacks of a capability, best first; `human` is always last and always possible. */
export const RUNGS = ['model', 'small', 'cache', 'script', 'human'] as const;
export type Rung = (typeof RUNGS)[number];
export const isRung = (value: unknown): value is Rung => (RUNGS as readonly unknown[]).includes(value);
/** Who walks the steps: the workflow, the agent team, or the team with some steps coming back for a verdict. */
export const ORCHESTRATIONS = ['centralised', 'distributed', 'hybrid'] as const;
export type Orchestration = (typeof ORCHESTRATIONS)[number];
/** Ephemeral: core request and reply, lost with its host. Durable: a mailbox, a turn with one CAS append, an outcome kept. */
export type Delivery = 'ephemeral' | 'durable';

export interface CapabilityBudget {
  readonly latencyMsMax: number;
  readonly microUsdMax: number;
}

/** What is true of a capability whoever runs it; plain data, so it travels in bundles and manifests. */
export interface CapabilityTraits {
  readonly id: CapabilityId;
  readonly dataClass: DataClass;
  readonly sla: SlaTier;
  readonly budget: CapabilityBudget;
  readonly ladder: readonly Rung[];
  readonly orchestration: Orchestration;
  readonly delivery: Delivery;
  /** Capabilities the handling agent may ask for, which the mandate then carries. */
  readonly uses: readonly CapabilityId[];
  /** Effects the outcome may propose; anything else is refused before policy sees it. */
  readonly effects: readonly string[];
}

export interface Capability<I = unknown, O = unknown> extends CapabilityTraits {
  readonly input: z.ZodType<I>;
  readonly output: z.ZodType<O>;
  /** The only thing policies see of an outcome: typed values, never content. */
  readonly facts: (seen: { readonly input: I; readonly output: O; readonly effect?: ProposedEffect | undefined }) => Facts;
  /** One line for the person who looks at the task; must hold no personal data. */
  readonly summary: (input: I) => string;
  /** Whoever serves it has nothing to delegate: it is shown the mandate for each call, with a proof by its last key, and never given the key. */
  readonly presented?: boolean;
  /** The agent instance that handles this input: the task itself unless state is shared between tasks. */
  readonly actorKey?: (input: I) => string;
  /** What an approver is shown; without it fields named question, text and citations are looked for. */
  readonly card?: (seen: { readonly input: I; readonly output?: O | undefined }) => ApprovalWords;
  /** Turns the words a person wrote into an output; without it `{...output, text}` and `{text}` are tried against the schema. */
  readonly answered?: (seen: { readonly input: I; readonly output?: O | undefined; readonly text: string }) => O;
  /** A made-up case that every careful approver refuses; without it approvers of this capability are never tested. */
  readonly knownBad?: () => { readonly input: I; readonly output: O; readonly effect?: ProposedEffect };
}

/** Words for an approval card; shown escaped and labelled. */
export interface ApprovalWords {
  readonly question?: string;
  readonly proposal?: string;
  readonly citations?: readonly { readonly document: string; readonly quote: string }[];
}

export interface CapabilityOptions<I, O> {
  readonly input: z.ZodType<I>;
  readonly output: z.ZodType<O>;
  readonly facts?: Capability<I, O>['facts'];
  readonly summary?: Capability<I, O>['summary'];
  readonly presented?: boolean;
  readonly actorKey?: (input: I) => string;
  readonly card?: Capability<I, O>['card'];
  readonly answered?: Capability<I, O>['answered'];
  readonly knownBad?: Capability<I, O>['knownBad'];
  readonly dataClass?: DataClass;
  readonly sla?: SlaTier;
  readonly budget?: Partial<CapabilityBudget>;
  readonly ladder?: readonly Rung[];
  readonly orchestration?: Orchestration;
  readonly delivery?: Delivery;
  readonly uses?: readonly string[];
  readonly effects?: readonly string[];
}

/**
 * Declares a capability. Importing the definition opens nothing.
 * @example
 * const answer = defineCapability('support.answer', {
 *   input: z.strictObject({ question: z.string().max(4_000) }),
 *   output: z.strictObject({ text: z.string(), confidence: z.number().min(0).max(1) }),
 *   facts: ({ output }) => ({ confidenceBp: Math.round(output.confidence * 10_000) }),
 * });
 */
export function defineCapability<I, O>(name: string, options: CapabilityOptions<I, O>): Capability<I, O> {
  const id = parseCapabilityId(name);
  return Object.freeze({
    id,
    input: options.input,
    output: options.output,
    facts: options.facts ?? (() => ({})),
    summary: options.summary ?? (() => id),
    ...(options.presented === undefined ? {} : { presented: options.presented }),
    ...(options.actorKey === undefined ? {} : { actorKey: options.actorKey }),
    ...(options.card === undefined ? {} : { card: options.card }),
    ...(options.answered === undefined ? {} : { answered: options.answered }),
    ...(options.knownBad === undefined ? {} : { knownBad: options.knownBad }),
    dataClass: options.dataClass ?? 'internal',
    sla: options.sla ?? 'interactive',
    budget: { latencyMsMax: 8_000, microUsdMax: 20_000, ...options.budget },
    ladder: options.ladder ?? (['model', 'human'] as const),
    orchestration: options.orchestration ?? 'distributed',
    delivery: options.delivery ?? 'durable',
    uses: (options.uses ?? []).map(parseCapabilityId),
    effects: options.effects ?? [],
  });
}

/** The plain-data half of a definition. */
export function traitsOf(capability: CapabilityTraits): CapabilityTraits {
  const { id, dataClass, sla, budget, ladder, orchestration, delivery, uses, effects } = capability;
  return { id, dataClass, sla, budget, ladder, orchestration, delivery, uses, effects };
}

/** `a` is allowed to see what is classed `b`. */
export const covers = (a: DataClass, b: DataClass): boolean => DATA_CLASSES.indexOf(a) >= DATA_CLASSES.indexOf(b);
