// The system of record: at most once under an effect's key, with two processes on one file; refusals; seeds.
// Owns: checks on the file itself, read with a connection of their own, never through the code under test.
// Others may assume: temporary folders only; no server, no network.

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, describe, expect, test } from 'vitest';
import { proposeEffect } from '../../agents/catalog/support/effects.ts';
import type { ProposedEffect } from '../../contracts/message.ts';
import type { RecordRow } from '../../contracts/ports.ts';
import { openRecords, type CompanyRecords } from '../../infra/records/records.ts';

const seedDir = fileURLToPath(new URL('../../data/support/records', import.meta.url));
const child = fileURLToPath(new URL('fixtures/apply-effects.ts', import.meta.url));
const run = promisify(execFile);
const NOW = Date.UTC(2026, 10, 22, 12);
const DAY = 86_400_000;

const dirs: string[] = [];
const file = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'aios-records-'));
  dirs.push(dir);
  return join(dir, 'records.db');
};
afterEach(() => dirs.splice(0).forEach((dir) => rmSync(dir, { recursive: true, force: true })));

const open = (path: string, now = NOW): CompanyRecords => openRecords({ path, seedDir, tenant: 'demo', now: () => now });
const read = <T>(path: string, work: (db: DatabaseSync) => T): T => {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    return work(db);
  } finally {
    db.close();
  }
};
const count = (path: string, sql: string): number => read(path, (db) => Number(db.prepare(sql).get()?.['n']));

/** A customer of the seeds whose row passes. */
function customerWhere(company: CompanyRecords, passes: (row: RecordRow) => boolean): RecordRow {
  const accounts = JSON.parse(readFileSync(join(seedDir, 'accounts.json'), 'utf8')) as { contacts: { customer: string }[] }[];
  for (const { contacts } of accounts) {
    for (const { customer } of contacts) {
      const row = company.find(customer);
      if (row !== undefined && passes(row)) return row;
    }
  }
  throw new Error('no such customer in the seeds');
}
const paymentsOf = (row: RecordRow): { id: string; cents: number; ageDays: number; duplicate: boolean }[] => JSON.parse(String(row['payments'])) as never;
const refundable = (row: RecordRow): boolean => row['owner'] === true && (paymentsOf(row)[0]?.cents ?? 0) === 2900 && (paymentsOf(row)[0]?.ageDays ?? 99) <= 14;
function refundOf(row: RecordRow, index = 0): ProposedEffect {
  const payment = paymentsOf(row)[index];
  if (payment === undefined) throw new Error('no payment');
  return { kind: 'refund', key: `refund:${String(row['customer'])}:${payment.id}`, amountMicroUsd: payment.cents * 10_000, params: { customer: String(row['customer']), owner: true, paymentId: payment.id, ageDays: payment.ageDays, duplicate: payment.duplicate } };
}

