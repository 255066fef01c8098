// Routes of the HTTP API on budgets: show, change, entries, report, leases.
// Owns: who may call them (the role `operator`; a box may return its own lease) and the parsing of their queries and bodies.
// Never computes anything: the desk does. Others may assume: the tenant comes from the key and nowhere else.

import type { Context, Hono } from 'hono';
import { z } from 'zod';
import { budgetChangeSchema } from '../../contracts/budget.ts';
import { fail } from '../../contracts/errors.ts';
import { parseValue } from '../../contracts/parse.ts';
import type { Principal } from '../../contracts/verdict.ts';
import { REPORT_KEYS } from '../../policies/accounting.ts';
import type { BudgetDesk } from '../accounting/desk.ts';

type Known = { Variables: { principal: Principal } };

const ENTRIES_MAX = 1_000;
const LEASE_MS_MAX = 31 * 86_400_000;
const since = z.coerce.number().int().min(0).default(0);
const entriesQuerySchema = z.strictObject({ since, limit: z.coerce.number().int().min(1).max(ENTRIES_MAX).default(50) });
const reportQuerySchema = z.strictObject({ since, by: z.enum(REPORT_KEYS).default('capability') });
export const leaseBodySchema = z.strictObject({
  holder: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/).describe('The box that takes it'),
  microUsd: z.number().int().min(1).safe(),
  forMs: z.number().int().min(1_000).max(LEASE_MS_MAX).describe('How long it may spend it'),
});
export const returnBodySchema = z.strictObject({ spentMicroUsd: z.number().int().nonnegative().safe().describe('What it spent in all') });
export const changeBodySchema = budgetChangeSchema;

const OPERATOR = 'operator';
const EDGE = 'edge';

/** `bodyOf` reads and parses a body within the API's bounds. */
export function addBudgetRoutes(app: Hono<Known>, given: BudgetDesk | undefined, bodyOf: <T>(c: Context<Known>, schema: z.ZodType<T>) => Promise<T>): void {
  const desk = (): BudgetDesk => {
    if (given === undefined) throw fail('AIOS_UNAVAILABLE', 'This server keeps no budgets.');
    return given;
  };
  app.get('/v1/budget', async (c) => c.json(await desk().show(operator(c).tenant)));
  app.post('/v1/budget', async (c) => {
    const { tenant, id } = operator(c);
    return c.json(await desk().set(tenant, await bodyOf(c, changeBodySchema), id));
  });
  app.get('/v1/budget/entries', async (c) => c.json({ entries: await desk().entries(operator(c).tenant, parseValue(entriesQuerySchema, c.req.query())) }));
  app.get('/v1/budget/report', async (c) => c.json(await desk().report(operator(c).tenant, parseValue(reportQuerySchema, c.req.query()))));
  app.post('/v1/budget/leases', async (c) => {
    const { tenant, id } = operator(c);
    return c.json(await desk().lease(tenant, await bodyOf(c, leaseBodySchema), id), 201);
  });
  app.post('/v1/budget/leases/:id/return', async (c) => {
    const principal = c.get('principal');
    const lease = leaseOf(c);
    if (!principal.roles.includes(OPERATOR)) await ownLease(desk(), principal, lease);
    const { spentMicroUsd } = await bodyOf(c, returnBodySchema);
    return c.json(await desk().giveBack(principal.tenant, lease, spentMicroUsd, principal.id));
  });
}

function operator(c: Context<Known>): Principal {
  const principal = c.get('principal');
  if (!principal.roles.includes(OPERATOR)) throw fail('AIOS_FORBIDDEN', `budgets need a key with the role ${OPERATOR}.`);
  return principal;
}

/** A box returns what it leased itself and nothing else. */
async function ownLease(desk: BudgetDesk, { roles, id, tenant }: Principal, lease: string): Promise<void> {
  const holder = roles.includes(EDGE) ? (await desk.show(tenant)).leases.find((one) => one.lease === lease)?.holder : undefined;
  if (holder === undefined || holder !== id) throw fail('AIOS_FORBIDDEN', `this lease is returned by its holder, or with the role ${OPERATOR}.`);
}

function leaseOf(c: Context<Known>): string {
  const lease = c.req.param('id') ?? '';
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(lease)) throw fail('AIOS_INPUT_INVALID', 'the id of a lease is 1 to 64 of A-Z a-z 0-9 _ -');
  return lease;
}
