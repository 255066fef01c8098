// One child process of ours: started in its own group, logged to a file, stopped politely, never outliving us.
// Owns: spawning, the guard that stops children when this process is killed, stop with SIGTERM then SIGKILL.
// Never restarts anything (that is the supervisor). Others may assume: after `stop` resolves the process is gone,
// and that a `kill -9` of this process takes its children with it within three seconds.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

export interface ChildOptions {
  readonly command: string;
  readonly parameters: readonly string[];
  readonly logFile: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Called with each line of standard output as well as it being logged. */
  readonly onLine?: (line: string) => void;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Child {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  readonly running: boolean;
  kill(signal: NodeJS.Signals): void;
  stop(graceMs?: number): Promise<Exit>;
}

/** Starts a program; resolves once the operating system has it, rejects when it cannot be started at all. */
export async function startChild(options: ChildOptions): Promise<Child> {
  mkdirSync(dirname(options.logFile), { recursive: true });
  const log = openSync(options.logFile, 'a');
  const stdout = options.onLine === undefined ? log : 'pipe';
  const child = spawn(options.command, options.parameters, { cwd: options.cwd, env: { ...process.env, ...options.env }, stdio: ['ignore', stdout, log], detached: true });
  try {
    await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
  } finally {
    if (options.onLine === undefined) closeSync(log);
  }
  if (options.onLine !== undefined) tee(child, log, options.onLine);
  return handleOf(child);
}

function handleOf(child: ChildProcess): Child {
  const pid = child.pid ?? 0;
  let running = true;
  guard().add(pid);
  const exited = new Promise<Exit>((resolve) => {
    child.once('exit', (code, signal) => {
      running = false;
      guard().remove(pid);
      resolve({ code, signal });
    });
  });
  const kill = (signal: NodeJS.Signals): void => void (running && child.kill(signal));
  return {
    pid,
    exited,
    get running() { return running; },
    kill,
    async stop(graceMs = 5_000) {
      kill('SIGTERM');
      const hard = setTimeout(() => kill('SIGKILL'), graceMs);
      try {
        return await exited;
      } finally {
        clearTimeout(hard);
      }
    },
  };
}

function tee(child: ChildProcess, log: number, onLine: (line: string) => void): void {
  let rest = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    writeSync(log, text);
    const lines = (rest + text).split('\n');
    rest = (lines.pop() ?? '').slice(-LINE_BYTES_MAX);
    for (const line of lines) onLine(line);
  });
  child.stdout?.once('close', () => closeSync(log));
}

const LINE_BYTES_MAX = 64 * 1024;

interface Guard { add(pid: number): void; remove(pid: number): void }
let shared: Guard | undefined;

/**
 * Node cannot ask the kernel to end a child with its parent, so a small shell does: it reads the pids to watch from a pipe
 * that closes when this process dies, however it dies, and then stops who is still listed.
 */
function guard(): Guard {
  if (shared !== undefined) return shared;
  const shell = spawn('/bin/sh', ['-c', GUARD_SCRIPT, 'aios-guard'], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  shell.on('error', () => undefined);
  shell.unref();
  const pipe = shell.stdin as NodeJS.WritableStream & { unref?: () => void };
  pipe.on('error', () => undefined);
  pipe.unref?.();
  shared = { add: (pid) => void pipe.write(`+ ${pid}\n`), remove: (pid) => void pipe.write(`- ${pid}\n`) };
  return shared;
}

const GUARD_SCRIPT = [
  'all=" "',
  'while read -r op pid; do',
  '  if [ "$op" = "+" ]; then all="$all$pid "; else all=$(printf "%s" "$all" | sed "s/ $pid / /"); fi',
  'done',
  '[ "$all" = " " ] && exit 0',
  'kill -TERM $all 2>/dev/null; sleep 2; kill -KILL $all 2>/dev/null; exit 0',
].join('\n');
