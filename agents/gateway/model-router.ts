// From "embed this" to one provider's answer with a price on it: filter by class and region, then rank, then call.
// Owns: the order of these steps, the breaker of each provider, the one attempt budget, pricing by the table of the bundle.
// Never ranks a provider that may not see the data, never returns an unpriced answer, never waits past the deadline.
// Others may assume: an empty candidate list is an error that says why, and an open breaker answers at once.

import type { PolicyBundle, Price, ProviderTraits } from '../../contracts/bundle.ts';
import type { DataClass } from '../../contracts/capability.ts';
import { covers } from '../../contracts/capability.ts';
import type { Digest } from '../../contracts/ids.ts';
import { fail, hasCode, isAiosError } from '../../contracts/errors.ts';
import type { Clock, Metrics, ModelProvider } from '../../contracts/ports.ts';
import type { ModelReceipt } from '../../contracts/receipt.ts';
import { costOf, priceDigest, priceTableDigest } from '../../policies/price.ts';
import { mayProvide, OUTSIDE_CLASS_MAX } from '../../policies/residency.ts';
import { grantsName } from '../runtime/authority.ts';
import type { Breaker } from './breaker.ts';
import { createBreaker } from './breaker.ts';

/** Providers asked for one call at most: the first choice and one more. */
const ATTEMPTS_MAX = 2;

export type Operation = 'embed' | 'classify' | 'generate';
export interface ModelScope {
  readonly dataClass: DataClass;
  readonly regions: readonly string[];
  readonly models: readonly string[];
  readonly deadline: number;
}
export interface PricedCall {
  readonly op: Operation;
  /** The model or head that is asked for by name, when one is. */
  readonly model?: string | undefined;
  readonly scope: ModelScope;
}
export interface ModelRouter {
  /** @throws AIOS_MODEL_UNKNOWN, AIOS_CLASS_REFUSED, AIOS_MANDATE_EXCEEDED, AIOS_PRICE_UNKNOWN, AIOS_MODEL_UNAVAILABLE, AIOS_DEADLINE_EXCEEDED */
  run<A extends { readonly receipt: ModelReceipt }>(call: PricedCall, ask: (provider: ModelProvider) => Promise<A> | undefined): Promise<A>;
  /** The most such a call cost lately, doubled: what is held for one whose price is only known afterwards. */
  expectedMicroUsd(op: Operation): number;
  /** The dearest price of all candidates' models, to reserve the worst case of a generation. */
  prices(): Promise<Readonly<Record<string, Price>>>;
}
export interface ModelRouterOptions {
  /** In order of preference. */
  readonly providers: readonly ModelProvider[];
  readonly bundle: () => Promise<PolicyBundle>;
  readonly clock: Clock;
  readonly metrics: Metrics;
}

export function createModelRouter(options: ModelRouterOptions): ModelRouter {
  const breakers = new Map(options.providers.map((provider) => [provider.name, createBreaker(() => options.clock.monotonic())]));
  const recent = new Map<Operation, number>();
  return {
    async run(call, ask) {
      const bundle = await options.bundle();
      const candidates = candidatesOf(options.providers, call, bundle);
      const answer = await firstAnswer(options, breakers, candidates, call, ask);
      const priced = withPrice(answer.value, answer.provider, bundle.prices);
      recent.set(call.op, Math.max(priced.receipt.costMicroUsd, Math.floor((recent.get(call.op) ?? 0) * 0.95)));
      return priced;
    },
    expectedMicroUsd: (op) => 2 * (recent.get(op) ?? 0),
    prices: async () => (await options.bundle()).prices,
  };
}

// ---- who may

function candidatesOf(providers: readonly ModelProvider[], { op, model, scope }: PricedCall, bundle: PolicyBundle): readonly ModelProvider[] {
  const able = providers.filter((provider) => provider[op] !== undefined && (model === undefined || op === 'classify' || provider.models === undefined || provider.models.includes(model)));
  if (able.length === 0) throw fail('AIOS_MODEL_UNKNOWN', `No provider offers ${op}${model === undefined ? '' : ` with ${model}`}.`);
  const allowed = able.filter((provider) => mayProvide(traitsOf(provider, bundle), scope.dataClass, scope.regions));
  if (allowed.length === 0) throw fail('AIOS_CLASS_REFUSED', `${scope.dataClass} data, regions ${scope.regions.join(' ') || 'none'}.`);
  const granted = allowed.filter((provider) => grantsName(scope.models, provider.name) || grantsName(scope.models, model ?? provider.models?.[0] ?? provider.name));
  if (granted.length === 0) throw fail('AIOS_MANDATE_EXCEEDED', `no model is granted for ${op}.`);
  const priced = granted.filter((provider) => priceOf(bundle.prices, model ?? provider.models?.[0], provider.name) !== undefined || provider.models === undefined);
  if (priced.length === 0) throw fail('AIOS_PRICE_UNKNOWN');
  return priced;
}

/** The bundle may narrow what a provider says of itself, never widen it. */
function traitsOf(provider: ModelProvider, bundle: PolicyBundle): ProviderTraits {
  const own: ProviderTraits = { inside: provider.inside, region: provider.region, dataClassMax: provider.inside ? 'restricted' : OUTSIDE_CLASS_MAX };
  const declared = Object.hasOwn(bundle.providers, provider.name) ? bundle.providers[provider.name] : undefined;
  if (declared === undefined) return own;
  return { inside: own.inside && declared.inside, region: declared.region, dataClassMax: covers(own.dataClassMax, declared.dataClassMax) ? declared.dataClassMax : own.dataClassMax };
}

