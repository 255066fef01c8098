// The gateway process on a real NATS with a real model worker and the shipped policies: index, search, and what happens
// when the worker is gone. Owns: nothing but its temporary home. Never uses a default port.
// Others may assume: the path of documents to an answer with receipts is real here from end to end.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { spaceSearch, textEmbed, textGenerate } from '../../agents/gateway/capabilities.ts';
import { subjects } from '../../contracts/address.ts';
import { digestOf } from '../../contracts/canonical.ts';
import { type CapabilityId, parseId } from '../../contracts/ids.ts';
import type { Grant } from '../../contracts/mandate.ts';
import type { Envelope, Reply } from '../../contracts/message.ts';
import { replySchema } from '../../contracts/message.ts';
import { parseBytes, toBytes } from '../../contracts/parse.ts';
import { readConfig } from '../../infra/config.ts';
import { indexSpace } from '../../infra/corpus/index-space.ts';
import { loadKeys } from '../../infra/crypto/keys.ts';
import { mandatesOf } from '../../infra/crypto/mandates.ts';
import { presentedCall } from '../../policies/mandate.ts';
import { publishPolicies } from '../../infra/dev/publish.ts';
import type { NatsPorts } from '../../infra/nats/index.ts';
import { startGateway } from '../../infra/processes/gateway.ts';
import { startModelWorker, type ModelWorkerProcess } from '../../infra/processes/model-worker.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { startOpenAiMock } from '../kit/openai-mock.ts';
import { startTestNats } from './nats-server.ts';

const principal: Envelope['principal'] = { id: 'helpdesk', type: 'service', tenant: 'demo', roles: ['requester'] };
const open = new AsyncDisposableStack();
let home = '';
let ports: NatsPorts;
let generator: Awaited<ReturnType<typeof startOpenAiMock>>;
let worker: ModelWorkerProcess;
let mandates: ReturnType<typeof mandatesOf>;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'aios-gateway-'));
  const nats = open.use(await startTestNats());
  ports = await nats.connect('runner');
  generator = open.use(await startOpenAiMock());
  const environment = { AIOS_GENERATE_URL: generator.url, AIOS_GENERATE_MODEL: 'any-model', AIOS_HOME: home, AIOS_CACHE_DIR: join(home, 'cache'), AIOS_NATS_URL: nats.server.url, AIOS_LOG_LEVEL: 'error' };
  await publishPolicies({ config: { home }, ports, now: Date.now() });
  mandates = mandatesOf(await loadKeys(join(home, 'keys')), { clock: systemClock, random: systemRandom });
  worker = await startModelWorker(readConfig('model-worker', environment));
  open.use(await startGateway(readConfig('gateway', environment)));
  await mkdir(join(home, 'docs', 'billing'), { recursive: true });
  await writeFile(join(home, 'docs', 'billing', 'refunds.md'), '---\ntitle: Refunds\n---\n\nA payment that was taken twice is returned in full within five working days.\n');
  await writeFile(join(home, 'docs', 'seats.html'), '<html><head><title>Seats</title></head><body><h1>Seats</h1><p>Every seat above the plan is charged at twelve dollars a month.</p></body></html>');
  await writeFile(join(home, 'docs', 'broken.txt'), Buffer.from([0xff, 0xfe, 0xfd]));
});
afterAll(async () => {
  await worker[Symbol.asyncDispose]();
  await open.disposeAsync();
  await rm(home, { recursive: true, force: true });
});

async function ask(capability: CapabilityId, input: unknown, over: Partial<Envelope> = {}, grant: Partial<Grant> = {}): Promise<Reply> {
  const now = Date.now();
  const mandate = mandates.mint({
    tenant: 'demo', task: 't-gateway', capabilities: ['text.*', 'space.*'], dataClass: 'confidential', regions: ['*'], models: ['*'], spaces: ['help'],
    budgetMicroUsd: 20_000, callsMax: 50, depthMax: 3, notBefore: now - 1_000, expiresAt: now + 60_000, offline: false, policy: digestOf('x'), principal: digestOf(principal), ...grant,
  });
  const envelope: Envelope = { v: 1, id: `gateway-test-${now}-${Math.random().toString(36).slice(2)}`, tenant: 'demo', task: 't-gateway', capability, actor: 't-gateway', principal, rung: 'model', deadline: now + 20_000, mandate, depth: 1, input, ...over };
  const message = await ports.bus.request(subjects.capability(parseId('tenant', 'demo'), capability), toBytes({ ...envelope, mandate: mandates.present(envelope.mandate, presentedCall(envelope)) }), { timeoutMs: 25_000 });
  return parseBytes(replySchema, message.data);
}
const index = () => indexSpace({ bus: ports.bus, mandates, clock: systemClock, random: systemRandom }, { tenant: 'demo', space: 'help', path: join(home, 'docs') });

