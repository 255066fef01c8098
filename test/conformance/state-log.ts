// Conformance of the StateLog port: one line per agent, written by compare-and-set.
// Owns: what fencing and dedup rest on. Others may assume: a log that passes never lets two writers both succeed on one revision.

import { describe, expect, it } from 'vitest';
import { subjects } from '../../contracts/address.ts';
import type { StateLog } from '../../contracts/ports.ts';
import { bytesOf, codeOf, idNamed, kindNamed, type MakePair, textOf, unique, uniqueTenant } from './shared.ts';

const line = (): string => subjects.state(uniqueTenant(), kindNamed('conformer'), idNamed(unique('a')));

export function describeStateLog(name: string, make: MakePair<StateLog>): void {
  describe(`state log (${name})`, () => {
    it('read - an agent nobody wrote for has nothing', async () => {
      await using pair = await make();
      expect(await pair.first.read(line())).toBeUndefined();
    });

    it('append - on revision 0 starts the line, the other process reads it at once', async () => {
      await using pair = await make();
      const subject = line();
      const revision = await pair.first.append(subject, 0, bytesOf('one'));
      const read = await pair.second.read(subject);
      expect([read?.revision, textOf(read?.data)]).toEqual([revision, 'one']);
      const next = await pair.second.append(subject, revision, bytesOf('two'));
      expect(next).toBeGreaterThan(revision);
      expect(textOf((await pair.first.read(subject))?.data)).toBe('two');
    });

    it('append - on an old revision is refused and changes nothing', async () => {
      await using pair = await make();
      const subject = line();
      const old = await pair.first.append(subject, 0, bytesOf('one'));
      await pair.second.append(subject, old, bytesOf('two'));
      expect(await codeOf(pair.first.append(subject, old, bytesOf('stale')))).toBe('AIOS_STATE_CONFLICT');
      expect(await codeOf(pair.first.append(subject, 0, bytesOf('stale')))).toBe('AIOS_STATE_CONFLICT');
      expect(textOf((await pair.first.read(subject))?.data)).toBe('two');
    });

    it('append - of many writers on one revision exactly one succeeds', async () => {
      await using pair = await make();
      const subject = line();
      const answers = await Promise.all(Array.from({ length: 16 }, (_, i) => codeOf((i % 2 === 0 ? pair.first : pair.second).append(subject, 0, bytesOf(String(i))))));
      expect(answers.filter((code) => code === undefined)).toHaveLength(1);
      expect(answers.filter((code) => code === 'AIOS_STATE_CONFLICT')).toHaveLength(15);
    });

    it('append - lines of different agents do not disturb each other', async () => {
      await using pair = await make();
      const [one, two] = [line(), line()];
      const first = await pair.first.append(one, 0, bytesOf('one'));
      await pair.second.append(two, 0, bytesOf('two'));
      expect(await codeOf(pair.first.append(one, first, bytesOf('one again')))).toBeUndefined();
    });

    it('append - keeps a record of a hundred kilobytes byte for byte', async () => {
      await using pair = await make();
      const subject = line();
      const data = Uint8Array.from({ length: 100_000 }, (_, i) => i % 251);
      await pair.first.append(subject, 0, data);
      expect(Buffer.compare(Buffer.from((await pair.second.read(subject))?.data ?? []), Buffer.from(data))).toBe(0);
    });
  });
}
