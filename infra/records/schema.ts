// Tables of the system of record: accounts, subscriptions, invoices, payments, addresses, applied effects, audit.
// Owns: the SQL that creates them. Never holds card data, passwords or anything a customer wrote in a ticket.
// Others may assume: money is whole US cents, times are ms since 1970, and a row of `audit` exists for every change.

export const SCHEMA_VERSION = 1;

export const SCHEMA = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE accounts (id TEXT PRIMARY KEY, name TEXT NOT NULL, since INTEGER NOT NULL) STRICT;
CREATE TABLE contacts (customer TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts(id), role TEXT NOT NULL) STRICT;
CREATE UNIQUE INDEX one_owner ON contacts(account) WHERE role = 'owner';
CREATE TABLE subscriptions (
  id TEXT PRIMARY KEY, account TEXT NOT NULL UNIQUE REFERENCES accounts(id), plan TEXT NOT NULL, period TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('active', 'ending', 'cancelled'))) STRICT;
CREATE TABLE invoices (id TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts(id), cents INTEGER NOT NULL, issued INTEGER NOT NULL, period TEXT NOT NULL) STRICT;
CREATE TABLE payments (
  id TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts(id), invoice TEXT NOT NULL REFERENCES invoices(id),
  cents INTEGER NOT NULL CHECK (cents > 0), refunded_cents INTEGER NOT NULL DEFAULT 0 CHECK (refunded_cents BETWEEN 0 AND cents),
  paid INTEGER NOT NULL, method TEXT NOT NULL) STRICT;
CREATE INDEX payments_of ON payments(account, paid);
CREATE TABLE addresses (account TEXT NOT NULL REFERENCES accounts(id), version INTEGER NOT NULL, address TEXT NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (account, version)) STRICT;
CREATE TABLE effects (
  tenant TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, request TEXT NOT NULL, detail TEXT NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (tenant, key)) STRICT, WITHOUT ROWID;
CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, tenant TEXT NOT NULL, effect TEXT NOT NULL,
  entity TEXT NOT NULL, field TEXT NOT NULL, before TEXT, after TEXT) STRICT;
`;
