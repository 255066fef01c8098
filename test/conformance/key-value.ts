// Conformance of the KeyValue port: small values with compare-and-set, time to live and watch.
// Owns: what claims, tokens, policy distribution and revocation rest on.
// Others may assume: `create` is exclusive, `update` is conditional, and a watch misses nothing that happens after it began.

import { describe, expect, it } from 'vitest';
import { BUCKETS } from '../../contracts/address.ts';
import type { KeyValue } from '../../contracts/ports.ts';
import { bytesOf, codeOf, type MakePair, pause, textOf, unique, until } from './shared.ts';

const BUCKET = BUCKETS.tokens;

export function describeKeyValue(name: string, make: MakePair<KeyValue>): void {
  describe(`keys and values (${name})`, () => {
    it('create - succeeds once, whoever tries', async () => {
      await using pair = await make();
      const key = unique('k');
      const answers = await Promise.all(Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? pair.first : pair.second).create(BUCKET, key, bytesOf(String(i)))));
      expect(answers.filter((revision) => revision !== undefined)).toHaveLength(1);
      expect(await pair.first.create(BUCKET, key, bytesOf('late'))).toBeUndefined();
    });

    it('create - of a deleted key succeeds again', async () => {
      await using pair = await make();
      const key = unique('k');
      await pair.first.create(BUCKET, key, bytesOf('one'));
      await pair.first.delete(BUCKET, key);
      expect(await pair.second.get(BUCKET, key)).toBeUndefined();
      expect(await pair.second.create(BUCKET, key, bytesOf('two'))).toBeGreaterThan(0);
      expect(textOf((await pair.first.get(BUCKET, key))?.value)).toBe('two');
    });

    it('update - needs the revision in force', async () => {
      await using pair = await make();
      const key = unique('k');
      const one = (await pair.first.create(BUCKET, key, bytesOf('one'))) ?? 0;
      const two = await pair.second.update(BUCKET, key, bytesOf('two'), one);
      expect(two).toBeGreaterThan(one);
      expect(await codeOf(pair.first.update(BUCKET, key, bytesOf('stale'), one))).toBe('AIOS_STATE_CONFLICT');
      expect(await pair.first.get(BUCKET, key)).toEqual({ value: bytesOf('two'), revision: two });
    });

    it('put - writes whatever was there', async () => {
      await using pair = await make();
      const key = unique('k');
      await pair.first.put(BUCKET, key, bytesOf('one'));
      await pair.second.put(BUCKET, key, bytesOf('two'));
      expect(textOf((await pair.first.get(BUCKET, key))?.value)).toBe('two');
    });

    it('create - with a time to live is gone after it', async () => {
      await using pair = await make();
      const key = unique('k');
      await pair.first.create(BUCKET, key, bytesOf('x'), 1_000);
      expect(textOf((await pair.second.get(BUCKET, key))?.value)).toBe('x');
      await pause(2_300);
      expect(await pair.second.get(BUCKET, key)).toBeUndefined();
    });

    it('keys - lists what matches the filter and is there', async () => {
      await using pair = await make();
      const prefix = unique('p');
      for (const part of ['a', 'b']) await pair.first.put(BUCKET, `${prefix}.${part}`, bytesOf(part));
      await pair.first.put(BUCKET, unique('q'), bytesOf('x'));
      await pair.first.delete(BUCKET, `${prefix}.b`);
      expect([...(await pair.second.keys(BUCKET, `${prefix}.*`))]).toEqual([`${prefix}.a`]);
    });

    it('watch - tells what is there, then every change, deletions as undefined', async () => {
      await using pair = await make();
      const prefix = unique('w');
      await pair.first.put(BUCKET, `${prefix}.a`, bytesOf('1'));
      const seen: (readonly [string, string | undefined])[] = [];
      await using _ = await pair.second.watch(BUCKET, `${prefix}.*`, (key, value) => seen.push([key, textOf(value)]));
      await until(() => seen.length === 1);
      await pair.first.put(BUCKET, `${prefix}.a`, bytesOf('2'));
      await pair.first.delete(BUCKET, `${prefix}.a`);
      await until(() => seen.length >= 3);
      expect(seen).toEqual([[`${prefix}.a`, '1'], [`${prefix}.a`, '2'], [`${prefix}.a`, undefined]]);
    });
  });
}
