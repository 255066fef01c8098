// Seeds the system of record from shipped JSON, so that a fresh checkout has customers to serve.
// Owns: the schema of the seed files and the dates made from them: seeds say how many days ago, never when.
// Others may assume: the same files and the same day give the same rows; `reanchor` keeps ages right on later days.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { parseBytes } from '../../contracts/parse.ts';

const id = z.string().regex(/^[A-Za-z0-9-]{1,64}$/);
const days = z.number().int().min(0).max(10_000);

const accountsSchema = z.array(z.strictObject({
  account: id, name: z.string().max(128), plan: z.enum(['solo', 'team', 'business', 'enterprise']), period: z.enum(['month', 'year']),
  status: z.enum(['active', 'ending', 'cancelled']), startedDaysAgo: days, address: z.string().max(256),
  contacts: z.array(z.strictObject({ customer: id, role: z.enum(['owner', 'admin', 'bookkeeper', 'sales']) })).min(1).max(20),
}));
const paymentsSchema = z.array(z.strictObject({
  id, account: id, invoice: id, cents: z.number().int().positive(), daysAgo: days, period: z.string().max(16), method: z.enum(['card', 'paypal', 'ach', 'sepa']),
}));

export const DAY_MS = 86_400_000;
const SEED_BYTES_MAX = 8 * 1024 * 1024;

/** Fills empty tables. Payments are an hour older than whole days, so that an age holds for 23 hours. */
export function seed(db: DatabaseSync, dir: string, now: number): void {
  const accounts = parseBytes(accountsSchema, readFileSync(join(dir, 'accounts.json')), SEED_BYTES_MAX);
  const payments = parseBytes(paymentsSchema, readFileSync(join(dir, 'payments.json')), SEED_BYTES_MAX);
  const at = (daysAgo: number): number => now - daysAgo * DAY_MS - DAY_MS / 24;
  const insert = insertsOf(db);
  for (const one of accounts) {
    insert.account.run(one.account, one.name, at(one.startedDaysAgo));
    insert.subscription.run(`s-${one.account.slice(2)}`, one.account, one.plan, one.period, one.status);
    insert.address.run(one.account, one.address, at(one.startedDaysAgo));
    for (const contact of one.contacts) insert.contact.run(contact.customer, one.account, contact.role);
  }
  for (const one of payments) {
    insert.invoice.run(one.invoice, one.account, one.cents, at(one.daysAgo), one.period);
    insert.payment.run(one.id, one.account, one.invoice, one.cents, at(one.daysAgo), one.method);
  }
  insert.meta.run('anchor', String(now));
}

function insertsOf(db: DatabaseSync) {
  return {
    account: db.prepare('INSERT INTO accounts (id, name, since) VALUES (?, ?, ?)'),
    subscription: db.prepare('INSERT INTO subscriptions (id, account, plan, period, status) VALUES (?, ?, ?, ?, ?)'),
    address: db.prepare('INSERT INTO addresses (account, version, address, since) VALUES (?, 1, ?, ?)'),
    contact: db.prepare('INSERT INTO contacts (customer, account, role) VALUES (?, ?, ?)'),
    invoice: db.prepare('INSERT INTO invoices (id, account, cents, issued, period) VALUES (?, ?, ?, ?, ?)'),
    payment: db.prepare('INSERT INTO payments (id, account, invoice, cents, paid, method) VALUES (?, ?, ?, ?, ?, ?)'),
    meta: db.prepare('INSERT INTO meta (name, value) VALUES (?, ?)'),
  };
}

/**
 * Shipped records live in an eternal today: opened on a later day, dates move on by whole days, so that a payment
 * of "three days ago" still is one and the shipped tickets keep their expected outcomes.
 */
export function reanchor(db: DatabaseSync, now: number): void {
  const row = db.prepare("SELECT value FROM meta WHERE name = 'anchor'").get();
  const anchor = Number(row?.['value'] ?? now);
  const shift = Math.floor((now - anchor) / DAY_MS) * DAY_MS;
  if (shift <= 0) return;
  for (const [table, column] of [['payments', 'paid'], ['invoices', 'issued'], ['accounts', 'since'], ['addresses', 'since']] as const) {
    db.prepare(`UPDATE ${table} SET ${column} = ${column} + ?`).run(shift);
  }
  db.prepare("UPDATE meta SET value = ? WHERE name = 'anchor'").run(String(anchor + shift));
}
