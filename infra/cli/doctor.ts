// The command `doctor`: looks at every part that must be there and says what to do about the first that is not.
// Owns: the checks. Each is read-only and bounded in time; a failing check never stops the others.
// Others may assume: exit code 0 means that nothing is wrong; `skip` is not wrong (nothing runs in this home).

import { execFile } from 'node:child_process';
import { access, constants, mkdir, readFile, statfs } from 'node:fs/promises';
import { connect as connectSocket } from 'node:net';
import { promisify } from 'node:util';
import type { Command } from 'commander';
import { isAiosError } from '../../contracts/errors.ts';
import { lookForServer, type ServerName, versionAtLeast } from '../dev/find-server.ts';
import { type Endpoints, PROCESSES, readEndpoints } from '../dev/endpoints.ts';
import { act, type CliContext, EXIT } from './shared.ts';

export function registerDoctor(program: Command): void {
  program.command('doctor').description('check everything that must be there, and say what to do').action(act(doctor));
}

type Finding = { readonly check: string; readonly state: 'ok' | 'warn' | 'wrong' | 'skip'; readonly found: string; readonly todo?: string };

async function doctor(context: CliContext): Promise<void> {
  const endpoints = await readEndpoints(context.config.home);
  const here = [node, home, disk, () => server('nats', context), () => server('temporal', context)];
  const running = endpoints === undefined ? [nothingRuns] : [() => nats(endpoints), () => temporal(endpoints), () => api(context), () => capabilities(context), () => processes(context)];
  const findings = await Promise.all([...here, ...running].map((check) => guarded(check, context)));
  if (findings.some((finding) => finding.state === 'wrong')) context.exit(EXIT.failed);
  context.print({ json: { ok: findings.every((finding) => finding.state !== 'wrong'), findings }, text: findings.map(words).join('\n') });
}

const DISK_BYTES_MIN = 2 * 1024 ** 3;
const CHECK_MS_MAX = 5_000;
const run = promisify(execFile);

async function node(): Promise<Finding> {
  const version = process.versions.node;
  return Number(version.split('.')[0]) >= 24 ? ok('node', version) : wrong('node', version, 'Run "npm install": the package brings Node 24 with it.');
}

async function home(context: CliContext): Promise<Finding> {
  await mkdir(context.config.home, { recursive: true });
  await access(context.config.home, constants.W_OK);
  return ok('home', context.config.home);
}

async function disk(context: CliContext): Promise<Finding> {
  const { bavail, bsize } = await statfs(context.config.home);
  const free = `${(bavail * bsize / 1024 ** 3).toFixed(1)} GiB free`;
  return bavail * bsize >= DISK_BYTES_MIN ? ok('disk', free) : wrong('disk', free, 'Free at least 2 GiB: without room the ledger cannot be written and no effect may happen.');
}

/** Looks without building: a build is the work of "up". */
async function server(name: ServerName, context: CliContext): Promise<Finding> {
  const go = await run('go', ['version'], { timeout: CHECK_MS_MAX }).then(({ stdout }) => stdout.trim(), () => undefined);
  const cached = await lookForServer(name, { config: context.config });
  if (cached !== undefined) return ok(`${name} server`, `${cached.version} (${cached.source}: ${cached.path})`);
  if (go !== undefined) return { check: `${name} server`, state: 'warn', found: 'not there yet', todo: 'The next "aios up" builds it once with Go.' };
  return wrong(`${name} server`, 'not there, and no Go to build it', `Install Go 1.26 or newer, or name a program with AIOS_${name.toUpperCase()}_SERVER.`);
}

const nothingRuns = async (): Promise<Finding> => ({ check: 'system', state: 'skip', found: 'nothing runs in this home', todo: 'Start it with "aios up" or "npm start".' });

async function nats(endpoints: Endpoints): Promise<Finding> {
  const { hostname, port } = new URL(endpoints.natsUrl);
  const hello = await firstLine(hostname, Number(port));
  const version = /"version":"([^"]+)"/.exec(hello)?.[1] ?? 'unknown';
  if (!versionAtLeast(version, '2.12.0')) return wrong('NATS', version, 'NATS 2.12 or newer is needed.');
  return hello.includes('"jetstream":true') ? ok('NATS', `${version} with JetStream at ${endpoints.natsUrl}`) : wrong('NATS', version, 'Start nats-server with JetStream (-js).');
}

async function temporal(endpoints: Endpoints): Promise<Finding> {
  const { Connection } = await import('@temporalio/client');
  const connection = await Connection.connect({ address: endpoints.temporalAddress, connectTimeout: CHECK_MS_MAX });
  try {
    const { serverVersion } = await connection.workflowService.getSystemInfo({});
    return ok('Temporal', `${serverVersion ?? ''} at ${endpoints.temporalAddress}, UI ${endpoints.temporalUi}`);
  } finally {
    await connection.close();
  }
}

async function api(context: CliContext): Promise<Finding> {
  const { api: url } = await context.endpoints();
  const answer = await fetch(new URL('/healthz', url), { signal: AbortSignal.timeout(CHECK_MS_MAX) });
  await answer.body?.cancel();
  return answer.ok ? ok('brain (API)', url) : wrong('brain (API)', `status ${answer.status}`, `See ${context.config.home}/logs/brain.log.`);
}

async function capabilities(context: CliContext): Promise<Finding> {
  const names = (await (await context.client()).capabilities()).map(({ id }) => id);
  return names.length > 0 ? ok('capabilities', names.join(', ')) : wrong('capabilities', 'none', 'List agents in agents/index.ts.');
}

async function processes(context: CliContext): Promise<Finding> {
  const view = JSON.parse(await readFile(`${context.config.home}/run/processes.json`, 'utf8')) as Record<string, string>;
  const down = PROCESSES.filter((name) => view[name] !== 'ready');
  return down.length === 0 ? ok('processes', PROCESSES.join(', ')) : wrong('processes', down.map((name) => `${name} is ${view[name] ?? 'absent'}`).join(', '), `See ${context.config.home}/logs/${down[0] ?? ''}.log; the supervisor starts it again by itself.`);
}

async function guarded(check: (context: CliContext) => Promise<Finding>, context: CliContext): Promise<Finding> {
  const name = check.name === '' ? 'check' : check.name;
  const late = new Promise<Finding>((resolve) => { setTimeout(() => resolve(wrong(name, `no answer within ${CHECK_MS_MAX * 2} ms`, 'See the logs of this home.')), CHECK_MS_MAX * 2).unref(); });
  return Promise.race([late, check(context).catch((error: unknown) => wrong(name, isAiosError(error) ? error.message : String((error as Error).message), 'See the logs of this home.'))]);
}

function firstLine(host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket({ host, port, timeout: CHECK_MS_MAX });
    socket.once('data', (data) => { socket.destroy(); resolve(data.toString()); });
    socket.once('error', reject).once('timeout', () => { socket.destroy(); reject(new Error('no answer')); });
  });
}

const ok = (check: string, found: string): Finding => ({ check, state: 'ok', found });
const wrong = (check: string, found: string, todo: string): Finding => ({ check, state: 'wrong', found, todo });
const MARKS = { ok: 'ok   ', warn: 'note ', wrong: 'WRONG', skip: '-    ' } as const;
const words = (finding: Finding): string => `${MARKS[finding.state]} ${finding.check.padEnd(16)} ${finding.found}${finding.todo === undefined ? '' : `\n      ${finding.todo}`}`;
