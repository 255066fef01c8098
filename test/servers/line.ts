// The whole governed line on real servers for the tests of this folder: Temporal, NATS, brain, bridge and an agent host.
// Owns: a test capability whose input says how its agent behaves, a small policy set in Cedar, and an Effects port that counts.
// Never shared between files. Others may assume: nothing is left behind, and a second brain is one call away.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { policyToJson } from '@cedar-policy/cedar-wasm/nodejs';
import { z } from 'zod';
import { defineAgent } from '../../agents/define.ts';
import { createRegistry } from '../../agents/registry.ts';
import type { CedarPolicyJson, PolicyBundle } from '../../contracts/bundle.ts';
import { canonicalJson, digestOfText } from '../../contracts/canonical.ts';
import { defineCapability, traitsOf } from '../../contracts/capability.ts';
import { fail } from '../../contracts/errors.ts';
import type { ProposedEffect } from '../../contracts/message.ts';
import type { Effects, StartRequest } from '../../contracts/ports.ts';
import type { AppliedEffect } from '../../contracts/task.ts';
import { type Config, readConfig } from '../../infra/config.ts';
import { loadOrCreateKeys } from '../../infra/crypto/keys.ts';
import { createSigner, createVerifier } from '../../infra/crypto/signer.ts';
import { startTemporalServer, type TemporalServer } from '../../infra/dev/servers.ts';
import type { NatsPorts } from '../../infra/nats/index.ts';
import { startAgentHost } from '../../infra/processes/agents.ts';
import { type Brain, type BrainDeps, startBrain } from '../../infra/processes/brain.ts';
import { startBridgeProcess } from '../../infra/processes/bridge.ts';
import { SEARCH_ATTRIBUTES } from '../../infra/temporal/bootstrap.ts';
import { startTestNats, type TestServer } from './nats-server.ts';

const input = z.strictObject({ text: z.string().max(4_000), mode: z.enum(['fast', 'slow', 'fail', 'malformed', 'unsure', 'refund', 'forbidden', 'never', 'hasty', 'patient', 'poison']).default('fast'), ms: z.number().int().min(0).max(60_000).default(0), amount: z.number().int().min(0).default(0) });
const output = z.strictObject({ text: z.string(), confidence: z.number().min(0).max(1) });

export const work = defineCapability('line.work', {
  input, output, dataClass: 'internal', budget: { latencyMsMax: 4_000, microUsdMax: 1_000 }, ladder: ['model', 'script', 'human'], effects: ['refund'],
  facts: (seen) => ({ confidenceBp: Math.round(seen.output.confidence * 10_000), hasty: seen.input.mode === 'hasty', patient: seen.input.mode === 'patient' }),
  summary: () => 'A piece of work',
  knownBad: () => ({ input: { text: 'a stranger wants money', mode: 'refund' as const, ms: 0, amount: 490_000_000 }, output: { text: 'Paid.', confidence: 0.99 }, effect: { kind: 'refund', key: 'refund-known-bad', amountMicroUsd: 490_000_000, params: { payment: 'p-of-somebody-else' } } }),
});
/** As `line.work`, with one rung and nobody below it but a person. */
export const other = defineCapability('line.other', { input, output, dataClass: 'internal', budget: { latencyMsMax: 4_000, microUsdMax: 1_000 }, ladder: ['model'], facts: work.facts, answered: ({ text }) => ({ text, confidence: 1 }) });

/** A team of two steps, each a dispatch of its own. */
export const planned = defineCapability('line.plan', { input, output, dataClass: 'internal', budget: { latencyMsMax: 4_000, microUsdMax: 1_000 }, ladder: ['model'], facts: work.facts, orchestration: 'centralised' });

const POLICIES = `
@id("everybody") permit (principal, action, resource);
@id("unsure") @approvers("desk") @expires("1h") @reason("The machine is not sure.")
forbid (principal, action == Action::"commit", resource) when { context has confidenceBp && context.confidenceBp < 7000 } unless { context.approved };
@id("large-refund") @approvers("billing") @quorum("2") @expires("1h") @reason("A refund of this size needs two people.")
forbid (principal, action == Action::"commit", resource) when { context.effectKind == "refund" && context.amountMicroUsd > 50000000 } unless { context.approved };
@id("huge-refund") forbid (principal, action == Action::"commit", resource) when { context.amountMicroUsd > 500000000 };
@id("hasty") @approvers("nobody") @expires("2s") @onExpiry("escalate desk") @reason("Nobody is there.")
forbid (principal, action == Action::"commit", resource) when { context has hasty && context.hasty } unless { context.approved };
@id("patient") @approvers("nobody") @expires("12s") @onExpiry("escalate desk, escalate operators, escalate desk, escalate operators") @reason("Nobody is there for a while.")
forbid (principal, action == Action::"commit", resource) when { context has patient && context.patient } unless { context.approved };
`;

