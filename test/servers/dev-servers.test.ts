// The development servers on this machine: found, started with our settings, stopped, found again after a kill.
// Owns: the proof that tests may rely on infra/dev/servers. Never uses a default port.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { connect } from '@nats-io/transport-node';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { Client, Connection } from '@temporalio/client';
import { expect, test } from 'vitest';
import { isAlive } from '../../infra/dev/pid-file.ts';
import { startNatsServer, startTemporalServer } from '../../infra/dev/servers.ts';

async function temporaryFolder(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'aios-dev-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

test('nats server - keeps its streams over a kill and a second start on the same port', async () => {
  await using folder = await temporaryFolder();
  const first = await startNatsServer({ dir: folder.path });
  const before = await connect({ servers: first.url });
  const manager = await jetstreamManager(before);
  await manager.streams.add({ name: 'KEPT', subjects: ['kept'] });
  await jetstream(before).publish('kept', 'word');
  expect(before.info?.max_payload).toBe(256 * 1024);
  first.kill('SIGKILL');
  await first.exited;
  await before.close();

  await using second = await startNatsServer({ dir: folder.path, port: first.port });
  const after = await connect({ servers: second.url });
  expect((await (await jetstreamManager(after)).streams.info('KEPT')).state.messages).toBe(1);
  await after.close();
});

test('nats server - a port that is taken is named in the refusal', async () => {
  await using folder = await temporaryFolder();
  await using other = await temporaryFolder();
  await using server = await startNatsServer({ dir: folder.path });
  await expect(startNatsServer({ dir: other.path, port: server.port })).rejects.toThrow(`port ${server.port} is taken`);
});

test('temporal server - stores in a write-ahead log, registers search attributes and starts again on its data', async () => {
  await using folder = await temporaryFolder();
  const searchAttributes = { AiosTestState: 'Keyword', AiosTestTasks: 'KeywordList' };
  const first = await startTemporalServer({ dir: folder.path, headless: true, searchAttributes });
  const connection = await Connection.connect({ address: first.address });
  const client = new Client({ connection });
  const handle = await client.workflow.start('anything', { taskQueue: 'nobody', workflowId: 'kept', args: [], typedSearchAttributes: [] });
  await connection.close();
  expect((await readFile(join(folder.path, 'temporal.db-wal'))).byteLength).toBeGreaterThan(0);
  first.kill('SIGKILL');
  await first.exited;

  await using second = await startTemporalServer({ dir: folder.path, headless: true, port: first.port, searchAttributes });
  const again = await Connection.connect({ address: second.address });
  expect((await new Client({ connection: again }).workflow.getHandle('kept').describe()).runId).toBe(handle.firstExecutionRunId);
  await again.close();
});

test('nats server - ends with its parent, even when that is killed', async () => {
  await using folder = await temporaryFolder();
  const script = `
    const { startNatsServer } = await import(${JSON.stringify(new URL('../../infra/dev/servers.ts', import.meta.url).href)});
    const server = await startNatsServer({ dir: ${JSON.stringify(folder.path)} });
    console.log(server.pid);
    setInterval(() => {}, 1000);`;
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const pid = Number(await new Promise<string>((resolve) => parent.stdout.once('data', (data: Buffer) => resolve(data.toString()))));
  expect(isAlive(pid)).toBe(true);
  parent.kill('SIGKILL');
  await expect.poll(() => isAlive(pid), { timeout: 5_000 }).toBe(false);
});
