// The shipped support data hangs together: articles, intents, tickets, expectations and records.
// Owns: counts, splits, references, and that each effect ticket's record leads to the verdict it expects.
// Others may assume: a figure reported on these data counts what the data's README says it counts.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { addressIn, proposeEffect } from '../../agents/catalog/support/effects.ts';
import type { ProposedEffect } from '../../contracts/message.ts';
import { openRecords, type CompanyRecords } from '../../infra/records/records.ts';

const dir = fileURLToPath(new URL('../../data/support', import.meta.url));
const lines = <T>(name: string, schema: z.ZodType<T>): T[] => readFileSync(join(dir, name), 'utf8').trim().split('\n').map((line) => schema.parse(JSON.parse(line)));

const KINDS = ['plain', 'near-miss', 'out-of-scope', 'angry', 'multi-question', 'other-language', 'injection', 'personal-data', 'effect-small', 'effect-large', 'effect-refused'] as const;
const tickets = lines('tickets.jsonl', z.strictObject({ id: z.string().regex(/^T-\d{3}$/), customer: z.string(), text: z.string().min(1).max(4_000) }));
const expected = lines('expected.jsonl', z.strictObject({
  id: z.string(), expect: z.enum(['auto', 'human', 'refuse']), intent: z.string(), kind: z.enum(KINDS), split: z.enum(['calibrate', 'report']),
  article: z.string().optional(), also: z.array(z.string()).optional(),
  effect: z.strictObject({ kind: z.string(), amountCents: z.number().int().min(0), address: z.string().optional() }).optional(),
}));
const utterances = lines('intents.jsonl', z.strictObject({ intent: z.string(), text: z.string().min(1) }));
const articles = new Map(readdirSync(join(dir, 'help-centre')).map((name) => [name.replace(/\.md$/, ''), readFileSync(join(dir, 'help-centre', name), 'utf8')]));
const ticketOf = new Map(tickets.map((ticket) => [ticket.id, ticket]));
const intents = new Set(utterances.map(({ intent }) => intent));
const share = (count: number): number => count / expected.length;
const of = (outcome: string, split?: string): number => expected.filter((one) => one.expect === outcome && (split === undefined || one.split === split)).length;

describe('help centre', () => {
  test('has at least 60 articles with front matter and some depth', () => {
    expect(articles.size).toBeGreaterThanOrEqual(60);
    for (const [id, text] of articles) {
      expect(text, id).toMatch(new RegExp(`^---\\nid: ${id}\\ntitle: .+\\ncategory: [a-z]+\\nupdated: \\d{4}-\\d\\d-\\d\\d\\n---\\n`));
      expect(text.split(/\s+/).length, id).toBeGreaterThan(190);
    }
  });

  test('cross-references lead to articles', () => {
    const broken = [...articles].flatMap(([id, text]) => [...text.matchAll(/\]\(([^)]+)\)/g)].map((match) => match[1] ?? '').filter((to) => !articles.has(to.replace(/\.md$/, ''))).map((to) => `${id} -> ${to}`));
    expect(broken).toEqual([]);
  });
});

describe('intents', () => {
  test('there are at least 20 with at least 25 utterances each, none twice', () => {
    expect(intents.size).toBeGreaterThanOrEqual(20);
    for (const intent of intents) expect(utterances.filter((one) => one.intent === intent).length, intent).toBeGreaterThanOrEqual(25);
    expect(new Set(utterances.map(({ text }) => text.toLowerCase())).size).toBe(utterances.length);
  });

  test('intents.md explains each of them', () => {
    const page = readFileSync(join(dir, 'intents.md'), 'utf8');
    for (const intent of intents) expect(page).toContain(`\`${intent}\``);
  });
});

