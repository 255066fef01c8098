// The turn record: everything one turn leaves behind, written in one append under one fence.
// Owns: its versioned shape, the dedup horizon, and the pure step from one record to the next.
// Never does I/O. Others may assume: a record replaces the one before it (it holds the whole state, so recovery reads one record),
// the outbox in it is that of the last turn only, and an id in `done` was handled and must never be handled again.

import { z } from 'zod';
import { fail } from '../../contracts/errors.ts';
import { decodeText, MESSAGE_BYTES_MAX, parseJson, parseValue, toBytes } from '../../contracts/parse.ts';

/** How many handled ids an agent remembers. A message older than this many turns of its agent could run again; redelivery spans minutes, not 256 turns. */
export const DONE_IDS_MAX = 256;
/** How many of them keep their outcome for askers that come back; older ones are found in the outcome stream. */
export const DONE_OUTCOMES_MAX = 16;
export const EFFECTS_MAX = 64;
export const TIMERS_MAX = 64;
export const OUTBOX_MAX = 64;
export const WATCHES_MAX = 64;
export const CHILDREN_MAX = 64;
/** Messages an agent may put off, and their bytes together: they are in its record. */
export const STASH_MAX = 16;
export const STASH_BYTES_MAX = 64 * 1024;
/** Below the largest message, so that headers and envelopes around it still fit. */
export const RECORD_BYTES_MAX = MESSAGE_BYTES_MAX - 4_096;
const OUTCOME_BYTES_MAX = 64 * 1024;

const letterReason = z.enum(['overflow', 'expired', 'malformed', 'policy', 'max-deliveries', 'unknown-kind', 'poison']);
const doneSchema = z.strictObject({ id: z.string().max(96), outcome: z.string().optional(), letter: letterReason.optional(), out: z.literal(1).optional() });
const postSchema = z.strictObject({ id: z.string().max(96), subject: z.string().max(256), until: z.number().int(), text: z.string() });
const timerChangeSchema = z.strictObject({ key: z.string().max(256), id: z.string().max(96), subject: z.string().max(256), at: z.number().int(), text: z.string() });
const watchChangeSchema = z.strictObject({ key: z.string().max(400), id: z.string().max(96), subject: z.string().max(256), until: z.number().int(), text: z.string() });
const watchesSchema = z.strictObject({ set: z.array(watchChangeSchema).max(WATCHES_MAX), cancel: z.array(z.string().max(400)).max(WATCHES_MAX) });
const stashedSchema = z.strictObject({ id: z.string().max(96), text: z.string() });
const timersSchema = z.strictObject({ set: z.array(timerChangeSchema).max(TIMERS_MAX), cancel: z.array(z.string().max(256)).max(TIMERS_MAX) });

const recordSchema = z.strictObject({
  v: z.literal(1),
  fence: z.number().int().nonnegative(),
  turn: z.number().int().nonnegative(),
  state: z.unknown().optional(),
  done: z.array(doneSchema).max(DONE_IDS_MAX),
  outbox: z.array(postSchema).max(OUTBOX_MAX),
  timers: timersSchema.optional(),
  watches: watchesSchema.optional(),
  behaviour: z.string().max(64).optional(),
  /** `kind/id` of those it spawned. */
  children: z.array(z.string().max(129)).max(CHILDREN_MAX).optional(),
  stash: z.array(stashedSchema).max(STASH_MAX).optional(),
  effects: z.array(z.tuple([z.string().max(128), z.unknown()])).max(EFFECTS_MAX).optional(),
});

/**
 * One handled message. `outcome` is JSON text: most are never looked at again, and text is a third of the memory.
 * No outcome: an event, or one too old to keep here. `out`: it was published and acknowledged.
 */
export type DoneEntry = z.infer<typeof doneSchema>;
/** One message to publish after the append, under an id that is the same each time. */
export type Post = z.infer<typeof postSchema>;
export type TimerChange = z.infer<typeof timerChangeSchema>;
export type TimerChanges = z.infer<typeof timersSchema>;
export type WatchChange = z.infer<typeof watchChangeSchema>;
export type WatchChanges = z.infer<typeof watchesSchema>;
/** A message that was put off, as it arrived. */
export type Stashed = z.infer<typeof stashedSchema>;
export type TurnRecord = z.infer<typeof recordSchema>;

export const EMPTY_RECORD: TurnRecord = Object.freeze({ v: 1, fence: 0, turn: 0, done: [], outbox: [] });

/** What one turn changes. Absent: as before; `behaviour` null: none. */
export interface TurnResult {
  readonly entry: DoneEntry;
  readonly state?: unknown;
  readonly outbox: readonly Post[];
  readonly timers?: TimerChanges;
  readonly watches?: WatchChanges;
  readonly behaviour?: string | null;
  readonly children?: readonly string[];
  readonly stash?: readonly Stashed[];
  readonly effects?: readonly (readonly [string, unknown])[];
}

