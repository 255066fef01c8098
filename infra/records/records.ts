// The company's system of record in one SQLite file: what agents may look up, and the effects the brain applies.
// Owns: the file, its transactions and the table of applied effects. Never shows card data; never changes anything in `find`.
// Others may assume: a change and its key are one transaction with fsync (WAL, synchronous=FULL), so that an effect
// happens at most once whatever crashes and however many processes share the file; rows belong to one tenant.

import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { canonicalJson } from '../../contracts/canonical.ts';
import { fail, isAiosError } from '../../contracts/errors.ts';
import type { ProposedEffect } from '../../contracts/message.ts';
import type { Effects, RecordQuery, RecordRow, Records } from '../../contracts/ports.ts';
import type { AppliedEffect } from '../../contracts/task.ts';
import { PAYMENTS_MAX, type RecordPayment } from '../../agents/catalog/support/effects.ts';
import { CHANGES } from './changes.ts';
import { SCHEMA, SCHEMA_VERSION } from './schema.ts';
import { DAY_MS, reanchor, seed } from './seed.ts';

export interface RecordsOptions {
  /** The database file; made and seeded when it is not there. */
  readonly path: string;
  /** Folder of the shipped seeds: accounts.json and payments.json. */
  readonly seedDir: string;
  /** The tenant whose records these are; others see nothing and change nothing. */
  readonly tenant: string;
  readonly now: () => number;
}
export interface CompanyRecords extends AsyncDisposable {
  readonly effects: Effects;
  readonly records: Records;
  /** One customer's row, as `records.find` of kind `customer` gives it. */
  find(customer: string): RecordRow | undefined;
  close(): void;
}

/** How long a statement waits for another process's transaction; past it AIOS_UNAVAILABLE, and the caller tries again. */
const BUSY_MS_MAX = 5_000;
const ROWS_MAX = 100;

/** @throws AIOS_CONFIG_INVALID when the file cannot be opened or was written by a newer version */
export function openRecords(options: RecordsOptions): CompanyRecords {
  const db = open(options);
  const { tenant: owner, now } = options;
  const find = (customer: string): RecordRow | undefined => customerRow(db, customer, now());
  const close = (): void => { if (db.isOpen) db.close(); };
  return {
    effects: { kinds: Object.keys(CHANGES), apply: async (tenant, effect) => apply(db, tenant, effect, owner, now()) },
    records: { kinds: Object.keys(KINDS), find: async (tenant, query) => (tenant === owner ? lookUp(db, query, now()) : [])},
    find,
    close,
    [Symbol.asyncDispose]: async () => close(),
  };
}

function open({ path, seedDir, now }: RecordsOptions): DatabaseSync {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const db = new DatabaseSync(path, { timeout: BUSY_MS_MAX });
  try {
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;');
    transaction(db, () => prepare(db, seedDir, now()));
    return db;
  } catch (error) {
    db.close();
    throw isAiosError(error) ? error : fail('AIOS_CONFIG_INVALID', `The system of record at ${path} cannot be opened.`, { cause: error });
  }
}

/** Runs inside one transaction, so that two processes that start together seed once. */
function prepare(db: DatabaseSync, seedDir: string, now: number): void {
  const version = Number(db.prepare('PRAGMA user_version').get()?.['user_version']);
  if (version > SCHEMA_VERSION) throw fail('AIOS_CONFIG_INVALID', 'The system of record was written by a newer version.');
  if (version === SCHEMA_VERSION) return reanchor(db, now);
  db.exec(SCHEMA);
  seed(db, seedDir, now);
  db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
}

// ---- effects

function apply(db: DatabaseSync, tenant: string, effect: ProposedEffect, owner: string, now: number): AppliedEffect {
  const change = CHANGES[effect.kind];
  if (change === undefined) throw fail('AIOS_EFFECT_UNKNOWN', `Nobody applies ${effect.kind}.`);
  if (tenant !== owner) throw fail('AIOS_EFFECT_REFUSED', 'The records belong to another tenant.');
  const request = sameness(effect);
  return transaction(db, () => {
    const earlier = db.prepare('SELECT kind, request, detail FROM effects WHERE tenant = ? AND key = ?').get(tenant, effect.key);
    if (earlier !== undefined) return again(effect, earlier, request);
    const detail = change({ db, tenant, effect, now });
    db.prepare('INSERT INTO effects (tenant, key, kind, request, detail, at) VALUES (?, ?, ?, ?, ?, ?)').run(tenant, effect.key, effect.kind, request, detail, now);
    return { kind: effect.kind, key: effect.key, applied: true, detail };
  });
}

