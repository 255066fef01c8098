// What-if on the history of a real run of the support desk: 41 tickets on the whole system, 24 of them decided by people.
// Owns: the ledger and the policies of that run, kept as files, and the numbers that were counted in the ledger by hand.
// Never takes an expectation from the code it tests. Others may assume: the record of a decision is enough to ask it again exactly.

import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PolicyBundle } from '../../../contracts/bundle.ts';
import { digestOf } from '../../../contracts/canonical.ts';
import type { DecisionRecord, LedgerEntry } from '../../../contracts/record.ts';
import { compileSources } from '../../../infra/cedar/compile.ts';
import { whatIf, type WhatIf } from '../../../policies/what-if.ts';

const kept = new URL('../fixtures/desk-run/', import.meta.url);
const unzipped = async (name: string): Promise<string> => gunzipSync(await readFile(new URL(name, kept))).toString();

let log = '';
let bundle: PolicyBundle;
let decisions: readonly DecisionRecord[] = [];
let home = '';
beforeAll(async () => {
  log = await unzipped('brain-1.log.gz');
  bundle = JSON.parse(await unzipped('bundle.json.gz')) as PolicyBundle;
  decisions = log.trim().split('\n').map((line) => (JSON.parse(line) as LedgerEntry).record).filter((record) => record.kind === 'decision');
  home = await mkdtemp(join(tmpdir(), 'aios-what-if-'));
  await mkdir(join(home, 'ledger'));
  await writeFile(join(home, 'ledger', 'brain-1.log'), log);
});
afterAll(() => rm(home, { recursive: true, force: true }));

/** The policies of the run with one thing written otherwise. */
function sourcesWith(from: string, to: string): Readonly<Record<string, string>> {
  const changed = Object.fromEntries(Object.entries(bundle.sources).map(([file, text]) => [file, text.replaceAll(from, to)]));
  expect(changed).not.toEqual(bundle.sources);
  return changed;
}
function asked(over: Partial<PolicyBundle>): WhatIf {
  const other = { ...bundle, ...over };
  return whatIf(decisions, other, digestOf(other));
}
const policiesOf = (sources: Readonly<Record<string, string>>): Partial<PolicyBundle> => ({ policies: compileSources({ sources, schema: bundle.schema }).policies });

/** Refunds are looked at from 25 USD instead of 50. */
const STRICTER = ['context.amountMicroUsd > 50000000 ||', 'context.amountMicroUsd > 25000000 ||'] as const;

describe('what-if on a run of the support desk', () => {
  test('the same policies treat everybody the same, at the same cost', () => {
    expect(asked({})).toEqual({ replayed: 41, approximate: 0, skipped: 0, changed: [], by: {}, morePeople: 0, moreAmountMicroUsd: 0, costMicroUsd: 437, costAfterMicroUsd: 437, unpriced: [] });
  });

  test('a lower limit for refunds - four of the seven that went out at once wait for a person: 29, 29, 39 and 35 USD', () => {
    const answer = asked(policiesOf(sourcesWith(...STRICTER)));
    expect(answer.changed.map(({ task, action, before, after, deciding, amountMicroUsd }) => [task, action, before, after, deciding.join(), amountMicroUsd / 1_000_000])).toEqual([
      ['t-y13rqdj8easb', 'commit', 'allow', 'escalate', 'support-review-refund', 29], ['t-8rra62e1tsrp', 'commit', 'allow', 'escalate', 'support-review-refund', 29],
      ['t-dywk32rz0056', 'commit', 'allow', 'escalate', 'support-review-refund', 39], ['t-v8xdwbta646z', 'commit', 'allow', 'escalate', 'support-review-refund', 35],
    ]);
    expect(answer).toMatchObject({ by: { 'commit allow->escalate': 4 }, morePeople: 4, moreAmountMicroUsd: -132_000_000, costMicroUsd: 437, costAfterMicroUsd: 437 });
  });

  test('a longer time for refunds - the payment of 240 days ago would have waited for a person, that of 707 days still not', () => {
    const answer = asked(policiesOf(sourcesWith('context.paymentAgeDays <= 90', 'context.paymentAgeDays <= 365')));
    expect(answer.changed.map(({ task, before, after, amountMicroUsd }) => [task, before, after, amountMicroUsd])).toEqual([['t-0rq8xpt4pmj3', 'deny', 'escalate', 29_000_000]]);
    expect(answer).toMatchObject({ morePeople: 1, moreAmountMicroUsd: 0 });
  });

  test('roles are part of what is asked - without the role service nobody would have been let in, and nothing would have been spent', () => {
    const answer = asked(policiesOf(sourcesWith('["requester", "service", "operator"]', '["requester", "operator"]')));
    expect(answer).toMatchObject({ by: { 'admit allow->deny': 41 }, costMicroUsd: 437, costAfterMicroUsd: 0, morePeople: 0 });
    expect(asked(policiesOf(sourcesWith('["requester", "service", "operator"]', '["service"]'))).changed).toEqual([]);
  });

  test('other prices - ten times the price of device time is not ten times the bill, because calls are rounded up one by one; an unpriced model is named', () => {
    const tenfold = Object.fromEntries(Object.entries(bundle.prices).map(([name, price]) => [name, { ...price, devicePerSecond: price.devicePerSecond * 10 }]));
    expect(asked({ prices: tenfold })).toMatchObject({ changed: [], costMicroUsd: 437, costAfterMicroUsd: 3_826 });
    const { workers: _gone, 'minilm-l6-int8': _too, ...fewer } = bundle.prices;
    expect(asked({ prices: fewer })).toMatchObject({ unpriced: ['intent', 'minilm-l6-int8'], costAfterMicroUsd: 0 });
  });

  test('a record of before requests were kept is judged by its facts, and says so', () => {
    const old = decisions.map(({ asked: _gone, ...record }) => record);
    const stricter = { ...bundle, ...policiesOf(sourcesWith(...STRICTER)) };
    expect(whatIf(old, stricter, digestOf(stricter))).toMatchObject({ replayed: 41, approximate: 41, morePeople: 4 });
  });

  test('as a gate in a pipeline - the exit code follows the limit that is set', async () => {
    const folder = join(home, 'policies');
    await mkdir(folder);
    for (const [file, text] of Object.entries({ ...sourcesWith(...STRICTER), 'schema.cedarschema': bundle.schema })) await writeFile(join(folder, file), text);
    const bin = fileURLToPath(new URL('../../../infra/cli/bin.mjs', import.meta.url));
    const gate = async (...flags: readonly string[]): Promise<{ code: number; out: string }> =>
      promisify(execFile)(process.execPath, [bin, 'policy', 'what-if', '--home', home, '--dir', folder, ...flags], { env: { ...process.env, NODE_OPTIONS: '' } }).then(({ stdout }) => ({ code: 0, out: stdout }), (error: { code: number; stdout: string }) => ({ code: error.code, out: error.stdout }));
    const [three, four] = await Promise.all([gate('--people-max', '3', '--since', '2026-11-23T00:00:00Z'), gate('--people-max', '4', '--json')]);
    expect(three.code).toBe(1);
    expect(three.out).toContain('41 tasks judged again, 4 would have been treated otherwise');
    expect(three.out).toContain('people would have decided +4 tasks; effects of -132 USD');
    expect(four.code).toBe(0);
    expect(JSON.parse(four.out)).toMatchObject({ morePeople: 4 });
  }, 60_000);
});