/** @throws AIOS_VERSION_UNKNOWN when a newer runtime wrote it, AIOS_INPUT_INVALID when it is damaged */
export function parseRecord(data: Uint8Array): TurnRecord {
  const value = parseJson(decodeText(data));
  const version = (value as { v?: unknown } | null)?.v;
  if (version !== 1) throw fail('AIOS_VERSION_UNKNOWN', `turn record version ${String(version)}`);
  return parseValue(recordSchema, value);
}

/** @throws AIOS_INPUT_TOO_LARGE when the state does not fit one message */
export function encodeRecord(record: TurnRecord): Uint8Array {
  const bytes = toBytes(record);
  if (bytes.byteLength > RECORD_BYTES_MAX) throw fail('AIOS_INPUT_TOO_LARGE', `the agent's record has ${bytes.byteLength} bytes, at most ${RECORD_BYTES_MAX}.`);
  return bytes;
}

export const findDone = (record: TurnRecord, id: string): DoneEntry | undefined => record.done.find((entry) => entry.id === id);

/** Nothing of the last turn is left to be sent. */
export const isSent = ({ outbox, timers, watches }: TurnRecord): boolean => outbox.length === 0 && timers === undefined && watches === undefined;

/** The record that keeps the message at hand for later; `undefined` when there is no room. All else is as before, and sent. */
export function putOffRecord(record: TurnRecord, fence: number, message: Stashed): TurnRecord | undefined {
  const stash = [...(record.stash ?? []), message];
  if (stash.length > STASH_MAX || stash.reduce((bytes, { text }) => bytes + text.length, 0) > STASH_BYTES_MAX) return undefined;
  const { timers: _timers, watches: _watches, ...kept } = record;
  return { ...kept, fence, turn: record.turn + 1, outbox: [], stash };
}

/** The record after a turn. */
export function nextRecord(record: TurnRecord, fence: number, result: TurnResult): TurnRecord {
  const state = 'state' in result ? result.state : record.state;
  const effects = result.effects === undefined ? record.effects : [...(record.effects ?? []), ...result.effects.map(([key, value]): [string, unknown] => [key, value])].slice(-EFFECTS_MAX);
  return {
    v: 1,
    fence,
    turn: record.turn + 1,
    ...(state === undefined ? {} : { state }),
    done: compactDone([...(record.done.some(({ id }) => id === result.entry.id) ? record.done.filter(({ id }) => id !== result.entry.id) : record.done), result.entry]),
    outbox: [...result.outbox],
    ...(result.timers === undefined ? {} : { timers: result.timers }),
    ...(result.watches === undefined ? {} : { watches: result.watches }),
    ...lasting(record, result),
    ...(effects === undefined ? {} : { effects }),
  };
}

/** What stays until a turn changes it. */
function lasting(record: TurnRecord, result: TurnResult): Pick<TurnRecord, 'behaviour' | 'children' | 'stash'> {
  const behaviour = result.behaviour === undefined ? record.behaviour : (result.behaviour ?? undefined);
  const children = result.children ?? record.children ?? [];
  const stash = result.stash ?? record.stash ?? [];
  return { ...(behaviour === undefined ? {} : { behaviour }), ...(children.length === 0 ? {} : { children: [...children] }), ...(stash.length === 0 ? {} : { stash: [...stash] }) };
}

/** The record a new owner writes before it serves: only the fence changes, and with it the revision that an old owner would write on. */
export const bumpFence = (record: TurnRecord, fence: number): TurnRecord => ({ ...record, fence });

const owed = (entry: DoneEntry): boolean => entry.outcome === undefined || entry.out !== 1;

/** The record without the outcomes that were published, for an agent that idles in memory: they are found in the outcome stream. */
export function slimRecord(record: TurnRecord): TurnRecord {
  return record.done.every(owed) ? record : { ...record, done: record.done.map((entry) => (owed(entry) ? entry : { id: entry.id, out: 1 })) };
}

/** Newest last. Outcomes beyond the horizon or the byte budget lose their body, never their id; the newest keeps it always. */
function compactDone(entries: readonly DoneEntry[]): DoneEntry[] {
  const kept = entries.slice(-DONE_IDS_MAX);
  let bytes = 0;
  for (let i = kept.length - 1; i >= 0; i--) {
    const entry = kept[i] as DoneEntry;
    if (entry.outcome === undefined) continue;
    const newest = i === kept.length - 1;
    if (!newest && (kept.length - i > DONE_OUTCOMES_MAX || bytes > OUTCOME_BYTES_MAX)) kept[i] = { id: entry.id };
    else bytes += entry.outcome.length;
  }
  return kept;
}
