// The depth scan of the border parser: as deep as the value, whatever its strings contain, and linear in the text.
// Owns: the property against the structure of generated JSON. Others may assume: brackets in strings never count.

import fc from 'fast-check';
import { expect, it } from 'vitest';
import { DEPTH_MAX, depthOf } from '../../contracts/parse.ts';

const depth = (value: unknown): number => (value === null || typeof value !== 'object' ? 0 : 1 + Math.max(0, ...Object.values(value).map(depth)));
const awkward = fc.string({ unit: fc.constantFrom('"', '\\', '{', '[', '}', ']', 'a', 'é'), maxLength: 12 });
const json = fc.letrec((tie) => ({
  value: fc.oneof({ maxDepth: 6 }, awkward, fc.integer(), fc.constant(null), fc.array(tie('value'), { maxLength: 4 }), fc.dictionary(awkward, tie('value'), { maxKeys: 4 })),
})).value;

it('depth - equals the depth of the value for any JSON text', () => {
  fc.assert(fc.property(json, fc.constantFrom(undefined, 2), (value, indent) => {
    expect(depthOf(JSON.stringify(value, undefined, indent))).toBe(depth(value));
  }), { numRuns: 500 });
});

it('depth - stops one past the cap and stays linear on text made to be slow', () => {
  expect(depthOf('['.repeat(1_000_000))).toBe(DEPTH_MAX + 1);
  const started = performance.now();
  expect(depthOf(`"${'\\"'.repeat(500_000)}`)).toBe(0);
  expect(depthOf(`"${'\\'.repeat(1_000_000)}"`)).toBe(0);
  expect(performance.now() - started).toBeLessThan(2_000);
});
