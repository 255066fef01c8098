// Conformance of the Leases port: who owns a partition, and under which fence.
// Owns: what single activation rests on. Uses leases of about a second, so a run takes a few.
// Others may assume: leases that pass never have two owners that both believe in theirs, given clocks that run alike.

import { describe, expect, it } from 'vitest';
import type { Leases } from '../../contracts/ports.ts';
import { type MakePair, pause, unique, until } from './shared.ts';

const TTL = 1_500;

export function describeLeases(name: string, make: MakePair<Leases>): void {
  describe(`leases (${name})`, () => {
    it('acquire - one owner at a time, seen by all', async () => {
      await using pair = await make();
      const partition = unique('partition');
      const lease = await pair.first.acquire(partition, 'a', TTL);
      expect(lease?.name).toBe(partition);
      expect(await pair.second.acquire(partition, 'b', TTL)).toBeUndefined();
      expect((await pair.second.holders()).get(partition)).toEqual({ owner: 'a', fence: lease?.fence });
      await lease?.release();
    });

    it('release - frees at once; the next fence is larger', async () => {
      await using pair = await make();
      const partition = unique('partition');
      const first = await pair.first.acquire(partition, 'a', TTL);
      await first?.release();
      const second = await pair.second.acquire(partition, 'b', TTL);
      expect(second?.fence).toBeGreaterThan(first?.fence ?? Number.NaN);
      expect(first?.lost.aborted).toBe(true);
      await second?.release();
    });

    it('renewal - a lease outlives its time while its owner lives', async () => {
      await using pair = await make();
      const partition = unique('partition');
      const lease = await pair.first.acquire(partition, 'a', TTL);
      await pause(TTL * 2);
      expect(lease?.lost.aborted).toBe(false);
      expect(await pair.second.acquire(partition, 'b', TTL)).toBeUndefined();
      await lease?.release();
    });

    it('acquire - of many who reach for one lease exactly one gets it', async () => {
      await using pair = await make();
      const partition = unique('partition');
      const leases = await Promise.all(Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? pair.first : pair.second).acquire(partition, `h-${i}`, TTL)));
      const got = leases.filter((lease) => lease !== undefined);
      expect(got).toHaveLength(1);
      await got[0]?.release();
    });

    it('endAll - where it is offered, frees all of one owner at once and nobody else\'s; the owner finds them lost', async () => {
      await using pair = await make();
      const [one, two, other] = [unique('partition'), unique('partition'), unique('partition')];
      const [gone, stays] = [unique('h'), unique('h')];
      const theirs = await Promise.all([one, two].map((partition) => pair.first.acquire(partition, gone, TTL)));
      const kept = await pair.first.acquire(other, stays, TTL);
      if (pair.second.endAll === undefined) return expect(theirs).toHaveLength(2);
      await pair.second.endAll(gone);
      const taken = await pair.second.acquire(one, 'b', TTL);
      expect(taken?.fence).toBeGreaterThan(theirs[0]?.fence ?? Number.NaN);
      expect(await pair.second.acquire(other, 'b', TTL)).toBeUndefined();
      await until(() => theirs.every((lease) => lease?.lost.aborted === true), TTL);
      expect(theirs.map((lease) => lease?.lost.aborted)).toEqual([true, true]);
      expect(kept?.lost.aborted).toBe(false);
      await Promise.all([taken?.release(), kept?.release()]);
    });

    it('watch - where it is offered, tells soon after a lease was given back', async () => {
      await using pair = await make();
      let told = 0;
      const watching = await pair.second.watch?.(() => void told++);
      const lease = await pair.first.acquire(unique('partition'), 'a', TTL);
      await lease?.release();
      await until(() => watching === undefined || told > 0);
      expect(watching === undefined || told > 0).toBe(true);
      await watching?.[Symbol.asyncDispose]();
    });

    it('release - of a lease that was lost already does not disturb the new owner', async () => {
      await using pair = await make();
      const partition = unique('partition');
      const first = await pair.first.acquire(partition, 'a', TTL);
      await first?.release();
      const second = await pair.second.acquire(partition, 'b', TTL);
      await first?.release();
      await pause(50);
      expect((await pair.first.holders()).get(partition)?.owner).toBe('b');
      await second?.release();
      await until(() => second?.lost.aborted === true);
      expect(second?.lost.aborted).toBe(true);
    });
  });
}
