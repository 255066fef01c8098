// A gateway on a simulated clock with real mandates, one permissive policy and scripted providers.
// Owns: the fixture of the gateway's unit tests. Opens nothing.
// Others may assume: time moves only when a test moves it, and every provider call is counted.

import { createGateway } from '../../../agents/gateway/gateway.ts';
import { gatewayCapabilities } from '../../../agents/gateway/capabilities.ts';
import type { GatewayHandler } from '../../../agents/gateway/handlers/handler.ts';
import { modelHandlers } from '../../../agents/gateway/handlers/models.ts';
import { recordHandlers } from '../../../agents/gateway/handlers/records.ts';
import { spaceHandlers } from '../../../agents/gateway/handlers/spaces.ts';
import { createModelRouter } from '../../../agents/gateway/model-router.ts';
import type { CedarPolicyJson, PolicyBundle, PolicySlice } from '../../../contracts/bundle.ts';
import { digestOf } from '../../../contracts/canonical.ts';
import type { CapabilityTraits } from '../../../contracts/capability.ts';
import { traitsOf } from '../../../contracts/capability.ts';
import { fail } from '../../../contracts/errors.ts';
import type { Grant } from '../../../contracts/mandate.ts';
import type { Envelope, Reply } from '../../../contracts/message.ts';
import { toBytes } from '../../../contracts/parse.ts';
import type { Bus, Clock, EmbedRequest, Logger, Metrics, ModelProvider, PolicyStore, Records, Retrieval, Tracer } from '../../../contracts/ports.ts';
import type { ModelReceipt } from '../../../contracts/receipt.ts';
import type { Redaction } from '../../../contracts/verdict.ts';
import { createKeys } from '../../../infra/crypto/keys.ts';
import { presentedCall } from '../../../policies/mandate.ts';
import { mandatesOf } from '../../../infra/crypto/mandates.ts';

export const START = 1_700_000_000_000;
const digest = digestOf('test');
const PERMIT: CedarPolicyJson = { effect: 'permit', principal: { op: 'All' }, action: { op: 'All' }, resource: { op: 'All' }, conditions: [] };
export const PRICE = { inputPerMillion: 1_000_000, cacheReadPerMillion: 0, cacheWritePerMillion: 0, outputPerMillion: 2_000_000, reasoningPerMillion: 0, devicePerSecond: 100 };

