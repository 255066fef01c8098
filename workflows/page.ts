// The words of the Temporal UI: Current Details of a task, of a group and of an approval, and their search attributes.
// Owns: escaping (a model's and a customer's words are shown as quoted text, never as Markdown or instructions) and the layout.
// Lists only: the UI gives tables no padding. Never puts personal data into search attributes.
// Others may assume: pure functions of state, so a query shows the same as history does.

import type { ApprovalInput, GovernedInput } from '../contracts/task.ts';
import type { Verdict } from '../contracts/verdict.ts';
import { type ApprovalState, groupsAfter, isApprovable, shortAction } from '../policies/approval.ts';
import type { Run } from './group.ts';

/** The server refuses more than 20,000 bytes of details; words are cut long before. */
const WORDS_MAX = 1_500;
const SHOWN_MAX = 64;

export const SEARCH = { tenant: 'AiosTenant', capability: 'AiosCapability', state: 'AiosState', tasks: 'AiosTasks', waitingFor: 'AiosWaitingFor' } as const;

/** The page of a governed task, or of a group of them. */
export function groupPage(input: GovernedInput, runs: readonly Run[], where: ReadonlyMap<string, string>): string {
  const one = runs.length === 1 ? runs[0] : undefined;
  const head = [`- **Capability**: ${escapeText(input.capability)}`, `- **Tenant**: ${escapeText(input.tenant)}`];
  if (one !== undefined) return [`## ${escapeText(one.summary)}`, ...head, ...memberLines(one, where)].join('\n');
  const lines = runs.slice(0, SHOWN_MAX).map((run) => `- \`${run.member.taskId}\` ${escapeText(run.summary)}: ${stateWords(run)}${whereWords(run, where)}`);
  return [`## ${input.members.length} tasks that arrived together`, ...head, '', ...lines].join('\n');
}

function memberLines(run: Run, where: ReadonlyMap<string, string>): string[] {
  const lines = [`- **Task**: \`${run.member.taskId}\``, `- **Asked by**: ${escapeText(run.member.principal.id)} (${run.member.principal.type})`, `- **State**: ${stateWords(run)}${whereWords(run, where)}`, `- **Rung**: ${run.rung}, attempt ${run.attempt}`, `- **Cost**: ${money(run.spentMicroUsd)}`];
  if (run.degraded.length > 0) lines.push('- **Went down the ladder**:', ...run.degraded.map((step) => `  - ${escapeText(step)}`));
  if (run.verdicts.length > 0) lines.push('- **Verdicts**:', ...run.verdicts.map((verdict) => `  - ${verdictWords(verdict)}`));
  const facts = Object.entries(run.outcome?.facts ?? {});
  if (facts.length > 0) lines.push('- **Facts**:', ...facts.map(([name, value]) => `  - ${name}: ${escapeText(String(value))}`));
  const text = textOf(run.outcome?.output);
  if (text !== undefined) lines.push('', 'Proposed answer (written by a machine):', '', quote(text));
  return lines;
}

/** The card an approver decides from. It says what to do, shows what was said, and keeps the two apart. */
export function approvalCard(input: ApprovalInput, state: ApprovalState, workflowId: string): string {
  const lines = [
    `## ${state.outcome === undefined ? 'A decision is needed' : `Decided: ${state.outcome}`}`,
    `- **What**: ${escapeText(input.summary)}`,
    `- **Asked by**: ${escapeText(input.requester.id)} (${input.requester.type}, tenant ${escapeText(input.tenant)})`,
    `- **Who decides**: ${input.verdict.approval.quorum} of ${escapeText(state.group)}${state.stage > 0 ? ` (escalated from ${escapeText(askedBefore(input, state))})` : ''}${input.requireVerified === true ? ', each proven by a signature or a login' : ''}`,
    `- **Until**: ${new Date(state.expiresAt).toISOString()}, then ${expiryWords(input, state)}`,
    `- **Why**: ${escapeText(input.verdict.reason)} (${escapeText(input.verdict.deciding.join(', '))})`,
    `- **Cost so far**: ${money(input.costMicroUsd)}`,
  ];
  if (input.effect !== undefined) lines.push(`- **Will do**: ${escapeText(input.effect.kind)}, amount ${money(input.effect.amountMicroUsd)}, once under \`${escapeCode(input.effect.key)}\`${listed(input.effect.params, ', with ')}`);
  lines.push(`- **Facts**: ${listed(input.facts)}`);
  lines.push(`- **Bound to**: action \`${shortAction(input, state)}\`, policy \`${input.verdict.bundle.slice(7, 19)}\``, `- **Task**: \`${input.taskId}\``);
  if (input.question !== undefined) lines.push('', 'The customer wrote:', '', quote(input.question));
  if (input.proposal !== undefined) lines.push('', 'The machine proposes (not checked by anybody):', '', quote(input.proposal));
  if (state.text !== undefined) lines.push('', `${escapeText(state.seats[0]?.by ?? 'A person')} wrote instead:`, '', quote(state.text));
  if (input.citations.length > 0) lines.push('', 'It cites (chosen by the machine):', ...input.citations.slice(0, 8).map((one) => `- ${escapeText(one.document)}: ${escapeText(one.quote.slice(0, 240))}`));
  lines.push('', ...howTo(input, state, workflowId));
  if (state.decisions.length > 0) lines.push('', 'Decisions:', ...state.decisions.map((one) => `- ${new Date(one.at).toISOString()} ${escapeText(one.by)}: ${one.decision}${one.reason === undefined ? '' : `, ${escapeText(one.reason)}`}`));
  if (state.attempts.length > 0) lines.push('', 'Last answers:', ...state.attempts.map((one) => `- ${new Date(one.at).toISOString()} ${escapeText(one.by)} (${one.decision}): ${one.accepted ? '' : `refused, ${one.code ?? ''}. `}${escapeText(one.message)}`));
  return lines.join('\n');
}

