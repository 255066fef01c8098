// What every retrieval engine promises, run over each of them.
// Owns: the suite and its corpus. Never knows an engine: it gets one from `make`.
// Others may assume: an engine that passes ranks, filters, erases and reports alike, whatever stores it.

import { describe, expect, it } from 'vitest';
import type { Embed } from '../../agents/retrieval/embed-corpus.ts';
import { digestOf, digestOfText } from '../../contracts/canonical.ts';
import { fail } from '../../contracts/errors.ts';
import type { Retrieval, SearchAnswer, SourceDocument } from '../../contracts/ports.ts';
import { retrievalReceiptSchema } from '../../contracts/receipt.ts';
import type { Principal } from '../../contracts/verdict.ts';

export interface RetrievalMember extends AsyncDisposable {
  readonly retrieval: Retrieval;
}
export type MakeRetrieval = (embed: Embed) => Promise<RetrievalMember>;

/** Words hashed into 32 dimensions: equal words, equal direction; enough meaning for a test. */
export function createTestEmbed(): { readonly embed: Embed; readonly texts: string[]; down: boolean; model: string } {
  const state = { texts: [] as string[], down: false, model: 'test-1' };
  const embed: Embed = async ({ texts }) => {
    if (state.down) throw fail('AIOS_MODEL_UNAVAILABLE');
    state.texts.push(...texts);
    return {
      vectors: texts.map(hashed),
      receipt: { kind: 'model', capability: 'text.embed', provider: 'test', model: state.model, modelDigest: digestOf(state.model), priceDigest: digestOf('price'), costMicroUsd: 1, batch: texts.length, queueMs: 0, usage: { inputTokens: 1, cacheReadTokens: 0, cacheWriteTokens: 0, outputTokens: 0, reasoningTokens: 0, deviceUs: 1 } },
    };
  };
  return Object.assign(state, { embed });
}

export function hashed(text: string): Float32Array {
  const vector = new Float32Array(32);
  for (const word of text.toLowerCase().match(/[a-z]+/g) ?? ['-']) {
    const digest = digestOfText(word.slice(0, 5));
    for (let i = 0; i < 4; i++) {
      const at = Number.parseInt(digest.slice(7 + i * 4, 9 + i * 4), 16) % 32;
      vector[at] = (vector[at] ?? 0) + (Number.parseInt(digest[9 + i * 4] ?? '0', 16) % 2 === 0 ? 1 : -1);
    }
  }
  return vector;
}

export const CORPUS: readonly SourceDocument[] = [
  { id: 'refunds.md', title: 'Refunds', text: '# Refunds\n\nA payment made twice is refunded in full within five working days.\n\n## Limits\n\nRefunds above fifty dollars are looked at by a person.' },
  { id: 'address.md', title: 'Billing address', text: '# Billing address\n\nThe owner of the account changes the billing address under Settings, Billing.' },
  { id: 'seats.md', title: 'Seats', text: '# Seats\n\nAdding a seat is charged for the rest of the month. Removing a seat takes effect at renewal.' },
  { id: 'export.md', title: 'Exporting data', text: '# Exporting data\n\nAn export holds every project as JSON and is kept for seven days.' },
];
const SECRET: SourceDocument = { id: 'secret.md', title: 'Internal limits', text: 'Refunds for partners go up to nine thousand dollars.', labels: { roles: 'finance' } };
const OWNED: SourceDocument = { id: 'note.md', title: 'Note', text: 'A personal note about refunds.', labels: { owner: 'bob' } };

const as = (tenant: string, roles: readonly string[] = [], id = 'ada'): Principal => ({ id, type: 'user', tenant, roles });
const TENANT = 'acme';
const ask = (retrieval: Retrieval, query: string, over: { readonly tenant?: string; readonly space?: string; readonly limit?: number; readonly principal?: Principal; readonly lexicalOnly?: boolean } = {}): Promise<SearchAnswer> =>
  retrieval.search({ tenant: TENANT, space: 'help', query, limit: 10, principal: as(over.tenant ?? TENANT), deadline: Date.now() + 10_000, ...over });
