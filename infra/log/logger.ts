// Logs: pino JSON lines on standard output, every field through redaction.
// Owns: the only pino instance of a process. Never formats for people: the CLI and the supervisor do that.
// Others may assume: a line has `time`, `level`, `process`, `msg`, and where there is one `trace`.

import { pino, type BaseLogger } from 'pino';
import type { LogFields, Logger } from '../../contracts/ports.ts';
import { redact, redactText } from './redact.ts';

export interface LoggerOptions {
  readonly process: string;
  readonly level: 'debug' | 'info' | 'warn' | 'error' | 'silent';
  /** Where lines go; standard output unless told. */
  readonly write?: (line: string) => void;
}

export function createLogger(options: LoggerOptions): Logger {
  const base = { level: options.level, base: { process: options.process, pid: process.pid }, formatters: { level: (label: string) => ({ level: label }) } };
  const { write } = options;
  const sink = write === undefined ? pino(base, pino.destination({ sync: true })) : pino(base, { write });
  return wrap(sink, {});
}

type Level = 'debug' | 'info' | 'warn' | 'error';

function wrap(sink: Pick<BaseLogger, Level> & { isLevelEnabled(level: string): boolean }, bound: LogFields): Logger {
  const at = (level: Level) => (fields: LogFields, message: string) => {
    if (!sink.isLevelEnabled(level)) return;
    sink[level](redact({ ...bound, ...fields }) as object, redactText(message));
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), child: (fields) => wrap(sink, { ...bound, ...fields }) };
}