/** In one line: the UI sets the items of an inner list without a gap. */
const listed = (values: Readonly<Record<string, unknown>>, before = ''): string => {
  const items = Object.entries(values).map(([name, value]) => `${escapeText(name)}: ${escapeText(String(value))}`);
  return items.length === 0 ? '' : `${before}${items.join('; ')}`;
};

export const approveJson = (input: ApprovalInput, state: ApprovalState): string => JSON.stringify(isApprovable(input) || state.text !== undefined ? { decision: 'approve', by: 'your-id', action: shortAction(input, state) } : { decision: 'answer', by: 'your-id', text: 'your words', action: shortAction(input, state) });

function howTo(input: ApprovalInput, state: ApprovalState, workflowId: string): string[] {
  if (state.outcome !== undefined) return ['Nothing more to do.'];
  const action = shortAction(input, state);
  const choices = [
    ...(isApprovable(input) || state.text !== undefined ? [{ decision: 'approve', by: 'your-id', action }] : []),
    { decision: 'reject', by: 'your-id', action, reason: 'why' },
    { decision: 'answer', by: 'your-id', action, text: 'your words' },
  ];
  return [`To decide: More Actions, Send an Update, choose \`decide\`, paste one of these (or send it as the Signal \`decide\`; workflow \`${escapeCode(workflowId)}\`):`, ...choices.map((one) => `- \`${JSON.stringify(one)}\``)];
}

function expiryWords(input: ApprovalInput, state: ApprovalState): string {
  const [next, ...later] = groupsAfter(input).slice(state.stage);
  const { degrade } = input.verdict.approval;
  const end = degrade === undefined ? 'the task is refused' : `the rung "${degrade}" is tried`;
  return next === undefined ? end : `${[next, ...later].map((group) => `${escapeText(group)} is asked`).join(', then ')}, and at last ${end}`;
}

const askedBefore = (input: ApprovalInput, state: ApprovalState): string => [input.verdict.approval.approvers, ...groupsAfter(input)].slice(0, state.stage).join(', ');

export function stateWords(run: Run): string {
  switch (run.next.at) {
    case 'dispatch': return 'with the agent';
    case 'await': return 'with the agent (slow lane)';
    case 'approval': return `waiting for ${escapeText(run.next.verdict.approval.approvers)}`;
    case 'end': return run.next.error === undefined ? run.next.state : `${run.next.state} (${run.next.error.code})`;
  }
}

/** One word for the search attribute and the API. */
export function stateOf(run: Run): 'running' | 'waiting' | 'done' | 'refused' | 'failed' | 'cancelled' {
  if (run.next.at === 'end') return run.next.state;
  return run.next.at === 'approval' ? 'waiting' : 'running';
}

const whereWords = (run: Run, where: ReadonlyMap<string, string>): string => {
  const place = where.get(run.member.taskId);
  return place === undefined ? '' : `, goes on in \`${escapeCode(place)}\``;
};

const verdictWords = (verdict: Verdict): string => `${verdict.action}${verdict.step === undefined ? '' : ` of step ${escapeText(verdict.step)}`}: ${verdict.kind}${verdict.deciding.length === 0 ? '' : ` (${escapeText(verdict.deciding.join(', '))})`}`;

export const money = (microUsd: number): string => `$${(microUsd / 1_000_000).toFixed(6)}`;

function textOf(output: unknown): string | undefined {
  if (typeof output === 'string') return output;
  const text = typeof output === 'object' && output !== null ? (output as Record<string, unknown>)['text'] : undefined;
  return typeof text === 'string' ? text : undefined;
}

/** Words of strangers as a block quote: every line marked, every character of Markdown or HTML disarmed. */
export const quote = (words: string): string => words.slice(0, WORDS_MAX).split(/\r?\n|\u2028|\u2029/).map((line) => `> ${escapeText(line)}`).join('\n');

/** Backslashes before ASCII punctuation that Markdown reads, entities for HTML, and no bare links. */
export function escapeText(words: string): string {
  return words
    .replaceAll(/[\p{Cc}\p{Cf}]/gu, ' ')
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/[\\`*_{}[\]()#+!|~-]|^\s*=/g, '\\$&')
    .replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
    .replaceAll('://', ':&#47;&#47;').replaceAll(/\bwww\./gi, 'www&#46;');
}

const escapeCode = (words: string): string => words.replaceAll(/[`\r\n]/g, ' ');