export const GROUPS = { desk: ['ana', 'ben'], billing: ['ana', 'ben', 'cem'], nobody: ['zoe'], operators: ['olga'] };

export const crowd = defineAgent('crowd', { supervise: { restartsMax: 100 } })
  .handle(work, behave)
  .handle(other, behave)
  .team(planned, {
    steps: { draft: { output, run: behave }, check: { output, run: behave } },
    plan: (asked) => ({ draft, check }) => {
      if (draft === undefined) return { step: 'draft', input: asked };
      return check === undefined ? { step: 'check', input: { ...asked, text: draft.text } } : { done: check };
    },
  });

/** Calls of the agent by text, so that a test sees how often work was really done. */
export const calls = new Map<string, number>();

/** Texts whose turn was told to stop while it waited. */
export const stopped = new Set<string>();

/** Texts that do not break the agent any more although their mode says so. */
export const healed = new Set<string>();

async function behave(asked: z.infer<typeof input>, ctx: { readonly rung: string; readonly signal: AbortSignal; propose(effect: ProposedEffect): void; readonly task: string }): Promise<z.infer<typeof output>> {
  calls.set(asked.text, (calls.get(asked.text) ?? 0) + 1);
  if (asked.ms > 0) await new Promise((resolve) => { setTimeout(resolve, asked.ms); });
  if (asked.mode === 'never') await new Promise((resolve) => { ctx.signal.addEventListener('abort', resolve); }).then(() => stopped.add(asked.text));
  if (asked.mode === 'fail') throw fail('AIOS_MODEL_UNAVAILABLE', 'as asked');
  if (asked.mode === 'poison' && !healed.has(asked.text)) throw new TypeError('as asked');
  if (asked.mode === 'malformed') return { text: 7 } as never;
  if (asked.mode === 'refund') ctx.propose({ kind: 'refund', key: `refund-${ctx.task}`, amountMicroUsd: asked.amount, params: { payment: 'p-1' } });
  if (asked.mode === 'forbidden') ctx.propose({ kind: 'wipe', key: `wipe-${ctx.task}`, amountMicroUsd: 0, params: {} });
  return { text: `${ctx.rung}: ${asked.text}`, confidence: asked.mode === 'unsure' ? 0.4 : 0.95 };
}

export interface CountingEffects extends Effects {
  readonly applied: Map<string, number>;
}
export function createCountingEffects(): CountingEffects {
  const applied = new Map<string, number>();
  const answers = new Map<string, AppliedEffect>();
  return {
    kinds: ['refund'], applied,
    async apply(tenant, effect) {
      const key = `${tenant}/${effect.key}`;
      const earlier = answers.get(key);
      if (earlier !== undefined) return earlier;
      applied.set(effect.key, (applied.get(effect.key) ?? 0) + 1);
      const answer: AppliedEffect = { kind: effect.kind, key: effect.key, applied: true };
      answers.set(key, answer);
      return answer;
    },
  };
}

export interface Line extends AsyncDisposable {
  readonly brain: Brain;
  readonly ports: NatsPorts;
  readonly nats: TestServer;
  readonly temporal: TemporalServer;
  readonly effects: CountingEffects;
  readonly config: Config;
  /** Another brain on the same servers and keys. */
  anotherBrain(name: string): Promise<Brain>;
  publish(change?: (bundle: PolicyBundle) => PolicyBundle): Promise<void>;
  /** Runs before a wait registers its token, so that a test can put an outcome in between. */
  beforeToken: ((tenant: string, task: string, envelopeId: string) => Promise<void>) | undefined;
  stopBridge(): Promise<void>;
  startBridge(): Promise<void>;
  request(text: string, over?: Partial<z.input<typeof input>>, more?: Partial<StartRequest>): StartRequest;
}

