// The gateway: the only way from an agent to models, retrieval and records, with every check in one fixed order.
// Owns: the order (envelope, tenant, deadline, mandate with its proof, replay, input, calls, policy, cache, class and money, call, receipts),
// bounded concurrency and the reply. Never branches on a capability: handlers are looked up, members declare traits.
// Others may assume: whatever arrives gets exactly one reply with an error of the table or a metered answer.

import { patterns, tenantOf, capabilityToken } from '../../contracts/address.ts';
import { digestOf } from '../../contracts/canonical.ts';
import { fail, toErrorBody } from '../../contracts/errors.ts';
import type { Envelope, Reply } from '../../contracts/message.ts';
import { envelopeSchema } from '../../contracts/message.ts';
import { parseBytes, parseValue, toBytes } from '../../contracts/parse.ts';
import type { Bus, BusMessage, Clock, Logger, Mandates, Metrics, PolicyStore, Tracer } from '../../contracts/ports.ts';
import type { ModelReceipt, Receipt } from '../../contracts/receipt.ts';
import type { Facts, Redaction } from '../../contracts/verdict.ts';
import type { VerifiedMandate } from '../../contracts/mandate.ts';
import { decide } from '../../policies/evaluate.ts';
import { stricter } from '../../policies/obligations.ts';
import { redactText } from '../../policies/redaction.ts';
import { authorise } from '../runtime/authority.ts';
import type { ExactCache } from './exact-cache.ts';
import { cacheKey, createExactCache } from './exact-cache.ts';
import type { GatewayCall, GatewayHandler, Served } from './handlers/handler.ts';
import type { Meter } from './meter.ts';
import { createMeter } from './meter.ts';
import { createProofs, type Proofs } from './proofs.ts';
import type { Slices } from './slices.ts';

export const QUEUE_GROUP = 'gateway';
const IN_FLIGHT_MAX = 128;

export interface GatewayPorts {
  /** What every text for a model is redacted to at least, whatever policy says. */
  readonly redactAtLeast?: Redaction;
  readonly bus: Bus;
  readonly mandates: Mandates;
  readonly policies: PolicyStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly tracer: Tracer;
  /** Shared by all gateways; without it this one is taken to be alone. */
  readonly slices?: Slices | undefined;
}
export interface GatewayOptions {
  readonly handlers: readonly GatewayHandler[];
  /** Calls handled at once over all capabilities; past it AIOS_OVERLOADED. */
  readonly inFlightMax?: number;
}
export interface Gateway extends AsyncDisposable {
  /** Answers the queue group's share of every capability that has a handler. */
  serve(): Promise<void>;
  /** One request, as it came from `subject`. */
  answer(subject: string, data: Uint8Array): Promise<Reply>;
}

export function createGateway(ports: GatewayPorts, options: GatewayOptions): Gateway {
  const served = new Map(options.handlers.map((handler) => [handler.capability.id as string, handler]));
  const state: GatewayState = { served, meter: createMeter(ports.clock, ports.slices), cache: createExactCache(ports.clock), proofs: createProofs(ports.clock) };
  const open: AsyncDisposable[] = [];
  let inFlight = 0;
  const answer = async (subject: string, data: Uint8Array): Promise<Reply> => {
    if (inFlight >= (options.inFlightMax ?? IN_FLIGHT_MAX)) return failed(fail('AIOS_OVERLOADED', undefined, { retryAfterMs: 100 }));
    inFlight++;
    try {
      return await answered(ports, state, subject, data);
    } finally {
      inFlight--;
    }
  };
  const handle = async (message: BusMessage): Promise<void> => message.respond?.(toBytes(await answer(message.subject, message.data)));
  return {
    answer,
    async serve() {
      for (const { capability } of options.handlers) open.push(await ports.bus.subscribe(patterns.capability(capability.id), { queue: QUEUE_GROUP, concurrencyMax: IN_FLIGHT_MAX }, handle));
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(open.splice(0).map((one) => one[Symbol.asyncDispose]()));
      await state.meter.giveAllBack();
    },
  };
}

