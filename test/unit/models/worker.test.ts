// The worker over scripted slots: what happens when a slot breaks, hangs, lies or never starts.
// Owns: proof that every request settles with an answer or a typed error. Never starts a process: slots here are scripts.
// Others may assume: the same supervisor runs over real processes in test/servers.

import { describe, expect, it } from 'vitest';
import type { Head } from '../../../agents/model-worker/head.ts';
import type { Slot, SlotAnswer, SlotLimits, SlotPort, SlotRun } from '../../../agents/model-worker/slots.ts';
import { type ModelEntry, type ModelWorker, startWorker } from '../../../agents/model-worker/worker.ts';
import { createWordPiece } from '../../../agents/model-worker/wordpiece.ts';
import { fail } from '../../../contracts/errors.ts';
import type { Logger } from '../../../contracts/ports.ts';
import { systemClock } from '../../../infra/telemetry/index.ts';
import { recordingLogger, silentLogger, silentMetrics } from '../../kit/silent.ts';

const vocabulary = ['[UNK]', '[CLS]', '[SEP]', 'good', 'bad', 'slow', 'nan'];
const wordPiece = createWordPiece({ vocabulary });
const id = (word: string): number => vocabulary.indexOf(word);
const DIGEST = `sha256:${'a'.repeat(64)}`;
const ENTRY: ModelEntry = { model: 'm', digest: DIGEST, dimensions: 2, tokensMax: 16, wordPiece };

type Script = (run: SlotRun, slot: { die(): void; readonly number: number }) => Promise<SlotAnswer> | SlotAnswer;

/** Vectors that say which text they belong to: [tokens of the row, 1]. */
const honest = (run: SlotRun): SlotAnswer => ({ vectors: Float32Array.from(Array.from(run.lengths).flatMap((length) => [length, 1])), deviceUs: 100 * run.rows, rssBytes: 1_000 });

function scripted(script: Script): SlotPort & { readonly spawned: () => number } {
  let spawned = 0;
  return {
    spawned: () => spawned,
    async spawn() {
      const number = ++spawned;
      const { promise: gone, resolve } = Promise.withResolvers<string>();
      let lose: (error: Error) => void = () => undefined;
      const die = (): void => {
        resolve('killed');
        void gone.then(() => lose(fail('AIOS_MODEL_UNAVAILABLE', 'killed')));
      };
      const slot: Slot = {
        pid: number, gone, warmUp: [1, 2, 4, 8].map((tokens) => ({ model: 'm', tokens, ms: 1 })), kill: die,
        run: (run) => new Promise((done, reject) => {
          lose = reject;
          Promise.resolve().then(() => script(run, { die, number })).then(done, reject);
        }),
      };
      return slot;
    },
  };
}

function start(port: SlotPort, over: { readonly heads?: readonly Head[]; readonly models?: readonly ModelEntry[]; readonly log?: Logger; readonly limits?: Partial<SlotLimits> } = {}): ModelWorker {
  return startWorker({
    name: 'w', incarnation: 'i', zone: 'z', models: over.models ?? [ENTRY], heads: over.heads ?? [], port, slots: 1, clock: systemClock,
    log: over.log ?? silentLogger, metrics: silentMetrics, slotLimits: over.limits ?? {}, batchLimits: { gainMin: 0.01 },
  });
}

const ask = (texts: readonly string[], ms = 2_000) => ({ texts, tenant: 't', sla: 'interactive' as const, deadline: Date.now() + ms });
const forever = new Promise<never>(() => undefined);

