// Who the server says decided, read from a recorded history: the development server attests nobody, so the principal that a server
// with `frontend.enablePrincipalPropagation` and a claim mapper stamps on events (field 303 of a history event) is put in by hand.
// Owns: which event counts for which attempt. Others may assume: the history itself is a kept one of a real server.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { principalIn } from '../../../infra/temporal/attestation.ts';

interface Event { readonly principal?: { readonly type: string; readonly name: string }; readonly workflowExecutionUpdateAcceptedEventAttributes?: { readonly acceptedRequest: { readonly meta: { readonly updateId: string } } } }
const kept = JSON.parse(readFileSync(new URL('../../replay/histories/approval-decided.json', import.meta.url), 'utf8')) as { readonly history: { readonly events: readonly Event[] } };
const updates = kept.history.events.flatMap((event) => (event.workflowExecutionUpdateAcceptedEventAttributes === undefined ? [] : [event.workflowExecutionUpdateAcceptedEventAttributes.acceptedRequest.meta.updateId]));
const stamped = (names: Readonly<Record<string, string>>) => kept.history.events.map((event) => {
  const name = names[event.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest.meta.updateId ?? ''];
  return name === undefined ? event : { ...event, principal: { type: 'user', name } };
}) as never;

test('attestation - each Update has the principal of its own event, whatever the others have', () => {
  const [first = '', second = ''] = updates;
  expect(updates.length).toBeGreaterThanOrEqual(2);
  const events = stamped({ [first]: 'mallory', [second]: 'ana' });
  expect([principalIn(events, { update: first }), principalIn(events, { update: second }), principalIn(events, { update: 'another' })]).toEqual(['mallory', 'ana', undefined]);
});

test('attestation - the n-th Signal named decide counts, and other signals do not', () => {
  const signal = (signalName: string, name?: string) => ({ workflowExecutionSignaledEventAttributes: { signalName, identity: 'ana@example.org' }, ...(name === undefined ? {} : { principal: { type: 'user', name } }) });
  const events = [signal('other', 'zoe'), signal('decide', 'ana'), signal('other'), signal('decide')] as never;
  expect([principalIn(events, { signal: 1 }), principalIn(events, { signal: 2 }), principalIn(events, { signal: 3 })]).toEqual(['ana', undefined, undefined]);
});

test('attestation - a server that stamps nobody attests nobody', () => {
  for (const update of updates) expect(principalIn(stamped({}), { update })).toBeUndefined();
});
