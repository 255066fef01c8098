// What the actors' bench puts into a host: policy and budget as interceptors, and an agent that walks five durable turns.
// Owns: both interceptors over the shipped policies, and the walker. Never measures.
// Others may assume: every call of the bench passes policy, budget, tracing and metering, and a walk of `STEPS` turns ends in one event.

import { join } from 'node:path';
import { z } from 'zod';
import { echoAsk, echoSay } from '../../agents/catalog/echo.ts';
import { defineAgent, defineEvent } from '../../agents/define.ts';
import type { Interceptor } from '../../agents/runtime/chain.ts';
import { defineCapability, traitsOf } from '../../contracts/capability.ts';
import { fail } from '../../contracts/errors.ts';
import { digestOf } from '../../contracts/canonical.ts';
import type { PolicySlice } from '../../contracts/bundle.ts';
import { buildBundle } from '../../infra/cedar/publish.ts';
import { decide } from '../../policies/evaluate.ts';
import { sliceOf } from '../../policies/slice.ts';

export const STEPS = 5;
export const WALKED = 'bench.walked';

export const walk = defineCapability('bench.walk', { input: z.strictObject({ text: z.string().max(1_000) }), output: z.strictObject({ step: z.number() }), dataClass: 'public', budget: { latencyMsMax: 10_000, microUsdMax: 0 } });
const stepped = defineEvent('bench.stepped', z.strictObject({ text: z.string().max(1_000), step: z.number() }));
const walked = defineEvent(WALKED, z.strictObject({ walk: z.string().max(64) }));

/** Each step is a message to itself, a durable turn, and one record; the last one says so. */
export const walker = defineAgent('walker', { state: z.strictObject({ step: z.number(), text: z.string() }), initial: () => ({ step: 0, text: '' }) })
  .handle(walk, ({ text }, ctx) => {
    ctx.state = { step: 1, text };
    ctx.tell({ kind: 'walker', id: ctx.task }, stepped, { text, step: 2 });
    return { step: 1 };
  })
  .on(stepped, ({ text, step }, ctx) => {
    ctx.state = { step, text };
    if (step < STEPS) ctx.tell({ kind: 'walker', id: ctx.task }, stepped, { text, step: step + 1 });
    else ctx.publish(walked, { walk: ctx.task });
  });

/** Policy decides on the shipped bundle, budget on what the mandate grants; both say no by throwing. */
export async function governance(): Promise<readonly Interceptor[]> {
  const capabilities = [echoAsk, echoSay, walk].map(traitsOf);
  const bundle = await buildBundle({ dir: join(import.meta.dirname, '../../policies'), capabilities, version: 1, now: Date.now() });
  const slices = new Map(capabilities.map(({ id }) => [id as string, sliceOf(bundle, digestOf(bundle.policies), id)]));
  return [policy(slices), budget()];
}

function policy(slices: ReadonlyMap<string, PolicySlice>): Interceptor {
  return (call, next) => {
    const { envelope, mandate, traits } = call;
    const slice = slices.get(envelope.capability);
    if (slice === undefined || traits === undefined) return next();
    const verdict = decide(slice, {
      action: 'invoke', principal: envelope.principal, resource: { capability: traits.id, dataClass: traits.dataClass, sla: traits.sla },
      context: { costMicroUsd: traits.budget.microUsdMax, reservedMicroUsd: mandate.grant.budgetMicroUsd, deadlineMsLeft: envelope.deadline - Date.now(), dataClass: traits.dataClass },
    });
    if (verdict.kind !== 'allow') throw fail('AIOS_POLICY_DENIED', verdict.deciding.join(', '));
    return next();
  };
}

const TASKS_MAX = 10_000;
/** Calls and worst cost of each task so far, against its mandate. */
function budget(): Interceptor {
  const spent = new Map<string, { calls: number; microUsd: number }>();
  return (call, next) => {
    const { envelope, mandate: { grant }, traits } = call;
    let so = spent.get(envelope.task);
    if (so === undefined) {
      if (spent.size >= TASKS_MAX) spent.clear();
      spent.set(envelope.task, (so = { calls: 0, microUsd: 0 }));
    }
    so.calls++;
    so.microUsd += traits?.budget.microUsdMax ?? 0;
    if (so.microUsd > grant.budgetMicroUsd) throw fail('AIOS_BUDGET_EXCEEDED', `${so.microUsd} of ${grant.budgetMicroUsd} micro-USD.`);
    return next();
  };
}
