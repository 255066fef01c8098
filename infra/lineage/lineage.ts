// Lineage: the ledger's records of one task joined with its workflow histories into one tree.
// Owns: the tree's shape and how it is built. Pure: reading the ledger and the histories is the caller's business.
// Never holds content: digests, ids, scores, times. Others may assume: the same records give the same tree, so trees
// of two runs can be compared after `normalise` (no times, ids, costs).

import type { Receipt } from '../../contracts/receipt.ts';
import type { AttemptRecord, DecisionRecord, EffectRecord, IntentRecord, LedgerEntry } from '../../contracts/record.ts';
import type { Verdict } from '../../contracts/verdict.ts';
import { keptUntil } from '../../policies/obligations.ts';

export type LineageKind = 'task' | 'input' | 'policy' | 'turn' | 'retrieval' | 'fragment' | 'model' | 'scores' | 'human' | 'attempt' | 'effect' | 'outcome' | 'history';
export type Detail = Readonly<Record<string, string | number | boolean | readonly string[]>>;

export interface LineageNode {
  readonly kind: LineageKind;
  readonly title: string;
  readonly detail: Detail;
  readonly children: readonly LineageNode[];
}

/** One event of a workflow history that a reader of an audit wants to see. `principal` is attested by the server where that is switched on. */
export interface HistoryStep {
  readonly at: number;
  readonly workflowId: string;
  readonly runId: string;
  readonly event: string;
  readonly name: string;
  readonly principal?: string;
}

/** The tree of a task, or undefined when the ledger knows nothing of it. */
export function buildLineage(task: string, entries: readonly LedgerEntry[], history: readonly HistoryStep[]): LineageNode | undefined {
  const mine = entries.filter((entry) => entry.record.task === task);
  if (mine.length === 0 && history.length === 0) return undefined;
  const decision = pick(mine, 'decision')[0];
  const attempts = pick(mine, 'attempt');
  return node('task', `${task}${decision === undefined ? ' (not settled yet)' : ` ${decision.record.capability}: ${decision.record.state}`}`, {}, [
    ...(decision === undefined ? [] : settled(decision.record, attempts)),
    ...(decision === undefined && attempts.length > 0 ? [human(attempts, undefined)] : []),
    ...effects(pick(mine, 'intent'), pick(mine, 'effect')),
    ...(decision === undefined ? [] : [outcome(decision)]),
    ...(history.length === 0 ? [] : [historyNode(history)]),
  ]);
}

/** What two runs of the same request must share: verdicts with deciding ids, fragments, effects. */
export function normalise(tree: LineageNode): unknown {
  const kept = new Set<LineageKind>(['task', 'policy', 'retrieval', 'fragment', 'effect']);
  const walk = (at: LineageNode): unknown[] => [
    ...(kept.has(at.kind) && at.kind !== 'task' ? [{ kind: at.kind, detail: stable(at) }] : []),
    ...at.children.flatMap(walk),
  ];
  return walk(tree).map((item) => JSON.stringify(item)).sort();
}

const stable = ({ kind, detail }: LineageNode): unknown =>
  kind === 'policy' ? { action: detail['action'], step: detail['step'], verdict: detail['verdict'], deciding: detail['deciding'] }
    : kind === 'fragment' ? { document: detail['document'], chunk: detail['chunk'], digest: detail['digest'] }
      : kind === 'retrieval' ? { space: detail['space'], manifest: detail['manifest'] }
        : { effect: detail['effect'], applied: detail['applied'] };

function settled(record: DecisionRecord, attempts: readonly Typed<AttemptRecord>[]): LineageNode[] {
  return [
    node('input', 'input', { principal: record.principal, digest: record.inputDigest, capability: record.capability, workflow: record.workflowId, run: record.runId }),
    ...record.verdicts.map(policy),
    ...record.receipts.map(receipt),
    node('scores', 'facts policy looked at', flat(record.facts)),
    ...(record.human === undefined && attempts.length === 0 ? [] : [human(attempts, record)]),
  ];
}

function policy(verdict: Verdict): LineageNode {
  const extra = verdict.kind === 'escalate' ? { approvers: verdict.approval.approvers } : verdict.kind === 'degrade' ? { rung: verdict.rung } : {};
  const step = verdict.step === undefined ? {} : { step: verdict.step, by: verdict.by ?? 'brain' };
  return node('policy', `${verdict.action}${verdict.step === undefined ? '' : ` of step ${verdict.step}`}: ${verdict.kind}`, { action: verdict.action, ...step, verdict: verdict.kind, deciding: verdict.deciding, bundle: verdict.bundle, ...verdict.obligations, ...extra });
}

