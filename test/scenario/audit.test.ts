// What an auditor can rely on: a ledger that real tasks wrote verifies, and every way of tampering with a copy is named.
// Owns: the proof through the command line, as a child process, and the tree and page that `aios lineage` makes.
// Tampering happens on copies; the ledger of the running system is never touched.

import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { SignedHead } from '../../contracts/record.ts';
import { indexSpace } from '../../infra/corpus/index-space.ts';
import type { AuditReport } from '../../infra/lineage/audit.ts';
import type { LineageNode } from '../../infra/lineage/lineage.ts';
import { type Desk, shippedTicket, startDesk } from './desk.ts';

const LOG = 'brain-1';
const SHIPPED = fileURLToPath(new URL('../../data/support/', import.meta.url));

let desk: Desk;
/** An answered question, a refund that went through, and one that policy refused. */
let question: string;
let refund: string;
let refused: string;

beforeAll(async () => {
  desk = await startDesk('audit');
  await index('help-centre', join(SHIPPED, 'help-centre'));
  await index('help-centre-questions', join(SHIPPED, 'questions.jsonl'));
  [question = '', refund = '', refused = ''] = await Promise.all(['T-019', 'T-040', 'T-010'].map(async (id) => desk.start(await shippedTicket(id))));
  for (const task of [question, refund, refused]) await desk.finished(task);
});
afterAll(() => desk?.[Symbol.asyncDispose]());

async function index(space: string, path: string): Promise<void> {
  const { ports, mandates, telemetry } = desk.system.operator;
  await indexSpace({ bus: ports.bus, mandates, clock: telemetry.clock, random: telemetry.random }, { tenant: 'demo', space, path }, () => undefined);
}

async function verify(...parameters: readonly string[]): Promise<{ readonly code: number; readonly report: AuditReport; readonly kinds: readonly string[] }> {
  const { code, out } = await desk.cli('audit', 'verify', '--json', ...parameters);
  const report = JSON.parse(out) as AuditReport;
  return { code, report, kinds: report.logs.flatMap(({ findings }) => findings.map(({ kind }) => kind)) };
}

interface Copy extends AsyncDisposable { readonly dir: string; readonly lines: string[]; readonly heads: string[]; write(): Promise<void> }

