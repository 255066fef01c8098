// Claim check: content too large for a message waits in an object store, the message carries its name.
// Owns: what is kept in the bucket that topology.ts makes, and the header that names a blob.
// Never puts content into a name. Others may assume: a blob that was put can be read until it is deleted or two days old.

import { Objm, type ObjectStore } from '@nats-io/obj';
import { fail } from '../../contracts/errors.ts';
import { digestOfBytes } from '../../contracts/canonical.ts';
import type { NatsLink } from './connect.ts';
import { convertNatsError } from './errors.ts';
import { BLOBS } from './topology.ts';

export const CLAIM_HEADER = 'Aios-Claim';
export const INLINE_BYTES_MAX = 64 * 1024;
/** What a blob may hold at most: beyond it the message is refused, not stored. */
export const BLOB_BYTES_MAX = 8 * 1024 * 1024;

export interface Blobs {
  readonly inlineBytesMax: number;
  /** @throws AIOS_INPUT_TOO_LARGE */
  put(data: Uint8Array): Promise<string>;
  /** @throws AIOS_UNAVAILABLE when it is gone */
  get(name: string): Promise<Uint8Array>;
  delete(name: string): Promise<void>;
}

export function createBlobs(link: NatsLink): Blobs {
  let opened: Promise<ObjectStore> | undefined;
  const store = (): Promise<ObjectStore> => (opened ??= new Objm(link.js).open(BLOBS).catch((error: unknown) => {
    opened = undefined;
    throw convertNatsError(error, 'opening the object store');
  }));
  return {
    inlineBytesMax: INLINE_BYTES_MAX,
    async put(data) {
      if (data.byteLength > BLOB_BYTES_MAX) throw fail('AIOS_INPUT_TOO_LARGE', `${data.byteLength} bytes, at most ${BLOB_BYTES_MAX}.`);
      const name = digestOfBytes(data).replace(':', '-');
      try {
        await (await store()).putBlob({ name }, data);
      } catch (error) {
        throw convertNatsError(error, 'storing a large message');
      }
      return name;
    },
    async get(name) {
      const found = await (await store()).getBlob(name).catch((error: unknown) => { throw convertNatsError(error, 'reading a large message'); });
      if (found === null) throw fail('AIOS_UNAVAILABLE', 'The content of a large message is gone.');
      return found;
    },
    async delete(name) {
      await (await store()).delete(name).catch(() => undefined);
    },
  };
}
