// The preset for data of real people, over the whole shipped system: what tickets say is in the clear for people who may read
// it, through the codec server in the Temporal UI, and nowhere at rest: not in Temporal's database, the message server's files,
// the logs and traces, the ledger or the run files.
// Owns: the proof, with a search that first finds what it must find. The system of record is left out: there the data belong.

import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import type { Payload, PayloadCodec } from '@temporalio/common';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadKeys } from '../../infra/crypto/keys.ts';
import { createSigner } from '../../infra/crypto/signer.ts';
import { createDecisionSigner } from '../../infra/temporal/decision-token.ts';
import { saidOf } from '../../policies/approval.ts';
import { canaries, search } from './canaries.ts';
import { type Desk, startDesk, until } from './desk.ts';
import { newPage, openBrowser, picture, readPayloads, seen, sendUpdate, untilWords } from './payload-reader.ts';

const CANARIES = canaries(50);
const PER_TICKET = 5;
/** Each ends another way: at once, at a person, in an error. */
const QUESTIONS = ['I was charged twice, please refund the second payment.', 'Please cancel my subscription.', 'Please change my address to the one above.', 'How do I change my plan?', 'I want my money back.'];
const TICKETS = Array.from({ length: CANARIES.length / PER_TICKET }, (_none, i) => ({ id: `c-${i}`, customer: 'c-1001', text: `${CANARIES.slice(i * PER_TICKET, (i + 1) * PER_TICKET).join(', ')}. ${QUESTIONS[i % QUESTIONS.length] ?? ''}` }));
/** Words of people are as private as those of customers. */
const REASON = canaries(3)[2] ?? '';
const WRITTEN = canaries(2)[1] ?? '';

let desk: Desk;
let tasks: readonly string[];
beforeAll(async () => {
  desk = await startDesk('regulated', { AIOS_TRACES: 'console' }, { AIOS_PRESET: 'regulated' });
  tasks = await Promise.all(TICKETS.map((ticket) => desk.start(ticket)));
}, 180_000);
afterAll(() => desk?.[Symbol.asyncDispose]());

const endedOrWaiting = (task: string) => until(`${task} to end or to wait`, async () => {
  const view = await desk.client.view(task);
  return view.result !== undefined || view.waiting !== undefined ? view : undefined;
});

/** The JSON for the form with the proof of who decides, as the card asks for it. */
async function proven(task: string, waiting: { readonly workflowId: string; readonly json: string; readonly action?: string | undefined }, words: object): Promise<string> {
  const { brain } = await loadKeys(join(desk.config.home, 'keys'));
  if (brain === undefined || waiting.action === undefined) throw new Error('a home has a key of its brain, and a card its action');
  const decision = { ...(JSON.parse(waiting.json) as { decision: string }), by: 'ana', ...words };
  const claim = { tenant: 'demo', task, approval: waiting.workflowId, action: waiting.action, by: 'ana', decision: decision.decision, said: saidOf(decision) };
  return JSON.stringify({ ...decision, token: createDecisionSigner(createSigner(brain))(claim) });
}

test('regulated - the Temporal UI shows a ticket to who signed in to the codec server, and ciphertext to everybody else', { timeout: 600_000 }, async () => {
  const [, task = ''] = tasks;
  const waiting = await desk.waiting(task);
  const { temporalUi, codec = '' } = desk.system.endpoints;
  const workflow = `${temporalUi}/namespaces/default/workflows/${encodeURIComponent(waiting.workflowId)}`;
  const canary = CANARIES[PER_TICKET] ?? '';
  await using browser = await openBrowser();

  const stranger = await newPage(browser);
  await stranger.goto(workflow);
  expect(await untilWords(stranger, 'encryption-key-id')).not.toContain(canary);
  await picture(stranger, 'regulated-1-without-a-key');

  const reader = await newPage(browser);
  await readPayloads(reader, codec, temporalUi, desk.system.keys.ana);
  await reader.goto(workflow);
  await reader.getByRole('tab', { name: 'User Metadata' }).click();
  expect(await untilWords(reader, 'A decision is needed')).toContain(canary);
  await picture(reader, 'regulated-2-card');

  await sendUpdate(reader, /decide/, JSON.stringify({ ...(JSON.parse(waiting.json) as object), by: 'ana' }));
  await untilWords(reader, 'This person may not decide this approval.');
  await picture(reader, 'regulated-3-unproven');
  // A second Submit of the same form would repeat the same update id, and get the same answer.
  await seen(reader, 'button', /^\s*Cancel\s*$/).click();
  await sendUpdate(reader, /decide/, await proven(task, waiting, { reason: REASON }));
  const result = await desk.finished(task);
  await picture(reader, 'regulated-4-decided');
  expect([result.state, result.human]).toEqual(['done', expect.objectContaining({ by: 'ana', verified: true })]);
});

