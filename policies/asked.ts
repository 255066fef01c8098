// Decisions as they were asked, kept so that they can be asked again under other policies.
// Owns: what a task is taken for before anything is known of it, and the short form in which a record keeps each request.
// Never holds content: contexts are facts. Others may assume: `askedAgain` gives the very request that was decided,
// and a fact that equals what every task begins with is not written down.

import type { DecisionRecord } from '../contracts/record.ts';
import type { Facts, PolicyRequest } from '../contracts/verdict.ts';

/** A task before there is an outcome. */
export const BARE_FACTS: Facts = Object.freeze({ effectKind: 'none', amountMicroUsd: 0, injection: false, personalData: false, outOfScope: false, foreignCorpus: false, abstained: false, intent: 'none', approved: false });

/** What of a context is not plain. */
export function briefOf(context: Facts): Facts {
  return Object.fromEntries(Object.entries(context).filter(([name, fact]) => fact !== BARE_FACTS[name]));
}

/** The requests of a task with their place among its verdicts; empty for a record of before they were kept. */
export function askedAgain(record: DecisionRecord): readonly { readonly verdict: number; readonly request: PolicyRequest }[] {
  const { asked, tenant, capability } = record;
  if (asked === undefined) return [];
  const principal = { id: record.principal, type: asked.type, tenant, roles: asked.roles };
  const resource = { capability, dataClass: asked.dataClass, sla: asked.sla };
  return asked.contexts.flatMap(({ verdict, facts }) => {
    const action = record.verdicts[verdict]?.action;
    return action === undefined ? [] : [{ verdict, request: { action, principal, resource, context: { ...BARE_FACTS, ...facts } } }];
  });
}
