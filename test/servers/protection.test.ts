// Data at rest in the servers of the preset: the message server's files and what a rotation of its key does to them.
// Owns: the search of every file of the store, block files and meta included. Never trusts a flag: it looks for the words.

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readConfig } from '../../infra/config.ts';
import { ensureStoreKey, rotateStoreKey } from '../../infra/crypto/store-key.ts';
import { startNatsServer } from '../../infra/dev/servers.ts';
import { connectPorts } from '../../infra/nats/index.ts';
import { createTelemetry } from '../../infra/telemetry/index.ts';

const WORDS = 'canary-3f9a-at-rest';

/** Files of a folder that hold the words, as they are or in base64 at any of its three offsets. */
async function holding(dir: string, words: string): Promise<readonly string[]> {
  const inBase64 = [0, 1, 2].map((shift) => Buffer.from(`${'\0'.repeat(shift)}${words}`).toString('base64').slice(shift === 0 ? 0 : 4, -4));
  const needles = [words, ...inBase64].map((one) => Buffer.from(one));
  const names = (await readdir(dir, { recursive: true, withFileTypes: true })).filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
  const contents = await Promise.all(names.map(async (name) => ({ name, bytes: await readFile(name) })));
  return contents.filter(({ bytes }) => needles.some((needle) => bytes.includes(needle))).map(({ name }) => name);
}

type Ports = Awaited<ReturnType<typeof connectPorts>>;
const text = (value: Uint8Array | undefined): string => new TextDecoder().decode(value);
const read = async (ports: Ports): Promise<readonly string[]> => [text((await ports.stateLog.read('ai.v1.demo.st.1.echo.a-1'))?.data), text((await ports.keyValue.get('aios_tasks', 'demo.canary'))?.value)];

describe('message server - files', () => {
  let dir: string;
  beforeAll(async () => { dir = await mkdtemp(join(tmpdir(), 'aios-at-rest-')); });
  afterAll(() => rm(dir, { recursive: true, force: true, maxRetries: 5 }));

  async function once<T>(sealed: boolean, use: (ports: Ports) => Promise<T>, folder = 'nats'): Promise<T> {
    const config = readConfig('rest', { AIOS_HOME: join(dir, 'home'), AIOS_LOG_LEVEL: 'silent' });
    await using telemetry = createTelemetry(config);
    await using server = await startNatsServer({ dir: join(dir, folder), ...(sealed ? { storeKey: await ensureStoreKey(config) } : {}) });
    await using ports = await connectPorts({ url: server.url, name: 'rest', ...telemetry });
    return await use(ports);
  }
  const bytes = new TextEncoder().encode(JSON.stringify({ text: WORDS.repeat(3) }));
  const large = new TextEncoder().encode(JSON.stringify({ text: WORDS.repeat(6_000) }));
  const store = (ports: Ports): Promise<unknown> => Promise.all([
    ports.stateLog.append('ai.v1.demo.st.1.echo.a-1', 0, bytes),
    ports.keyValue.put('aios_tasks', 'demo.canary', bytes),
    ports.mailboxes.publish('ai.v1.demo.mbx.1.echo.a-1', bytes, { messageId: 'm-1', headers: { 'Aios-Reason': WORDS } }),
    ports.mailboxes.publish('ai.v1.demo.mbx.1.echo.a-2', large, { messageId: 'm-2' }),
  ]);

  test('at rest - the words are in the files of a server without a key, and in none of one with a key', async () => {
    await once(false, store, 'plain');
    expect((await holding(join(dir, 'plain'), WORDS)).length, 'the search finds what is there').toBeGreaterThan(0);
    await once(true, store);
    expect(await holding(join(dir, 'nats'), WORDS)).toEqual([]);
    const { current } = await ensureStoreKey(readConfig('rest', { AIOS_HOME: join(dir, 'home') }));
    expect(await holding(join(dir, 'nats'), current), 'the key is not beside what it protects').toEqual([]);
  });

  test('at rest - after a rotation the server reads what the old key wrote, converts it, and needs the old key no more', async () => {
    const config = readConfig('rest', { AIOS_HOME: join(dir, 'home') });
    const { current: old } = await ensureStoreKey(config);
    const expected = [bytes, bytes].map((one) => new TextDecoder().decode(one));
    await rotateStoreKey(config);
    expect((await ensureStoreKey(config)).previous).toBe(old);
    expect(await once(true, read)).toEqual(expected);
    await rotateStoreKey(config);
    expect(await once(true, read), 'twice rotated').toEqual(expected);
    expect(await holding(join(dir, 'nats'), WORDS)).toEqual([]);
  });
});
