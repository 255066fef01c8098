// A brain that died between settlement and the end of its workflow settles again, perhaps after the deadline and with another outcome.
// Owns: that the decision on disk stands then, and that no effect is applied for which there is no intent.
// Uses the real ledger in a temporary directory. Others may assume: one task has one decision record, however often it is driven.

import { generateKeyPairSync, sign } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { settleGroup } from '../../activities/settle.ts';
import type { ActivityPorts } from '../../activities/ports.ts';
import type { SettleArgs, SettleMember } from '../../contracts/governed.ts';
import type { ProposedEffect } from '../../contracts/message.ts';
import type { Ledger } from '../../contracts/ports.ts';
import { openLedger } from '../../infra/files/ledger.ts';
import { systemClock } from '../../infra/telemetry/index.ts';
import { resultOf } from '../../policies/settlement.ts';
import { createKit } from '../kit/index.ts';

const { privateKey } = generateKeyPairSync('ed25519');
const refund: ProposedEffect = { kind: 'refund', key: 'refund:c-1:p-1', amountMicroUsd: 1_000_000, params: {} };
const member = (over: Partial<SettleMember>): SettleMember => ({ taskId: 't-1', principal: 'helpdesk', state: 'done', rung: 'model', degraded: [], inputDigest: 'd', output: { text: 'x' }, verdicts: [], facts: {}, receipts: [], costMicroUsd: 0, reservedMicroUsd: 0, settle: [], acceptedAt: 0, ...over });
const argsOf = (one: SettleMember): SettleArgs => ({ tenant: 'demo', capability: 'support.answer', workflowId: 'w', runId: 'r', bundle: 'b', pinned: { seal: 's' } as SettleArgs['pinned'], members: [one], left: [] });

let dir = '';
let ledger: Ledger;
let applied: string[] = [];
let ports: ActivityPorts;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'aios-settle-'));
  const { logger, metrics } = createKit();
  ledger = await openLedger({ dir, log: 'brain', signer: { kid: 'k', sign: (bytes) => sign(null, bytes, privateKey).toString('base64url') }, clock: systemClock, logger, metrics });
  applied = [];
  const effects = { kinds: ['refund'], apply: async (_: string, effect: ProposedEffect) => (applied.push(effect.key), { kind: effect.kind, key: effect.key, applied: true }) };
  ports = { ledger, effects, budgets: { limited: async () => false, settleAll: async () => undefined }, logger, metrics, clock: systemClock, sealOf: () => 's', settled() {} } as unknown as ActivityPorts;
});
afterEach(async () => {
  await ledger[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

test('settlement - a task that was done stays done when it is driven again after its deadline', async () => {
  await settleGroup(ports, argsOf(member({ effect: refund })));
  const late = member({ state: 'failed', error: { code: 'AIOS_DEADLINE_EXCEEDED', message: 'late' } });
  const again = await settleGroup(ports, argsOf(late));
  expect(resultOf(late, again.members[0])).toMatchObject({ state: 'done', effect: { key: refund.key, applied: true } });
  expect(applied).toEqual([refund.key]);
});

test('settlement - a task that failed gets no effect when it is driven again and would now be allowed one', async () => {
  await settleGroup(ports, argsOf(member({ state: 'failed', error: { code: 'AIOS_DEADLINE_EXCEEDED', message: 'late' } })));
  const allowed = member({ effect: refund });
  const again = await settleGroup(ports, argsOf(allowed));
  expect(resultOf(allowed, again.members[0])).toMatchObject({ state: 'failed', error: { code: 'AIOS_DEADLINE_EXCEEDED' } });
  expect(applied).toEqual([]);
  expect((await ledger.find('t-1')).map(({ record }) => record.kind)).toEqual(['decision']);
});
