// Traces: the Tracer port over OpenTelemetry, W3C context in and out, one trace per task from client to model worker.
// Owns: the provider and exporter of one process (console lines, OTLP over HTTP, or none: ids still travel).
// Never records content: attributes pass redaction. Others may assume: a `Trace` handed to `work` belongs into
// the next message, and that a span ends with its error's code.

import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import { ROOT_CONTEXT, SpanStatusCode, trace as api, type Context, type SpanContext } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor, SimpleSpanProcessor, type ReadableSpan, type SpanExporter, type SpanProcessor } from '@opentelemetry/sdk-trace-base';
import { isAiosError } from '../../contracts/errors.ts';
import type { Trace } from '../../contracts/message.ts';
import type { Logger, Tracer } from '../../contracts/ports.ts';
import { redact } from '../log/redact.ts';

export interface TracerOptions {
  readonly process: string;
  /** `none`, `console`, or the URL of an OTLP/HTTP collector (`/v1/traces` is appended when it has no path). */
  readonly exporter: string;
  readonly logger: Logger;
}

export interface OpenTelemetryTracer extends Tracer, AsyncDisposable {}

export function createTracer(options: TracerOptions): OpenTelemetryTracer {
  return options.exporter === 'none' ? passOn() : exporting(options);
}

/** Nobody collects spans, so none are made; the trace still travels, since lineage and dead letters name it. */
function passOn(): OpenTelemetryTracer {
  const current = new AsyncLocalStorage<Trace>();
  return {
    span: (_name, { parent }, work) => {
      const trace = (parent !== undefined && TRACEPARENT.test(parent.traceparent) ? parent : current.getStore()) ?? newTrace();
      try {
        return current.run(trace, work, trace);
      } catch (error) {
        return Promise.reject(error as Error);
      }
    },
    [Symbol.asyncDispose]: async () => undefined,
  };
}

function newTrace(): Trace {
  const ids = nextIds();
  return { traceparent: `00-${ids.slice(0, 32)}-${ids.slice(32)}-01` };
}

const ID_BYTES = 24;
const IDS_AT_ONCE = 64;
let pool = '';
let poolAt = 0;

/** A call of the random generator costs more than all else that a passed-on trace costs, so one call serves many. Ids name, they hide nothing. */
function nextIds(): string {
  if (poolAt >= pool.length) {
    pool = randomBytes(ID_BYTES * IDS_AT_ONCE).toString('hex');
    poolAt = 0;
  }
  return pool.slice(poolAt, (poolAt += 2 * ID_BYTES));
}

function exporting(options: TracerOptions): OpenTelemetryTracer {
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ 'service.name': 'aios', 'service.instance.id': options.process }),
    spanProcessors: processorsFor(options),
  });
  const tracer = provider.getTracer('aios');
  const current = new AsyncLocalStorage<Context>();
  return {
    async span(name, { parent, attributes }, work) {
      const base = parent === undefined ? (current.getStore() ?? ROOT_CONTEXT) : contextOf(parent);
      const span = tracer.startSpan(name, attributes === undefined ? {} : { attributes: redact(attributes) as Record<string, string> }, base);
      try {
        return await current.run(api.setSpan(base, span), () => work(traceOf(span.spanContext())));
      } catch (error) {
        span.setStatus({ code: SpanStatusCode.ERROR, message: isAiosError(error) ? error.code : 'AIOS_INTERNAL' });
        throw error;
      } finally {
        span.end();
      }
    },
    async [Symbol.asyncDispose]() {
      await provider.shutdown().catch((error: unknown) => options.logger.warn({ error }, 'spans were lost at shutdown'));
    },
  };
}

export const traceOf = (span: SpanContext): Trace => ({ traceparent: `00-${span.traceId}-${span.spanId}-0${span.traceFlags & 1}` });

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

/** A malformed parent starts a new trace: telemetry never fails a task. */
function contextOf(parent: Trace): Context {
  const match = TRACEPARENT.exec(parent.traceparent);
  if (match === null) return ROOT_CONTEXT;
  const [, traceId = '', spanId = '', flags = '00'] = match;
  return api.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true });
}

function processorsFor(options: TracerOptions): SpanProcessor[] {
  if (options.exporter === 'console') return [new SimpleSpanProcessor(lineExporter(options.logger))];
  const url = options.exporter.endsWith('/v1/traces') ? options.exporter : `${options.exporter.replace(/\/$/, '')}/v1/traces`;
  return [new BatchSpanProcessor(new OTLPTraceExporter({ url }), { maxQueueSize: 2_048, exportTimeoutMillis: 3_000 })];
}

/** One log line per span: enough to follow a task over processes without a collector. */
function lineExporter(logger: Logger): SpanExporter {
  return {
    export(spans: ReadableSpan[], done) {
      for (const span of spans) {
        const { traceId, spanId } = span.spanContext();
        const ms = span.duration[0] * 1_000 + span.duration[1] / 1e6;
        logger.info({ trace: traceId, span: spanId, parent: span.parentSpanContext?.spanId, name: span.name, ms: Math.round(ms * 100) / 100, attributes: span.attributes }, 'span');
      }
      done({ code: 0 });
    },
    async shutdown() {},
  };
}