describe('model worker', () => {
  it('worker - answers in the order of the texts, whatever order they ran in', async () => {
    await using worker = start(scripted(honest));
    await worker.ready;
    const { vectors, used } = await worker.embed('m', ask(['good good good', 'good', 'good good']));
    expect(vectors.map((vector) => vector[0])).toEqual([5, 3, 4]);
    expect(used).toMatchObject({ worker: 'w', model: 'm', modelDigest: DIGEST, tokens: 12, retried: 0 });
  });

  it('worker - a text that kills its slot fails alone; those it ran with are answered', async () => {
    const script: Script = (run, slot) => {
      if (!run.ids.includes(id('bad'))) return honest(run);
      slot.die();
      return forever;
    };
    const port = scripted(script);
    await using worker = start(port);
    await worker.ready;
    const [good, bad] = await Promise.allSettled([worker.embed('m', ask(['good', 'good good'])), worker.embed('m', ask(['bad']))]);
    expect(good).toMatchObject({ status: 'fulfilled' });
    expect(bad).toMatchObject({ status: 'rejected', reason: { code: 'AIOS_MODEL_UNAVAILABLE' } });
    expect(port.spawned()).toBeGreaterThanOrEqual(2);
  });

  it('worker - a batch whose slot was killed once is answered after one retry, and the log says so', async () => {
    const { logger: log, lines } = recordingLogger();
    let kills = 0;
    await using worker = start(scripted((run, slot) => {
      if (kills++ > 0) return honest(run);
      slot.die();
      return forever;
    }), { log });
    await worker.ready;
    const { used } = await worker.embed('m', ask(['good']));
    expect(used.retried).toBe(1);
    expect(lines.map((line) => line.message).filter((message) => message.startsWith('batch'))).toEqual(['batch started', 'batch broken', 'batch started', 'batch finished']);
  });

  it('worker - a row that is not finite is run once more alone and then refused, its neighbours are not', async () => {
    let runs = 0;
    await using worker = start(scripted((run) => {
      const answer = honest(run);
      runs += run.ids.includes(id('nan')) ? 1 : 0;
      for (let row = 0; row < run.rows; row++) if (run.ids[row * run.width + 1] === id('nan')) answer.vectors[row * 2] = NaN;
      return answer;
    }));
    await worker.ready;
    const [good, bad] = await Promise.allSettled([worker.embed('m', ask(['good'])), worker.embed('m', ask(['nan']))]);
    expect(good).toMatchObject({ status: 'fulfilled' });
    expect(bad).toMatchObject({ status: 'rejected', reason: { code: 'AIOS_MODEL_FAULT' } });
    expect(runs).toBe(2);
  });

  it('worker - a slot that answers in the wrong shape is killed and its batch is run again', async () => {
    const port = scripted((run, { number }) => (number === 1 ? { ...honest(run), vectors: new Float32Array(1) } : honest(run)));
    await using worker = start(port);
    await worker.ready;
    await expect(worker.embed('m', ask(['good']))).resolves.toMatchObject({ used: { retried: 1 } });
    expect(port.spawned()).toBe(2);
  });

  it('worker - a slot that hangs is killed, and the batch runs in its successor', async () => {
    const port = scripted((run, { number }) => (number === 1 ? forever : honest(run)));
    await using worker = start(port, { limits: { stuckMsMin: 50 } });
    await worker.ready;
    await expect(worker.embed('m', ask(['good']))).resolves.toBeDefined();
    expect(port.spawned()).toBe(2);
  });

  it('worker - a slot over its memory budget is replaced after the batch, not during it', async () => {
    const port = scripted((run, { number }) => ({ ...honest(run), rssBytes: number === 1 ? 2_000 : 10 }));
    await using worker = start(port, { limits: { rssBytesMax: 1_500 } });
    await worker.ready;
    for (let i = 0; i < 3; i++) await expect(worker.embed('m', ask(['good']))).resolves.toMatchObject({ used: { retried: 0 } });
    expect(port.spawned()).toBe(2);
  });

  it('worker - the deadline settles a request whose slot never answers', async () => {
    await using worker = start(scripted(() => forever));
    await worker.ready;
    await expect(worker.embed('m', ask(['good'], 80))).rejects.toMatchObject({ code: 'AIOS_DEADLINE_EXCEEDED' });
  });

  it('worker - cancelling frees the slot when the rest of the batch is worth a kill', async () => {
    const port = scripted((run, { number }) => (number === 1 ? forever : honest(run)));
    await using worker = start(port, { limits: { killWorthMs: 0 } });
    await worker.ready;
    const cancel = new AbortController();
    const cancelled = worker.embed('m', ask(['good']), cancel.signal);
    cancel.abort();
    await expect(cancelled).rejects.toMatchObject({ code: 'AIOS_TASK_CANCELLED' });
    await expect(worker.embed('m', ask(['good']))).resolves.toBeDefined();
  });

  it('worker - slots that never start are AIOS_MODEL_UNAVAILABLE, for those who wait and for those who come', async () => {
    const port: SlotPort = { spawn: () => Promise.reject(fail('AIOS_MODEL_UNAVAILABLE', 'no device')) };
    await using worker = start(port, { limits: { startsFailedMax: 2 } });
    await expect(worker.embed('m', ask(['good']))).rejects.toMatchObject({ code: 'AIOS_MODEL_UNAVAILABLE' });
    await expect(worker.embed('m', ask(['good']))).rejects.toMatchObject({ code: 'AIOS_MODEL_UNAVAILABLE' });
    expect(worker.beacon()).toMatchObject({ state: 'warming', slots: { warm: 0 } });
  });

  it('worker - a small model runs in place, without a slot', async () => {
    const inline: ModelEntry = { ...ENTRY, inline: (pieces) => Float32Array.of(pieces.length, 0) };
    await using worker = start({ spawn: () => Promise.reject(new Error('not needed')) }, { models: [inline] });
    expect((await worker.embed('m', ask(['good good bad']))).vectors[0]).toEqual(Float32Array.of(3, 0));
    expect(worker.beacon().state).toBe('warm');
  });

  it('worker - refuses unknown models, and everything while it drains', async () => {
    await using worker = start(scripted(honest));
    await expect(worker.embed('other', ask(['good']))).rejects.toMatchObject({ code: 'AIOS_MODEL_UNKNOWN' });
    await worker.drain(1_000);
    await expect(worker.embed('m', ask(['good']))).rejects.toMatchObject({ code: 'AIOS_UNAVAILABLE' });
    expect(worker.beacon().state).toBe('draining');
  });

  it('worker - refuses to start with a head that was trained on another build of its encoder', () => {
    const head: Head = { name: 'h', digest: DIGEST as Head['digest'], encoder: 'm', encoderDigest: `sha256:${'b'.repeat(64)}`, labels: ['x', 'y'], none: undefined, score: () => [1, 0] };
    expect(() => start(scripted(honest), { heads: [head] })).toThrow(expect.objectContaining({ code: 'AIOS_CONFIG_INVALID' }));
  });
});
