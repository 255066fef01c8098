// Index files on a real disk: what a crash, a damaged file or a second process does to them.
// Owns: the checks of infra/files/index-store and vector-cache on a temporary directory.
// Others may assume: a damaged index is refused or repaired, never searched, and a damaged cache only costs time.

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createEmbeddedRetrieval } from '../../../agents/retrieval/engine.ts';
import { quantise } from '../../../agents/retrieval/vectors.ts';
import { digestOfText } from '../../../contracts/canonical.ts';
import { openIndexStore } from '../../../infra/files/index-store.ts';
import { openVectorCache } from '../../../infra/files/vector-cache.ts';
import { systemClock } from '../../../infra/telemetry/index.ts';
import { CORPUS, createTestEmbed } from '../../conformance/retrieval.ts';
import { silentLogger } from '../../kit/silent.ts';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'aios-store-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const open = async (embed = createTestEmbed().embed) => createEmbeddedRetrieval({ embed, clock: systemClock, log: silentLogger, embedderWaitMs: 0, store: await openIndexStore({ dir: join(dir, 'index') }), cache: await openVectorCache({ dir: join(dir, 'vectors') }) });
const at = (...parts: string[]): string => join(dir, 'index', 'acme', 'help', ...parts);
const search = async (retrieval: Awaited<ReturnType<typeof open>>) => (await retrieval.search({ tenant: 'acme', space: 'help', query: 'billing address', limit: 1, principal: { id: 'a', type: 'user', tenant: 'acme', roles: [] }, deadline: Date.now() + 5_000 })).fragments[0]?.document;

describe('the index store', () => {
  it('serves the same epoch after a restart', async () => {
    await (await open()).index('acme', 'help', CORPUS);
    const again = await open();
    expect(await search(again)).toBe('address.md');
    expect(await again.index('acme', 'help', CORPUS)).toMatchObject({ rebuilt: false, manifest: { epoch: 'e1' } });
  });
  it('keeps the epoch in force when a build dies half way, and clears what it left', async () => {
    await (await open()).index('acme', 'help', CORPUS);
    await mkdir(at('.draft-dead'));
    await writeFile(at('.draft-dead', 'chunks.jsonl'), 'half a li');
    await writeFile(at('LOCK'), '999999999');
    const again = await open();
    expect(await search(again)).toBe('address.md');
    expect(await again.index('acme', 'help', CORPUS.slice(0, 2))).toMatchObject({ rebuilt: true, manifest: { epoch: 'e2' } });
    expect((await readdir(at())).sort()).toEqual(['CURRENT', 'e1', 'e2']);
  });
  it('refuses a segment with one byte changed, and the next build repairs it', async () => {
    await (await open()).index('acme', 'help', CORPUS);
    const bytes = await readFile(at('e1', 'vectors.bin'));
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    await writeFile(at('e1', 'vectors.bin'), bytes);
    const again = await open();
    await expect(search(again)).rejects.toMatchObject({ code: 'AIOS_RETRIEVAL_FAULT' });
    expect(await again.index('acme', 'help', CORPUS)).toMatchObject({ rebuilt: true, manifest: { epoch: 'e2' } });
    expect(await search(again)).toBe('address.md');
  });
  it('lets one writer at a time into a space', async () => {
    const store = await openIndexStore({ dir: join(dir, 'index') });
    {
      await using held = await store.lock('acme', 'help');
      expect(held).toBeDefined();
      await expect(store.lock('acme', 'help')).rejects.toMatchObject({ code: 'AIOS_OVERLOADED' });
      await expect((await openIndexStore({ dir: join(dir, 'index') })).lock('acme', 'other')).resolves.toBeDefined();
    }
    await using again = await store.lock('acme', 'help');
    expect(again).toBeDefined();
  });
  it('keeps no word and no id of an erased document on the disk', async () => {
    const retrieval = await open();
    await retrieval.index('acme', 'help', CORPUS);
    await retrieval.index('acme', 'help', [...CORPUS, { id: 'extra.md', title: 'Extra', text: 'More.' }]);
    await retrieval.erase('acme', 'help', 'refunds.md');
    const files = await readdir(at(), { recursive: true, withFileTypes: true });
    const texts = await Promise.all(files.filter((file) => file.isFile()).map((file) => readFile(join(file.parentPath, file.name), 'latin1')));
    expect(texts.some((text) => text.includes('address.md'))).toBe(true);
    expect(texts.some((text) => text.includes('refunds.md') || text.includes('working days'))).toBe(false);
  });
  it('takes no path from a tenant or space', async () => {
    const store = await openIndexStore({ dir: join(dir, 'index') });
    expect(() => store.current('..', 'help')).toThrow(expect.objectContaining({ code: 'AIOS_INPUT_INVALID' }));
    expect(() => store.current('acme', 'a/b')).toThrow(expect.objectContaining({ code: 'AIOS_INPUT_INVALID' }));
  });
});

describe('the vector cache', () => {
  const digest = (i: number) => digestOfText(`text ${i}`);
  const vector = (i: number) => quantise(Float32Array.from({ length: 8 }, (_, d) => Math.sin(i + d)));
  it('gives back exactly what was put in, over restarts and merges', async () => {
    const cache = await openVectorCache({ dir });
    for (let i = 0; i < 60; i++) await cache.add('sha256:abc', new Map([[digest(i), vector(i)]]));
    expect((await readdir(join(dir, 'abc'))).length).toBeLessThan(30);
    const found = await (await openVectorCache({ dir })).load('sha256:abc', new Set([digest(3), digest(59), digest(99)]));
    expect([...found].sort()).toEqual([[digest(3), vector(3)], [digest(59), vector(59)]].sort());
    expect((await cache.load('sha256:def', new Set([digest(3)]))).size).toBe(0);
  });
  it('ignores a damaged segment', async () => {
    const cache = await openVectorCache({ dir });
    await cache.add('sha256:abc', new Map([[digest(1), vector(1)]]));
    const [name = ''] = await readdir(join(dir, 'abc'));
    const bytes = await readFile(join(dir, 'abc', name));
    bytes[20] = (bytes[20] ?? 0) ^ 1;
    await writeFile(join(dir, 'abc', name), bytes);
    expect((await cache.load('sha256:abc', new Set([digest(1)]))).size).toBe(0);
  });
});
