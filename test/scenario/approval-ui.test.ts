// A person decides in the Temporal UI: headless Chromium finds the waiting ticket, reads its card and sends the decision
// through the UI's own form. No client of ours sends it.
// Owns: the proof that the printed link, the card and the JSON are enough. Screenshots stay in test-artifacts/.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { answer, helloDesk } from '../../examples/hello/desk.ts';
import { startHost } from '../../infra/host/start-host.ts';
import { openUi } from './temporal-ui.ts';

async function open() {
  const stack = new AsyncDisposableStack();
  const home = await mkdtemp(join(tmpdir(), 'aios-ui-'));
  stack.defer(() => rm(home, { recursive: true, force: true }));
  const host = stack.use(await startHost({ home, agents: [helloDesk], policies: new URL('../../examples/hello/policies/', import.meta.url), groups: { 'hello-lead': ['ana'] } }));
  const ui = stack.use(await openUi(host.config));
  return { host, ui, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

async function waitingTicket(host: Awaited<ReturnType<typeof startHost>>) {
  const { taskId } = await host.client.start(answer, { customer: 'c-8', question: 'hello' });
  for await (const { waiting } of host.client.watch(taskId)) if (waiting !== undefined) return { taskId, waiting };
  throw new Error('the ticket ended without waiting for anybody');
}

test('temporal ui - a person finds the waiting ticket by its link, reads the card and decides through the form', { timeout: 300_000 }, async () => {
  await using at = await open();
  const { host, ui } = at;
  const { taskId, waiting } = await waitingTicket(host);

  await ui.open(waiting.workflowId);
  const card = await ui.card();
  await ui.shot('approval-1-card.png');
  for (const word of [taskId, 'hello-lead', 'helpdesk', 'Was that a question?', 'human-when-unsure', '"decision":"approve"']) expect(card).toContain(word);

  await ui.send({ ...(JSON.parse(waiting.json) as object), by: 'ana' });
  const result = await host.client.wait<{ text: string }>(taskId, { timeoutMs: 20_000 });
  await ui.shot('approval-2-done.png');
  expect([result.state, result.output?.text]).toEqual(['done', 'Was that a question?']);
  expect(result.human).toMatchObject({ decision: 'approve', by: 'ana' });
});
