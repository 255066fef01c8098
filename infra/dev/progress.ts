// Live progress of a run, for a terminal or for a log.
// Owns: one line that is written over in a terminal, and an occasional line elsewhere. Never writes to standard output.
// Others may assume: `note` never garbles the live line.

import type { Row } from './batch.ts';

export interface Progress {
  /** A line that stays. */
  note(line: string): void;
  row(row: Row, done: number, total: number): void;
  /** A stage with a count, such as indexing. */
  stage(name: string, done: number, total: number): void;
  end(): void;
}

export interface ProgressOptions {
  readonly write: (text: string) => void;
  readonly terminal: boolean;
}

const BAR = 24;
const LINES_ELSEWHERE = 10;

export function createProgress({ write, terminal }: ProgressOptions): Progress {
  const counts = { answered: 0, waiting: 0, refused: 0, failed: 0 };
  let live = '';
  let quietUntil = 0;
  const show = (line: string, done: number, total: number): void => {
    if (terminal) {
      write(`\r\u001b[2K${line}`);
      live = line;
    } else if (done >= quietUntil || done === total) {
      quietUntil = done + Math.max(1, Math.ceil(total / LINES_ELSEWHERE));
      write(`${line}\n`);
    }
  };
  const end = (): void => {
    if (live !== '') write('\n');
    live = '';
    quietUntil = 0;
  };
  return {
    note(line) {
      if (live !== '') write('\r\u001b[2K');
      write(`${line}\n`);
      if (live !== '') write(live);
    },
    row(row, done, total) {
      counts[row.status]++;
      show(`${bar(done, total)} ${done}/${total}  answered ${counts.answered} · waiting ${counts.waiting} · refused ${counts.refused} · failed ${counts.failed}  (last ${row.latencyMs} ms)`, done, total);
    },
    stage: (name, done, total) => show(`${bar(done, total)} ${name} ${done}/${total}`, done, total),
    end,
  };
}

function bar(done: number, total: number): string {
  const filled = total === 0 ? BAR : Math.round((BAR * done) / total);
  return `[${'#'.repeat(filled)}${'.'.repeat(BAR - filled)}]`;
}
