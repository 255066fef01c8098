// An agent host of a test as a process of its own, that a test may kill.
// Owns: how it is forked and when it counts as ready. Never decides when it ends.
// Others may assume: it said `ready`, and it has the home, server and name that were given.

import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { expect } from 'vitest';

export async function startChildHost(file: string, { home, url, name }: { readonly home: string; readonly url: string; readonly name: string }): Promise<ChildProcess> {
  const host = fork(file, { execArgv: ['--conditions=aios-source'], env: { ...process.env, AIOS_HOME: home, AIOS_NATS_URL: url, AIOS_NAME: name, AIOS_LOG_LEVEL: 'silent' } });
  expect((await once(host, 'message'))[0]).toBe('ready');
  return host;
}
