// What every process opens first: its logger, metrics, tracer, clock and source of chance.
// Owns: the bundle `Telemetry` and the real Clock and Random. Never reads settings itself.
// Others may assume: disposing it flushes spans; it is the last thing a process closes.

import { randomBytes } from 'node:crypto';
import type { Clock, Logger, Random } from '../../contracts/ports.ts';
import type { Config } from '../config.ts';
import { createLogger } from '../log/logger.ts';
import { createMetrics, type PrometheusMetrics } from './metrics.ts';
import { createTracer, type OpenTelemetryTracer } from './tracer.ts';

export interface Telemetry extends AsyncDisposable {
  readonly logger: Logger;
  readonly metrics: PrometheusMetrics;
  readonly tracer: OpenTelemetryTracer;
  readonly clock: Clock;
  readonly random: Random;
}

export function createTelemetry(config: Pick<Config, 'name' | 'logLevel' | 'traces'>): Telemetry {
  const logger = createLogger({ process: config.name, level: config.logLevel });
  const metrics = createMetrics(config.name);
  const tracer = createTracer({ process: config.name, exporter: config.traces, logger });
  return { logger, metrics, tracer, clock: systemClock, random: systemRandom, [Symbol.asyncDispose]: () => tracer[Symbol.asyncDispose]() };
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) => new Promise((resolve) => {
    if (signal?.aborted === true) return resolve();
    // No time at all: after what is ready to be read and written now, which a timer would overshoot by a millisecond.
    if (ms <= 0) return void setImmediate(resolve);
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
  }),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

export const systemRandom: Random = {
  next: () => Number(randomBytes(6).readUIntBE(0, 6)) / 2 ** 48,
  bytes: (count) => new Uint8Array(randomBytes(count)),
};
