// The whole shipped system for the scenarios: servers, processes, shipped policies and records, in a home of its own.
// Owns: that home, the words of tickets whose expected outcome the shipped data name, and what a test reads back: logs,
// the SQLite system of record, the audit. Never a port or a folder that another test uses.
// Others may assume: nothing is left behind, and a process that was stopped by a signal is woken before the end.

import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { hasCode } from '../../contracts/errors.ts';
import type { TaskView } from '../../contracts/ports.ts';
import type { TaskResult } from '../../contracts/task.ts';
import { type Client, connect } from '../../infra/client/client.ts';
import { type Config, readConfig } from '../../infra/config.ts';
import { type RunningSystem, runSystem } from '../../infra/dev/run.ts';
import { nodeFlags } from '../../infra/dev/system.ts';

/** One line of a process's log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg?: string; readonly pid?: number };
export type Part = 'brain' | 'agents' | 'gateway' | 'model-worker' | 'bridge';

export interface Ticket { readonly id: string; readonly customer: string; readonly text: string }

export interface Desk extends AsyncDisposable {
  readonly config: Config;
  readonly system: RunningSystem;
  /** Answers "nobody is there" by asking again: brains are killed here. */
  readonly client: Client;
  readonly db: DatabaseSync;
  start(ticket: Ticket, options?: { readonly key?: string; readonly traceparent?: string }): Promise<string>;
  /** Its end, however often the brain goes away meanwhile. */
  finished(taskId: string): Promise<TaskResult>;
  waiting(taskId: string): Promise<NonNullable<TaskView['waiting']>>;
  lines(part: Part): Promise<readonly LogLine[]>;
  /** The first line that fits, as soon as it is there. */
  line(part: Part, fits: (line: LogLine) => boolean): Promise<LogLine>;
  pid(part: Part): number;
  /** Stops a process without ending it, so that what waits for it stays where it is; the returned function wakes it. */
  freeze(pid: number): () => void;
  /** kill -9; returns the pid that was killed. */
  kill(part: Part): number;
  /** The part runs again under another pid than `before`. */
  back(part: Part, before: number): Promise<void>;
  cli(...parameters: readonly string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }>;
}

const PATIENCE_MS = 60_000;
const POLL_MS = 10;
const ARTIFACTS = fileURLToPath(new URL('../../test-artifacts/', import.meta.url));
const SHIPPED = fileURLToPath(new URL('../../data/support/', import.meta.url));

/** `name` is the folder of test-artifacts/ that keeps the logs of the processes; `env` is for them, `settings` for the whole system. */
export async function startDesk(name: string, env: Readonly<Record<string, string>> = {}, settings: Readonly<Record<string, string>> = {}): Promise<Desk> {
  await using opening = new AsyncDisposableStack();
  const home = await mkdtemp(join(tmpdir(), 'aios-scenario-'));
  opening.defer(() => rm(home, { recursive: true, force: true, maxRetries: 5 }));
  opening.defer(() => cp(join(home, 'logs'), join(ARTIFACTS, name), { recursive: true, force: true }));
  const config = readConfig('scenario', { ...process.env, AIOS_HOME: home, AIOS_LOG_LEVEL: 'debug', ...settings });
  const frozen = new Set<number>();
  const system = opening.use(await runSystem({ config, anyPorts: true, env }));
  opening.defer(() => frozen.forEach((pid) => signal(pid, 'SIGCONT')));
  const db = new DatabaseSync(join(home, 'records', 'company.db'), { timeout: 5_000 });
  opening.defer(() => db.close());
  const client = connect({ url: system.endpoints.api, key: system.keys['helpdesk'] ?? '', triesMax: 200, sleep: (ms) => sleep(Math.min(ms, 250)) });
  const open = opening.move();
  const lines = (part: Part): Promise<readonly LogLine[]> => readLog(join(home, 'logs', `${part}.log`));
  const view = (part: Part) => system.views().find(({ name }) => name === part);
  return {
    config, system, client, db, lines,
    async start({ customer, text }, options = {}) {
      const { taskId } = await client.start('support.answer', { customer, text }, { deadlineMs: PATIENCE_MS, ...options });
      return taskId;
    },
    finished: (taskId) => until(`the end of ${taskId}`, async () => (await client.view(taskId).catch(whileAway))?.result),
    waiting: (taskId) => until(`${taskId} to wait for a person`, async () => (await client.view(taskId).catch(whileAway))?.waiting),
    line: (part, fits) => until(`a line of ${part}`, async () => (await lines(part)).find(fits)),
    pid: (part) => view(part)?.pid ?? 0,
    freeze(pid) {
      frozen.add(pid);
      signal(pid, 'SIGSTOP');
      return () => {
        frozen.delete(pid);
        signal(pid, 'SIGCONT');
      };
    },
    kill(part) {
      const pid = view(part)?.pid ?? 0;
      system.kill(part, 'SIGKILL');
      return pid;
    },
    back: (part, before) => until(`${part} to be back`, async () => {
      const now = view(part);
      return (now?.state === 'ready' && now.pid !== undefined && now.pid !== before) || undefined;
    }).then(() => undefined),
    cli: (...parameters) => runCli(config, parameters),
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

/** A shipped ticket by its id. */
export async function shippedTicket(id: string): Promise<Ticket> {
  const tickets = (await readFile(join(SHIPPED, 'tickets.jsonl'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as Ticket);
  const found = tickets.find((ticket) => ticket.id === id);
  if (found === undefined) throw new Error(`the shipped data have no ticket ${id}`);
  return found;
}

/** Polls for something to be there. @throws when it is not within two minutes */
export async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (const giveUp = performance.now() + PATIENCE_MS; performance.now() < giveUp; await sleep(POLL_MS)) {
    const found = await look();
    if (found !== undefined) return found;
  }
  throw new Error(`waited ${PATIENCE_MS} ms for ${what}`);
}

/** What the database says about effects of one customer: rows of applied effects, changes, and payments given back. */
export function effectsOf(db: DatabaseSync, customer: string): { readonly applied: number; readonly changes: number; readonly refundedPayments: number } {
  const count = (sql: string, value: string): number => Number(db.prepare(sql).get(value)?.['n']);
  return {
    applied: count("SELECT count(*) AS n FROM effects WHERE tenant = 'demo' AND key LIKE ?", `%:${customer}:%`),
    changes: count('SELECT count(*) AS n FROM audit WHERE effect LIKE ?', `%:${customer}:%`),
    refundedPayments: count('SELECT count(*) AS n FROM payments WHERE refunded_cents = cents AND account = (SELECT account FROM contacts WHERE customer = ?)', customer),
  };
}

export const ONE_REFUND = { applied: 1, changes: 1, refundedPayments: 1 } as const;

async function readLog(file: string): Promise<readonly LogLine[]> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as LogLine];
    } catch {
      return [];
    }
  });
}

/** While a brain is gone nobody answers; everything else is a failure of the test. */
function whileAway(error: unknown): undefined {
  if (!hasCode(error, 'AIOS_DISCONNECTED') && !hasCode(error, 'AIOS_UNAVAILABLE')) throw error;
  return undefined;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function runCli(config: Config, parameters: readonly string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const program = fileURLToPath(new URL('../../infra/cli/main.ts', import.meta.url));
  return new Promise((resolve) => {
    execFile(process.execPath, [...nodeFlags(), program, '--home', config.home, ...parameters], { maxBuffer: 16 * 1024 * 1024 }, (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code), out, err }));
  });
}