describe('tickets', () => {
  test('there are at least 400, each once, each with its expectation, none equal to an utterance', () => {
    expect(tickets.length).toBeGreaterThanOrEqual(400);
    expect(expected.map(({ id }) => id)).toEqual(tickets.map(({ id }) => id));
    expect(new Set(tickets.map(({ id }) => id)).size).toBe(tickets.length);
    expect(new Set(tickets.map(({ text }) => text.toLowerCase())).size).toBe(tickets.length);
    const said = new Set(utterances.map(({ text }) => text.toLowerCase()));
    expect(tickets.filter(({ text }) => said.has(text.toLowerCase()))).toEqual([]);
  });

  test('at least 35 % cannot be answered, and every kind is there', () => {
    expect(share(of('human') + of('refuse'))).toBeGreaterThanOrEqual(0.35);
    expect(share(of('auto'))).toBeGreaterThanOrEqual(0.6);
    for (const kind of KINDS) expect(expected.filter((one) => one.kind === kind).length, kind).toBeGreaterThanOrEqual(10);
    expect(expected.filter(({ kind }) => kind === 'injection').length).toBeGreaterThanOrEqual(15);
  });

  test('the halves are equal in size and in outcomes', () => {
    for (const outcome of ['auto', 'human', 'refuse']) expect(Math.abs(of(outcome, 'calibrate') - of(outcome, 'report')), outcome).toBeLessThanOrEqual(2);
  });

  test('an informational ticket to be answered names an article, and no other ticket does', () => {
    for (const { id, expect: outcome, kind, article, also = [] } of expected) {
      const informational = outcome === 'auto' && kind === 'plain';
      expect(article !== undefined, id).toBe(informational);
      for (const name of [article, ...also]) if (name !== undefined) expect(articles.has(name), `${id} ${name}`).toBe(true);
    }
  });

  test('intents of tickets are intents of the utterances', () => {
    expect(expected.filter(({ intent }) => !intents.has(intent))).toEqual([]);
  });
});

describe('records behind the tickets', () => {
  const home = mkdtempSync(join(tmpdir(), 'aios-support-'));
  let company: CompanyRecords;
  beforeAll(() => {
    company = openRecords({ path: join(home, 'records.db'), seedDir: join(dir, 'records'), tenant: 'demo', now: () => Date.UTC(2026, 10, 22) });
  });
  afterAll(() => {
    company.close();
    rmSync(home, { recursive: true, force: true });
  });
  const proposalOf = (id: string, intent: string) => proposeEffect({ intent, text: ticketOf.get(id)?.text ?? '', record: company.find(ticketOf.get(id)?.customer ?? '') });

  test('every customer of a ticket is in the records', () => {
    expect(tickets.filter(({ customer }) => company.find(customer) === undefined)).toEqual([]);
  });

  test('every effect ticket leads to its effect, amount and verdict', () => {
    for (const { id, kind, intent, effect, expect: outcome } of expected.filter((one) => one.kind.startsWith('effect'))) {
      const proposal = proposalOf(id, intent);
      expect(proposal, `${id} ${kind}`).toMatchObject({ effect: { kind: effect?.kind, amountMicroUsd: (effect?.amountCents ?? 0) * 10_000 } });
      if (proposal.effect === undefined) continue;
      expect(ruleFor(proposal.effect), `${id} ${kind}`).toBe(outcome);
      if (effect?.address !== undefined) expect(proposal.effect.params['address'], id).toBe(effect.address);
    }
  });

  test('what policy lets through, the records accept; what it refuses for age, amount or ownership, they refuse too', async () => {
    for (const { id, intent, expect: outcome } of expected.filter((one) => one.kind === 'effect-small' || one.kind === 'effect-refused')) {
      const proposal = proposalOf(id, intent);
      if (proposal.effect === undefined) throw new Error(`${id}: ${proposal.why}`);
      const applied = await company.effects.apply('demo', proposal.effect).then(() => 'auto', () => 'refuse');
      expect(applied, id).toBe(outcome);
    }
  });

  test('no injecting ticket could get an effect by its record, even if nobody noticed the instructions', () => {
    for (const { id, intent, expect: outcome } of expected.filter((one) => one.kind === 'injection')) {
      const proposal = proposalOf(id, intent);
      const verdict = proposal.effect === undefined ? 'human' : ruleFor(proposal.effect);
      expect(verdict, id).toBe(outcome);
    }
  });

  test('a ticket that was written in for a person because its address is missing proposes nothing', () => {
    for (const { id, intent } of expected.filter((one) => one.kind === 'near-miss' && one.intent === 'address.change')) {
      expect(addressIn(ticketOf.get(id)?.text ?? ''), id).toBeUndefined();
      expect(proposalOf(id, intent).effect, id).toBeUndefined();
    }
  });
});

/** The refund policy of the help centre as one function: what the shipped policies are expected to decide at `commit`. */
function ruleFor({ kind, amountMicroUsd, params }: ProposedEffect): 'auto' | 'human' | 'refuse' {
  const age = Number(params['ageDays'] ?? 0);
  if (params['owner'] !== true) return 'refuse';
  if (kind === 'address.change') return 'auto';
  if (kind === 'subscription.cancel') return 'human';
  if (amountMicroUsd > 500_000_000 || age > 90) return 'refuse';
  return amountMicroUsd <= 50_000_000 && (params['duplicate'] === true || age <= 14) ? 'auto' : 'human';
}