export interface TestClock extends Clock {
  advance(ms: number): void;
}
export function createTestClock(): TestClock {
  let now = 0;
  const timers = new Set<{ readonly at: number; readonly run: () => void }>();
  return {
    now: () => START + now,
    monotonic: () => now,
    sleep: async () => {},
    after(ms, run) {
      const timer = { at: now + ms, run };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    advance(ms) {
      now += ms;
      const due = [...timers].filter((timer) => timer.at <= now);
      for (const timer of due) if (timers.delete(timer)) timer.run();
    },
  };
}

export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
const tracer: Tracer = { span: (_name, _options, work) => work(undefined) };
const bus: Bus = { request: async () => { throw fail('AIOS_UNAVAILABLE'); }, publish() {}, subscribe: async () => ({ async [Symbol.asyncDispose]() {} }), connected: true, async [Symbol.asyncDispose]() {} };

export interface FakeProvider extends ModelProvider {
  readonly calls: EmbedRequest[];
}
/** Answers each text with [its length, 1]; one input token a text, 1 s of device time a call. */
export function fakeProvider(over: Partial<ModelProvider> & { readonly name?: string; readonly fails?: () => unknown } = {}): FakeProvider {
  const { fails, ...traits } = over;
  const calls: EmbedRequest[] = [];
  const name = over.name ?? 'workers';
  const receipt = (capability: string, texts: number): ModelReceipt => ({
    kind: 'model', capability, provider: name, model: 'small', modelDigest: digest, priceDigest: digest, costMicroUsd: 0, batch: texts, queueMs: 0,
    usage: { inputTokens: texts, cacheReadTokens: 0, cacheWriteTokens: 0, outputTokens: 0, reasoningTokens: 0, deviceUs: 1_000_000 },
  });
  return {
    name, inside: true, region: 'local', calls,
    async embed(request) {
      calls.push(request);
      const failure = fails?.();
      if (failure !== undefined) throw failure;
      return { vectors: request.texts.map((text) => Float32Array.of(text.length, 1)), receipt: receipt('text.embed', request.texts.length) };
    },
    classify: async ({ texts }) => ({ results: texts.map(() => ({ label: 'a', confidence: 0.9, scores: [{ label: 'a', score: 0.9 }, { label: 'b', score: 0.1 }] })), receipt: receipt('text.classify', texts.length) }),
    generate: async ({ prompt }) => ({ text: prompt.toUpperCase(), receipt: receipt('text.generate', 1) }),
    ...traits,
  };
}

export interface FixtureOptions {
  readonly providers?: readonly ModelProvider[];
  readonly policies?: Readonly<Record<string, CedarPolicyJson>>;
  readonly prices?: PolicyBundle['prices'];
  readonly declared?: PolicyBundle['providers'];
  readonly retrieval?: Retrieval;
  readonly records?: Records;
  readonly inFlightMax?: number;
  readonly redactAtLeast?: Redaction;
}

export function createFixture(options: FixtureOptions = {}) {
  const clock = createTestClock();
  const counted: string[] = [];
  const metrics: Metrics = { count: (name, labels) => counted.push(`${name} ${labels?.['code'] ?? labels?.['hit'] ?? ''}`), gauge() {}, observe() {} };
  let seed = 0;
  const random = { next: () => 0.5, bytes: (count: number) => Uint8Array.from({ length: count }, () => (seed = (seed * 31 + 7) % 251)) };
  const mandates = mandatesOf(createKeys(), { clock, random });
  const bundle: PolicyBundle = {
    v: 1, version: 1, createdAt: START, notBefore: 0, notAfter: START * 2, policies: {}, sources: {}, schema: '', capabilities: {}, groups: {}, budgets: {},
    prices: options.prices ?? { small: PRICE }, providers: options.declared ?? {},
  };
  const slices = new Map(gatewayCapabilities.map((capability) => [capability.id as string, sliceOf(traitsOf(capability), options.policies ?? { permit: PERMIT })]));
  const policies = { slice: async (id: string) => slices.get(id) ?? raise(), bundle: async () => bundle } as unknown as PolicyStore;
  const router = createModelRouter({ providers: options.providers ?? [fakeProvider()], bundle: async () => bundle, clock, metrics });
  const handlers: GatewayHandler[] = [...modelHandlers(router)];
  if (options.retrieval !== undefined) handlers.push(...spaceHandlers({ retrieval: options.retrieval, loadDocuments: async function* () {}, expectedMicroUsd: () => 0, clock, log: silent }));
  if (options.records !== undefined) handlers.push(...recordHandlers(options.records));
  const gateway = createGateway({ bus, mandates, policies, clock, log: silent, metrics, tracer, ...(options.redactAtLeast === undefined ? {} : { redactAtLeast: options.redactAtLeast }) }, { handlers, ...(options.inFlightMax === undefined ? {} : { inFlightMax: options.inFlightMax }) });
  let asked = 0;
  const mint = (over: Partial<Grant> = {}) => mandates.mint({
    tenant: 'acme', task: 't-1', capabilities: ['*'], dataClass: 'confidential', regions: ['*'], models: ['*'], spaces: ['*'],
    budgetMicroUsd: 1_000_000, callsMax: 100, depthMax: 3, notBefore: START - 1_000, expiresAt: START + 60_000, offline: false, policy: digest, ...over,
  });
  const ask = (capability: string, input: unknown, over: Partial<Envelope> = {}, subject = `ai.v1.acme.cap.${capability.replaceAll('.', '_')}`): Promise<Reply> => gateway.answer(subject, toBytes(shown(envelope(capability, input, { id: `envelope-0123456789-${++asked}`, mandate: mint(), ...over }))));
  /** As a runtime would send it: the mandate shown for this call. */
  const shown = (one: Envelope): Envelope => (one.mandate.includes('~k.') ? { ...one, mandate: mandates.present(one.mandate, presentedCall(one)) } : one);
  return { gateway, ask, mint, clock, counted, mandates };
}

export const envelope = (capability: string, input: unknown, over: Partial<Envelope>): Envelope => ({
  v: 1, id: 'envelope-0123456789', tenant: 'acme', task: 't-1', capability, actor: 't-1', principal: { id: 'ada', type: 'user', tenant: 'acme', roles: [] },
  rung: 'model', deadline: START + 10_000, mandate: '', depth: 1, input, ...over,
});

const sliceOf = (capability: CapabilityTraits, policies: Readonly<Record<string, CedarPolicyJson>>): PolicySlice => ({ bundle: digest, version: 1, capability, policies, groups: {} });

function raise(): never {
  throw fail('AIOS_POLICY_MISSING');
}