const documentsOf = (answer: SearchAnswer): readonly string[] => answer.fragments.map(({ document }) => document);

export function describeRetrieval(name: string, make: MakeRetrieval): void {
  describe(`retrieval over ${name}`, () => {
    it('finds the right page first and says how', async () => {
      const { embed } = createTestEmbed();
      await using member = await make(embed);
      const { manifest, rebuilt } = await member.retrieval.index(TENANT, 'help', CORPUS);
      expect([rebuilt, manifest.documents, manifest.epoch, manifest.embedder]).toEqual([true, 4, 'e1', digestOf('test-1')]);
      const answer = await ask(member.retrieval, 'How do I change my billing address?');
      const [first] = answer.fragments;
      expect(first).toMatchObject({ document: 'address.md', title: 'Billing address', heading: 'Billing address', score: 1, signals: { denseRank: 1, lexicalRank: 1 } });
      expect(first?.digest).toBe(digestOfText(`${first?.heading}\n${first?.text}`));
      expect(first?.signals.bm25).toBeGreaterThan(1);
      expect(first?.signals.cosine).toBeGreaterThan(0.3);
      expect(answer.model?.modelDigest).toBe(manifest.embedder);
    });
    it('gives a receipt that names the epoch, the filter and every fragment', async () => {
      const { embed } = createTestEmbed();
      await using member = await make(embed);
      const { manifest } = await member.retrieval.index(TENANT, 'help', CORPUS);
      const answer = await ask(member.retrieval, 'refund');
      expect(retrievalReceiptSchema.parse(answer.receipt)).toEqual(answer.receipt);
      expect(answer.receipt).toMatchObject({ space: 'help', epoch: 'e1', manifestDigest: digestOf(manifest), engine: member.retrieval.engine });
      expect(answer.receipt.fragments).toEqual(answer.fragments.map(({ document, chunk, digest, score }) => ({ document, chunk, digest, score })));
      const other = await ask(member.retrieval, 'refund', { principal: as(TENANT, ['finance']) });
      expect(other.receipt.filterDigest).not.toBe(answer.receipt.filterDigest);
    });
    it('weighs each distinct term of the query, those it never saw most', async () => {
      const { embed } = createTestEmbed();
      await using member = await make(embed);
      await member.retrieval.index(TENANT, 'help', CORPUS);
      const { weights = {} } = await ask(member.retrieval, 'refunds for a zebra account');
      expect(Object.keys(weights).sort()).toEqual(['account', 'refund', 'zebra']);
      expect(weights['zebra']).toBeGreaterThan(weights['account'] ?? 0);
    });
    it('reports both raw signals of every fragment, also of those only one ranking found', async () => {
      const { embed } = createTestEmbed();
      await using member = await make(embed);
      await member.retrieval.index(TENANT, 'help', CORPUS);
      const { fragments } = await ask(member.retrieval, 'seat');
      expect(fragments.filter(({ signals }) => signals.lexicalRank === 0).every(({ signals }) => signals.bm25 === 0)).toBe(true);
      expect(new Set(fragments.map(({ signals }) => signals.cosine)).size).toBeGreaterThan(1);
    });
    it('does not index an unchanged corpus twice and embeds only what changed', async () => {
      const test = createTestEmbed();
      await using member = await make(test.embed);
      await member.retrieval.index(TENANT, 'help', CORPUS);
      const chunks = test.texts.filter((text) => text !== 'probe').length;
      test.texts.length = 0;
      expect(await member.retrieval.index(TENANT, 'help', CORPUS)).toMatchObject({ rebuilt: false, manifest: { epoch: 'e1' } });
      const changed = CORPUS.map((document) => (document.id === 'seats.md' ? { ...document, text: 'A seat costs twelve dollars.' } : document));
      expect(await member.retrieval.index(TENANT, 'help', changed)).toMatchObject({ rebuilt: true, manifest: { epoch: 'e2' } });
      expect(chunks).toBeGreaterThanOrEqual(4);
      expect(test.texts.filter((text) => text !== 'probe')).toEqual(['Seats\nA seat costs twelve dollars.']);
      expect(documentsOf(await ask(member.retrieval, 'twelve dollars'))[0]).toBe('seats.md');
    });
    it('reports progress that grows to the end', async () => {
      const { embed } = createTestEmbed();
      await using member = await make(embed);
      const seen: string[] = [];
      await member.retrieval.index(TENANT, 'help', CORPUS, ({ stage, done, total }) => seen.push(`${stage} ${done === total}`));
      expect(seen.at(-1)).toBe('write true');
      expect(seen).toContain('embed true');
    });
    it('builds the index again for another embedding model', async () => {
      const test = createTestEmbed();
      await using member = await make(test.embed);
      await member.retrieval.index(TENANT, 'help', CORPUS);
      test.model = 'test-2';
      expect((await ask(member.retrieval, 'refund')).model).toBeUndefined();
      expect(await member.retrieval.index(TENANT, 'help', CORPUS)).toMatchObject({ rebuilt: true, manifest: { embedder: digestOf('test-2') } });
    });
    it('keeps tenants apart, in what they see and in what they count', async () => {
      const { embed } = createTestEmbed();
      await using member = await make(embed);
      const { retrieval } = member;
      await retrieval.index(TENANT, 'help', CORPUS);
      await retrieval.index('beta', 'help', [{ id: 'other.md', title: 'Other', text: 'Refunds of beta.' }]);
      expect(documentsOf(await ask(retrieval, 'refunds', { tenant: 'beta' }))).toEqual(['other.md']);
      expect(documentsOf(await ask(retrieval, 'refunds'))).not.toContain('other.md');
      await expect(ask(retrieval, 'refunds', { tenant: 'beta', principal: as(TENANT) })).rejects.toMatchObject({ code: 'AIOS_TENANT_MISMATCH' });
      await expect(ask(retrieval, 'refunds', { space: 'nowhere' })).rejects.toMatchObject({ code: 'AIOS_SPACE_UNKNOWN' });
      await expect(ask(retrieval, 'refunds', { space: '../help' })).rejects.toMatchObject({ code: 'AIOS_INPUT_INVALID' });
    });
    it('shows labelled documents to their roles and owners only', async () => {
      const { embed } = createTestEmbed();
      await using member = await make(embed);
      const { retrieval } = member;
      await retrieval.index(TENANT, 'help', [...CORPUS, SECRET, OWNED]);
      const seen = async (principal: Principal) => documentsOf(await ask(retrieval, 'refunds', { principal })).filter((id) => id === SECRET.id || id === OWNED.id);
      expect(await seen(as(TENANT))).toEqual([]);
      expect(await seen(as(TENANT, ['finance', 'x']))).toEqual([SECRET.id]);
      expect(await seen(as(TENANT, [], 'bob'))).toEqual([OWNED.id]);
      const sample = await retrieval.sample?.({ tenant: TENANT, space: 'help', count: 64, principal: as(TENANT) });
      expect(sample?.headings.some(({ document }) => document === SECRET.id)).toBe(false);
    });
    it('answers without vectors when asked to, and when the embedder is away', async () => {
      const test = createTestEmbed();
      await using member = await make(test.embed);
      await member.retrieval.index(TENANT, 'help', CORPUS);
      const lexical = await ask(member.retrieval, 'billing address', { lexicalOnly: true });
      expect(lexical.model).toBeUndefined();
      expect(lexical.fragments[0]).toMatchObject({ document: 'address.md', signals: { cosine: 0, denseRank: 0, lexicalRank: 1 } });
      test.down = true;
      expect(documentsOf(await ask(member.retrieval, 'billing address'))).toEqual(documentsOf(lexical));
      expect((await ask(member.retrieval, 'zebra')).fragments).toEqual([]);
    });
    it('builds a lexical epoch when no embedder comes, and a full one later', async () => {
      const test = createTestEmbed();
      test.down = true;
      await using member = await make(test.embed);
      expect((await member.retrieval.index(TENANT, 'help', CORPUS)).manifest.embedder).toBe('none');
      expect(documentsOf(await ask(member.retrieval, 'billing address'))[0]).toBe('address.md');
      test.down = false;
      expect(await member.retrieval.index(TENANT, 'help', CORPUS)).toMatchObject({ rebuilt: true, manifest: { embedder: digestOf('test-1') } });
      test.down = true;
      expect(await member.retrieval.index(TENANT, 'help', CORPUS)).toMatchObject({ rebuilt: false, manifest: { embedder: digestOf('test-1') } });
    });
    it('hides an erased document at once, and from every later build', async () => {
      const { embed } = createTestEmbed();
      await using member = await make(embed);
      const { retrieval } = member;
      await retrieval.index(TENANT, 'help', CORPUS);
      await retrieval.erase(TENANT, 'help', 'refunds.md');
      expect(documentsOf(await ask(retrieval, 'payment refunded'))).not.toContain('refunds.md');
      await retrieval.index(TENANT, 'help', [...CORPUS, { id: 'new.md', title: 'New', text: 'Something else.' }]);
      expect(documentsOf(await ask(retrieval, 'payment refunded'))).not.toContain('refunds.md');
      expect((await retrieval.manifest(TENANT, 'help'))?.documents).toBe(4);
      await expect(retrieval.erase(TENANT, 'nowhere', 'x')).rejects.toMatchObject({ code: 'AIOS_SPACE_UNKNOWN' });
    });
    it('reads one epoch per search while the next is being built', async () => {
      const { embed } = createTestEmbed();
      await using member = await make(embed);
      const { retrieval } = member;
      const versionOf = (version: number): SourceDocument[] => Array.from({ length: 12 }, (_, i) => ({ id: `d${i}`, title: `Page ${i}`, text: `Refund text of version ${version}.` }));
      await retrieval.index(TENANT, 'help', versionOf(1));
      const building = retrieval.index(TENANT, 'help', versionOf(2));
      const answers: SearchAnswer[] = [];
      for (let i = 0; i < 20; i++) answers.push(await ask(retrieval, 'refund version'));
      await building;
      answers.push(await ask(retrieval, 'refund version'));
      for (const answer of answers) {
        const words = answer.receipt.epoch === 'e1' ? 'version 1' : 'version 2';
        expect(answer.fragments.length).toBeGreaterThan(0);
        expect(answer.fragments.every(({ text }) => text.includes(words))).toBe(true);
      }
      expect(answers.at(-1)?.receipt.epoch).toBe('e2');
    });
    it('keeps to the limit and gives the same order twice', async () => {
      const { embed } = createTestEmbed();
      await using member = await make(embed);
      await member.retrieval.index(TENANT, 'help', CORPUS);
      const [one, two] = [await ask(member.retrieval, 'refund seat account', { limit: 2 }), await ask(member.retrieval, 'refund seat account', { limit: 2 })];
      expect(one.fragments).toHaveLength(2);
      expect(two.fragments).toEqual(one.fragments);
    });
    it('samples headings evenly, one per document, the same each time', async () => {
      const { embed } = createTestEmbed();
      await using member = await make(embed);
      const { retrieval } = member;
      await retrieval.index(TENANT, 'help', CORPUS);
      const sample = await retrieval.sample?.({ tenant: TENANT, space: 'help', count: 3, principal: as(TENANT) });
      expect(new Set(sample?.headings.map(({ document }) => document)).size).toBe(3);
      expect(await retrieval.sample?.({ tenant: TENANT, space: 'help', count: 3, principal: as(TENANT) })).toEqual(sample);
    });
  });
}