describe('the gateway process', () => {
  it('indexes a folder over the bus once, and says what it left out', async () => {
    const first = await index();
    expect(first).toMatchObject({ rebuilt: true, manifest: { documents: 2, epoch: 'e1', engine: 'embedded' }, skipped: [{ where: 'broken.txt', why: 'not UTF-8 text' }] });
    expect(first.manifest.embedder).toMatch(/^sha256:/);
    expect((await index()).rebuilt).toBe(false);
  });
  it('answers a search with fragments, both receipts and what it cost', async () => {
    const reply = await ask(spaceSearch.id, { space: 'help', query: 'I was charged two times, do I get my money back?', limit: 3 });
    if (reply.status !== 'done') throw new Error(reply.error.message);
    expect(spaceSearch.output.parse(reply.output).fragments[0]).toMatchObject({ document: 'billing/refunds.md', title: 'Refunds' });
    expect(reply.receipts.map(({ kind }) => kind)).toEqual(['retrieval', 'model']);
    expect(reply.costMicroUsd).toBeGreaterThan(0);
  });
  it('refuses other principals than the mandate was minted for, and spaces it does not name', async () => {
    const query = { space: 'help', query: 'refund', limit: 1 };
    expect(await ask(spaceSearch.id, query, { principal: { ...principal, roles: ['operator'] } })).toMatchObject({ error: { code: 'AIOS_MANDATE_EXCEEDED' } });
    expect(await ask(spaceSearch.id, { ...query, space: 'secret' })).toMatchObject({ error: { code: 'AIOS_MANDATE_EXCEEDED' } });
  });
  it('takes a mandate only with a proof for this call by its last key, once, whoever sends the bytes', async () => {
    const subject = subjects.capability(parseId('tenant', 'demo'), spaceSearch.id);
    const now = Date.now();
    const mandate = mandates.mint({ tenant: 'demo', task: 't-gateway', capabilities: ['space.*'], dataClass: 'confidential', regions: ['*'], models: ['*'], spaces: ['help'], budgetMicroUsd: 20_000, callsMax: 50, depthMax: 3, notBefore: now - 1_000, expiresAt: now + 60_000, offline: false, policy: digestOf('x'), principal: digestOf(principal) });
    const plain: Envelope = { v: 1, id: `gateway-wire-${now}`, tenant: 'demo', task: 't-gateway', capability: spaceSearch.id, actor: 't-gateway', principal, rung: 'model', deadline: now + 20_000, mandate, depth: 1, input: { space: 'help', query: 'refund', limit: 1, lexicalOnly: true } };
    const shown = { ...plain, mandate: mandates.present(mandate, presentedCall(plain)) };
    const codeOf = async (bytes: Uint8Array): Promise<string> => {
      const reply = parseBytes(replySchema, (await ports.bus.request(subject, bytes, { timeoutMs: 10_000 })).data);
      return reply.status === 'failed' ? reply.error.code : reply.status;
    };
    const copied = toBytes(shown);
    expect(await codeOf(copied)).toBe('done');
    const attacks = { replayed: copied, unsealed: toBytes(plain), sealed: toBytes({ ...plain, mandate: mandates.seal(mandate) }), moved: toBytes({ ...shown, input: { space: 'help', query: 'another question', limit: 24 } }), later: toBytes({ ...shown, deadline: now + 25_000 }) };
    const codes = await Promise.all(Object.entries(attacks).map(async ([name, bytes]) => [name, await codeOf(bytes)]));
    expect(Object.fromEntries(codes)).toEqual({ replayed: 'AIOS_MANDATE_INVALID', unsealed: 'AIOS_MANDATE_INVALID', sealed: 'AIOS_MANDATE_INVALID', moved: 'AIOS_MANDATE_INVALID', later: 'AIOS_MANDATE_INVALID' });
  });
  it('generates with an outside model from internal data, never from confidential', async () => {
    const prompt = { system: 'Be brief.', prompt: 'Say hello.', maxTokens: 20 };
    expect(await ask(textGenerate.id, prompt)).toMatchObject({ status: 'failed', error: { code: 'AIOS_CLASS_REFUSED' } });
    expect(generator.requests).toHaveLength(0);
    const reply = await ask(textGenerate.id, prompt, {}, { dataClass: 'internal' });
    if (reply.status !== 'done') throw new Error(reply.error.message);
    expect(reply).toMatchObject({ receipts: [{ kind: 'model', provider: 'openai' }] });
    expect(reply.costMicroUsd).toBeGreaterThan(0);
    expect(generator.problems).toEqual([]);
  });
  it('without a model worker fails embeddings within seconds and still searches by words', async () => {
    await worker[Symbol.asyncDispose]();
    const started = Date.now();
    expect(await ask(textEmbed.id, { texts: ['never embedded before'] })).toMatchObject({ status: 'failed', error: { code: 'AIOS_MODEL_UNAVAILABLE' } });
    const reply = await ask(spaceSearch.id, { space: 'help', query: 'price of a seat', limit: 1 });
    if (reply.status !== 'done') throw new Error(reply.error.message);
    expect(spaceSearch.output.parse(reply.output).fragments[0]).toMatchObject({ document: 'seats.html', signals: { denseRank: 0 } });
    expect(reply.receipts.map(({ kind }) => kind)).toEqual(['retrieval']);
    expect(Date.now() - started).toBeLessThan(15_000);
  });
});
