// Silent instruments: a logger, metrics and a tracer that say nothing, and recording ones for tests that look.
// Owns: nothing of the product's behaviour. Never writes anywhere. Others may assume: the recorders keep everything they were given.

import type { Labels, LogFields, Logger, Metrics, Tracer } from '../../contracts/ports.ts';

export const silentLogger: Logger = Object.freeze({ debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => silentLogger });
export const silentMetrics: Metrics = Object.freeze({ count: nothing, gauge: nothing, observe: nothing });
export const silentTracer: Tracer = Object.freeze({ span: <T>(_name: string, options: Parameters<Tracer['span']>[1], work: Parameters<Tracer['span']>[2]) => work(options.parent) as Promise<T> });

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: LogFields;
}
export function recordingLogger(): { readonly logger: Logger; readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const loggerOf = (bound: LogFields): Logger => {
    const write = (level: LogLine['level']) => (fields: LogFields, message: string) => void lines.push({ level, message, fields: { ...bound, ...fields } });
    return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error'), child: (fields) => loggerOf({ ...bound, ...fields }) };
  };
  return { logger: loggerOf({}), lines };
}

export function recordingMetrics(): { readonly metrics: Metrics; total(name: string, labels?: Labels): number } {
  const counts: { readonly name: string; readonly labels: Labels; readonly by: number }[] = [];
  return {
    metrics: { count: (name, labels = {}, by = 1) => void counts.push({ name, labels, by }), gauge: nothing, observe: nothing },
    total: (name, wanted = {}) => counts.filter((entry) => entry.name === name && matches(entry.labels, wanted)).reduce((sum, entry) => sum + entry.by, 0),
  };
}

const matches = (labels: Labels, wanted: Labels): boolean => Object.entries(wanted).every(([key, value]) => labels[key] === value);

function nothing(): void {}
