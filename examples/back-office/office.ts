// An office and its clerks: children that are watched, events that are published, work that is put off, opinions that are gathered.
// Owns: three agent kinds over the runtime's own means, and no other. Never names a host, a partition or a subject.
// Others may assume: a case that was opened is closed once, whichever host dies meanwhile.

import { z } from 'zod';
import { agentDown, defineAgent, defineCapability, defineEvent, parallel } from 'aios';

const name = z.string().regex(/^[a-z0-9-]{1,32}$/);
const main = (): string => 'main';

/** One office, however many hosts: the same key is the same agent. */
export const openCase = defineCapability('office.open', { input: z.strictObject({ case: name, careful: z.boolean() }), output: z.strictObject({ clerk: z.string() }), actorKey: main });
export const setHours = defineCapability('office.hours', { input: z.strictObject({ open: z.boolean() }), output: z.strictObject({}), actorKey: main });
export const report = defineCapability('office.report', { input: z.strictObject({}), output: z.strictObject({ open: z.array(z.string()), closed: z.array(z.string()), lost: z.array(z.string()) }), actorKey: main });
/** Answered by any of the appraisers there are, on any host: a pool of workers without state. */
export const appraise = defineCapability('case.appraise', { input: z.strictObject({ case: name, seat: z.number().int() }), output: z.strictObject({ cents: z.number().int() }), delivery: 'ephemeral' });
export const value = defineCapability('office.value', { input: z.strictObject({ case: name }), output: z.strictObject({ cents: z.number().int(), opinions: z.number().int() }), actorKey: main, uses: ['case.appraise'] });

const caseAssigned = defineEvent('case.assigned', z.strictObject({ case: name, careful: z.boolean() }), { published: false });
export const caseClosed = defineEvent('case.closed', z.strictObject({ case: name, clerk: z.string() }));

const books = z.strictObject({ open: z.array(z.string()), closed: z.array(z.string()), lost: z.array(z.string()) });

export const office = defineAgent('office', { state: books, initial: () => ({ open: [], closed: [], lost: [] }) })
  .handle(openCase, (input, ctx) => {
    const clerk = ctx.spawn({ kind: 'clerk' }, input.case);
    ctx.tell(clerk, caseAssigned, input);
    ctx.state.open.push(input.case);
    return { clerk: clerk.id };
  })
  .handle(setHours, ({ open }, ctx) => {
    if (open) ctx.unstash();
    ctx.become(open ? undefined : 'closed');
    return {};
  })
  .handle(report, (_, ctx) => ctx.state)
  // Three are asked, two are enough, and nobody is waited for longer than two seconds.
  .handle(value, async (input, ctx) => {
    const { outputs, answered } = await parallel(ctx, appraise, [1, 2, 3].map((seat) => ({ case: input.case, seat })), { quorum: 2, timeoutMs: 2_000 });
    const given = outputs.flatMap((one) => (one === undefined ? [] : [one.cents])).sort((a, b) => a - b);
    return { cents: given[0] ?? 0, opinions: answered };
  })
  .on(caseClosed, (event, ctx) => {
    ctx.state.open = ctx.state.open.filter((one) => one !== event.case);
    ctx.state.closed.push(event.case);
    ctx.unwatch({ kind: 'clerk', id: event.clerk });
  }, { actorKey: main })
  // The clerk's desk is gone with its host; the clerk is not: it is told again, and told not to dawdle.
  .on(agentDown, ({ id }, ctx) => {
    const lost = ctx.state.open.find((one) => ctx.spawn({ kind: 'clerk' }, one).id === id);
    if (lost === undefined) return;
    ctx.state.lost.push(lost);
    ctx.tell({ kind: 'clerk', id }, caseAssigned, { case: lost, careful: false });
  })
  .in('closed', (into) => into.handle(openCase, (_, ctx) => ctx.stash()));

export const clerk = defineAgent('clerk', {
  state: z.strictObject({ closed: z.boolean(), days: z.number().int() }), initial: () => ({ closed: false, days: 0 }),
  onStart: (ctx) => void (ctx.state.days += 1),
}).on(caseAssigned, (event, ctx) => {
  if (event.careful || ctx.state.closed) return;
  ctx.state.closed = true;
  ctx.publish(caseClosed, { case: event.case, clerk: ctx.self });
});

export const appraiser = defineAgent('appraiser').handle(appraise, (input) => ({ cents: 100 * input.seat + input.case.length }));

export const agents = [office, clerk, appraiser];