/** A codec as the UI and other tools have it: the codec server, asked with a key. */
const remote = (url: string, key: string): PayloadCodec => {
  const ask = (route: 'encode' | 'decode') => async (payloads: readonly Payload[]): Promise<Payload[]> => {
    const wire = payloads.map(({ metadata, data }) => ({ metadata: Object.fromEntries(Object.entries(metadata ?? {}).map(([name, value]) => [name, Buffer.from(value).toString('base64')])), data: Buffer.from(data ?? []).toString('base64') }));
    const answer = await fetch(`${url}/${route}`, { method: 'POST', headers: { 'content-type': 'application/json', 'x-namespace': 'default', authorization: `Bearer ${key}` }, body: JSON.stringify({ payloads: wire }) });
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    const { payloads: done } = (await answer.json()) as { payloads: readonly { metadata: Record<string, string>; data: string }[] };
    return done.map(({ metadata, data }) => ({ metadata: Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name, Buffer.from(value, 'base64')])), data: Buffer.from(data, 'base64') }));
  };
  return { encode: ask('encode'), decode: ask('decode') };
};

test('regulated - a decision counts that arrives in the clear, and one that the codec server sealed', { timeout: 300_000 }, async () => {
  const { codec = '', temporalAddress: address } = desk.system.endpoints;
  const [clear = '', sealed = ''] = await Promise.all(['c-1002', 'c-1003'].map((customer) => desk.start({ id: customer, customer, text: 'Please cancel my subscription.' })));
  const connection = await Connection.connect({ address });
  const send = async (client: Client, task: string): Promise<unknown> => {
    const waiting = await desk.waiting(task);
    const decision = JSON.parse(await proven(task, waiting, { reason: REASON })) as object;
    return client.workflow.getHandle(waiting.workflowId).executeUpdate('decide', { args: [decision] });
  };
  try {
    await expect(send(new Client({ connection }), clear), 'its answer is sealed').rejects.toThrow();
    expect(await send(new Client({ connection, dataConverter: { payloadCodecs: [remote(codec, desk.system.keys.ana)] } }), sealed)).toContain('Accepted');
    for (const task of [clear, sealed]) expect((await desk.finished(task)).human).toMatchObject({ by: 'ana', verified: true });
    await expect(remote(codec, desk.system.keys.helpdesk).decode([])).rejects.toThrow('403');
    await expect(remote(codec, 'wrong').decode([])).rejects.toThrow('401');
  } finally {
    await connection.close();
  }
});

test('regulated - fifty canaries of tickets, and the words of people, are in the clear nowhere at rest', { timeout: 300_000 }, async () => {
  await Promise.all(tasks.map(endedOrWaiting));
  const open = tasks[0] ?? '';
  await desk.client.decide(open, { decision: 'answer', text: WRITTEN }).catch(() => undefined);
  await desk.system.stop();
  const { home } = desk.config;
  const known = await search(home, ['temporal'], tasks);
  expect(new Set(known.found.map(({ canary }) => canary)).size, 'the search finds task ids in Temporal\'s database').toBe(tasks.length);
  const result = await search(home, ['temporal', 'nats', 'logs', 'ledger', 'run', 'keys'], [...CANARIES, REASON, WRITTEN]);
  expect(result.files).toBeGreaterThan(100);
  expect(result.found).toEqual([]);
});
