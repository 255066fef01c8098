// The payload codec: everything Temporal stores for us is sealed with the tenant's key before it leaves the process.
// Owns: the encrypted form of a payload (key id and tenant in its metadata) and how the tenant of a payload is known.
// Never touches the sandbox: it works between wire and converter, in clients and workers. Never changes a payload in the clear
// on the way in, so histories from before it was switched on, and JSON that a person typed without it, are read as they are.
// Others may assume: a payload whose key is not there is AIOS_PAYLOAD_KEY_MISSING, and the task waits until the key is back.

import type { Payload, PayloadCodec } from '@temporalio/common';
import proto from '@temporalio/proto';
import { fail } from '../../contracts/errors.ts';
import type { PayloadKeyRing } from '../crypto/payload-keys.ts';
import { open, seal } from '../crypto/seal.ts';

/** The encoding name that Temporal's own samples use for encrypted payloads. */
export const ENCRYPTED = 'binary/encrypted';
export const METADATA = { encoding: 'encoding', key: 'encryption-key-id', tenant: 'aios-tenant', cipher: 'encryption-cipher' } as const;
/** Owner of what names no tenant, such as an activity's empty answer after a restart. */
export const SHARED = 'shared';

const { Payload: PayloadType } = proto.temporal.api.common.v1;
const CIPHER = 'AES-256-GCM';
const TENANT = /^[A-Za-z0-9_-]{1,64}$/;
/** Workflows whose tenant is remembered; an older one is learned again from its next payload. */
const WORKFLOWS_MAX = 20_000;
/** A tenant stands near the start of what we send; beyond it nobody looks. */
const PEEK_BYTES = 4_096;

interface Context { readonly workflowId?: string }

export interface TenantPayloadCodec extends PayloadCodec {
  /** Encrypts for a tenant that is known, whatever the payloads say. */
  encodeFor(tenant: string, payloads: readonly Payload[]): Payload[];
  /** Decrypts what `may` lets through and returns the rest as it came. */
  decodeFor(may: (tenant: string) => boolean, payloads: readonly Payload[]): Promise<Payload[]>;
}

export function createPayloadCodec(ring: PayloadKeyRing): TenantPayloadCodec {
  const owners = new Map<string, string>();
  const learn = (context: Context | undefined, tenant: string): void => {
    if (context?.workflowId === undefined || tenant === SHARED || owners.has(context.workflowId)) return;
    if (owners.size >= WORKFLOWS_MAX) owners.delete(owners.keys().next().value ?? '');
    owners.set(context.workflowId, tenant);
  };
  const ownerOf = (payloads: readonly Payload[], context: Context | undefined): string => {
    const known = context?.workflowId === undefined ? undefined : owners.get(context.workflowId);
    if (known !== undefined) return known;
    const named = payloads.map(tenantNamedIn).find((one) => one !== undefined) ?? SHARED;
    learn(context, named);
    return named;
  };
  const encrypt = (payload: Payload, tenant: string): Payload => (encodingOf(payload) === ENCRYPTED ? payload : sealed(ring, payload, tenant));
  const decrypt = async (payload: Payload, context?: Context): Promise<Payload> => {
    if (encodingOf(payload) !== ENCRYPTED) return payload;
    const opened = await opens(ring, payload);
    learn(context, textOf(payload, METADATA.tenant));
    return opened;
  };
  return {
    encode(payloads, context) {
      const tenant = ownerOf(payloads, context as Context | undefined);
      return Promise.resolve(payloads.map((payload) => encrypt(payload, tenant)));
    },
    decode: (payloads, context) => Promise.all(payloads.map((payload) => decrypt(payload, context as Context | undefined))),
    encodeFor: (tenant, payloads) => payloads.map((payload) => encrypt(payload, tenant)),
    decodeFor: (may, payloads) => Promise.all(payloads.map((payload) => (encodingOf(payload) === ENCRYPTED && may(textOf(payload, METADATA.tenant)) ? decrypt(payload) : payload))),
  };
}

function sealed(ring: PayloadKeyRing, payload: Payload, tenant: string): Payload {
  const { id, key } = ring.current(tenant);
  return {
    metadata: { [METADATA.encoding]: encode(ENCRYPTED), [METADATA.cipher]: encode(CIPHER), [METADATA.key]: encode(id), [METADATA.tenant]: encode(tenant) },
    data: seal(key, PayloadType.encode(payload).finish(), boundTo(id, tenant)),
  };
}

async function opens(ring: PayloadKeyRing, payload: Payload): Promise<Payload> {
  const id = textOf(payload, METADATA.key);
  const tenant = textOf(payload, METADATA.tenant);
  const plain = open(await ring.find(id, tenant), payload.data ?? new Uint8Array(), boundTo(id, tenant));
  if (plain === undefined) throw fail('AIOS_PAYLOAD_UNREADABLE', `It names the key ${id.slice(0, 40)}.`);
  const { metadata, data } = PayloadType.decode(plain);
  return { metadata, data };
}

/** A payload moved under another tenant or key does not open. */
const boundTo = (id: string, tenant: string): string => `aios-payload/v1\n${id}\n${tenant}`;

/** What we send names its tenant as a member of the top object; nothing else is looked at. */
function tenantNamedIn(payload: Payload): string | undefined {
  if (!encodingOf(payload).startsWith('json/')) return undefined;
  const head = decoder.decode((payload.data ?? new Uint8Array()).subarray(0, PEEK_BYTES));
  const tenant = /"tenant":"([A-Za-z0-9_-]{1,64})"/.exec(head)?.[1];
  return tenant !== undefined && TENANT.test(tenant) ? tenant : undefined;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const encode = (text: string): Uint8Array => encoder.encode(text);
const encodingOf = (payload: Payload): string => textOf(payload, METADATA.encoding);
function textOf(payload: Payload, name: string): string {
  const value = payload.metadata?.[name];
  return value === undefined || value === null ? '' : decoder.decode(value);
}