// ---- asking

interface Answered<A> {
  readonly value: A;
  readonly provider: ModelProvider;
}

async function firstAnswer<A>(options: ModelRouterOptions, breakers: ReadonlyMap<string, Breaker>, candidates: readonly ModelProvider[], call: PricedCall, ask: (provider: ModelProvider) => Promise<A> | undefined): Promise<Answered<A>> {
  let attempts = 0;
  let wait = Number.POSITIVE_INFINITY;
  let last: unknown;
  for (const provider of candidates) {
    if (attempts >= ATTEMPTS_MAX) break;
    const breaker = breakers.get(provider.name) as Breaker;
    const pause = breaker.enter();
    wait = Math.min(wait, pause);
    if (pause > 0) continue;
    attempts++;
    try {
      return { value: await asked(options, provider, breaker, call, ask), provider };
    } catch (error) {
      last = error;
      if (!mayGoOn(error)) throw error;
    }
  }
  if (last === undefined) throw fail('AIOS_MODEL_UNAVAILABLE', 'It failed several times in a row and is left alone for a moment.', { retryAfterMs: wait });
  throw asUnavailable(last);
}

async function asked<A>({ clock, metrics }: ModelRouterOptions, provider: ModelProvider, breaker: Breaker, { op, scope }: PricedCall, ask: (provider: ModelProvider) => Promise<A> | undefined): Promise<A> {
  const started = clock.monotonic();
  const labels = { provider: provider.name, op };
  try {
    const answer = await beforeDeadline(clock, scope.deadline, ask(provider) ?? Promise.reject(fail('AIOS_MODEL_UNKNOWN')));
    breaker.succeeded();
    metrics.observe('gateway_provider_ms', clock.monotonic() - started, labels);
    return answer;
  } catch (error) {
    if (isProviderFault(error)) breaker.failed();
    else breaker.succeeded();
    metrics.count('gateway_provider_failed_total', { ...labels, code: isAiosError(error) ? error.code : 'AIOS_INTERNAL' });
    throw error;
  }
}

/** The provider keeps the deadline too; this is for one that does not. */
async function beforeDeadline<A>(clock: Clock, deadline: number, work: Promise<A>): Promise<A> {
  const left = deadline - clock.now();
  if (left <= 0) {
    work.catch(() => undefined);
    throw fail('AIOS_DEADLINE_EXCEEDED');
  }
  let cancel = () => {};
  const late = new Promise<never>((_, reject) => (cancel = clock.after(left, () => reject(fail('AIOS_DEADLINE_EXCEEDED')))));
  return Promise.race([work, late]).finally(() => cancel());
}

const FAULTS = ['AIOS_MODEL_UNAVAILABLE', 'AIOS_MODEL_FAULT', 'AIOS_UNAVAILABLE', 'AIOS_DISCONNECTED', 'AIOS_INTERNAL', 'AIOS_DEADLINE_EXCEEDED'] as const;
/** An overloaded provider is healthy, and so is one that refuses bad input. */
const isProviderFault = (error: unknown): boolean => !isAiosError(error) || FAULTS.some((code) => hasCode(error, code));
const mayGoOn = (error: unknown): boolean => !hasCode(error, 'AIOS_DEADLINE_EXCEEDED') && (isProviderFault(error) || hasCode(error, 'AIOS_OVERLOADED') || hasCode(error, 'AIOS_DEADLINE_INFEASIBLE'));

/** Nobody listening is, for who asked for a model, a model that cannot be reached. */
function asUnavailable(error: unknown): unknown {
  const gone = hasCode(error, 'AIOS_UNAVAILABLE') || hasCode(error, 'AIOS_DISCONNECTED') || !isAiosError(error);
  return gone ? fail('AIOS_MODEL_UNAVAILABLE', undefined, { cause: error, retryAfterMs: 1_000 }) : error;
}

// ---- money

function withPrice<A extends { readonly receipt: ModelReceipt }>(answer: A, provider: ModelProvider, prices: PolicyBundle['prices']): A {
  const { receipt } = answer;
  const price = priceOf(prices, receipt.model, provider.name);
  if (price === undefined) throw fail('AIOS_PRICE_UNKNOWN', `No price for ${receipt.model}.`);
  return { ...answer, receipt: { ...receipt, costMicroUsd: costOf(receipt.usage, price, receipt.model), priceDigest: priceDigest(price), priceTable: tableDigest(prices) } };
}

/** The table of a bundle in force is one object, so it is digested once. */
const tableDigests = new WeakMap<PolicyBundle['prices'], Digest>();
function tableDigest(prices: PolicyBundle['prices']): Digest {
  const known = tableDigests.get(prices) ?? priceTableDigest(prices);
  tableDigests.set(prices, known);
  return known;
}

/** By the model's name, or by the provider's when all its models cost the same. */
function priceOf(prices: PolicyBundle['prices'], model: string | undefined, provider: string): Price | undefined {
  const named = [model, provider].find((key) => key !== undefined && Object.hasOwn(prices, key));
  return named === undefined ? undefined : prices[named];
}
