// The ledger: chain, group commit, recovery, and every way of tampering that `verifyLog` must find.
// Owns: behaviour of policies/ledger and infra/files/ledger over a temporary directory.
// Never needs a server. Others may assume: the tamper table is the one `aios audit verify` is held to.

import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Metrics, SignatureVerifier, Signer } from '../../contracts/ports.ts';
import type { IntentRecord } from '../../contracts/record.ts';
import type { LedgerAnchor } from '../../contracts/task.ts';
import { openLedger, readLogs } from '../../infra/files/ledger.ts';
import { createLogger } from '../../infra/log/logger.ts';
import { systemClock } from '../../infra/telemetry/index.ts';
import { verifyLog } from '../../policies/ledger.ts';

const keys = generateKeyPairSync('ed25519');
const signer: Signer = { kid: 'test', sign: (bytes) => sign(null, bytes, keys.privateKey).toString('base64url') };
const verifier: SignatureVerifier = { verify: (kid, bytes, signature) => kid === 'test' && verify(null, bytes, keys.publicKey, Buffer.from(signature, 'base64url')) };
const logger = createLogger({ process: 'test', level: 'silent' });
const metrics: Metrics = { count() {}, gauge() {}, observe() {} };

const record = (n: number): IntentRecord => ({ kind: 'intent', tenant: 'acme', task: `t-${n}`, effectKind: 'refund', effectKey: `refund:${n}`, amountMicroUsd: n, actionDigest: `sha256:${'0'.repeat(64)}` });

let dir = '';
beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), 'aios-ledger-'))));
afterEach(() => rm(dir, { recursive: true, force: true }));

const open = () => openLedger({ dir, log: 'brain', signer, clock: systemClock, logger, metrics });

async function write(count: number): Promise<LedgerAnchor[]> {
  await using ledger = await open();
  const anchors = await Promise.all(Array.from({ length: count }, (_, n) => ledger.append([record(n)])));
  return anchors.flat();
}

async function check(anchors: readonly LedgerAnchor[] = []) {
  const [files] = await readLogs(dir);
  if (files === undefined) throw new Error('no log was written');
  return verifyLog(files.log, files.lines, files.heads, anchors, verifier);
}

const lines = async () => (await readFile(join(dir, 'brain.log'), 'utf8')).trimEnd().split('\n');
const rewrite = (all: readonly string[]) => writeFile(join(dir, 'brain.log'), `${all.join('\n')}\n`);

describe('ledger - writing', () => {
  test('verifies what concurrent appends wrote, in one order, without a finding', async () => {
    const anchors = await write(200);
    expect(anchors.map((anchor) => anchor.index).sort((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, n) => n));
    expect(await check(anchors)).toMatchObject({ entries: 200, findings: [] });
  });

  test('shares fsyncs between appends that wait together', async () => {
    let commits = 0;
    await using ledger = await openLedger({ dir, log: 'brain', signer, clock: systemClock, logger, metrics: { ...metrics, observe: () => void commits++ } });
    await Promise.all(Array.from({ length: 500 }, (_, n) => ledger.append([record(n)])));
    expect(commits).toBeLessThan(20);
  });

  test('goes on behind the last record after a restart, and drops a torn line that was never acknowledged', async () => {
    await write(3);
    await appendFile(join(dir, 'brain.log'), '{"log":"brain","index":3,"at":1');
    const [anchor] = await write(1);
    expect(anchor?.index).toBe(3);
    expect((await check()).findings).toEqual([]);
  });

  test('refuses a second writer of the same log', async () => {
    await using first = await open();
    await expect(open()).rejects.toMatchObject({ code: 'AIOS_CONFIG_INVALID' });
    expect(first.head()).toBeUndefined();
  });

  test('refuses to open a log that does not chain', async () => {
    await write(3);
    const [a = '', b = '', c = ''] = await lines();
    await rewrite([a, c, b]);
    await expect(open()).rejects.toMatchObject({ code: 'AIOS_LEDGER_BROKEN' });
  });

  test('answers the first decision of a task, also after a restart', async () => {
    const decision = { kind: 'decision', tenant: 'acme', task: 't-1', capability: 'a.b', workflowId: 'w', runId: 'r', principal: 'p', state: 'done', rung: 'model', degraded: [], inputDigest: 'x', bundle: 'y', verdicts: [], facts: {}, receipts: [], costMicroUsd: 0, reservedMicroUsd: 0, latencyMs: 1 } as const;
    let first: LedgerAnchor | undefined;
    {
      await using ledger = await open();
      [first] = await ledger.append([decision]);
      await ledger.append([decision]);
      expect(await ledger.decision('t-1')).toEqual(first);
    }
    await using again = await open();
    expect(await again.decision('t-1')).toEqual(first);
    expect(await again.decision('t-2')).toBeUndefined();
  });

  test('finds what another writer of the directory decided only where it is told to look there, and what it decides later too', async () => {
    const decision = (task: string) => ({ kind: 'decision', tenant: 'acme', task, capability: 'a.b', workflowId: 'w', runId: 'r', principal: 'p', state: 'done', rung: 'model', degraded: [], inputDigest: 'x', bundle: 'y', verdicts: [], facts: {}, receipts: [], costMicroUsd: 0, reservedMicroUsd: 0, latencyMs: 1 }) as const;
    await using mine = await open();
    await using other = await openLedger({ dir, log: 'brain-b', signer, clock: systemClock, logger, metrics });
    const [first, second] = await other.append([decision('t-1'), decision('t-2')]);
    expect(await mine.decision('t-1')).toBeUndefined();
    expect(await Promise.all([mine.decision('t-1', { elsewhere: true }), mine.decision('t-2', { elsewhere: true })])).toEqual([first, second]);
    expect(await mine.decision('t-3', { elsewhere: true })).toBeUndefined();
    const [third] = await other.append([decision('t-3')]);
    expect(await mine.decision('t-3', { elsewhere: true })).toEqual(third);
    await mine.append([decision('t-4')]);
    expect(await mine.decision('t-4', { elsewhere: true })).toMatchObject({ log: 'brain' });
  });
});

