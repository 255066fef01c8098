// Metrics: the Metrics port over a Prometheus registry, and the text that `/metrics` answers.
// Owns: the registry of one process. Never lets a label grow without bound: past the cap a series is dropped and counted.
// Others may assume: names end in their unit, and the first use of a name fixes its label names.

import { createServer } from 'node:http';
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import type { Labels, Metrics } from '../../contracts/ports.ts';

const SERIES_PER_NAME_MAX = 256;
/** For what people take: from seconds to a week. */
const BUCKETS_SECONDS = [1, 5, 15, 60, 300, 900, 3_600, 14_400, 43_200, 86_400, 259_200, 604_800];
const BUCKETS_MS = [0.5, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

export interface PrometheusMetrics extends Metrics {
  /** Prometheus exposition format. */
  text(): Promise<string>;
}

export function createMetrics(process: string): PrometheusMetrics {
  const registry = new Registry();
  registry.setDefaultLabels({ process });
  collectDefaultMetrics({ register: registry, prefix: 'aios_' });
  const members = new Map<string, Counter | Gauge | Histogram>();
  const series = new Map<string, Set<string>>();
  const dropped = new Counter({ name: 'aios_metrics_dropped_total', help: 'series past the cap', labelNames: ['name'], registers: [registry] });

  function member<T extends Counter | Gauge | Histogram>(name: string, make: () => T): T {
    const known = members.get(name);
    if (known !== undefined) return known as T;
    const made = make();
    members.set(name, made);
    return made;
  }

  function admits(name: string, labels: Labels): boolean {
    const known = series.get(name) ?? new Set<string>();
    series.set(name, known);
    const key = JSON.stringify(labels);
    if (known.has(key)) return true;
    if (known.size >= SERIES_PER_NAME_MAX) {
      dropped.inc({ name });
      return false;
    }
    known.add(key);
    return true;
  }

  /** Labels that a caller freezes are labels it passes again: their series is looked up once. */
  const observers = new WeakMap<Labels, Map<string, (value: number) => void>>();
  function observerOf(name: string, labels: Labels): (value: number) => void {
    const known = observers.get(labels)?.get(name);
    if (known !== undefined) return known;
    const made = admits(name, labels) ? histogram(name, labels).labels(labels).observe : nothing;
    const names = observers.get(labels) ?? new Map<string, (value: number) => void>();
    observers.set(labels, names.set(name, made));
    return made;
  }
  const histogram = (name: string, labels: Labels): Histogram => member(name, () => new Histogram({ ...options(name, labels), buckets: name.endsWith('_seconds') ? BUCKETS_SECONDS : BUCKETS_MS }));
  const options = (name: string, labels: Labels) => ({ name, help: name.replaceAll('_', ' '), labelNames: Object.keys(labels), registers: [registry] });
  return {
    count(name, labels = {}, by = 1) {
      if (admits(name, labels)) member(name, () => new Counter(options(name, labels))).inc(labels, by);
    },
    gauge(name, value, labels = {}) {
      if (admits(name, labels)) member(name, () => new Gauge(options(name, labels))).set(labels, value);
    },
    observe(name, value, labels = {}) {
      if (Object.isFrozen(labels)) observerOf(name, labels)(value);
      else if (admits(name, labels)) histogram(name, labels).observe(labels, value);
    },
    text: () => registry.metrics(),
  };
}

const nothing = (): void => undefined;

/** Serves `/metrics` and `/healthz` of a process that has no HTTP API of its own. Port 0 takes a free one. */
export async function startMetricsServer(metrics: PrometheusMetrics, port: number, host = '127.0.0.1'): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer((request, response) => {
    if (request.url === '/healthz') return void response.end('ok');
    if (request.url !== '/metrics') return void response.writeHead(404).end();
    metrics.text().then((text) => response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(text), () => response.writeHead(500).end());
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, host, resolve));
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