/** The key was used: the first answer again, or a refusal when the key now stands for something else. */
function again(effect: ProposedEffect, earlier: Row, request: string): AppliedEffect {
  if (earlier['kind'] !== effect.kind || earlier['request'] !== request) throw fail('AIOS_EFFECT_REFUSED', 'The key was used for another effect.');
  return { kind: effect.kind, key: effect.key, applied: true, detail: String(earlier['detail']) };
}

/** What makes two requests the same; ages grow between them and do not count. */
const sameness = ({ kind, amountMicroUsd, params: { ageDays: _grows, ...params } }: ProposedEffect): string => canonicalJson({ kind, amountMicroUsd, params });

// ---- look-ups

type Row = Record<string, SQLOutputValue>;

/** Kinds offered, and the one field each is asked by. */
const KINDS: Readonly<Record<string, { readonly by: string; readonly rows: (db: DatabaseSync, value: string, now: number) => readonly RecordRow[] }>> = {
  customer: { by: 'customer', rows: (db, value, now) => [customerRow(db, value, now)].filter((row) => row !== undefined) },
  payments: { by: 'customer', rows: (db, value, now) => paymentsOf(db, String(contactOf(db, value)?.['account'] ?? ''), now).map((payment) => ({ ...payment })) },
};

function lookUp(db: DatabaseSync, { kind, where, limit }: RecordQuery, now: number): readonly RecordRow[] {
  const offered = KINDS[kind];
  if (offered === undefined) throw fail('AIOS_INPUT_INVALID', `kind: one of ${Object.keys(KINDS).join(', ')}`);
  const value = where[offered.by];
  if (typeof value !== 'string' || Object.keys(where).length !== 1) throw fail('AIOS_INPUT_INVALID', `where: exactly the field ${offered.by}`);
  return offered.rows(db, value, now).slice(0, Math.min(limit, ROWS_MAX));
}

const contactOf = (db: DatabaseSync, customer: string): Row | undefined => db.prepare(`
  SELECT c.customer, c.account, c.role, a.name, s.id AS subscription, s.plan, s.period, s.status
  FROM contacts c JOIN accounts a ON a.id = c.account JOIN subscriptions s ON s.account = c.account WHERE c.customer = ?`).get(customer);

function customerRow(db: DatabaseSync, customer: string, now: number): RecordRow | undefined {
  const row = contactOf(db, customer);
  if (row === undefined) return undefined;
  const word = (name: string): string => String(row[name]);
  return {
    customer, account: word('account'), name: word('name'), owner: row['role'] === 'owner', role: word('role'),
    subscription: word('subscription'), plan: word('plan'), period: word('period'), status: word('status'),
    payments: JSON.stringify(paymentsOf(db, word('account'), now)),
  };
}

/** Newest first. A payment is a duplicate when one of the same amount for the same period came before it. */
function paymentsOf(db: DatabaseSync, account: string, now: number): RecordPayment[] {
  const rows = db.prepare(`
    SELECT p.id, p.cents, p.paid, EXISTS (
      SELECT 1 FROM payments q JOIN invoices j ON j.id = q.invoice
      WHERE q.account = p.account AND j.period = i.period AND q.cents = p.cents AND q.id < p.id) AS duplicate
    FROM payments p JOIN invoices i ON i.id = p.invoice WHERE p.account = ? ORDER BY p.paid DESC, p.id DESC LIMIT ?`).all(account, PAYMENTS_MAX);
  return rows.map((row) => ({ id: String(row['id']), cents: Number(row['cents']), ageDays: Math.max(0, Math.floor((now - Number(row['paid'])) / DAY_MS)), duplicate: row['duplicate'] === 1 }));
}

// ---- transactions and foreign errors

function transaction<T>(db: DatabaseSync, work: () => T): T {
  try {
    db.exec('BEGIN IMMEDIATE');
    const result = work();
    db.exec('COMMIT');
    return result;
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw fromSqlite(error);
  }
}

/** SQLITE_BUSY and SQLITE_LOCKED, with their extended codes in the upper bits. */
const BUSY_CODES: ReadonlySet<number> = new Set([5, 6]);

/** The only place where an error of SQLite becomes one of the table. */
function fromSqlite(error: unknown): unknown {
  const code = (error as { errcode?: unknown } | undefined)?.errcode;
  if (typeof code !== 'number') return error;
  return BUSY_CODES.has(code & 0xff) ? fail('AIOS_UNAVAILABLE', 'The system of record is busy.', { cause: error }) : fail('AIOS_INTERNAL', 'The system of record failed.', { cause: error });
}
