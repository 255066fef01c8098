// What a handler of the gateway is: one capability, one function, and what may be remembered of its answers.
// Owns: the shape. Never holds a handler. Others may assume: by the time a handler runs, the mandate, the policy,
// the deadline and the input have been checked, and whatever it throws becomes a failed reply.

import type { Capability, DataClass } from '../../../contracts/capability.ts';
import type { Envelope } from '../../../contracts/message.ts';
import type { VerifiedMandate } from '../../../contracts/mandate.ts';
import type { Receipt } from '../../../contracts/receipt.ts';
import type { Hold } from '../meter.ts';
import type { ModelScope } from '../model-router.ts';

export interface GatewayCall {
  readonly envelope: Envelope;
  readonly mandate: VerifiedMandate;
  /** Class of the task's data: the root's, which narrowing never lowers. */
  readonly dataClass: DataClass;
  readonly scope: ModelScope;
  /** Keeps money aside before it is spent. @throws AIOS_BUDGET_EXCEEDED */
  hold(worstMicroUsd: number): Promise<Hold>;
}
export interface Served<O> {
  readonly output: O;
  readonly receipts: readonly Receipt[];
}
export interface GatewayHandler<I = unknown, O = unknown> {
  readonly capability: Capability<I, O>;
  /** True when equal input under equal rights has an equal answer for ten minutes. */
  readonly cacheable: boolean;
  /** The input with every text that a model would see passed through `clean`. Present where models see text. */
  readonly redactable?: (input: I, clean: (text: string) => string) => I;
  handle(input: I, call: GatewayCall): Promise<Served<O>>;
}

/** Forgets the types of input and output, which the capability's schema checks at run time. */
export const untyped = <I, O>(handler: GatewayHandler<I, O>): GatewayHandler => handler as unknown as GatewayHandler;
