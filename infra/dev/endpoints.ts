// Where a running system of a home is reached: the files it leaves for clients, the CLI and tools on the same machine.
// Owns: their names and form, and the list of processes. Never starts or stops anything.
// Others may assume: endpoints are only returned while the process that wrote them lives.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { readPidFile } from './pid-file.ts';

/** Runs where the preset asks for it: people read payloads through it. */
export const CODEC_PROCESS = 'codec';

/** Everything that runs beside the servers, the slowest to start first. */
export const PROCESSES = ['brain', 'model-worker', 'gateway', 'agents', 'bridge'] as const;

const endpointsSchema = z.object({ natsUrl: z.string(), temporalAddress: z.string(), temporalUi: z.string(), namespace: z.string(), api: z.string(), codec: z.string().optional() });
/** What a child or a client needs to find the servers; also written to `<home>/run/endpoints.json`. */
export type Endpoints = z.infer<typeof endpointsSchema>;

export const pidFileOf = (home: string): string => join(home, 'run', 'supervisor.pid');

/** Undefined when no system of this home runs. */
export async function readEndpoints(home: string): Promise<Endpoints | undefined> {
  if ((await readPidFile(pidFileOf(home))) === undefined) return undefined;
  const text = await readFile(join(home, 'run', 'endpoints.json'), 'utf8').catch(() => undefined);
  const parsed = text === undefined ? undefined : endpointsSchema.safeParse(JSON.parse(text));
  return parsed?.success === true ? parsed.data : undefined;
}
