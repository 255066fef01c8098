// The payload codec and its key ring: what is sealed, for whom, and what happens when a key is not there.
// Owns: the rules of the encrypted form. The same codec on real servers is test/scenario/canaries.test.ts.
// Never prints a key.

import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultPayloadConverter, type Payload } from '@temporalio/common';
import { assert, asyncProperty, jsonValue } from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createRing, ensurePayloadKeys, newPayloadKey, openPayloadKeys, rotatePayloadKeys } from '../../../infra/crypto/payload-keys.ts';
import { createPayloadCodec, ENCRYPTED, METADATA, SHARED } from '../../../infra/temporal/codec.ts';
import { convertTemporalError } from '../../../infra/temporal/errors.ts';

const ring = createRing([newPayloadKey()]);
const codec = createPayloadCodec(ring);
const payload = (value: unknown): Payload => defaultPayloadConverter.toPayload(value);
const text = (from: Payload, name: string): string => Buffer.from(from.metadata?.[name] ?? []).toString();
const one = async (value: unknown, workflowId?: string): Promise<Payload> => (await codec.encode([payload(value)], workflowId === undefined ? undefined : { namespace: 'n', workflowId, type: 'workflow' } as never))[0] as Payload;
const read = async (from: Payload, by = codec): Promise<unknown> => defaultPayloadConverter.fromPayload((await by.decode([from]))[0] as Payload);
const ticket = { v: 1, tenant: 'acme', text: 'my card is 4242 4242 4242 4242' };

describe('payload codec', () => {
  test('codec - what is sent comes back, and nothing of it shows in what is stored', async () => {
    await assert(asyncProperty(jsonValue(), async (value) => {
      const sealed = await one({ tenant: 'acme', value });
      expect(await read(sealed)).toEqual(JSON.parse(JSON.stringify({ tenant: 'acme', value })));
      expect(text(sealed, 'encoding')).toBe(ENCRYPTED);
    }), { numRuns: 100 });
    const sealed = await one(ticket);
    expect(Buffer.from(sealed.data ?? []).includes('4242')).toBe(false);
    expect(JSON.stringify(sealed.metadata)).not.toContain('4242');
  });

  test('codec - key id and tenant stand in the metadata, and the same words never give the same bytes', async () => {
    const [first, second] = [await one(ticket), await one(ticket)];
    expect([text(first, METADATA.key), text(first, METADATA.tenant), text(first, METADATA.cipher)]).toEqual([ring.ids()[0], 'acme', 'AES-256-GCM']);
    expect(Buffer.from(first.data ?? []).equals(Buffer.from(second.data ?? []))).toBe(false);
  });

  test('codec - every changed bit, and a change of tenant or key id, makes a payload unreadable', async () => {
    const sealed = await one(ticket);
    const bytes = Buffer.from(sealed.data ?? []);
    for (let i = 0; i < bytes.byteLength; i += 7) {
      const changed = Buffer.from(bytes);
      changed[i] = (changed[i] ?? 0) ^ 1;
      await expect(read({ ...sealed, data: changed })).rejects.toMatchObject({ code: 'AIOS_PAYLOAD_UNREADABLE' });
    }
    await expect(read({ ...sealed, metadata: { ...sealed.metadata, [METADATA.tenant]: Buffer.from('other') } })).rejects.toMatchObject({ code: 'AIOS_PAYLOAD_UNREADABLE' });
    await expect(read({ ...sealed, data: bytes.subarray(0, 8) })).rejects.toMatchObject({ code: 'AIOS_PAYLOAD_UNREADABLE' });
  });

  test('codec - what a workflow sends later is sealed for the tenant it started with, also by a process that only read it', async () => {
    await one({ tenant: 'acme' }, 'w-1');
    expect(text(await one('no tenant in here', 'w-1'), METADATA.tenant)).toBe('acme');
    const fresh = createPayloadCodec(ring);
    const context = { namespace: 'n', workflowId: 'w-1', type: 'workflow' } as never;
    await fresh.decode([await one('seen', 'w-1')], context);
    expect(text((await fresh.encode([payload('answer')], context))[0] as Payload, METADATA.tenant)).toBe('acme');
    expect(text(await one('of nobody'), METADATA.tenant)).toBe(SHARED);
  });

  test('codec - payloads in the clear are read as they are, and nothing is sealed twice', async () => {
    expect(await read(payload({ decision: 'approve', by: 'ana' }))).toEqual({ decision: 'approve', by: 'ana' });
    const sealed = await one(ticket);
    expect((await codec.encode([sealed]))[0]).toBe(sealed);
  });

  test('codec - another tenant\'s payloads are handed back as they came', async () => {
    const mine = await one({ tenant: 'acme', n: 1 });
    const theirs = await one({ tenant: 'globex', n: 2 });
    const [first, second] = await codec.decodeFor((tenant) => tenant === 'acme', [mine, theirs]);
    expect(defaultPayloadConverter.fromPayload(first as Payload)).toEqual({ tenant: 'acme', n: 1 });
    expect(second).toBe(theirs);
  });
});