export async function startLine(deps: Partial<BrainDeps> & { readonly ui?: boolean; readonly bridge?: boolean; readonly proven?: boolean } = {}): Promise<Line> {
  const dir = await mkdtemp(join(tmpdir(), 'aios-line-'));
  const stack = new AsyncDisposableStack();
  stack.defer(() => rm(dir, { recursive: true, force: true, maxRetries: 5 }));
  const nats = stack.use(await startTestNats());
  const temporal = stack.use(await startTemporalServer({ dir: join(dir, 'temporal'), headless: deps.ui !== true, searchAttributes: SEARCH_ATTRIBUTES }));
  const config = configOf(dir, nats, temporal, 'brain-1', deps.proven === true ? { AIOS_PROVEN_APPROVERS: 'true' } : {});
  const keys = await loadOrCreateKeys(join(config.home, 'keys'));
  const ports = await nats.connect('line');
  const store = stack.use(ports.policyStore(createVerifier(keys.keyring)));
  let version = 0;
  const publish: Line['publish'] = async (change = (bundle) => bundle) => {
    version += 1;
    const bytes = canonicalJson(change(bundleOf(version)));
    const signer = createSigner(keys.brain);
    await store.publish({ digest: digestOfText(bytes), bytes, kid: signer.kid, signature: signer.sign(new TextEncoder().encode(bytes)) });
  };
  await publish();
  const registry = createRegistry([crowd]);
  const effects = createCountingEffects();
  stack.use(await startAgentHost(configOf(dir, nats, temporal, 'agents-1'), { agents: [crowd], partitions: '*' }));
  const brainDeps: BrainDeps = { registry, effects, headless: true, ...deps };
  const hooks: { beforeToken: Line['beforeToken'] } = { beforeToken: undefined };
  const brainPorts = await nats.connect('brain-1');
  const waitTokens: NatsPorts['waitTokens'] = {
    ...brainPorts.waitTokens,
    async put(tenant, task, envelopeId, token) {
      await hooks.beforeToken?.(tenant, task, envelopeId);
      await brainPorts.waitTokens.put(tenant, task, envelopeId, token);
    },
  };
  const brain = stack.use(await startBrain(config, { ...brainDeps, ports: Object.assign(Object.create(brainPorts) as NatsPorts, { waitTokens }) }));
  let bridge: AsyncDisposable | undefined;
  const startBridge = async (): Promise<void> => { bridge ??= await startBridgeProcess(configOf(dir, nats, temporal, 'bridge-1')); };
  const stopBridge = async (): Promise<void> => {
    const running = bridge;
    bridge = undefined;
    await running?.[Symbol.asyncDispose]();
  };
  if (deps.bridge !== false) await startBridge();
  stack.defer(stopBridge);
  return {
    get beforeToken() { return hooks.beforeToken; },
    set beforeToken(run) { hooks.beforeToken = run; },
    brain, ports, nats, temporal, effects, config, publish, startBridge, stopBridge,
    async anotherBrain(name) {
      return stack.use(await startBrain({ ...config, name }, brainDeps));
    },
    request: (text, over = {}, more = {}) => ({ principal: { id: 'helpdesk', type: 'service', tenant: 'demo', roles: [] }, capability: 'line.work', input: { text, ...over }, ...more }),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const configOf = (dir: string, nats: TestServer, temporal: TemporalServer, name: string, more: Readonly<Record<string, string>> = {}): Config =>
  readConfig(name, { AIOS_HOME: join(dir, 'home'), AIOS_NATS_URL: nats.server.url, AIOS_TEMPORAL_ADDRESS: temporal.address, AIOS_HTTP_PORT: '0', AIOS_LOG_LEVEL: process.env['AIOS_LOG_LEVEL'] ?? 'silent', AIOS_NAME: name, ...more });

export function bundleOf(version: number): PolicyBundle {
  const policies: Record<string, CedarPolicyJson> = {};
  for (const text of POLICIES.split(';\n').map((one) => one.trim()).filter((one) => one !== '')) {
    const answer = policyToJson(`${text};`);
    if (answer.type === 'failure') throw new Error(`${text}: ${JSON.stringify(answer.errors)}`);
    const json = answer.json as unknown as CedarPolicyJson;
    policies[json.annotations?.['id'] ?? ''] = json;
  }
  return {
    v: 1, version, createdAt: Date.now(), notBefore: Date.now() - 1_000, notAfter: Date.now() + 3_600_000, policies, sources: {}, schema: '',
    capabilities: { 'line.work': traitsOf(work), 'line.other': traitsOf(other), 'line.plan': traitsOf(planned) }, prices: {}, providers: {}, groups: GROUPS, budgets: { '*': 1_000_000_000 },
  };
}
