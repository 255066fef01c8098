// Device slots as child processes: fork, talk, kill.
// Owns: the life of one child and the pairing of runs with answers. Its kill is the only cancellation onnxruntime knows.
// Never restarts anything (the supervisor does) and never leaves a run unanswered: when the child ends, what it had fails.
// Others may assume: one run at a time, and that a child which does not become ready in time is gone.

import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Slot, SlotAnswer, SlotPort } from '../../agents/model-worker/slots.ts';
import { type AiosError, fail } from '../../contracts/errors.ts';
import type { FromSlot, ToSlot } from './protocol.ts';
import type { GraphSpec } from './store.ts';

export interface OnnxSlotOptions {
  readonly graphs: readonly GraphSpec[];
  /** Slots on this machine: each gets its part of the cores. */
  readonly slots: number;
  readonly readyMsMax?: number;
}

/** Compiled or not, the child stands beside this file with the same ending. */
const CHILD = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? './slot-child.ts' : './slot-child.js', import.meta.url));
/** Two builds of the machine's load apart from a cold disk: loading takes 0.3 s, this is only against hanging for ever. */
const READY_MS_MAX = 60_000;

export function createOnnxSlots(options: OnnxSlotOptions): SlotPort {
  const threads = Math.max(1, Math.floor(availableParallelism() / options.slots));
  return { spawn: () => spawn(options, threads) };
}

interface Open { readonly resolve: (answer: SlotAnswer) => void; readonly reject: (error: AiosError) => void }

async function spawn({ graphs, readyMsMax = READY_MS_MAX }: OnnxSlotOptions, threads: number): Promise<Slot> {
  const child = fork(CHILD, { serialization: 'advanced', execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const runs = new Map<number, Open>();
  const gone = goneOf(child);
  void gone.then((reason) => {
    for (const open of runs.values()) open.reject(fail('AIOS_MODEL_UNAVAILABLE', `The slot ended in the middle of a batch: ${reason}.`));
    runs.clear();
  });
  const warmUp = await readyOf(child, gone, { kind: 'open', graphs, threads }, readyMsMax);
  child.on('message', (message: FromSlot) => settle(runs, message));
  let next = 0;
  return {
    pid: child.pid ?? 0,
    gone,
    warmUp,
    kill: () => void child.kill('SIGKILL'),
    run: (run) => new Promise((resolve, reject) => {
      const id = next++;
      runs.set(id, { resolve, reject });
      tell(child, { kind: 'run', id, ...run }, () => {
        runs.delete(id);
        reject(fail('AIOS_MODEL_UNAVAILABLE', 'The slot ended before the batch.'));
      });
    }),
  };
}

function tell(child: ChildProcess, message: ToSlot, lost: () => void): void {
  if (!child.connected) return lost();
  child.send(message, (error) => (error === null ? undefined : lost()));
}

function settle(runs: Map<number, Open>, message: FromSlot): void {
  if (message.kind !== 'done' && message.kind !== 'fault') return;
  const open = runs.get(message.id);
  runs.delete(message.id);
  if (message.kind === 'fault') open?.reject(fail('AIOS_MODEL_FAULT', message.message));
  else open?.resolve({ vectors: message.vectors, deviceUs: message.deviceUs, rssBytes: message.rssBytes });
}

const goneOf = (child: ChildProcess): Promise<string> => new Promise((resolve) => {
  child.once('exit', (code, signal) => resolve(signal ?? `exit ${code}`));
  child.once('error', (error) => resolve(error.message));
});

async function readyOf(child: ChildProcess, gone: Promise<string>, opening: ToSlot, readyMsMax: number): Promise<Slot['warmUp']> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => { timer = setTimeout(() => reject(fail('AIOS_MODEL_UNAVAILABLE', `The slot was not ready within ${readyMsMax} ms.`)), readyMsMax); });
  const ended = gone.then((reason) => { throw fail('AIOS_MODEL_UNAVAILABLE', `The slot ended while it started: ${reason}.`); });
  const ready = new Promise<Slot['warmUp']>((resolve, reject) => {
    child.once('message', (message: FromSlot) => (message.kind === 'ready' ? resolve(message.warmUp) : reject(fail('AIOS_MODEL_UNAVAILABLE', message.kind === 'refused' ? message.message : 'The slot spoke out of turn.'))));
  });
  tell(child, opening, () => undefined);
  try {
    return await Promise.race([ready, ended, late]);
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
