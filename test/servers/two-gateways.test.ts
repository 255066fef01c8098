// Two gateway processes on one NATS: a task's calls and money are shared between them, whoever of them answers.
// Owns: the wiring of portions over a real server. The rules are tested in test/unit/gateway/slices.test.ts.
// Others may assume: models are scripted here, everything between a request and them is real.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { textEmbed } from '../../agents/gateway/capabilities.ts';
import { subjects } from '../../contracts/address.ts';
import { digestOf } from '../../contracts/canonical.ts';
import { fail } from '../../contracts/errors.ts';
import { parseId } from '../../contracts/ids.ts';
import type { MandateToken } from '../../contracts/mandate.ts';
import { type Envelope, type Reply, replySchema } from '../../contracts/message.ts';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import type { ModelProvider, Retrieval } from '../../contracts/ports.ts';
import { NO_USAGE } from '../../contracts/receipt.ts';
import { readConfig } from '../../infra/config.ts';
import { loadKeys } from '../../infra/crypto/keys.ts';
import { mandatesOf } from '../../infra/crypto/mandates.ts';
import { publishPolicies } from '../../infra/dev/publish.ts';
import type { NatsPorts } from '../../infra/nats/index.ts';
import { startGateway } from '../../infra/processes/gateway.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { presentedCall } from '../../policies/mandate.ts';
import { startTestNats } from './nats-server.ts';

const principal: Envelope['principal'] = { id: 'helpdesk', type: 'service', tenant: 'demo', roles: ['requester'] };
const digest = digestOf('scripted');
/** At 40 micro-USD a second of device time. */
const COST = 1_000;
const DEVICE_US = (COST / 40) * 1_000_000;
const open = new AsyncDisposableStack();
const served = [0, 0];
let home = '';
let ports: NatsPorts;
let mandates: ReturnType<typeof mandatesOf>;

const scripted = (gateway: number): ModelProvider => ({
  name: 'workers', inside: true, region: 'local', models: ['minilm-l6-int8'],
  async embed() {
    served[gateway] = (served[gateway] ?? 0) + 1;
    await systemClock.sleep(5);
    return { vectors: [new Float32Array([1, 0])], receipt: { kind: 'model', capability: 'text.embed', provider: 'workers', model: 'minilm-l6-int8', modelDigest: digest, usage: { ...NO_USAGE, inputTokens: 3, deviceUs: DEVICE_US }, costMicroUsd: 0, priceDigest: digest, batch: 1, queueMs: 0 } };
  },
});
const none = async (): Promise<never> => { throw fail('AIOS_UNAVAILABLE'); };
const retrieval: Retrieval = { engine: 'none', index: none, search: none, manifest: async () => undefined, erase: none, async [Symbol.asyncDispose]() {} };

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'aios-gateways-'));
  const nats = open.use(await startTestNats());
  ports = await nats.connect('runner');
  await publishPolicies({ config: { home }, ports, now: Date.now() });
  mandates = mandatesOf(await loadKeys(join(home, 'keys')), { clock: systemClock, random: systemRandom });
  for (const gateway of [0, 1]) {
    const config = readConfig('gateway', { AIOS_NAME: `gateway-${gateway + 1}`, AIOS_HOME: home, AIOS_CACHE_DIR: join(home, 'cache'), AIOS_NATS_URL: nats.server.url, AIOS_LOG_LEVEL: 'error' });
    open.use(await startGateway(config, { providers: [scripted(gateway)], retrieval, records: { kinds: [], find: async () => [] } }));
  }
  // Both learn what a call costs, so that they hold twice that from now on.
  const warm = mint({ task: 't-warm', budgetMicroUsd: 1_000_000, callsMax: 200 });
  for (let i = 0; i < 60 && Math.min(...served) === 0; i++) await ask(warm, 't-warm', `warm ${i}`);
});
afterAll(async () => {
  await open.disposeAsync();
  await rm(home, { recursive: true, force: true });
});

function mint({ task, budgetMicroUsd, callsMax }: { readonly task: string; readonly budgetMicroUsd: number; readonly callsMax: number }): MandateToken {
  const now = Date.now();
  return mandates.mint({ tenant: 'demo', task, capabilities: ['text.*'], dataClass: 'internal', regions: ['*'], models: ['*'], spaces: [], budgetMicroUsd, callsMax, depthMax: 3, notBefore: now - 1_000, expiresAt: now + 60_000, offline: false, policy: digestOf('x'), principal: digestOf(principal) });
}

async function ask(mandate: MandateToken, task: string, text: string): Promise<Reply> {
  const envelope: Envelope = { v: 1, id: `two-gateways-${task}-${text}`, tenant: 'demo', task, capability: textEmbed.id, actor: task, principal, rung: 'model', deadline: Date.now() + 20_000, mandate, depth: 1, input: { texts: [text] } };
  const message = await ports.bus.request(subjects.capability(parseId('tenant', 'demo'), textEmbed.id), toBytes({ ...envelope, mandate: mandates.present(mandate, presentedCall(envelope)) }), { timeoutMs: 20_000 });
  return parseBytes(replySchema, message.data);
}

const codes = (replies: readonly Reply[]): readonly string[] => [...new Set(replies.flatMap((reply) => (reply.status === 'failed' ? [reply.error.code] : [])))];

test('money - sixty calls at once over two gateways spend no more than the slice, and most of it', async () => {
  const before = [...served];
  const mandate = mint({ task: 't-money', budgetMicroUsd: 20 * COST, callsMax: 200 });
  const replies = await Promise.all(Array.from({ length: 60 }, (_, i) => ask(mandate, 't-money', `money ${i}`)));
  const late: Reply[] = [];
  for (let i = 0; i < 30; i++) late.push(await ask(mandate, 't-money', `late ${i}`));
  const spent = [...replies, ...late].reduce((sum, { costMicroUsd }) => sum + costMicroUsd, 0);
  expect(spent).toBeLessThanOrEqual(20 * COST);
  expect(spent).toBeGreaterThanOrEqual(14 * COST);
  expect(codes([...replies, ...late])).toEqual(['AIOS_BUDGET_EXCEEDED']);
  expect(served.every((count, gateway) => count > (before[gateway] ?? 0))).toBe(true);
  const priced = replies.flatMap((reply) => reply.receipts).flatMap((receipt) => (receipt.kind === 'model' ? [receipt.priceTable] : []));
  expect(new Set(priced).size).toBe(1);
  expect(priced[0]).toMatch(/^sha256:[0-9a-f]{64}$/);
});

test('calls - both gateways together answer as many as are granted', async () => {
  const mandate = mint({ task: 't-calls', budgetMicroUsd: 1_000 * COST, callsMax: 16 });
  const replies: Reply[] = await Promise.all(Array.from({ length: 40 }, (_, i) => ask(mandate, 't-calls', `calls ${i}`)));
  expect(replies.filter(({ status }) => status === 'done')).toHaveLength(16);
  expect(codes(replies)).toEqual(['AIOS_MANDATE_EXCEEDED']);
});
