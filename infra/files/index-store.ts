// Index epochs on disk: `<dir>/<tenant>/<space>/<epoch>/`, named by a CURRENT file that is replaced atomically.
// Owns: the file layout, flushing, digests of segments, the writer's lock and the tombstone file.
// Never rewrites a segment in place. Others may assume: a crash at any point leaves the epoch before in force,
// and a damaged segment is refused by its digest instead of being searched.

import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readFile, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fail, hasCode } from '../../contracts/errors.ts';
import { parseId } from '../../contracts/ids.ts';
import type { IndexManifest } from '../../contracts/ports.ts';
import type { IndexStore, StoredChunk, StoredEpoch } from '../../agents/retrieval/store.ts';
import type { VectorBlock } from '../../agents/retrieval/vectors.ts';
import { takePidLock } from './pid-lock.ts';

export async function openIndexStore(options: { readonly dir: string }): Promise<IndexStore> {
  await mkdir(options.dir, { recursive: true, mode: 0o700 });
  const at = (tenant: string, space: string) => join(options.dir, parseId('tenant', tenant), parseId('agent-id', space));
  return {
    current: (tenant, space) => readCurrent(at(tenant, space)),
    read: (tenant, space, epoch) => readEpoch(join(at(tenant, space), epoch)),
    write: (epoch) => writeEpoch(at(epoch.manifest.tenant, epoch.manifest.space), epoch),
    prune: async (tenant, space) => prune(at(tenant, space), [await readCurrent(at(tenant, space))]),
    tombstones: (tenant, space) => readTombstones(at(tenant, space)),
    addTombstone: (tenant, space, digest) => appendTombstone(at(tenant, space), digest),
    lock: (tenant, space) => lock(at(tenant, space)),
    [Symbol.asyncDispose]: async () => {},
  };
}

const EPOCH = /^e[1-9][0-9]{0,9}$/;

async function readCurrent(dir: string): Promise<string | undefined> {
  const name = (await readFile(join(dir, 'CURRENT'), 'utf8').catch(absent))?.trim();
  return name !== undefined && EPOCH.test(name) ? name : undefined;
}

// ---- epochs

interface Sealed {
  readonly manifest: IndexManifest;
  readonly files: { readonly chunks: string; readonly vectors: string };
}

async function readEpoch(dir: string): Promise<StoredEpoch> {
  try {
    const sealed = JSON.parse(await readFile(join(dir, 'manifest.json'), 'utf8')) as Sealed;
    const chunks = await readFile(join(dir, 'chunks.jsonl'));
    const vectors = await readFile(join(dir, 'vectors.bin'));
    if (sha256(chunks) !== sealed.files.chunks || sha256(vectors) !== sealed.files.vectors) throw fail('AIOS_RETRIEVAL_FAULT', 'A segment of the index does not match its digest; index again.');
    const lines = chunks.toString('utf8').split('\n').filter((line) => line !== '');
    return { manifest: sealed.manifest, chunks: lines.map((line) => JSON.parse(line) as StoredChunk), vectors: fromBytes(vectors) };
  } catch (cause) {
    if (hasCode(cause, 'AIOS_RETRIEVAL_FAULT')) throw cause;
    throw fail('AIOS_RETRIEVAL_FAULT', 'A segment of the index cannot be read; index again.', { cause });
  }
}

async function writeEpoch(dir: string, { manifest, chunks, vectors }: StoredEpoch): Promise<void> {
  const before = await readCurrent(dir);
  const draft = join(dir, `.draft-${randomUUID()}`);
  await mkdir(draft, { recursive: true, mode: 0o700 });
  const lines = Buffer.from(chunks.map((chunk) => `${JSON.stringify(chunk)}\n`).join(''), 'utf8');
  const block = toBytes(vectors);
  const sealed: Sealed = { manifest, files: { chunks: sha256(lines), vectors: sha256(block) } };
  await writeFlushed(join(draft, 'chunks.jsonl'), lines);
  await writeFlushed(join(draft, 'vectors.bin'), block);
  await writeFlushed(join(draft, 'manifest.json'), Buffer.from(JSON.stringify(sealed, undefined, 2)));
  await flushDirectory(draft);
  const target = join(dir, manifest.epoch);
  await rm(target, { recursive: true, force: true });
  await rename(draft, target);
  await flushDirectory(dir);
  await replaceFile(join(dir, 'CURRENT'), Buffer.from(`${manifest.epoch}\n`));
  await flushDirectory(dir);
  await prune(dir, [before, manifest.epoch]);
}

/** Removes epochs that are not named, and drafts of builds that died: the caller holds the lock. */
async function prune(dir: string, names: readonly (string | undefined)[]): Promise<void> {
  for (const name of await readdir(dir).catch(() => [])) {
    if ((EPOCH.test(name) && !names.includes(name)) || name.startsWith('.draft-')) await rm(join(dir, name), { recursive: true, force: true });
  }
}

/** dimensions u32, rows u32, scales f32 each, then int8 rows; little endian. */
function toBytes({ dimensions, values, scales }: VectorBlock): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(dimensions, 0);
  head.writeUInt32LE(scales.length, 4);
  return Buffer.concat([head, Buffer.from(scales.buffer, scales.byteOffset, scales.byteLength), Buffer.from(values.buffer, values.byteOffset, values.byteLength)]);
}

function fromBytes(bytes: Buffer): VectorBlock {
  const dimensions = bytes.readUInt32LE(0);
  const rows = bytes.readUInt32LE(4);
  const own = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  return { dimensions, scales: new Float32Array(own, 8, rows), values: new Int8Array(own, 8 + rows * 4, rows * dimensions) };
}

// ---- tombstones and the lock

async function readTombstones(dir: string): Promise<ReadonlySet<string>> {
  const text = await readFile(join(dir, 'tombstones'), 'utf8').catch(absent);
  return new Set((text ?? '').split('\n').filter((line) => line.startsWith('sha256:')));
}

async function appendTombstone(dir: string, digest: string): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await using file = await open(join(dir, 'tombstones'), 'a', 0o600);
  await file.write(`${digest}\n`);
  await file.sync();
}

async function lock(dir: string): Promise<AsyncDisposable> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const taken = await takePidLock(join(dir, 'LOCK'));
  if (!('release' in taken)) throw fail('AIOS_OVERLOADED', 'This space is being indexed.', { retryAfterMs: 1_000 });
  return { [Symbol.asyncDispose]: taken.release };
}

// ---- bytes

const sha256 = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

async function writeFlushed(path: string, bytes: Uint8Array): Promise<void> {
  await using file = await open(path, 'w', 0o600);
  await file.writeFile(bytes);
  await file.sync();
}

async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  const draft = `${path}.${randomUUID()}`;
  await writeFlushed(draft, bytes);
  await rename(draft, path);
}

async function flushDirectory(dir: string): Promise<void> {
  await using handle = await open(dir, 'r');
  await handle.sync();
}

/** A file that is not there is no value; anything else is a fault. */
function absent(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
  throw fail('AIOS_RETRIEVAL_FAULT', 'The index directory cannot be read or written.', { cause: error });
}
