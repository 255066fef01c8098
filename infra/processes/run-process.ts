// The life of a process: settings, telemetry, start, the line `ready`, and an orderly end on SIGTERM or SIGINT.
// Owns: the order of closing and the hard end after eight seconds. Never knows what a process does.
// Others may assume: a start that fails prints one JSON line with its code and exits 1; a drain that hangs exits 1;
// telemetry is opened first and closed last.

import { toErrorBody } from '../../contracts/errors.ts';
import type { LogFields } from '../../contracts/ports.ts';
import { readConfig, type Config } from '../config.ts';
import { createTelemetry, type Telemetry } from '../telemetry/index.ts';

const EXIT_MS_MAX = 8_000;
const FRAMES_MAX = 6;

/** @param start serves when it resolves; `ready` tells operators what it serves */
export async function runProcess<S extends AsyncDisposable>(role: string, start: (config: Config, telemetry: Telemetry) => Promise<S>, ready: (started: S) => LogFields): Promise<void> {
  try {
    const config = readConfig(role);
    const telemetry = createTelemetry(config);
    const started = await start(config, telemetry);
    telemetry.logger.info(ready(started), 'ready');
    await asked();
    setTimeout(() => process.exit(1), EXIT_MS_MAX).unref();
    await started[Symbol.asyncDispose]();
    await telemetry[Symbol.asyncDispose]();
    process.exit(0);
  } catch (thrown) {
    const { code, message } = toErrorBody(thrown);
    process.stderr.write(`${JSON.stringify({ level: 'error', process: role, code, msg: message, ...framesOf(code, thrown) })}\n`);
    process.exit(1);
  }
}

/** Where an error of our own making came from: places in the code, without the words of its message, which may hold data. */
function framesOf(code: string, thrown: unknown): { readonly at?: readonly string[] } {
  if (code !== 'AIOS_INTERNAL' || !(thrown instanceof Error)) return {};
  const frames = (thrown.stack ?? '').split('\n').map((line) => line.trim()).filter((line) => line.startsWith('at '));
  return { at: [thrown.name, ...frames.slice(0, FRAMES_MAX)] };
}

const asked = (): Promise<void> => new Promise((resolve) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
});
