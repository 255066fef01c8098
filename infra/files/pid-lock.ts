// Lock files that hold the pid of their holder; one that a dead process left behind is taken over.
// Owns: taking, releasing, and telling a live holder from a dead one. Never waits: whoever finds a holder decides what to say.
// Others may assume: our own pid in a file proves nothing (containers give every process the same one), so what this
// process holds is remembered here.

import { open, readFile, unlink } from 'node:fs/promises';

export type PidLock = { readonly holder: number } | { readonly release: () => Promise<void> };

const TRIES_MAX = 3;
const heldHere = new Set<string>();

/** `holder` is the live process that has the lock; 0 when the file could be neither taken nor read as held. */
export async function takePidLock(path: string): Promise<PidLock> {
  for (let attempt = 0; attempt < TRIES_MAX; attempt++) {
    if (await create(path)) return { release: () => release(path) };
    const holder = Number(await readFile(path, 'utf8').catch(() => '0'));
    if (holder === process.pid ? heldHere.has(path) : isAlive(holder)) return { holder };
    await unlink(path).catch(() => undefined);
  }
  return { holder: 0 };
}

async function create(path: string): Promise<boolean> {
  const file = await open(path, 'wx', 0o600).catch(() => undefined);
  if (file === undefined) return false;
  await file.writeFile(String(process.pid));
  await file.close();
  heldHere.add(path);
  return true;
}

async function release(path: string): Promise<void> {
  heldHere.delete(path);
  await unlink(path).catch(() => undefined);
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
