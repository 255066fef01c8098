// Asks the gateway to index a folder or file and follows it to its end.
// Owns: the mandate for exactly this space, the repeated asking and the progress it reports.
// Never reads a document itself: the path is read by the gateway, on its machine.
// Others may assume: asking again joins the work under way, so a lost answer or a restarted gateway costs nothing but time.

import { subjects } from '../../contracts/address.ts';
import { digestOf } from '../../contracts/canonical.ts';
import { fail, fromErrorBody, hasCode, isErrorCode } from '../../contracts/errors.ts';
import { parseId, readableId } from '../../contracts/ids.ts';
import type { Grant } from '../../contracts/mandate.ts';
import type { Envelope } from '../../contracts/message.ts';
import { replySchema } from '../../contracts/message.ts';
import { parseBytes, parseValue, toBytes } from '../../contracts/parse.ts';
import type { Bus, Clock, IndexManifest, IndexProgress, Mandates, Random } from '../../contracts/ports.ts';
import { presentedCall } from '../../policies/mandate.ts';
import { gatewayCapabilities, spaceIndex } from '../../agents/gateway/capabilities.ts';
import type { Skipped } from './load.ts';

export interface IndexSpaceRequest {
  readonly tenant: string;
  readonly space: string;
  /** Absolute path on the gateway's machine. */
  readonly path: string;
  /** ms for the whole of it; an hour unless told. */
  readonly timeoutMs?: number;
}
export interface IndexSpacePorts {
  readonly bus: Bus;
  /** With the brain's signer: a mandate is minted for this space. */
  readonly mandates: Pick<Mandates, 'mint' | 'present'>;
  readonly clock: Clock;
  readonly random: Random;
}
export interface Indexed {
  readonly manifest: IndexManifest;
  /** False when the corpus was unchanged and nothing was built. */
  readonly rebuilt: boolean;
  readonly skipped: readonly Skipped[];
}

const WAIT_MS = 400;
const ASK_MS_MAX = 5_000;
/** How long a gateway may be away (starting, or restarted) before we give up. */
const AWAY_MS_MAX = 30_000;

/** @throws what the gateway answers; AIOS_UNAVAILABLE when none is there, AIOS_DEADLINE_EXCEEDED after `timeoutMs` */
export async function indexSpace(ports: IndexSpacePorts, request: IndexSpaceRequest, onProgress: (progress: IndexProgress) => void = () => {}): Promise<Indexed> {
  const { clock } = ports;
  const until = clock.now() + (request.timeoutMs ?? 3_600_000);
  const ask = asker(ports, request, until);
  let heard = clock.monotonic();
  while (clock.now() < until) {
    try {
      const { state, stage, done, total, manifest, rebuilt, error, skipped } = await ask();
      heard = clock.monotonic();
      onProgress({ stage, done, total });
      if (state === 'done' && manifest !== undefined) return { manifest, rebuilt: rebuilt ?? false, skipped };
      if (state === 'failed') throw error !== undefined && isErrorCode(error.code) ? fromErrorBody({ code: error.code, message: error.message }) : fail('AIOS_RETRIEVAL_FAULT');
    } catch (error) {
      if (!isPassing(error) || clock.monotonic() - heard > AWAY_MS_MAX) throw error;
      await clock.sleep(250);
    }
  }
  throw fail('AIOS_DEADLINE_EXCEEDED', 'The documents were not indexed in time.');
}

/** A gateway that is away or busy with this space; a failed job is an answer and is not passing. */
const isPassing = (error: unknown): boolean => (['AIOS_UNAVAILABLE', 'AIOS_DISCONNECTED', 'AIOS_OVERLOADED', 'AIOS_DEADLINE_EXCEEDED', 'AIOS_POLICY_MISSING'] as const).some((code) => hasCode(error, code));

function asker(ports: IndexSpacePorts, { tenant, space, path }: IndexSpaceRequest, until: number) {
  const { bus, clock, random } = ports;
  const task = readableId('t', random.bytes(10));
  const mandate = ports.mandates.mint(grantOf(tenant, space, task, clock.now(), until));
  const subject = subjects.capability(parseId('tenant', tenant), spaceIndex.id);
  return async () => {
    const envelope: Envelope = {
      v: 1, id: readableId('index', random.bytes(16)), tenant, task, capability: spaceIndex.id, actor: task,
      principal: { id: 'indexer', type: 'service', tenant, roles: ['operator'] },
      rung: 'model', deadline: Math.min(until, clock.now() + ASK_MS_MAX), mandate, depth: 0, input: { space, path, waitMs: WAIT_MS },
    };
    const answer = await bus.request(subject, toBytes({ ...envelope, mandate: ports.mandates.present(mandate, presentedCall(envelope)) }), { timeoutMs: ASK_MS_MAX });
    const reply = parseBytes(replySchema, answer.data);
    if (reply.status === 'failed') throw fromErrorBody(reply.error.retryAfterMs === undefined ? { code: reply.error.code, message: reply.error.message } : { ...reply.error, retryAfterMs: reply.error.retryAfterMs });
    return parseValue(spaceIndex.output, reply.output);
  };
}

function grantOf(tenant: string, space: string, task: string, now: number, until: number): Grant {
  return {
    tenant, task, capabilities: [spaceIndex.id], dataClass: 'internal', regions: ['*'], models: ['*'], spaces: [space],
    budgetMicroUsd: 0, callsMax: 1_000_000, depthMax: 0, notBefore: now - 5_000, expiresAt: until, offline: false,
    policy: digestOf(gatewayCapabilities.map(({ id }) => id)),
  };
}