interface GatewayState {
  readonly served: ReadonlyMap<string, GatewayHandler>;
  readonly meter: Meter;
  readonly proofs: Proofs;
  readonly cache: ExactCache<Served<unknown>>;
}

/** Never rejects: whatever goes wrong is the reply. */
async function answered(ports: GatewayPorts, state: GatewayState, subject: string, data: Uint8Array): Promise<Reply> {
  const started = ports.clock.monotonic();
  let capability = 'unknown';
  try {
    const envelope = parseEnvelope(subject, data);
    const handler = state.served.get(envelope.capability);
    if (handler === undefined) throw fail('AIOS_CAPABILITY_UNKNOWN', 'The gateway does not serve it.');
    capability = handler.capability.id;
    const reply = await ports.tracer.span(`gateway ${capability}`, { parent: envelope.trace, attributes: { 'aios.capability': capability, 'aios.task': envelope.task } }, (trace) => serve(ports, state, handler, trace === undefined ? envelope : { ...envelope, trace }));
    observe(ports, capability, 'ok', started, reply.costMicroUsd);
    return reply;
  } catch (error) {
    const reply = failed(error);
    observe(ports, capability, reply.status === 'failed' ? reply.error.code : 'ok', started, 0);
    if (reply.status === 'failed' && reply.error.code === 'AIOS_INTERNAL') ports.log.error({ capability, error }, 'a call failed that should not have');
    return reply;
  }
}

function observe({ metrics, clock }: GatewayPorts, capability: string, code: string, started: number, costMicroUsd: number): void {
  metrics.count('gateway_calls_total', { capability, code });
  metrics.observe('gateway_call_ms', clock.monotonic() - started, { capability });
  if (costMicroUsd > 0) metrics.count('gateway_cost_micro_usd_total', { capability }, costMicroUsd);
}

/** Tenant and capability of the subject must be the envelope's: permissions are given on subjects. */
function parseEnvelope(subject: string, data: Uint8Array): Envelope {
  const envelope = parseBytes(envelopeSchema, data);
  if (tenantOf(subject) !== envelope.tenant) throw fail('AIOS_TENANT_MISMATCH');
  if (subject.split('.').at(-1) !== capabilityToken(envelope.capability)) throw fail('AIOS_INPUT_INVALID', 'the subject names another capability than the envelope.');
  return envelope;
}

// ---- the order of checks

async function serve(ports: GatewayPorts, state: GatewayState, handler: GatewayHandler, envelope: Envelope): Promise<Reply> {
  if (envelope.deadline <= ports.clock.now()) throw fail('AIOS_DEADLINE_EXCEEDED', 'It had passed before the call arrived.');
  const mandate = authorise(ports.mandates, envelope, handler.capability, 'presented');
  state.proofs.use(envelope.mandate);
  checkPrincipal(mandate, envelope);
  const input = parseValue(handler.capability.input, envelope.input);
  await state.meter.countCall(mandate);
  const call = toCall(state.meter, envelope, mandate);
  const { bundle, redact } = await permit(ports, handler, call, state.meter.spentMicroUsd(mandate));
  const seen = redacted(handler, input, redact);
  const answer = await remembered(state, handler, call, bundle, seen.input, ports.metrics);
  return done(withRedactions(answer, seen.counts));
}

/** Roles decide what retrieval shows, so a mandate that was minted for a principal serves no other. */
function checkPrincipal({ grant }: VerifiedMandate, { principal }: Envelope): void {
  if (grant.principal !== undefined && grant.principal !== digestOf(principal)) throw fail('AIOS_MANDATE_EXCEEDED', 'it was minted for another principal.');
}

function toCall(meter: Meter, envelope: Envelope, mandate: VerifiedMandate): GatewayCall {
  const { regions, models, expiresAt } = mandate.grant;
  const dataClass = mandate.root?.dataClass ?? mandate.grant.dataClass;
  return {
    envelope, mandate, dataClass,
    scope: { dataClass, regions, models, deadline: Math.min(envelope.deadline, expiresAt) },
    hold: (worst) => meter.hold(mandate, worst),
  };
}

