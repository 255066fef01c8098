// The supervisor: a set of named children that are kept running until told to stop.
// Owns: restarts with back-off, readiness by the {"msg":"ready"} line, the order of the stop and its deadline.
// Never knows what a child does. Others may assume: `stop` resolves within `stopMsMax` and leaves no process behind;
// a child that keeps dying is tried again for ever, at most every `restartMsMax`.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fail } from '../../contracts/errors.ts';
import { type Child, startChild } from './child.ts';

export interface Part {
  readonly name: string;
  readonly command: string;
  readonly parameters: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}
export type PartState = 'starting' | 'ready' | 'down' | 'stopped';
export interface PartView {
  readonly name: string;
  readonly state: PartState;
  readonly pid: number | undefined;
  readonly restarts: number;
  readonly logFile: string;
}
export interface SupervisorOptions {
  readonly parts: readonly Part[];
  readonly logDir: string;
  readonly onChange?: (view: PartView) => void;
  readonly restartMsMin?: number;
  readonly restartMsMax?: number;
  /** Grace of SIGTERM before SIGKILL. */
  readonly stopMsMax?: number;
}
export interface Supervisor extends AsyncDisposable {
  views(): readonly PartView[];
  /** @throws AIOS_UNAVAILABLE naming the parts that are not ready in time, with their log files */
  ready(timeoutMs: number): Promise<void>;
  kill(name: string, signal: NodeJS.Signals): void;
  stop(): Promise<void>;
}

/** Starts every part at once; does not wait for them. */
export function startSupervisor(options: SupervisorOptions): Supervisor {
  const ending = new AbortController();
  const kept = options.parts.map((part) => keepRunning(part, options, ending.signal));
  const stop = async (): Promise<void> => {
    ending.abort();
    await Promise.all(kept.map((one) => one.stopped));
  };
  return {
    views: () => kept.map((one) => one.view()),
    ready: (timeoutMs) => allReady(kept, timeoutMs),
    kill: (name, signal) => kept.find((one) => one.view().name === name)?.child()?.kill(signal),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

interface Kept {
  view(): PartView;
  child(): Child | undefined;
  readonly stopped: Promise<void>;
}

/** A child that ran this long was well: its next restart is quick again. */
const WELL_MS = 10_000;
const READY_LINE = /"msg":\s*"ready"/;

function keepRunning(part: Part, options: SupervisorOptions, ending: AbortSignal): Kept {
  const logFile = join(options.logDir, `${part.name}.log`);
  let state: PartState = 'starting';
  let child: Child | undefined;
  let restarts = 0;
  const view = (): PartView => ({ name: part.name, state, pid: child?.running === true ? child.pid : undefined, restarts, logFile });
  const enter = (next: PartState): void => {
    if (state === next) return;
    state = next;
    options.onChange?.(view());
  };
  const onLine = (line: string): void => {
    if (READY_LINE.test(line)) enter('ready');
  };
  const loop = async (): Promise<void> => {
    for (let failures = 0; !ending.aborted; restarts++) {
      const started = performance.now();
      child = await startChild({ ...part, logFile, onLine }).catch(() => undefined);
      await endOf(child, ending, options.stopMsMax ?? 6_000);
      if (ending.aborted) break;
      enter('down');
      failures = performance.now() - started > WELL_MS ? 0 : failures + 1;
      await sleep(backoff(failures, options), undefined, { signal: ending }).catch(() => undefined);
      if (!ending.aborted) enter('starting');
    }
    enter('stopped');
  };
  return { view, child: () => child, stopped: loop() };
}

async function endOf(child: Child | undefined, ending: AbortSignal, graceMs: number): Promise<void> {
  if (child === undefined) return;
  const asked = new Promise<void>((resolve) => {
    if (ending.aborted) resolve();
    else ending.addEventListener('abort', () => resolve(), { once: true });
  });
  await Promise.race([child.exited, asked]);
  if (child.running) await child.stop(graceMs);
}

function backoff(failures: number, options: SupervisorOptions): number {
  return Math.min((options.restartMsMin ?? 200) * 2 ** Math.min(failures, 16), options.restartMsMax ?? 10_000);
}

async function allReady(kept: readonly Kept[], timeoutMs: number): Promise<void> {
  const missing = (): readonly PartView[] => kept.map((one) => one.view()).filter((view) => view.state !== 'ready');
  for (const until = performance.now() + timeoutMs; performance.now() < until; await sleep(25)) if (missing().length === 0) return;
  throw fail('AIOS_UNAVAILABLE', `not ready after ${Math.round(timeoutMs / 1_000)} s: ${missing().map((view) => `${view.name} (${view.state}, log ${view.logFile})`).join(', ')}.`);
}
