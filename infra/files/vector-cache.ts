// Vectors this machine has computed before, by embedder and content digest, shared by every checkout and space.
// Owns: segment files under `<dir>/<embedder>/`, their merging and the bound on their size.
// Never holds text. Others may assume: a damaged or missing segment only costs computing again,
// and several processes may add at once because segments are named by their content and never changed.

import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readFile, readdir, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { VectorCache } from '../../agents/retrieval/store.ts';
import type { QuantisedVector } from '../../agents/retrieval/vectors.ts';

export const CACHE_BYTES_MAX = 256 * 1024 * 1024;
/** More segments than this are merged into one. */
const SEGMENTS_MAX = 24;
const HEAD_BYTES = 16;
const MAGIC = 0x41564332;

export async function openVectorCache(options: { readonly dir: string }): Promise<VectorCache> {
  const at = (embedder: string) => join(options.dir, embedder.replace('sha256:', '').replace(/[^0-9a-zA-Z_-]/g, '').slice(0, 24));
  return {
    async load(embedder, wanted) {
      const found = new Map<string, QuantisedVector>();
      for (const name of await segments(at(embedder))) for (const [digest, vector] of await readSegment(join(at(embedder), name))) if (wanted.has(digest)) found.set(digest, vector);
      return found;
    },
    async add(embedder, vectors) {
      if (vectors.size === 0) return;
      await writeSegment(at(embedder), vectors);
      await merge(at(embedder));
    },
  };
}

const segments = async (dir: string): Promise<readonly string[]> => (await readdir(dir).catch(() => [])).filter((name) => /^[0-9a-f]{32}\.vec$/.test(name)).sort();

/** magic, dimensions, count, reserved (u32 each), records of {digest 32 bytes, scale f32, values}, SHA-256 of all before. */
async function writeSegment(dir: string, vectors: ReadonlyMap<string, QuantisedVector>): Promise<string> {
  const dimensions = vectors.values().next().value?.values.length ?? 0;
  const same = [...vectors].filter(([, vector]) => vector.values.length === dimensions);
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32LE(MAGIC, 0);
  head.writeUInt32LE(dimensions, 4);
  head.writeUInt32LE(same.length, 8);
  const body = Buffer.concat([head, ...same.map(([digest, vector]) => record(digest, vector))]);
  const sum = createHash('sha256').update(body).digest();
  const name = `${sum.toString('hex').slice(0, 32)}.vec`;
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const draft = join(dir, `.${randomUUID()}`);
  await using file = await open(draft, 'w', 0o600);
  await file.writeFile(Buffer.concat([body, sum]));
  await rename(draft, join(dir, name));
  return name;
}

function record(digest: string, vector: QuantisedVector): Buffer {
  const bytes = Buffer.alloc(36 + vector.values.length);
  bytes.write(digest.slice(7), 0, 32, 'hex');
  bytes.writeFloatLE(vector.scale, 32);
  bytes.set(new Uint8Array(vector.values.buffer, vector.values.byteOffset, vector.values.length), 36);
  return bytes;
}

async function readSegment(path: string): Promise<ReadonlyMap<string, QuantisedVector>> {
  const found = new Map<string, QuantisedVector>();
  const bytes = await readFile(path).catch(() => undefined);
  if (bytes === undefined || bytes.length < HEAD_BYTES + 32 || bytes.readUInt32LE(0) !== MAGIC) return found;
  const body = bytes.subarray(0, bytes.length - 32);
  if (!createHash('sha256').update(body).digest().equals(bytes.subarray(bytes.length - 32))) return found;
  const dimensions = bytes.readUInt32LE(4);
  const step = 36 + dimensions;
  for (let at = HEAD_BYTES; at + step <= body.length; at += step) {
    const values = new Int8Array(bytes.buffer.slice(bytes.byteOffset + at + 36, bytes.byteOffset + at + step));
    found.set(`sha256:${bytes.toString('hex', at, at + 32)}`, { scale: bytes.readFloatLE(at + 32), values });
  }
  return found;
}

/** Many small segments become one; over the bound the oldest go. Losing a race with another process is harmless. */
async function merge(dir: string): Promise<void> {
  const names = await segments(dir);
  if (names.length <= SEGMENTS_MAX) return;
  const all = new Map<string, QuantisedVector>();
  let bytes = 0;
  for (const name of await newestFirst(dir, names)) {
    const size = (await stat(join(dir, name)).catch(() => undefined))?.size ?? 0;
    bytes += size;
    if (bytes <= CACHE_BYTES_MAX) for (const [digest, vector] of await readSegment(join(dir, name))) all.set(digest, vector);
  }
  const merged = await writeSegment(dir, all);
  for (const name of names) if (name !== merged) await unlink(join(dir, name)).catch(() => {});
}

async function newestFirst(dir: string, names: readonly string[]): Promise<readonly string[]> {
  const aged = await Promise.all(names.map(async (name) => ({ name, at: (await stat(join(dir, name)).catch(() => undefined))?.mtimeMs ?? 0 })));
  return aged.sort((a, b) => b.at - a.at).map(({ name }) => name);
}
