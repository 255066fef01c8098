// Quick acceptance against the schemas it was made from.
// Owns: the property that a "yes" of the translation is a "yes" of the schema with the same value, over every message we parse.
// Never tests what is refused: there the schema speaks. Others may assume: values are mutated at any depth, by one to three changes.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { acceptorOf } from '../../contracts/accept.ts';
import { envelopeSchema, outcomeSchema, replySchema } from '../../contracts/message.ts';
import { parseFresh, parseJson } from '../../contracts/parse.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const principal = { id: 'tester', type: 'service', tenant: 'demo', roles: ['requester'] };
const envelope = { v: 1, id: 'x'.repeat(20), tenant: 'demo', task: 't-1', capability: 'echo.ask', actor: 't-1', principal, rung: 'model', deadline: 1_900_000_000_000, mandate: 'x'.repeat(300), depth: 0, trace: { traceparent: '00-1-2-01' }, input: { text: 'x' } };
const usage = { inputTokens: 1, cacheReadTokens: 0, cacheWriteTokens: 0, outputTokens: 2, reasoningTokens: 0, deviceUs: 3 };
const receipts = [
  { kind: 'turn', agent: 'echo', capability: 'echo.say', rung: 'model', fence: 3, ms: 0.25, local: ['abstain:low'] },
  { kind: 'model', capability: 'text.embed', provider: 'workers', model: 'm', modelDigest: digest, usage, costMicroUsd: 1, priceDigest: digest, batch: 1, queueMs: 0.5 },
  { kind: 'retrieval', space: 's', engine: 'e', epoch: '1', manifestDigest: digest, filterDigest: digest, fragments: [{ document: 'd', chunk: 'c', digest, score: 0.5 }] },
];
const effect = { kind: 'refund', key: 'k-1', amountMicroUsd: 5, params: { a: 'x', b: 2, c: true } };
const head = { v: 1, id: 'x'.repeat(20), task: 't-1', tenant: 'demo', receipts, costMicroUsd: 4 };
const error = { code: 'AIOS_INTERNAL', message: 'm', retryAfterMs: 3 };
const CASES: readonly [string, z.ZodType, readonly unknown[]][] = [
  ['envelope', envelopeSchema, [envelope]],
  ['outcome', outcomeSchema, [{ ...head, status: 'done', output: { a: [1] }, effect }, { ...head, status: 'failed', error }]],
  ['reply', replySchema, [{ v: 1, status: 'done', output: 1, receipts, costMicroUsd: 0 }, { v: 1, status: 'failed', error, receipts: [], costMicroUsd: 0 }]],
];

const strange = fc.oneof(
  fc.constantFrom<unknown>(null, true, '', 0, -1, 1.5, 16, 17, 2 ** 53, -0, [], {}, '😀'.repeat(33), '😀'.repeat(15), '😀'.repeat(16), 'b'.repeat(15), 'b'.repeat(16), 'a'.repeat(64), 'a'.repeat(65), 'x'.repeat(8_193), 'a\n', 'AIOS_NOPE', 'turn', 'failed', 2),
  fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<unknown>,
);
const change = fc.record({ at: fc.nat(1_000), how: fc.constantFrom('replace', 'remove', 'add', '__proto__', 'constructor'), value: strange });

/** One member, somewhere in the value, replaced, removed or added. */
function mutate(message: unknown, { at, how, value }: { at: number; how: string; value: unknown }): void {
  const put: unknown = structuredClone(value);
  const holders: Record<string, unknown>[] = [];
  const walk = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    holders.push(node as Record<string, unknown>);
    Object.values(node).forEach(walk);
  };
  walk(message);
  const holder = holders[at % holders.length] as Record<string, unknown>;
  const keys = Object.keys(holder);
  const key = keys[at % Math.max(1, keys.length)] ?? 'more';
  if (how === 'replace') holder[key] = put;
  else if (how === 'remove') delete holder[key];
  else Object.defineProperty(holder, how === 'add' ? 'more' : how, { value: put, enumerable: true, configurable: true, writable: true });
}

describe('quick acceptance', () => {
  test.each(CASES)('%s - what it takes, the schema takes unchanged', (_name, schema, samples) => {
    const accepts = acceptorOf(schema);
    let taken = 0;
    fc.assert(fc.property(fc.constantFrom(...samples), fc.array(change, { maxLength: 3 }), (sample, changes) => {
      const value: unknown = JSON.parse(JSON.stringify(sample));
      for (const one of changes) mutate(value, one);
      const text = JSON.stringify(value);
      if (accepts?.(parseJson(text)) !== true) return;
      taken++;
      const parsed = schema.safeParse(JSON.parse(text));
      expect(parsed.success && parsed.data).toEqual(JSON.parse(text));
    }), { numRuns: 1_500, seed: 7 });
    for (const sample of samples) expect(accepts?.(sample)).toBe(true);
    expect(taken).toBeGreaterThan(200);
  });

  test('a schema that changes or refines what it reads is left to itself', () => {
    for (const schema of [z.string().trim(), z.string().default('x'), z.coerce.number(), z.object({ a: z.string().refine((text) => text !== '') }), z.email(), z.looseObject({ a: z.string() }), z.string().transform(Number)]) {
      const accepts = acceptorOf(schema);
      expect(accepts?.('x@example.org') ?? false).toBe(false);
      expect(accepts?.({ a: '' }) ?? false).toBe(false);
    }
    expect(parseFresh(z.strictObject({ a: z.string().default('x') }), {})).toEqual({ a: 'x' });
  });

  test('a value that it does not take is refused in the words of the schema', () => {
    expect(() => parseFresh(envelopeSchema, { ...envelope, depth: 17 })).toThrow(/depth/);
    expect(() => parseFresh(envelopeSchema, { ...envelope, more: 1 })).toThrow(/more/);
  });
});
