// What all gateways together have taken of one mandate block: money and calls, as one small record that changes by compare-and-set.
// Owns: the record, taking a portion and giving the rest back. Never decides how much a gateway wants: the meter does.
// Others may assume: the portions of all gateways together never pass the grant, whichever of them dies or repeats; a portion
// whose holder died is lost to the task, which then falls down its ladder, and the record ends by itself after the mandate does.

import { BUCKETS } from '../../contracts/address.ts';
import { z } from 'zod';
import { fail, hasCode } from '../../contracts/errors.ts';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import type { Clock, KeyValue } from '../../contracts/ports.ts';

export interface Portion { readonly microUsd: number; readonly calls: number }
export interface Block {
  readonly tenant: string;
  readonly id: string;
  /** What the block grants to all gateways together. */
  readonly grant: Portion;
  /** ms since 1970; nothing is taken after it. */
  readonly expiresAt: number;
}
export interface Slices {
  /** Takes up to `want` of each, or nothing where that is below `min`. */
  take(block: Block, min: Portion, want: Portion): Promise<Portion>;
  /** Gives back what was not used. */
  give(block: Block, back: Portion): Promise<void>;
}

const TRIES_MAX = 16;
const BYTES_MAX = 256;
/** Clocks of gateways differ a little; the record outlives the mandate by this. */
const SLACK_MS = 60_000;
const recordSchema = z.strictObject({ v: z.literal(1), microUsd: z.number().int().nonnegative(), calls: z.number().int().nonnegative() });
const NOTHING: Portion = Object.freeze({ microUsd: 0, calls: 0 });

export function createSlices(keyValue: KeyValue, clock: Pick<Clock, 'now'>): Slices {
  const keyOf = ({ tenant, id }: Block): string => `${tenant}.${id}`;
  const ttlOf = ({ expiresAt }: Block): number => Math.max(1_000, expiresAt - clock.now() + SLACK_MS);

  /** Most tasks meet one gateway, so the first try is to be the first. */
  async function change<T>(block: Block, next: (taken: Portion) => { readonly taken: Portion; readonly answer: T }): Promise<T> {
    const first = next(NOTHING);
    if (first.taken.microUsd + first.taken.calls > 0 && (await keyValue.create(BUCKETS.slices, keyOf(block), toBytes({ v: 1, ...first.taken }), ttlOf(block))) !== undefined) return first.answer;
    for (let attempt = 0; attempt < TRIES_MAX; attempt++) {
      const found = await keyValue.get(BUCKETS.slices, keyOf(block));
      const { taken, answer } = next(found === undefined ? NOTHING : portionOf(found.value));
      if (found === undefined) return answer;
      try {
        await keyValue.update(BUCKETS.slices, keyOf(block), toBytes({ v: 1, ...taken }), found.revision, ttlOf(block));
        return answer;
      } catch (error) {
        if (!hasCode(error, 'AIOS_STATE_CONFLICT')) throw error;
      }
    }
    throw fail('AIOS_OVERLOADED', 'too many gateways meter one task.', { retryAfterMs: 100 });
  }

  return {
    take: (block, min, want) => change(block, (taken) => {
      const answer = allowed(block.grant, taken, min, want);
      return { taken: { microUsd: taken.microUsd + answer.microUsd, calls: taken.calls + answer.calls }, answer };
    }),
    give: (block, back) => change(block, (taken) => ({ taken: { microUsd: Math.max(0, taken.microUsd - back.microUsd), calls: Math.max(0, taken.calls - back.calls) }, answer: undefined })),
  };
}

const LOCAL_MAX = 50_000;

/** For a gateway that is alone: the same without a server. */
export function createLocalSlices(clock: Pick<Clock, 'now'>): Slices {
  const records = new Map<string, { readonly taken: Portion; readonly expiresAt: number }>();
  const keyOf = ({ tenant, id }: Block): string => `${tenant}.${id}`;
  const evict = (): void => {
    for (const [key, { expiresAt }] of records) if (expiresAt <= clock.now()) records.delete(key);
    if (records.size >= LOCAL_MAX) throw fail('AIOS_OVERLOADED', 'too many tasks are metered at once.', { retryAfterMs: 1_000 });
  };
  const add = (block: Block, microUsd: number, calls: number): void => {
    if (records.size >= LOCAL_MAX) evict();
    const taken = records.get(keyOf(block))?.taken ?? NOTHING;
    records.set(keyOf(block), { taken: { microUsd: Math.max(0, taken.microUsd + microUsd), calls: Math.max(0, taken.calls + calls) }, expiresAt: block.expiresAt });
  };
  return {
    async take(block, min, want) {
      const answer = allowed(block.grant, records.get(keyOf(block))?.taken ?? NOTHING, min, want);
      add(block, answer.microUsd, answer.calls);
      return answer;
    },
    async give(block, back) {
      add(block, -back.microUsd, -back.calls);
    },
  };
}

function allowed(grant: Portion, taken: Portion, min: Portion, want: Portion): Portion {
  const microUsd = Math.min(want.microUsd, Math.max(0, grant.microUsd - taken.microUsd));
  const calls = Math.min(want.calls, Math.max(0, grant.calls - taken.calls));
  return microUsd < min.microUsd || calls < min.calls ? NOTHING : { microUsd, calls };
}

function portionOf(value: Uint8Array): Portion {
  const { microUsd, calls } = parseBytes(recordSchema, value, BYTES_MAX);
  return { microUsd, calls };
}