describe('ledger - tampering is found', () => {
  test('one byte changed', async () => {
    await write(5);
    const all = await lines();
    await rewrite(all.map((line, n) => (n === 2 ? line.replace('"amountMicroUsd":2', '"amountMicroUsd":9') : line)));
    expect((await check()).findings).toMatchObject([{ kind: 'edited', index: 2 }]);
  });

  test('one record dropped', async () => {
    await write(5);
    await rewrite((await lines()).filter((_, n) => n !== 2));
    expect((await check()).findings).toContainEqual(expect.objectContaining({ kind: 'dropped', index: 2 }));
  });

  test('two records swapped', async () => {
    await write(5);
    const [a = '', b = '', c = '', d = '', e = ''] = await lines();
    await rewrite([a, c, b, d, e]);
    expect((await check()).findings.map((finding) => finding.kind)).toContain('reordered');
  });

  test('the tail cut, by the signed heads', async () => {
    await write(5);
    await rewrite((await lines()).slice(0, 3));
    expect((await check()).findings).toContainEqual(expect.objectContaining({ kind: 'cut', index: 3 }));
  });

  test('the tail cut together with the heads, by the anchors in workflow results', async () => {
    const anchors = await write(5);
    await rewrite((await lines()).slice(0, 3));
    const heads = (await readFile(join(dir, 'brain.heads'), 'utf8')).trimEnd().split('\n').filter((line) => (JSON.parse(line) as { index: number }).index < 3);
    await writeFile(join(dir, 'brain.heads'), heads.length === 0 ? '' : `${heads.join('\n')}\n`);
    expect((await check()).findings).toEqual([]);
    expect((await check(anchors)).findings).toContainEqual(expect.objectContaining({ kind: 'cut', index: 3 }));
  });

  test('the whole log rewritten with good hashes, by heads that nobody else can sign', async () => {
    const anchors = await write(2);
    const forged = generateKeyPairSync('ed25519');
    await rm(join(dir, 'brain.log'));
    await rm(join(dir, 'brain.heads'));
    await using other = await openLedger({ dir, log: 'brain', signer: { kid: 'test', sign: (bytes) => sign(null, bytes, forged.privateKey).toString('base64url') }, clock: systemClock, logger, metrics });
    await other.append([record(7), record(8)]);
    const kinds = (await check(anchors)).findings.map((finding) => finding.kind);
    expect(kinds).toContain('forged');
    expect(kinds).toContain('edited');
  });
});
