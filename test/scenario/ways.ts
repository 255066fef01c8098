// The shipped desk orchestrated one way or another, for the test that compares the ways and the bench that measures them.
// Owns: the small index both answer from, the switch of the trait in the policies in force, and the books put back between runs.
// Never starts a system. Others may assume: after `orchestrate` every new task is governed by the trait it was given.

import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import type { Orchestration } from '../../contracts/capability.ts';
import type { Client } from '../../infra/client/client.ts';
import { indexSpace } from '../../infra/corpus/index-space.ts';
import { publishPolicies } from '../../infra/dev/publish.ts';
import type { Operator } from '../../infra/dev/run.ts';

/** Enough of the help centre to answer from, and little enough to index in seconds. */
const ARTICLES = ['integrations', 'duplicate-charges', 'api-limits', 'reports', 'free-trial', 'refund-policy', 'data-export', 'bank-feeds'];

const shipped = (name: string): string => fileURLToPath(new URL(`../../data/support/${name}`, import.meta.url));

export async function indexArticles({ ports, mandates, telemetry }: Operator): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'aios-articles-'));
  try {
    await mkdir(join(folder, 'articles'));
    for (const name of ARTICLES) await cp(shipped(`help-centre/${name}.md`), join(folder, 'articles', `${name}.md`));
    const questions = (await readFile(shipped('questions.jsonl'), 'utf8')).split('\n').filter((line) => ARTICLES.some((name) => line.startsWith(`{"id": "${name}--`)));
    await writeFile(join(folder, 'questions.jsonl'), questions.join('\n'));
    const hands = { bus: ports.bus, mandates, clock: telemetry.clock, random: telemetry.random };
    await indexSpace(hands, { tenant: 'demo', space: 'help-centre', path: join(folder, 'articles') });
    await indexSpace(hands, { tenant: 'demo', space: 'help-centre-questions', path: join(folder, 'questions.jsonl') });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Publishes the shipped policies with the trait set, and waits until a task is decided by them. */
export async function orchestrate(way: Orchestration, { ports }: Operator, client: Client, home: string): Promise<void> {
  const { signed } = await publishPolicies({ config: { home, orchestration: way }, ports, now: Date.now() });
  for (let tries = 0; tries < 100; tries++) {
    const { result } = await client.start('echo.say', { text: way }, { waitMs: 5_000 });
    if (result?.verdicts[0]?.bundle === signed.digest) return;
  }
  throw new Error(`the policies for ${way} did not come in force`);
}

export type Books = readonly { readonly table: string; readonly rows: readonly Record<string, string | number | null>[] }[];

export function readBooks(db: DatabaseSync): Books {
  const tables = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").all().map((row) => String(row['name']));
  return tables.map((table) => ({ table, rows: db.prepare(`SELECT * FROM ${table}`).all() as Record<string, string | number | null>[] }));
}

export function writeBooks(db: DatabaseSync, books: Books): void {
  db.exec('PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE');
  for (const { table, rows } of books) {
    db.exec(`DELETE FROM ${table}`);
    for (const row of rows) db.prepare(`INSERT INTO ${table} (${Object.keys(row).join(', ')}) VALUES (${Object.keys(row).map(() => '?').join(', ')})`).run(...Object.values(row));
  }
  db.exec('COMMIT; PRAGMA foreign_keys = ON');
}