describe('payload keys', () => {
  let dir: string;
  beforeAll(async () => { dir = await mkdtemp(join(tmpdir(), 'aios-keys-')); });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  test('keys - after a rotation the new key encrypts and the old ones still decrypt, in processes that run since before', async () => {
    const source = { file: join(dir, 'rotation.json') };
    await ensurePayloadKeys(source);
    expect((await stat(source.file)).mode & 0o077).toBe(0);
    const before = createPayloadCodec(await openPayloadKeys(source));
    const [old] = await before.encode([payload(ticket)]);
    const id = await rotatePayloadKeys(source);
    const after = createPayloadCodec(await openPayloadKeys(source));
    const [fresh] = await after.encode([payload(ticket)]);
    expect([text(old as Payload, METADATA.key), text(fresh as Payload, METADATA.key)]).toEqual([expect.not.stringMatching(id), id]);
    expect(await read(old as Payload, after)).toEqual(ticket);
    expect(await read(fresh as Payload, before), 'read again from the file').toEqual(ticket);
    expect(text((await before.encode([payload(ticket)]))[0] as Payload, METADATA.key), 'and used from then on').toBe(id);
  });

  test('keys - a payload whose key is gone says which one is needed and what to do', async () => {
    const sealed = await one(ticket);
    const stranger = createPayloadCodec(createRing([newPayloadKey()]));
    await expect(read(sealed, stranger)).rejects.toMatchObject({ code: 'AIOS_PAYLOAD_KEY_MISSING', message: expect.stringContaining(ring.ids()[0] ?? '') as unknown });
    const wrapped = Object.assign(new Error('Failed to decode'), { name: 'ValueError', cause: await read(sealed, stranger).catch((error: unknown) => error) });
    expect(convertTemporalError(wrapped).code).toBe('AIOS_PAYLOAD_KEY_MISSING');
  });

  test('keys - the environment\'s secret goes before the file, and what is no ring is refused without showing it', async () => {
    const [first, second] = [newPayloadKey(), newPayloadKey()];
    const opened = await openPayloadKeys({ text: `${first.id}:${first.key},${second.id}:${second.key}`, file: join(dir, 'never') });
    expect(opened.ids()).toEqual([first.id, second.id]);
    const refused = await openPayloadKeys({ text: `${first.id}:c2hvcnQ=`, file: '' }).catch((error: unknown) => error as Error);
    expect(refused).toMatchObject({ code: 'AIOS_CONFIG_INVALID' });
    expect((refused as Error).message).not.toContain('c2hvcnQ=');
    await expect(openPayloadKeys({ file: join(dir, 'never') })).rejects.toMatchObject({ code: 'AIOS_CONFIG_INVALID' });
  });

  test('keys - a ring that others can read is refused', async () => {
    const source = { file: join(dir, 'open.json') };
    await ensurePayloadKeys(source);
    const kept = await readFile(source.file, 'utf8');
    await ensurePayloadKeys(source);
    expect(await readFile(source.file, 'utf8'), 'made once').toBe(kept);
    await chmod(source.file, 0o644);
    await expect(openPayloadKeys(source)).rejects.toMatchObject({ code: 'AIOS_CONFIG_INVALID' });
  });
});
