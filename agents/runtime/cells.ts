// Cells: agents in memory. One cell is one activated agent: its record, its bounded queue, one turn at a time.
// Owns: activation table, per-agent order, the bound on turns over all agents, passivation. Never reads or writes state itself.
// Others may assume: jobs of one cell run in the order they came, never two at once; a cell that leaves memory was idle.

import type { AnyAgent, Supervision } from '../../contracts/agent.ts';
import type { MailboxAddress } from '../../contracts/address.ts';
import { DEFAULT_MAILBOX, DEFAULT_PASSIVATION, DEFAULT_SUPERVISION } from './ports.ts';
import { slimRecord, type TurnRecord } from './record.ts';
import type { Intensity } from './supervision.ts';

/** Options of a kind with every default filled in, once per host. */
export interface Kind {
  readonly definition: AnyAgent;
  readonly supervision: Supervision;
  readonly idleMs: number;
  readonly messagesMax: number;
}

export interface Cell {
  readonly address: MailboxAddress;
  readonly kind: Kind;
  /** Absent until loaded, and again after anything that leaves the stored revision in doubt. */
  record: TurnRecord | undefined;
  revision: number;
  /** The outbox of the stored record was published by this host or an earlier one that said so. */
  outboxSent: boolean;
  /** `onStart` ran for this activation, in a turn that committed. */
  started: boolean;
  /** Fence the record was loaded under; another one means another tenure, so load again. */
  fence: number | undefined;
  usedAt: number;
  /** Restart history, made at the first fault; idle agents carry none. */
  intensity: Intensity | undefined;
  /** Faults per message, in memory only: across processes the delivery count takes over. */
  faults: Map<string, number> | undefined;
  /** Until then messages go back to the mailbox: restarted too often. */
  stoppedUntil: number;
  queue: Job[] | undefined;
  running: boolean;
}
export type Job = () => Promise<void>;

export interface Cells {
  get(address: MailboxAddress): Cell | undefined;
  ensure(address: MailboxAddress, kind: Kind): Cell;
  /** False when the agent's queue is full. Resolves `done` when the job has run. */
  enqueue(cell: Cell, job: Job): Promise<void> | undefined;
  /** Drops idle cells past their time, and what idle ones need not keep. Returns how many left. */
  sweep(now: number): number;
  /** Drops what a partition's agents remember; running turns finish by themselves and find their cell unloaded. */
  forget(partition: number | '*'): void;
  readonly size: number;
  readonly running: number;
  all(): Iterable<Cell>;
}

export function compileKind(definition: AnyAgent): Kind {
  const passivation = definition.state === undefined ? DEFAULT_PASSIVATION.stateless : DEFAULT_PASSIVATION.stateful;
  return Object.freeze({
    definition,
    supervision: { ...DEFAULT_SUPERVISION, ...definition.supervise },
    idleMs: definition.passivate?.idleMs ?? passivation.idleMs,
    messagesMax: definition.mailbox?.messagesMax ?? DEFAULT_MAILBOX.messagesMax,
  });
}

export function createCells(options: { readonly turnsMax: number; readonly agentsMax: number; readonly now: () => number }): Cells {
  const cells = new Map<string, Cell>();
  const ready: Cell[] = [];
  let running = 0;

  /** Takes cells that wait for a slot, in order. */
  function pump(): void {
    while (running < options.turnsMax) {
      const cell = ready.shift();
      if (cell === undefined) return;
      running++;
      void run(cell);
    }
  }
  async function run(cell: Cell): Promise<void> {
    const job = cell.queue?.shift();
    if (cell.queue?.length === 0) cell.queue = undefined;
    if (job !== undefined) await job();
    running--;
    cell.usedAt = options.now();
    if (cell.queue === undefined) cell.running = false;
    else ready.push(cell);
    pump();
  }

  return {
    get: (address) => cells.get(keyOf(address)),
    ensure(address, kind) {
      const key = keyOf(address);
      const known = cells.get(key);
      if (known !== undefined) return known;
      const cell = newCell(address, kind, options.now());
      cells.set(key, cell);
      if (cells.size > options.agentsMax) evictIdle(cells, cells.size - options.agentsMax, cell);
      return cell;
    },
    enqueue(cell, job) {
      if ((cell.queue?.length ?? 0) >= cell.kind.messagesMax) return undefined;
      return new Promise<void>((resolve) => {
        (cell.queue ??= []).push(() => job().finally(resolve));
        if (cell.running) return;
        cell.running = true;
        ready.push(cell);
        pump();
      });
    },
    sweep(now) {
      let left = 0;
      for (const [key, cell] of cells) {
        if (cell.running || now < cell.stoppedUntil) continue;
        if (now - cell.usedAt < cell.kind.idleMs) slim(cell, now);
        else {
          cells.delete(key);
          left++;
        }
      }
      return left;
    },
    forget(partition) {
      for (const [key, cell] of cells) {
        if (partition !== '*' && cell.address.partition !== partition) continue;
        cell.record = undefined;
        if (!cell.running) cells.delete(key);
      }
    },
    get size() {
      return cells.size;
    },
    get running() {
      return running;
    },
    all: () => cells.values(),
  };
}

const keyOf = (address: MailboxAddress): string => `${address.tenant}/${address.kind}/${address.id}`;

function newCell(address: MailboxAddress, kind: Kind, now: number): Cell {
  return { address, kind, record: undefined, revision: 0, outboxSent: true, started: false, fence: undefined, usedAt: now, intensity: undefined, faults: undefined, stoppedUntil: 0, queue: undefined, running: false };
}

const SLIM_AFTER_MS = 1_000;

function slim(cell: Cell, now: number): void {
  if (cell.record === undefined || now - cell.usedAt < SLIM_AFTER_MS) return;
  cell.record = slimRecord(cell.record);
}

/** Oldest activations first: a map keeps the order of insertion, and looking for the very oldest among 100,000 would cost more than it saves. */
function evictIdle(cells: Map<string, Cell>, count: number, keep: Cell): void {
  let left = count;
  for (const [key, cell] of cells) {
    if (left <= 0) return;
    if (cell.running || cell === keep) continue;
    cells.delete(key);
    left--;
  }
}