async function copyOfLedger(): Promise<Copy> {
  const dir = await mkdtemp(join(tmpdir(), 'aios-ledger-'));
  await cp(join(desk.config.home, 'ledger'), dir, { recursive: true });
  const read = async (name: string): Promise<string[]> => (await readFile(join(dir, name), 'utf8')).trimEnd().split('\n');
  const [lines, heads] = [await read(`${LOG}.log`), await read(`${LOG}.heads`)];
  return {
    dir, lines, heads,
    async write() {
      await writeFile(join(dir, `${LOG}.log`), lines.map((line) => `${line}\n`).join(''));
      await writeFile(join(dir, `${LOG}.heads`), heads.map((line) => `${line}\n`).join(''));
    },
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}

test('audit verify - the ledger of real tasks is whole, and so is an untouched copy', async () => {
  const { code, report } = await verify();
  expect([code, report.ok, report.missing]).toEqual([0, true, []]);
  expect(report.records).toBeGreaterThanOrEqual(5);
  expect(report.logs[0]?.anchors).toBe(3);
  await using copy = await copyOfLedger();
  await copy.write();
  expect((await verify('--dir', copy.dir)).code).toBe(0);
});

const TAMPERINGS: readonly { readonly what: string; readonly kind: string; readonly change: (copy: Copy) => void }[] = [
  { what: 'one byte changed', kind: 'edited', change: ({ lines }) => { lines[1] = flipped(lines[1] ?? ''); } },
  { what: 'one record dropped', kind: 'dropped', change: ({ lines }) => { lines.splice(1, 1); } },
  { what: 'two records swapped', kind: 'reordered', change: ({ lines }) => { lines.splice(1, 2, lines[2] ?? '', lines[1] ?? ''); } },
  { what: 'the tail cut off', kind: 'cut', change: ({ lines }) => { lines.pop(); } },
];

for (const { what, kind, change } of TAMPERINGS) {
  test(`audit verify - finds ${what} without asking anybody`, async () => {
    await using copy = await copyOfLedger();
    change(copy);
    await copy.write();
    const { code, report, kinds } = await verify('--dir', copy.dir, '--no-anchors');
    expect([code, report.ok]).toEqual([1, false]);
    expect(kinds).toContain(kind);
  });
}

test('audit verify - a tail cut off together with its signed heads is found by the heads that workflow results carry', async () => {
  await using copy = await copyOfLedger();
  copy.lines.pop();
  const cut = copy.heads.filter((line) => (JSON.parse(line) as SignedHead).index < copy.lines.length);
  copy.heads.splice(0, copy.heads.length, ...cut);
  await copy.write();
  expect((await verify('--dir', copy.dir, '--no-anchors')).code, 'the files alone cannot tell').toBe(0);
  const { code, kinds } = await verify('--dir', copy.dir);
  expect([code, kinds]).toEqual([1, ['cut']]);
});

test('audit verify - a log that is gone altogether is named', async () => {
  await using copy = await copyOfLedger();
  await rm(join(copy.dir, `${LOG}.log`));
  const { code, report } = await verify('--dir', copy.dir);
  expect([code, report.missing]).toEqual([1, [LOG]]);
});

test('lineage - the tree of an answered question holds input, policy, turn, fragments, models, scores and outcome', async () => {
  const { code, out } = await desk.cli('lineage', question, '--json');
  const tree = JSON.parse(out) as LineageNode;
  const seen = kindsOf(tree);
  expect(code).toBe(0);
  for (const kind of ['task', 'input', 'policy', 'turn', 'retrieval', 'fragment', 'model', 'scores', 'outcome', 'history']) expect(seen, out.slice(0, 2_000)).toContain(kind);
  const decided = tree.children.filter(({ kind }) => kind === 'policy').map(({ detail }) => [detail['action'], detail['step'], detail['verdict']].filter((part) => part !== undefined).join(' '));
  expect(decided).toEqual(['admit allow', 'dispatch allow', 'dispatch triage allow', 'dispatch retrieve allow', 'dispatch answer allow', 'commit allow']);
  expect(tree.children.find(({ kind }) => kind === 'retrieval')?.detail['manifest']).toMatch(/^sha256:/);
});

test('lineage - a refund shows its effect, a refusal the policy that decided it, and both have a page', async () => {
  const paid = JSON.parse((await desk.cli('lineage', refund, '--json')).out) as LineageNode;
  expect(paid.children.find(({ kind }) => kind === 'effect')?.detail).toMatchObject({ applied: true, amountMicroUsd: 12_000_000 });
  const denied = JSON.parse((await desk.cli('lineage', refused, '--json')).out) as LineageNode;
  expect(denied.title).toContain('refused');
  expect(denied.children.filter(({ kind }) => kind === 'policy').at(-1)?.detail['verdict']).toBe('deny');
  expect(kindsOf(denied)).not.toContain('effect');

  const file = join(desk.config.home, 'refund.html');
  expect((await desk.cli('lineage', refund, '--html', file)).code).toBe(0);
  const page = await readFile(file, 'utf8');
  expect(page).toMatch(/^<!doctype html>/);
  expect(page).toContain(refund);
  expect(page).not.toMatch(/<script|https?:\/\//);
});

const kindsOf = (tree: LineageNode): readonly string[] => [tree.kind, ...tree.children.flatMap(kindsOf)];

/** The last hex digit of the record's first digest, changed. */
function flipped(line: string): string {
  const at = line.indexOf('sha256:') + 'sha256:'.length + 63;
  return `${line.slice(0, at)}${line[at] === '0' ? '1' : '0'}${line.slice(at + 1)}`;
}