function receipt(seen: Receipt): LineageNode {
  if (seen.kind === 'turn') return node('turn', `agent ${seen.agent} handled ${seen.capability}`, { rung: seen.rung, fence: seen.fence, ms: seen.ms, decided: seen.local });
  if (seen.kind === 'model') return node('model', `model ${seen.model} by ${seen.provider}`, { digest: seen.modelDigest, costMicroUsd: seen.costMicroUsd, priceDigest: seen.priceDigest, deviceUs: seen.usage.deviceUs, inputTokens: seen.usage.inputTokens, outputTokens: seen.usage.outputTokens, ...(seen.redacted === undefined ? {} : { redacted: Object.entries(seen.redacted).map(([kind, count]) => `${kind}:${count}`) }) });
  const children = seen.fragments.map((fragment) => node('fragment', `${fragment.document} ${fragment.chunk}`, { document: fragment.document, chunk: fragment.chunk, digest: fragment.digest, score: fragment.score }));
  return node('retrieval', `searched ${seen.space} (${seen.engine})`, { space: seen.space, epoch: seen.epoch, manifest: seen.manifestDigest, filter: seen.filterDigest }, children);
}

function human(attempts: readonly Typed<AttemptRecord>[], record: DecisionRecord | undefined): LineageNode {
  const children = attempts.map(({ record: attempt }) => node('attempt', `${attempt.by} ${attempt.accepted ? 'decided' : 'was refused'}: ${attempt.decision}`, { by: attempt.by, via: attempt.via, accepted: attempt.accepted, verified: attempt.verified, ...(attempt.code === undefined ? {} : { code: attempt.code }) }));
  const decided = record?.human;
  const detail = decided === undefined ? {} : { decision: decided.decision, by: decided.by, verified: decided.verified, ...(record?.feedbackDigest === undefined ? {} : { feedback: record.feedbackDigest }) };
  return node('human', decided === undefined ? 'a person was asked' : `a person decided: ${decided.decision}`, detail, children);
}

function effects(intents: readonly Typed<IntentRecord>[], done: readonly Typed<EffectRecord>[]): LineageNode[] {
  return intents.map(({ record: intent, entry }) => {
    const result = done.find(({ record }) => record.effectKey === intent.effectKey)?.record;
    const detail = { effect: intent.effectKey, amountMicroUsd: intent.amountMicroUsd, action: intent.actionDigest, intentAt: entry.index, applied: result?.applied ?? false };
    return node('effect', `${intent.effectKind}: ${result === undefined ? 'intended, no outcome recorded' : result.detail}`, detail);
  });
}

function outcome({ record, entry }: Typed<DecisionRecord>): LineageNode {
  return node('outcome', record.state, {
    rung: record.rung, degraded: record.degraded, costMicroUsd: record.costMicroUsd, reservedMicroUsd: record.reservedMicroUsd, latencyMs: record.latencyMs,
    ...(record.outputDigest === undefined ? {} : { output: record.outputDigest }), ...(record.error === undefined ? {} : { error: record.error }),
    ...retentionOf(record, entry.at), ...(record.detail === undefined ? {} : { detail: record.detail, whole: record.whole ?? '' }),
    log: entry.log, index: entry.index, hash: entry.hash,
  });
}

function retentionOf({ retention }: DecisionRecord, at: number): Detail {
  if (retention === undefined) return {};
  const until = keptUntil(retention, at);
  return { retention, keptUntil: until === undefined ? 'lifted by a person' : new Date(until).toISOString() };
}

function historyNode(history: readonly HistoryStep[]): LineageNode {
  const children = history.map((step) => node('history', `${new Date(step.at).toISOString()} ${step.event} ${step.name}`.trim(), { workflow: step.workflowId, run: step.runId, ...(step.principal === undefined ? {} : { principal: step.principal }) }));
  return node('history', `workflow history, ${history.length} steps`, {}, children);
}

interface Typed<R> { readonly entry: LedgerEntry; readonly record: R }
type RecordOf<K extends LedgerEntry['record']['kind']> = Extract<LedgerEntry['record'], { kind: K }>;

function pick<K extends LedgerEntry['record']['kind']>(entries: readonly LedgerEntry[], kind: K): Typed<RecordOf<K>>[] {
  return entries.flatMap((entry) => (entry.record.kind === kind ? [{ entry, record: entry.record as RecordOf<K> }] : []));
}

const flat = (facts: DecisionRecord['facts']): Detail => ({ ...facts });
const node = (kind: LineageKind, title: string, detail: Detail, children: readonly LineageNode[] = []): LineageNode => ({ kind, title, detail, children });
