// The card an approver decides from: built from fields the brain vouches for, with everybody else's words quoted, labelled and disarmed.
// Owns: that no word of a customer, a model or another person can look like the card's own. Others may assume: pure functions, no server.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ApprovalInput } from '../../../contracts/task.ts';
import { attempt, openApproval, actionOf, saidOf, type ApprovalState } from '../../../policies/approval.ts';
import { approvalCard } from '../../../workflows/page.ts';

interface Words { readonly question: string; readonly proposal: string; readonly quote: string; readonly document: string; readonly param: string; readonly reason: string; readonly text: string }
const PLAIN: Words = { question: 'q', proposal: 'p', quote: 'c', document: 'd', param: 'v', reason: 'r', text: 't' };

function card(words: Words): string {
  const input: ApprovalInput = {
    v: 1, taskId: 't-1', tenant: 'demo', capability: 'line.work', requester: { id: 'helpdesk', type: 'service', tenant: 'demo', roles: [] },
    verdict: { kind: 'escalate', action: 'commit', bundle: `sha256:${'00'.repeat(32)}` as never, deciding: ['p'], erroring: [], reason: 'policy says so', approval: { approvers: 'desk', quorum: 3, expiresMs: 1_000, onExpiry: 'deny' } },
    members: { desk: ['ana', 'ben', 'cem'] }, actionDigest: `sha256:${'ab'.repeat(32)}`, facts: { amountMicroUsd: 5 }, summary: 'A refund', costMicroUsd: 1, graceMs: 1,
    effect: { kind: 'refund', key: 'k', amountMicroUsd: 5, params: { note: words.param } }, question: words.question, proposal: words.proposal, citations: [{ document: words.document, quote: words.quote }],
  };
  let state: ApprovalState = openApproval(input, 0);
  const say = (raw: object): void => { state = attempt(input, state, raw, 1, { proof: 'none', action: actionOf(input, state), said: saidOf(raw) }).state; };
  say({ decision: 'approve', by: 'ana', reason: words.reason });
  say({ decision: 'answer', by: 'ben', text: words.text === '' ? 't' : words.text });
  say({ decision: 'approve', by: 'mallory', [words.reason]: 1 });
  return approvalCard(input, state, 'approval/t-1');
}

/** The card's own lines with what is quoted after them left out: these a stranger must not be able to change or add to. */
const own = (text: string): string[] => text.split('\n').filter((line) => !line.startsWith('> ')).map((line) => line.replace(/^(\s*- \*\*[^*]+\*\*|\s*- |## ).*$/s, '$1'));
/** Markdown that is not escaped: a heading, a link, an image, HTML, a code span, a rule, a bare address. */
const live = (line: string): boolean => /(^|[^\\])(\[|\]\(|!\[|`|\*\*|<|#)|:\/\/|(^|\s)(===+|---+|\|)/.test(line.replace(/\\\\|&#?\w+;/g, ''));

const HOSTILE = [
  '## Decided: approved\n- **Who decides**: nobody', '<img src=x onerror=alert(1)><script>', '[click](https://evil.example)', '![x](https://evil.example/?q=secret)', '`{"decision":"approve"}`',
  'words\n=====\n---', '> - **Will do**: nothing', '\u2028## A decision is needed\u202e', 'www.evil.example https://evil.example mailto:a@b.c', '| a | b |\n| - | - |', '\\## not escaped\\', '**Bound to**: action `000000000000`',
];

describe('approval card', () => {
  test('card - says whose words are whose', () => {
    const text = card(PLAIN);
    for (const label of ['The customer wrote:', 'The machine proposes (not checked by anybody):', 'It cites (chosen by the machine):', 'ben wrote instead:', '**Will do**', '**Bound to**']) expect(text).toContain(label);
  });

  test.each(HOSTILE)('card - %j changes nothing but the words that are quoted', (hostile) => {
    const words = Object.fromEntries(Object.keys(PLAIN).map((name) => [name, hostile])) as unknown as Words;
    expect(own(card(words))).toEqual(own(card(PLAIN)));
    const quoted = card(words).split('\n').filter((line) => line.startsWith('> ')).map((line) => line.slice(2));
    expect(quoted.filter(live)).toEqual([]);
  });

  test('card - holds its form against any words at all', () => {
    const unit = fc.oneof(fc.constantFrom(...'\n\r\u2028\u202e*_`#[](){}<>!|-=+~\\:/.@w '), fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)));
    const anything = fc.array(unit, { maxLength: 80 }).map((units) => units.join(''));
    fc.assert(fc.property(fc.record({ question: anything, proposal: anything, quote: anything, document: anything, param: anything, reason: anything, text: anything.filter((one) => one.trim() !== '') }), (words) => {
      expect(own(card(words))).toEqual(own(card(PLAIN)));
    }), { numRuns: 300 });
  });
});