/** Policy action `invoke`. A verdict that asks for a person or a lower rung cannot be met inside a call, so it refuses and says so. */
async function permit(ports: GatewayPorts, { capability }: GatewayHandler, call: GatewayCall, spentMicroUsd: number): Promise<Permitted> {
  const slice = await ports.policies.slice(capability.id);
  const { envelope, mandate, dataClass } = call;
  const context: Facts = { costMicroUsd: spentMicroUsd, reservedMicroUsd: mandate.grant.budgetMicroUsd, deadlineMsLeft: Math.max(0, Math.floor(call.scope.deadline - ports.clock.now())), rung: envelope.rung, dataClass, depth: envelope.depth };
  const verdict = decide(slice, { action: 'invoke', principal: envelope.principal, resource: { capability: capability.id, dataClass, sla: slice.capability.sla }, context });
  if (verdict.kind !== 'allow') throw fail('AIOS_POLICY_DENIED', `invoke of ${capability.id}: ${verdict.kind} by ${verdict.deciding.join(', ') || 'no permit'}.`);
  return { bundle: slice.bundle, redact: stricter(ports.redactAtLeast ?? 'none', verdict.obligations?.redact ?? 'none') };
}
interface Permitted { readonly bundle: string; readonly redact: Redaction }

type Counts = Readonly<Record<string, number>>;

/** What policy wants taken out is taken out before the call is priced, cached or made: no handler ever holds the whole text. */
function redacted({ redactable }: GatewayHandler, input: unknown, level: Redaction): { readonly input: unknown; readonly counts: Counts } {
  if (redactable === undefined || level === 'none') return { input, counts: {} };
  const counts: Record<string, number> = {};
  const clean = (text: string): string => {
    const done = redactText(text, level);
    for (const [kind, count] of Object.entries(done.counts)) counts[kind] = (counts[kind] ?? 0) + count;
    return done.text;
  };
  return { input: redactable(input, clean), counts };
}

function withRedactions(served: Served<unknown>, counts: Counts): Served<unknown> {
  if (Object.keys(counts).length === 0) return served;
  return { ...served, receipts: served.receipts.map((receipt) => (receipt.kind === 'model' ? { ...receipt, redacted: { ...counts } } : receipt)) };
}

async function remembered({ cache }: GatewayState, handler: GatewayHandler, call: GatewayCall, bundle: string, input: unknown, metrics: Metrics): Promise<Served<unknown>> {
  if (!handler.cacheable) return handler.handle(input, call);
  const { dataClass, mandate, envelope } = call;
  const key = cacheKey({ tenant: envelope.tenant, capability: handler.capability.id, dataClass, models: mandate.grant.models, regions: mandate.grant.regions, bundle, input });
  const known = cache.get(key);
  metrics.count('gateway_cache_total', { capability: handler.capability.id, hit: String(known !== undefined) });
  if (known !== undefined) return { ...known, receipts: known.receipts.map(asCached) };
  const fresh = await handler.handle(input, call);
  cache.set(key, fresh, JSON.stringify(fresh.output).length);
  return fresh;
}

/** A cached answer used no device and cost nothing; its tokens were read from the cache. */
function asCached(receipt: Receipt): Receipt {
  if (receipt.kind !== 'model') return receipt;
  const { inputTokens, cacheReadTokens } = receipt.usage;
  const usage: ModelReceipt['usage'] = { inputTokens: 0, cacheReadTokens: cacheReadTokens + inputTokens, cacheWriteTokens: 0, outputTokens: 0, reasoningTokens: 0, deviceUs: 0 };
  return { ...receipt, usage, costMicroUsd: 0, queueMs: 0 };
}

// ---- replies

function done({ output, receipts }: Served<unknown>): Reply {
  const costMicroUsd = receipts.reduce((sum, receipt) => sum + (receipt.kind === 'model' ? receipt.costMicroUsd : 0), 0);
  return { v: 1, status: 'done', output, receipts: [...receipts], costMicroUsd };
}

function failed(error: unknown): Reply {
  const body = toErrorBody(error);
  return { v: 1, status: 'failed', error: { ...body, message: body.message.slice(0, 1_024) }, receipts: [], costMicroUsd: 0 };
}
