// The interception chain: the one place where policy, budget, tracing and metering attach to calls.
// Owns: what a call looks like to an interceptor and the order they run in. User code never sees it.
// Never branches on an agent's or capability's name. Others may assume: interceptors run outside in, first of the list first,
// and an interceptor that throws an error of the table refuses the call with that error.

import type { CapabilityTraits } from '../../contracts/capability.ts';
import { isAiosError } from '../../contracts/errors.ts';
import type { VerifiedMandate } from '../../contracts/mandate.ts';
import type { Envelope, Trace } from '../../contracts/message.ts';
import type { Clock, Labels, Metrics, Tracer } from '../../contracts/ports.ts';

/** `turn`: a message of a mailbox; `serve`: an ephemeral ask answered here; `ask`: one this host sends. */
export interface Call {
  readonly kind: 'turn' | 'serve' | 'ask';
  /** The agent kind that handles or asks. */
  readonly agent: string;
  readonly envelope: Envelope;
  /** Absent for events. */
  readonly traits?: CapabilityTraits;
  readonly mandate: VerifiedMandate;
  /** Of the span that runs now; set by the tracing interceptor, sent along by asks. */
  trace?: Trace | undefined;
}
export type Interceptor = (call: Call, next: () => Promise<unknown>) => Promise<unknown>;
export type Chain = (call: Call, work: () => Promise<unknown>) => Promise<unknown>;

/** Composed once, innermost first. What throws before it answers a promise refuses the call as well. */
export function composeChain(interceptors: readonly Interceptor[]): Chain {
  const innermost: Chain = (_call, work) => work();
  const chain = interceptors.reduceRight<Chain>((inner, interceptor) => (call, work) => interceptor(call, () => inner(call, work)), innermost);
  return (call, work) => {
    try {
      return chain(call, work);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  };
}

export function tracing(tracer: Tracer): Interceptor {
  return (call, next) => {
    const attributes = { 'aios.tenant': call.envelope.tenant, 'aios.task': call.envelope.task, 'aios.capability': call.envelope.capability, 'aios.agent': call.agent };
    return tracer.span(`agent.${call.kind}`, { parent: call.trace ?? call.envelope.trace, attributes }, (trace) => {
      call.trace = trace ?? call.envelope.trace;
      return next();
    });
  };
}

export function metering(metrics: Metrics, clock: Clock): Interceptor {
  const labelsOf = createLabels();
  return async (call, next) => {
    const started = clock.monotonic();
    const labels = labelsOf(call.kind, call.agent, call.envelope.capability);
    try {
      return await next();
    } catch (error) {
      metrics.count('aios_agent_failures_total', { ...labels, code: isAiosError(error) ? error.code : 'AIOS_AGENT_FAULT' });
      throw error;
    } finally {
      metrics.observe('aios_agent_call_ms', clock.monotonic() - started, labels);
    }
  };
}

const LABELS_MAX = 1_024;
/** One frozen object for each series, which is how metrics recognise it again. Past the bound each call has its own. */
function createLabels(): (kind: Call['kind'], agent: string, capability: string) => Labels {
  const known = new Map<string, Labels>();
  return (kind, agent, capability) => {
    const key = `${kind} ${agent} ${capability}`;
    const found = known.get(key);
    if (found !== undefined) return found;
    const made = { kind, agent, capability };
    if (known.size < LABELS_MAX) known.set(key, Object.freeze(made));
    return made;
  };
}
