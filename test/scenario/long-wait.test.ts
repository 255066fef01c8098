// An approval parked across a restart of every process and server, and across a deployment of changed workflow code.
// Owns: both ways of deploying: `auto-upgrade`, where the new build replays what waits and goes on, and `pinned`, where what waits
// stays with its build. Others may assume: the second build is made from changed sources, and its answers show which build gave them.

import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createRegistry } from '../../agents/registry.ts';
import { canonicalJson, digestOfText } from '../../contracts/canonical.ts';
import type { TaskResult } from '../../contracts/task.ts';
import { type Config, readConfig } from '../../infra/config.ts';
import { loadOrCreateKeys } from '../../infra/crypto/keys.ts';
import { createSigner, createVerifier } from '../../infra/crypto/signer.ts';
import { freePort, startNatsServer, startTemporalServer } from '../../infra/dev/servers.ts';
import { connectPorts } from '../../infra/nats/index.ts';
import { startAgentHost } from '../../infra/processes/agents.ts';
import { type Brain, startBrain } from '../../infra/processes/brain.ts';
import { startBridgeProcess } from '../../infra/processes/bridge.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { SEARCH_ATTRIBUTES } from '../../infra/temporal/bootstrap.ts';
import { promoteBuild } from '../../infra/temporal/deployment.ts';
import { bundleOf, createCountingEffects, crowd } from '../servers/line.ts';
import { createCounters } from '../servers/counters.ts';
import { silent } from '../servers/nats-server.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
let dir: string;
let ports: { readonly nats: number; readonly temporal: number };
let changed: URL;
const effects = createCountingEffects();

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'aios-long-wait-'));
  ports = { nats: await freePort(), temporal: await freePort() };
  changed = await changedWorkflows(join(dir, 'second-build'));
});
afterAll(() => rm(dir, { recursive: true, force: true, maxRetries: 5 }));

/** The workflows with another answer in them: what a deployment of new code is. */
async function changedWorkflows(folder: string): Promise<URL> {
  for (const ring of ['contracts', 'policies', 'workflows']) await cp(join(root, ring), join(folder, ring), { recursive: true });
  const file = join(folder, 'workflows', 'approval.ts');
  const before = await readFile(file, 'utf8');
  const after = before.replace(/return desk\.canary && ([^;]+);/, 'return `second build: ${desk.canary && $1}`;');
  if (after === before) throw new Error('the second build is the first');
  await writeFile(file, after);
  return pathToFileURL(join(folder, 'workflows', 'index.ts'));
}

const configOf = (name: string, build?: string, behavior = 'auto-upgrade'): Config => readConfig(name, {
  AIOS_HOME: join(dir, 'home'), AIOS_NATS_URL: `nats://127.0.0.1:${ports.nats}`, AIOS_TEMPORAL_ADDRESS: `127.0.0.1:${ports.temporal}`, AIOS_HTTP_PORT: '0', AIOS_LOG_LEVEL: 'silent', AIOS_NAME: name,
  ...(build === undefined ? {} : { AIOS_BUILD_ID: build, AIOS_BUILD_BEHAVIOR: behavior }),
});

/** Everything but the brains: servers in the same folders and on the same ports as before, policies, agents, the bridge. */
async function startEverything(): Promise<AsyncDisposable> {
  const stack = new AsyncDisposableStack();
  stack.use(await startNatsServer({ dir: join(dir, 'nats'), port: ports.nats }));
  stack.use(await startTemporalServer({ dir: join(dir, 'temporal'), port: ports.temporal, headless: true, searchAttributes: SEARCH_ATTRIBUTES }));
  await publish();
  stack.use(await startAgentHost(configOf('agents-1'), { agents: [crowd], partitions: '*' }));
  stack.use(await startBridgeProcess(configOf('bridge-1')));
  return stack;
}

