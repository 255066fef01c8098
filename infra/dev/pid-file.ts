// Pid files: how a later start finds what an earlier one left behind.
// Owns: the format, the check that a pid still is the program that wrote it, and stopping such a program.
// Never kills a process whose command line does not match. Others may assume: a file without a living process is no holder.

import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';

const schema = z.object({
  pid: z.number().int().positive(),
  /** Process that started it and is responsible for it. */
  owner: z.number().int().positive(),
  /** A part of its command line, so that a pid taken by another program is recognised. */
  command: z.string().min(1),
  startedAt: z.number(),
  ports: z.record(z.string(), z.number()).optional(),
});
export type PidFile = z.infer<typeof schema>;

export async function writePidFile(path: string, content: PidFile): Promise<void> {
  const draft = `${path}.${process.pid}.part`;
  await writeFile(draft, JSON.stringify(content));
  await rename(draft, path);
}

/** The living process a pid file names, if it still is that program. */
export async function readPidFile(path: string): Promise<PidFile | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const parsed = schema.safeParse(jsonOf(text));
  if (!parsed.success) return undefined;
  return isAlive(parsed.data.pid) && commandOf(parsed.data.pid).includes(parsed.data.command) ? parsed.data : undefined;
}

export const removePidFile = (path: string): Promise<void> => rm(path, { force: true });

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !isZombie(pid);
  } catch {
    return false;
  }
}

/** SIGTERM, then SIGKILL after `graceMs`; resolves when the process is gone. */
export async function stopPid(pid: number, graceMs = 5_000): Promise<void> {
  signal(pid, 'SIGTERM');
  if (await gone(pid, graceMs)) return;
  signal(pid, 'SIGKILL');
  await gone(pid, 2_000);
}

/** Command line of a process, words joined by spaces; empty when it cannot be read. */
export function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch {
    return commandByPs(pid);
  }
}

function commandByPs(pid: number): string {
  try {
    return execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return '';
  }
}

/** A killed child whose parent has not reaped it yet answers signal 0 but is not running. */
function isZombie(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z');
  } catch {
    return false;
  }
}

async function gone(pid: number, withinMs: number): Promise<boolean> {
  for (const until = performance.now() + withinMs; performance.now() < until; await sleep(50)) if (!isAlive(pid)) return true;
  return !isAlive(pid);
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // already gone
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
