// The data converter of every Temporal client and worker of a deployment: none, or the codec with encoded failures.
// Owns: which files and codecs that is. Never opens a key ring twice in one process.
// Others may assume: undefined means payloads in the clear, as Temporal's defaults have them.

import { fileURLToPath } from 'node:url';
import type { DataConverter } from '@temporalio/common';
import type { Config } from '../config.ts';
import { ensurePayloadKeys, openPayloadKeys } from '../crypto/payload-keys.ts';
import { createPayloadCodec, type TenantPayloadCodec } from './codec.ts';

export const FAILURE_CONVERTER = fileURLToPath(new URL(`./failure-converter.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url));

type Protected = Pick<Config, 'protection' | 'payloadKeys'>;

/** Undefined where the preset or a setting has it off. Makes the key ring of a home that has none. @throws AIOS_CONFIG_INVALID */
export async function openDataConverter(config: Protected): Promise<DataConverter | undefined> {
  if (!config.protection.payloadCodec) return undefined;
  return converterOf(await openCodec(config));
}

/** The codec whether or not it is switched on: a person may have to read what was written while it was. */
export async function openCodec(config: Pick<Config, 'payloadKeys'>): Promise<TenantPayloadCodec> {
  await ensurePayloadKeys(config.payloadKeys);
  return createPayloadCodec(await openPayloadKeys(config.payloadKeys));
}

export const converterOf = (codec: TenantPayloadCodec): DataConverter => ({ payloadCodecs: [codec], failureConverterPath: FAILURE_CONVERTER });
