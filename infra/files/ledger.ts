// The ledger on disk: one append-only file of JSON lines per writer, group-committed with fsync, and a file of signed heads.
// Owns: the files `<dir>/<log>.log` and `<dir>/<log>.heads`, their lock, and recovery of a torn last line.
// Never rewrites a byte that was acknowledged. Others may assume: when `append` resolves the records are on the disk,
// appends that waited together shared one fsync, and one process writes one log (a second one is refused).

import { open, mkdir, readFile, readdir, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { chain, genesisOf, headBytes, type ReadLine } from '../../policies/ledger.ts';
import { fail } from '../../contracts/errors.ts';
import type { Clock, Ledger, Logger, Metrics, Signer } from '../../contracts/ports.ts';
import type { LedgerEntry, LedgerRecord, SignedHead } from '../../contracts/record.ts';
import type { LedgerAnchor } from '../../contracts/task.ts';
import { takePidLock } from './pid-lock.ts';

export interface LedgerOptions {
  readonly dir: string;
  /** Name of the writer; one log each, so that several brains never contend. */
  readonly log: string;
  readonly signer: Signer;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** Records that may wait for a commit; past it `append` refuses with AIOS_OVERLOADED. */
const PENDING_RECORDS_MAX = 8_192;
/** Settled tasks kept in memory; an older one is looked up on the disk, which only a very late re-drive needs. */
const DECISIONS_KEPT_MAX = 200_000;
const LOG_NAME = /^[A-Za-z0-9_-]{1,64}$/;

interface Waiting {
  readonly records: readonly LedgerRecord[];
  readonly resolve: (anchors: readonly LedgerAnchor[]) => void;
  readonly reject: (error: unknown) => void;
}

/** @throws AIOS_CONFIG_INVALID when another live process holds the log, AIOS_LEDGER_BROKEN when what is there does not chain */
export async function openLedger(options: LedgerOptions): Promise<Ledger> {
  const { dir, log, clock, signer, logger, metrics } = options;
  if (!LOG_NAME.test(log)) throw fail('AIOS_CONFIG_INVALID', `"${log}" is no name for a ledger`);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const release = await lock(join(dir, `${log}.lock`));
  const file = await open(join(dir, `${log}.log`), 'a+', 0o600);
  const heads = await open(join(dir, `${log}.heads`), 'a+', 0o600);
  const state = await recover(file, log).catch(async (error: unknown) => {
    await Promise.all([file.close(), heads.close(), release()]);
    throw error;
  });
  await truncateTorn(heads);
  const decisions = indexDecisions(state.entries);
  const ofOthers = createOthers(dir, log);
  let { next, prev } = state;
  let head: SignedHead | undefined;
  let queue: Waiting[] = [];
  let pending = 0;
  let committing: Promise<void> | undefined;
  let closed = false;
  let broken: unknown;

  async function commit(): Promise<void> {
    while (queue.length > 0) {
      const batch = queue;
      queue = [];
      try {
        await write(batch);
      } catch (cause) {
        broken = cause;
        const error = fail('AIOS_LEDGER_UNAVAILABLE', undefined, { cause });
        for (const waiting of [...batch, ...queue]) waiting.reject(error);
        queue = [];
        pending = 0;
      }
    }
    committing = undefined;
  }

  async function write(batch: readonly Waiting[]): Promise<void> {
    if (broken !== undefined) await heal();
    const started = clock.monotonic();
    const answers: LedgerAnchor[][] = [];
    const lines: string[] = [];
    const added: LedgerEntry[] = [];
    let index = next;
    let last = prev;
    for (const waiting of batch) {
      const anchors: LedgerAnchor[] = [];
      for (const record of waiting.records) {
        const entry = chain(log, index, clock.now(), last, record);
        lines.push(`${JSON.stringify(entry)}\n`);
        added.push(entry);
        anchors.push({ log, index, head: entry.hash });
        last = entry.hash;
        index++;
      }
      answers.push(anchors);
    }
    await file.appendFile(lines.join(''));
    await file.datasync();
    next = index;
    prev = last;
    for (const entry of added) note(decisions, entry);
    pending -= added.length;
    head = await signHead(index - 1, last);
    batch.forEach((waiting, i) => waiting.resolve(answers[i] ?? []));
    metrics.observe('aios_ledger_commit_ms', clock.monotonic() - started);
    metrics.count('aios_ledger_records_total', {}, added.length);
  }

  /** Heads are statements about what is already durable, so they need no fsync of their own. */
  async function signHead(index: number, hash: string): Promise<SignedHead> {
    const unsigned = { log, index, head: hash, at: clock.now(), kid: signer.kid };
    const signed: SignedHead = { ...unsigned, signature: signer.sign(headBytes(unsigned)) };
    await heads.appendFile(`${JSON.stringify(signed)}\n`);
    return signed;
  }

  /** After a failed write the file may end in part of a line: cut back to what was acknowledged before going on. */
  async function heal(): Promise<void> {
    const again = await recover(file, log, next);
    next = again.next;
    prev = again.prev;
    broken = undefined;
    logger.info({ log, next }, 'ledger writable again');
  }

  return {
    append(records) {
      if (closed) return Promise.reject(fail('AIOS_LEDGER_UNAVAILABLE', 'the ledger is closed'));
      if (records.length === 0) return Promise.resolve([]);
      if (pending + records.length > PENDING_RECORDS_MAX) return Promise.reject(fail('AIOS_OVERLOADED', 'the ledger has too many records waiting', { retryAfterMs: 50 }));
      pending += records.length;
      return new Promise((resolve, reject) => {
        queue.push({ records, resolve, reject });
        committing ??= commit();
      });
    },
    head: () => head,
    find: (task) => findTask(dir, task),
    async decision(task, { elsewhere = false } = {}) {
      return decisions.get(task) ?? (elsewhere ? await ofOthers(task) : undefined) ?? (next < DECISIONS_KEPT_MAX ? undefined : await scanDecision(dir, task));
    },
    async [Symbol.asyncDispose]() {
      if (closed) return;
      closed = true;
      await committing;
      await Promise.all([file.close(), heads.close()]);
      await release();
    },
  };
}

export interface LogFiles {
  readonly log: string;
  readonly lines: readonly ReadLine[];
  readonly heads: readonly SignedHead[];
}

/** Every log of a directory, as read, for the verifier and the lineage. A missing directory is an empty list. */
export async function readLogs(dir: string): Promise<readonly LogFiles[]> {
  const names = (await readdir(dir).catch(() => [] as string[])).filter((name) => name.endsWith('.log')).sort();
  return Promise.all(names.map(async (name) => {
    const log = name.slice(0, -'.log'.length);
    const text = await readFile(join(dir, name), 'utf8');
    const heads = await readFile(join(dir, `${log}.heads`), 'utf8').catch(() => '');
    return { log, lines: readLines(text), heads: completeLines(heads).flatMap(parseHead) };
  }));
}

async function findTask(dir: string, task: string): Promise<readonly LedgerEntry[]> {
  const found: LedgerEntry[] = [];
  for (const { lines } of await readLogs(dir)) {
    for (const line of lines) if ('entry' in line && line.entry.record.task === task) found.push(line.entry);
  }
  return found;
}

async function scanDecision(dir: string, task: string): Promise<LedgerAnchor | undefined> {
  const entry = (await findTask(dir, task)).find((found) => found.record.kind === 'decision');
  return entry === undefined ? undefined : { log: entry.log, index: entry.index, head: entry.hash };
}

/** Decisions of the other writers of a directory: each look goes on where the last one ended, and looks at once share one. */
function createOthers(dir: string, own: string): (task: string) => Promise<LedgerAnchor | undefined> {
  const decisions = new Map<string, LedgerAnchor>();
  const seen = new Map<string, number>();
  let looking: Promise<void> | undefined;

  async function readOn(name: string): Promise<void> {
    const from = seen.get(name) ?? 0;
    await using file = await open(join(dir, name), 'r');
    const { size } = await file.stat();
    if (size <= from) return;
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
    const whole = buffer.subarray(0, buffer.subarray(0, bytesRead).lastIndexOf(10) + 1);
    for (const line of readLines(whole.toString('utf8'))) if ('entry' in line) note(decisions, line.entry);
    seen.set(name, from + whole.length);
  }
  async function look(): Promise<void> {
    const names = (await readdir(dir)).filter((name) => name.endsWith('.log') && name !== `${own}.log`);
    for (const name of names) await readOn(name);
  }

  return async (task) => {
    looking ??= look().finally(() => { looking = undefined; });
    await looking;
    return decisions.get(task);
  };
}

function indexDecisions(entries: readonly LedgerEntry[]): Map<string, LedgerAnchor> {
  const decisions = new Map<string, LedgerAnchor>();
  for (const entry of entries) note(decisions, entry);
  return decisions;
}

function note(decisions: Map<string, LedgerAnchor>, entry: LedgerEntry): void {
  if (entry.record.kind !== 'decision' || decisions.has(entry.record.task)) return;
  if (decisions.size >= DECISIONS_KEPT_MAX) decisions.delete(decisions.keys().next().value ?? '');
  decisions.set(entry.record.task, { log: entry.log, index: entry.index, head: entry.hash });
}

/** Reads what is there, drops a torn last line (never acknowledged), and refuses anything else that does not chain. */
async function recover(file: FileHandle, log: string, keep?: number): Promise<{ entries: LedgerEntry[]; next: number; prev: string }> {
  const text = await readAll(file);
  const complete = completeLines(text);
  const entries: LedgerEntry[] = [];
  let prev = genesisOf(log);
  let bytes = 0;
  for (const line of complete) {
    if (keep !== undefined && entries.length === keep) break;
    const parsed = parseLine(line);
    if ('broken' in parsed || parsed.entry.prev !== prev || parsed.entry.index !== entries.length) throw fail('AIOS_LEDGER_BROKEN', `log ${log}, record ${entries.length}`);
    entries.push(parsed.entry);
    prev = parsed.entry.hash;
    bytes += Buffer.byteLength(line) + 1;
  }
  if (bytes !== Buffer.byteLength(text)) await file.truncate(bytes);
  return { entries, next: entries.length, prev };
}

async function truncateTorn(file: FileHandle): Promise<void> {
  const text = await readAll(file);
  const end = text.lastIndexOf('\n') + 1;
  if (end !== text.length) await file.truncate(Buffer.byteLength(text.slice(0, end)));
}

async function readAll(file: FileHandle): Promise<string> {
  const { size } = await file.stat();
  const buffer = Buffer.alloc(size);
  await file.read(buffer, 0, size, 0);
  return buffer.toString('utf8');
}

const completeLines = (text: string): string[] => text.slice(0, text.lastIndexOf('\n') + 1).split('\n').slice(0, -1);

/** The verifier sees a torn tail too: a live writer may be in the middle of it, so only whole lines are judged. */
const readLines = (text: string): ReadLine[] => completeLines(text).map(parseLine);

function parseLine(line: string): ReadLine {
  try {
    const entry = JSON.parse(line) as LedgerEntry;
    const whole = typeof entry.index === 'number' && typeof entry.hash === 'string' && typeof entry.prev === 'string' && typeof entry.record === 'object' && entry.record !== null;
    return whole ? { entry } : { broken: 'a line that is no record' };
  } catch {
    return { broken: 'a line that is not JSON' };
  }
}

function parseHead(line: string): SignedHead[] {
  try {
    return [JSON.parse(line) as SignedHead];
  } catch {
    return [];
  }
}

async function lock(path: string): Promise<() => Promise<void>> {
  const taken = await takePidLock(path);
  if ('release' in taken) return taken.release;
  if (taken.holder === 0) throw fail('AIOS_LEDGER_UNAVAILABLE', 'the lock could not be taken');
  throw fail('AIOS_CONFIG_INVALID', `the ledger is held by process ${taken.holder}; stop it or use another name`);
}