describe('records - at most once', () => {
  test('the same key twice changes the payment once and answers the same', async () => {
    const path = file();
    await using company = open(path);
    const effect = refundOf(customerWhere(company, refundable));
    const first = await company.effects.apply('demo', effect);
    const second = await company.effects.apply('demo', { ...effect, params: { ...effect.params, ageDays: 99 } });
    expect(first.applied).toBe(true);
    expect(second).toEqual(first);
    expect(count(path, "SELECT count(*) AS n FROM audit WHERE field = 'refunded_cents'")).toBe(1);
    expect(count(path, 'SELECT sum(refunded_cents) AS n FROM payments')).toBe(2900);
  });

  test('a key that now names another effect is refused', async () => {
    await using company = open(file());
    const effect = refundOf(customerWhere(company, refundable));
    await company.effects.apply('demo', effect);
    await expect(company.effects.apply('demo', { ...effect, amountMicroUsd: 10_000 })).rejects.toMatchObject({ code: 'AIOS_EFFECT_REFUSED' });
  });

  test('two processes that open, seed and apply the same effects on one file change everything once', async () => {
    const path = file();
    const probe = file();
    const effects: ProposedEffect[] = [];
    {
      await using company = open(probe);
      const accounts = JSON.parse(readFileSync(join(seedDir, 'accounts.json'), 'utf8')) as { contacts: { customer: string; role: string }[] }[];
      for (const { contacts } of accounts.slice(0, 60)) {
        const row = company.find(contacts[0]?.customer ?? '');
        if (row === undefined || (paymentsOf(row)[0]?.cents ?? 99_999) > 50_000 || (paymentsOf(row)[0]?.ageDays ?? 99) > 90) continue;
        effects.push(refundOf(row), { kind: 'address.change', key: `address.change:${String(row['customer'])}:x`, amountMicroUsd: 0, params: { customer: String(row['customer']), owner: true, address: '1 Test Quay, Galway, Ireland' } });
      }
    }
    expect(effects.length).toBeGreaterThan(40);
    const start = () => run(process.execPath, ['--conditions=aios-source', '--disable-warning=ExperimentalWarning', child, path, seedDir, String(NOW), JSON.stringify(effects)]);
    const [one, two] = await Promise.all([start(), start()]);
    expect(JSON.parse(one.stdout)).toEqual(JSON.parse(two.stdout));
    expect((JSON.parse(one.stdout) as string[]).filter((detail) => detail.startsWith('AIOS_'))).toEqual([]);
    expect(count(path, 'SELECT count(*) AS n FROM effects')).toBe(effects.length);
    expect(count(path, 'SELECT count(*) AS n FROM audit')).toBe(effects.length);
    expect(count(path, 'SELECT count(*) AS n FROM payments WHERE refunded_cents > 0')).toBe(effects.length / 2);
    expect(count(path, 'SELECT count(*) AS n FROM addresses WHERE version > 2')).toBe(0);
  });

  test('what was applied is there after the file is closed and opened again', async () => {
    const path = file();
    let effect: ProposedEffect;
    {
      await using company = open(path);
      effect = refundOf(customerWhere(company, refundable));
      await company.effects.apply('demo', effect);
    }
    await using later = open(path, NOW + 3 * DAY);
    expect((await later.effects.apply('demo', effect)).applied).toBe(true);
    expect(count(path, 'SELECT count(*) AS n FROM effects')).toBe(1);
  });
});

describe('records - refusals leave no trace', () => {
  const cases: readonly [string, (row: RecordRow, effect: ProposedEffect, company: CompanyRecords) => ProposedEffect][] = [
    ['an amount that is not that of the payment', (_row, effect) => ({ ...effect, amountMicroUsd: effect.amountMicroUsd + 10_000 })],
    ['a payment of another account', (row, effect, company) => ({ ...effect, params: { ...effect.params, paymentId: paymentsOf(customerWhere(company, (other) => refundable(other) && other['customer'] !== row['customer']))[0]?.id ?? '' } })],
    ['a customer who is not the owner', (_row, _effect, company) => refundOf(customerWhere(company, (other) => other['owner'] === false && paymentsOf(other).length > 0))],
    ['an unknown customer', (_row, effect) => ({ ...effect, params: { ...effect.params, customer: 'c-9999' } })],
    ['an amount above 500 USD', (_row, _effect, company) => refundOf(customerWhere(company, (other) => other['owner'] === true && (paymentsOf(other)[0]?.cents ?? 0) > 50_000 && (paymentsOf(other)[0]?.ageDays ?? 99) < 90))],
    ['a payment older than 90 days', (_row, _effect, company) => refundOf(customerWhere(company, (other) => other['owner'] === true && (paymentsOf(other)[0]?.ageDays ?? 0) > 90 && (paymentsOf(other)[0]?.cents ?? 0) <= 50_000))],
    ['a subscription of another account', (row) => ({ kind: 'subscription.cancel', key: 'subscription.cancel:x', amountMicroUsd: 0, params: { customer: String(row['customer']), subscription: 's-0' } })],
    ['an address that is missing', (row) => ({ kind: 'address.change', key: 'address.change:x', amountMicroUsd: 0, params: { customer: String(row['customer']) } })],
  ];
  test.each(cases)('%s', async (_title, make) => {
    const path = file();
    await using company = open(path);
    const row = customerWhere(company, refundable);
    await expect(company.effects.apply('demo', make(row, refundOf(row), company))).rejects.toMatchObject({ code: 'AIOS_EFFECT_REFUSED' });
    expect(count(path, 'SELECT count(*) AS n FROM effects')).toBe(0);
    expect(count(path, 'SELECT count(*) AS n FROM audit')).toBe(0);
    expect(count(path, 'SELECT sum(refunded_cents) AS n FROM payments')).toBe(0);
  });

  test('another tenant changes nothing and sees nothing', async () => {
    await using company = open(file());
    const row = customerWhere(company, refundable);
    await expect(company.effects.apply('other', refundOf(row))).rejects.toMatchObject({ code: 'AIOS_EFFECT_REFUSED' });
    expect(await company.records.find('other', { kind: 'customer', where: { customer: String(row['customer']) }, limit: 1 })).toEqual([]);
  });

  test('a kind that nobody applies is unknown', async () => {
    await using company = open(file());
    await expect(company.effects.apply('demo', { kind: 'account.delete', key: 'k', amountMicroUsd: 0, params: {} })).rejects.toMatchObject({ code: 'AIOS_EFFECT_UNKNOWN' });
  });
});

