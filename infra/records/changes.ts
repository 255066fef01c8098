// What each kind of effect changes in the system of record, and when the record refuses it.
// Owns: refund, subscription.cancel and address.change as functions of an open transaction. Never begins or ends one.
// Others may assume: a change either throws AIOS_EFFECT_REFUSED with the reason, or is complete with its audit rows;
// the limits here are the company's last line, whatever policy allowed.

import type { DatabaseSync, SQLOutputValue } from 'node:sqlite';
import { fail } from '../../contracts/errors.ts';
import type { ProposedEffect } from '../../contracts/message.ts';
import { DAY_MS } from './seed.ts';

export interface Change { readonly db: DatabaseSync; readonly tenant: string; readonly effect: ProposedEffect; readonly now: number }

export const CHANGES: Readonly<Record<string, (change: Change) => string>> = {
  'refund': refund,
  'subscription.cancel': cancel,
  'address.change': moveAddress,
};

const MICRO_USD_PER_CENT = 10_000;
/** No payment older than this is returned, and no larger amount without a written claim: help centre, "Refund policy". */
const REFUND_DAYS_MAX = 90;
const REFUND_CENTS_MAX = 50_000;

const refused = (why: string): Error => fail('AIOS_EFFECT_REFUSED', why);

function refund(change: Change): string {
  const { db, effect, now } = change;
  const account = accountOwnedBy(change);
  const payment = db.prepare('SELECT * FROM payments WHERE id = ? AND account = ?').get(text(effect, 'paymentId'), account);
  if (payment === undefined) throw refused('The account has no such payment.');
  const { cents, refunded, paid } = { cents: Number(payment['cents']), refunded: Number(payment['refunded_cents']), paid: Number(payment['paid']) };
  if (effect.amountMicroUsd !== cents * MICRO_USD_PER_CENT) throw refused('The amount is not that of the payment.');
  if (refunded > 0) throw refused('The payment was refunded before.');
  if (cents > REFUND_CENTS_MAX) throw refused('The amount needs a written claim.');
  if (now - paid > (REFUND_DAYS_MAX + 1) * DAY_MS) throw refused('The payment is too old.');
  db.prepare('UPDATE payments SET refunded_cents = cents WHERE id = ?').run(String(payment['id']));
  audit(change, `payment ${String(payment['id'])}`, 'refunded_cents', '0', String(cents));
  return `refunded ${String(payment['id'])}`;
}

function cancel(change: Change): string {
  const { db, effect } = change;
  const account = accountOwnedBy(change);
  const subscription = db.prepare('SELECT id, status FROM subscriptions WHERE id = ? AND account = ?').get(text(effect, 'subscription'), account);
  if (subscription === undefined) throw refused('The account has no such subscription.');
  if (subscription['status'] !== 'active') throw refused('The subscription is not active.');
  db.prepare("UPDATE subscriptions SET status = 'ending' WHERE id = ?").run(String(subscription['id']));
  audit(change, `subscription ${String(subscription['id'])}`, 'status', 'active', 'ending');
  return `ending ${String(subscription['id'])}`;
}

function moveAddress(change: Change): string {
  const { db, effect, now } = change;
  const account = accountOwnedBy(change);
  const address = text(effect, 'address');
  const last = db.prepare('SELECT version, address FROM addresses WHERE account = ? ORDER BY version DESC LIMIT 1').get(account);
  const version = Number(last?.['version'] ?? 0) + 1;
  db.prepare('INSERT INTO addresses (account, version, address, since) VALUES (?, ?, ?, ?)').run(account, version, address, now);
  audit(change, `account ${account}`, 'address', last === undefined ? null : String(last['address']), address);
  return `address version ${version}`;
}

/** The account of the customer named in the effect, who must be its owner by the record, whatever the effect says. */
function accountOwnedBy({ db, effect }: Change): string {
  const contact: Record<string, SQLOutputValue> | undefined = db.prepare('SELECT account, role FROM contacts WHERE customer = ?').get(text(effect, 'customer'));
  if (contact === undefined) throw refused('The customer is unknown.');
  if (contact['role'] !== 'owner') throw refused('Only the owner of the account may ask for this.');
  return String(contact['account']);
}

function text(effect: ProposedEffect, name: string): string {
  const value = effect.params[name];
  if (typeof value !== 'string' || value === '') throw refused(`The effect names no ${name}.`);
  return value;
}

function audit({ db, tenant, effect, now }: Change, entity: string, field: string, before: string | null, after: string): void {
  db.prepare('INSERT INTO audit (at, tenant, effect, entity, field, before, after) VALUES (?, ?, ?, ?, ?, ?, ?)').run(now, tenant, effect.key, entity, field, before, after);
}
