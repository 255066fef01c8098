// `text.embed`, `text.classify` and `text.generate`: one call to one provider, paid for before it goes out.
// Owns: the translation between a capability's input and a provider's request. Never chooses the provider.
// Others may assume: the money held covers the worst case of a generation by the tokens that are allowed.

import { encodeVectors } from '../../../contracts/model.ts';
import type { ModelReceipt } from '../../../contracts/receipt.ts';
import type { Price } from '../../../contracts/bundle.ts';
import { worstCaseOf } from '../../../policies/price.ts';
import { textClassify, textEmbed, textGenerate } from '../capabilities.ts';
import type { ModelRouter } from '../model-router.ts';
import type { GatewayCall, GatewayHandler } from './handler.ts';
import { untyped } from './handler.ts';

export function modelHandlers(router: ModelRouter): readonly GatewayHandler[] {
  return [
    untyped({
      capability: textEmbed,
      cacheable: true,
      redactable: (input, clean) => ({ ...input, texts: input.texts.map(clean) }),
      async handle({ texts, model }, call) {
        const { tenant, trace } = call.envelope;
        const named = model === undefined ? {} : { model };
        const answer = await paid(call, router.expectedMicroUsd('embed'), () => router.run({ op: 'embed', model, scope: call.scope }, (provider) => provider.embed?.({ texts, ...named, deadline: call.scope.deadline, tenant, trace })));
        return { output: { model: answer.receipt.model, dimensions: answer.vectors[0]?.length ?? 0, vectors: encodeVectors(answer.vectors) }, receipts: [answer.receipt] };
      },
    }),
    untyped({
      capability: textClassify,
      cacheable: true,
      redactable: (input, clean) => ({ ...input, texts: input.texts.map(clean) }),
      async handle({ texts, head }, call) {
        const { tenant, trace } = call.envelope;
        const answer = await paid(call, router.expectedMicroUsd('classify'), () => router.run({ op: 'classify', model: head, scope: call.scope }, (provider) => provider.classify?.({ texts, head, deadline: call.scope.deadline, tenant, trace })));
        return { output: { results: [...answer.results] }, receipts: [answer.receipt] };
      },
    }),
    untyped({
      capability: textGenerate,
      cacheable: false,
      redactable: (input, clean) => ({ ...input, system: clean(input.system), prompt: clean(input.prompt) }),
      async handle({ system, prompt, maxTokens }, call) {
        const { tenant, trace } = call.envelope;
        const worst = worstGeneration(await router.prices(), system.length + prompt.length, maxTokens, router.expectedMicroUsd('generate'));
        const answer = await paid(call, worst, () => router.run({ op: 'generate', scope: call.scope }, (provider) => provider.generate?.({ system, prompt, maxTokens, deadline: call.scope.deadline, tenant, trace })));
        return { output: { text: answer.text, model: answer.receipt.model }, receipts: [answer.receipt] };
      },
    }),
  ];
}

/** A token is at least one character, so the characters bound the tokens of the prompt. The dearest price bounds the choice of model. */
function worstGeneration(prices: Readonly<Record<string, Price>>, inputTokens: number, outputTokens: number, expected: number): number {
  return Math.max(expected, ...Object.values(prices).map((price) => worstCaseOf({ inputTokens, outputTokens }, price)));
}

/** Holds the money, makes the call, and settles what it cost: nothing when it failed before an answer came. */
export async function paid<A extends { readonly receipt: ModelReceipt }>(call: Pick<GatewayCall, 'hold'>, worst: number, ask: () => Promise<A>): Promise<A> {
  const hold = await call.hold(worst);
  let spent = 0;
  try {
    const answer = await ask();
    spent = answer.receipt.costMicroUsd;
    return answer;
  } finally {
    hold.settle(spent);
  }
}