async function publish(): Promise<void> {
  const keys = await loadOrCreateKeys(join(dir, 'home', 'keys'));
  await using link = await connectPorts({ url: `nats://127.0.0.1:${ports.nats}`, name: 'publisher', logger: silent, metrics: createCounters(), clock: systemClock, random: systemRandom, firstConnectMsMax: 10_000 });
  await using store = link.policyStore(createVerifier(keys.keyring));
  const known = await store.bundle().catch(() => undefined);
  if (known !== undefined) return;
  const bytes = canonicalJson(bundleOf(1));
  const signer = createSigner(keys.brain);
  await store.publish({ digest: digestOfText(bytes), bytes, kid: signer.kid, signature: signer.sign(new TextEncoder().encode(bytes)) });
}

async function startBuild(build: string, behavior: 'auto-upgrade' | 'pinned', workflows?: URL): Promise<Brain> {
  return startBrain(configOf(`brain-${build}`, build, behavior), { registry: createRegistry([crowd]), effects, headless: true, ...(workflows === undefined ? {} : { workflows }) });
}

const refund = (text: string) => ({ principal: { id: 'helpdesk', type: 'service', tenant: 'demo', roles: [] }, capability: 'line.work', input: { text, mode: 'refund', amount: 80_000_000 } }) as const;
const waits = async (brain: Brain, taskId: string): Promise<void> => {
  for (let i = 0; i < 600; i++) {
    if ((await brain.tasks.view('demo', taskId)).waiting !== undefined) return;
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
  throw new Error(`${taskId} does not wait`);
};
const decide = (brain: Brain, taskId: string, by: string) => brain.tasks.decide('demo', taskId, { decision: 'approve', by });
const ended = async (brain: Brain, taskId: string): Promise<TaskResult | undefined> => brain.tasks.result('demo', taskId, 60_000);

test('long wait - half a quorum survives the restart of every process and a deployment of changed code, and the effect happens once', { timeout: 600_000 }, async () => {
  let taskId: string;
  {
    await using _servers = await startEverything();
    await using first = await startBuild('one', 'auto-upgrade');
    await promoteBuild(first.temporal, systemClock, 'one');
    taskId = (await first.tasks.start(refund('upgraded'))).entry.taskId;
    await waits(first, taskId);
    expect(await decide(first, taskId, 'ana')).toMatchObject({ accepted: true, message: 'Accepted: 1 of 2; 1 more of billing needed.' });
  }
  await using _servers = await startEverything();
  await using second = await startBuild('two', 'auto-upgrade', changed);
  await promoteBuild(second.temporal, systemClock, 'two');
  await waits(second, taskId);
  expect(await decide(second, taskId, 'ana')).toMatchObject({ accepted: false, code: 'AIOS_APPROVAL_UNAUTHORISED' });
  expect(await decide(second, taskId, 'ben')).toMatchObject({ accepted: true, message: 'second build: Accepted: approved.' });
  expect(await ended(second, taskId)).toMatchObject({ state: 'done', effect: { applied: true } });
  expect(effects.applied.get(`refund-${taskId}`)).toBe(1);
});

test('long wait - a pinned approval stays with its build while new tasks go to another', { timeout: 600_000 }, async () => {
  await using _servers = await startEverything();
  await using second = await startBuild('two', 'auto-upgrade', changed);
  let taskId: string;
  {
    await using third = await startBuild('three', 'pinned');
    await promoteBuild(third.temporal, systemClock, 'three');
    taskId = (await third.tasks.start(refund('pinned'))).entry.taskId;
    await waits(third, taskId);
    expect(await decide(third, taskId, 'ana')).toMatchObject({ accepted: true });
  }
  await promoteBuild(second.temporal, systemClock, 'two');
  await using again = await startBuild('three', 'pinned');
  await waits(again, taskId);
  expect(await decide(again, taskId, 'ben')).toMatchObject({ accepted: true, message: 'Accepted: approved.' });
  expect(await ended(again, taskId)).toMatchObject({ state: 'done', effect: { applied: true } });
});
