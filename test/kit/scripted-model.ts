// A scripted model provider: says what it was told to say, and remembers what it was asked.
// Owns: deterministic answers with receipts like a real provider's. Never calls anything.
// Others may assume: the same text embeds to the same vector, near texts are not near, and a script that runs out fails aloud.

import { digestOfText } from '../../contracts/canonical.ts';
import { fail } from '../../contracts/errors.ts';
import type { EmbedRequest, GenerateRequest, ModelProvider } from '../../contracts/ports.ts';
import { type ModelReceipt, NO_USAGE } from '../../contracts/receipt.ts';

export type ScriptedAnswer = string | Error | ((request: GenerateRequest) => string | Promise<string>);
export interface ScriptedModel extends ModelProvider {
  readonly calls: readonly (GenerateRequest | EmbedRequest)[];
}
export interface ScriptedModelOptions {
  readonly name?: string;
  readonly inside?: boolean;
  readonly region?: string;
  readonly dimensions?: number;
  /** Answers of `generate`, in order; the last one repeats when `repeat` is set. */
  readonly answers?: readonly ScriptedAnswer[];
  readonly repeat?: boolean;
  readonly costMicroUsd?: number;
}

export function scriptedModel(options: ScriptedModelOptions = {}): ScriptedModel {
  const { name = 'scripted', dimensions = 8, answers = [], costMicroUsd = 10 } = options;
  const calls: (GenerateRequest | EmbedRequest)[] = [];
  let next = 0;
  const receipt = (capability: string, inputTokens: number, outputTokens: number): ModelReceipt => ({
    kind: 'model', capability, provider: name, model: name, modelDigest: digestOfText(name), usage: { ...NO_USAGE, inputTokens, outputTokens }, costMicroUsd, priceDigest: digestOfText('price'), batch: 1, queueMs: 0,
  });
  return {
    name,
    inside: options.inside ?? true,
    region: options.region ?? 'local',
    calls,
    async embed(request) {
      calls.push(request);
      return { vectors: request.texts.map((text) => vectorOf(text, dimensions)), receipt: receipt('text.embed', wordsOf(request.texts.join(' ')), 0) };
    },
    async generate(request) {
      calls.push(request);
      const answer = answers[options.repeat === true ? Math.min(next, answers.length - 1) : next];
      next++;
      if (answer === undefined) throw fail('AIOS_MODEL_FAULT', 'the script has no further answer.');
      if (answer instanceof Error) throw answer;
      const text = typeof answer === 'string' ? answer : await answer(request);
      return { text, receipt: receipt('text.generate', wordsOf(request.prompt), wordsOf(text)) };
    },
  };
}

const wordsOf = (text: string): number => text.split(/\s+/).filter((word) => word.length > 0).length;

/** Unit length, from the digest of the text. */
function vectorOf(text: string, dimensions: number): Float32Array {
  const hex = digestOfText(text).slice(7);
  const values = Float32Array.from({ length: dimensions }, (_, i) => Number.parseInt(hex.slice((i * 2) % 62, ((i * 2) % 62) + 2), 16) - 127.5);
  const length = Math.hypot(...values);
  return values.map((value) => value / length);
}