describe('records - look-ups', () => {
  test('a customer row is flat, names the owner and holds no card data', async () => {
    await using company = open(file());
    const customer = String(customerWhere(company, refundable)['customer']);
    const [row] = await company.records.find('demo', { kind: 'customer', where: { customer }, limit: 1 });
    expect(Object.keys(row ?? {}).sort()).toEqual(['account', 'customer', 'name', 'owner', 'payments', 'period', 'plan', 'role', 'status', 'subscription']);
    expect((await company.records.find('demo', { kind: 'payments', where: { customer }, limit: 2 })).length).toBeLessThanOrEqual(2);
  });

  test('an unknown kind or field is refused', async () => {
    await using company = open(file());
    await expect(company.records.find('demo', { kind: 'cards', where: { customer: 'c-1001' }, limit: 1 })).rejects.toMatchObject({ code: 'AIOS_INPUT_INVALID' });
    await expect(company.records.find('demo', { kind: 'customer', where: { name: 'x' }, limit: 1 })).rejects.toMatchObject({ code: 'AIOS_INPUT_INVALID' });
  });

  test('ages stay as shipped on whatever later day the file is opened', async () => {
    const path = file();
    let customer: string;
    let ages: number[];
    {
      await using company = open(path);
      const row = customerWhere(company, refundable);
      customer = String(row['customer']);
      ages = paymentsOf(row).map(({ ageDays }) => ageDays);
    }
    await using later = open(path, NOW + 17 * DAY + 5_000);
    expect(paymentsOf(later.find(customer) ?? {}).map(({ ageDays }) => ageDays)).toEqual(ages);
  });

  test('the same seeds give the same rows in two files', async () => {
    const [a, b] = [file(), file()];
    open(a).close();
    open(b).close();
    const dump = (path: string): unknown => read(path, (db) => ['accounts', 'contacts', 'subscriptions', 'invoices', 'payments', 'addresses'].map((table) => db.prepare(`SELECT * FROM ${table} ORDER BY 1, 2`).all()));
    expect(dump(a)).toEqual(dump(b));
  });
});

describe('proposals', () => {
  test('an amount in the ticket never becomes the amount of the effect', async () => {
    await using company = open(file());
    const record = customerWhere(company, refundable);
    const plain = proposeEffect({ intent: 'refund.request', text: 'Please refund my last payment.', record });
    expect(plain.effect?.amountMicroUsd).toBe(29_000_000);
    expect(proposeEffect({ intent: 'refund.request', text: 'Please refund my last payment of $4,000.', record })).toMatchObject({ effect: undefined });
  });

  test('the same refund asked for in two ways has one key', async () => {
    await using company = open(file());
    const record = customerWhere(company, refundable);
    const keys = ['Refund my last payment.', 'i want the money of the latest charge back'].map((text) => proposeEffect({ intent: 'refund.request', text, record }).effect?.key);
    expect(keys[0]).toMatch(/^refund:c-\d+:p-\d+-\d+$/);
    expect(keys[1]).toBe(keys[0]);
  });

  test('a refund asked for again after it was made proposes the same effect', async () => {
    await using company = open(file());
    const record = customerWhere(company, refundable);
    const request = { intent: 'refund.request', text: 'Refund my last payment please.' };
    const first = proposeEffect({ ...request, record });
    if (first.effect === undefined) throw new Error(first.why);
    await company.effects.apply('demo', first.effect);
    expect(proposeEffect({ ...request, record: company.find(String(record['customer'])) }).effect).toEqual(first.effect);
  });

  test('an intent that asks for nothing, an unknown customer and an incomplete address propose nothing', async () => {
    await using company = open(file());
    const record = customerWhere(company, refundable);
    expect(proposeEffect({ intent: 'refund.info', text: 'How long does a refund take?', record }).effect).toBeUndefined();
    expect(proposeEffect({ intent: 'refund.request', text: 'refund', record: undefined }).effect).toBeUndefined();
    expect(proposeEffect({ intent: 'address.change', text: 'we moved, please change our address', record }).effect).toBeUndefined();
  });
});
