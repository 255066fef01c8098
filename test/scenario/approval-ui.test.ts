// A person decides in the Temporal UI: headless Chromium finds the waiting ticket, reads its card and sends the decision
// through the UI's own form. No client of ours sends it.
// Owns: the proof that the printed link, the card and the JSON are enough. Screenshots stay in test-artifacts/.

import { existsSync, mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { answer, helloDesk } from '../../examples/hello/desk.ts';
import { approvalLink } from '../../infra/cli/shared.ts';
import { startHost } from '../../infra/host/start-host.ts';

const ARTIFACTS = fileURLToPath(new URL('../../test-artifacts/', import.meta.url));
const BROWSERS = [process.env['AIOS_CHROMIUM'], '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const PAGE_MS_MAX = 60_000;

async function openBrowser(): Promise<Browser & AsyncDisposable> {
  const executablePath = BROWSERS.find((path) => path !== undefined && existsSync(path));
  if (executablePath === undefined) throw new Error('no Chromium: install the package "chromium", or name one with AIOS_CHROMIUM');
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'] });
  return Object.assign(browser, { [Symbol.asyncDispose]: () => browser.close() });
}

async function open() {
  const stack = new AsyncDisposableStack();
  const home = await mkdtemp(join(tmpdir(), 'aios-ui-'));
  stack.defer(() => rm(home, { recursive: true, force: true }));
  const host = stack.use(await startHost({ home, agents: [helloDesk], policies: new URL('../../examples/hello/policies/', import.meta.url), groups: { 'hello-lead': ['ana'] } }));
  const browser = stack.use(await openBrowser());
  const page = await browser.newPage({ viewport: { width: 1400, height: 1000 } });
  page.setDefaultTimeout(PAGE_MS_MAX);
  return { host, page, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

async function waitingTicket(host: Awaited<ReturnType<typeof startHost>>) {
  const { taskId } = await host.client.start(answer, { customer: 'c-8', question: 'hello' });
  for await (const { waiting } of host.client.watch(taskId)) if (waiting !== undefined) return { taskId, waiting };
  throw new Error('the ticket ended without waiting for anybody');
}

/** The page holds the same controls once for each width of the window; a person sees one of each. */
const seen = (page: Page, selector: string, text: RegExp) => page.locator(`${selector}:visible`, { hasText: text }).last();

/** The form of the UI: its modal lists the handlers, has one JSON editor and a button. */
async function sendUpdate(page: Page, name: RegExp, json: string): Promise<void> {
  await seen(page, 'button', /More Actions/).click();
  await seen(page, '*', /^\s*Send an Update\s*$/).click();
  await page.locator('#update-select:visible').locator('xpath=ancestor::*[@role="combobox" or self::button][1]').or(seen(page, '*', /^\s*Select an Update\s*$/)).last().click();
  await seen(page, '[role=option]', name).click();
  await page.locator('.cm-content:visible').last().fill(json);
  // The editor lays the JSON out when it loses the focus, which moves the button under a pointer that is quicker.
  await page.locator('#update-id:visible').focus();
  await expect.poll(() => page.locator('.cm-content:visible').last().innerText(), { timeout: PAGE_MS_MAX }).toContain('\n');
  await page.screenshot({ path: join(ARTIFACTS, 'approval-3-form.png') });
  await seen(page, 'button', /^\s*Submit\s*$/).click();
  await page.locator('.cm-content:visible').waitFor({ state: 'hidden' });
  await page.screenshot({ path: join(ARTIFACTS, 'approval-4-answer.png') });
}

/** Markdown is rendered in frames of its own. */
async function cardOf(page: Page): Promise<string> {
  const texts = async (): Promise<string> => (await Promise.all(page.frames().slice(1).map((frame) => frame.locator('body').innerText().catch(() => '')))).join('\n');
  await expect.poll(texts, { timeout: PAGE_MS_MAX, interval: 500 }).toContain('A decision is needed');
  return texts();
}

test('temporal ui - a person finds the waiting ticket by its link, reads the card and decides through the form', { timeout: 300_000 }, async () => {
  mkdirSync(ARTIFACTS, { recursive: true });
  await using at = await open();
  const { host, page } = at;
  const { taskId, waiting } = await waitingTicket(host);
  const link = approvalLink({ temporalUi: host.config.temporalUi, namespace: host.config.namespace }, waiting.workflowId);

  await page.goto(link);
  const row = page.getByRole('link', { name: waiting.workflowId }).first();
  await row.waitFor();
  await page.screenshot({ path: join(ARTIFACTS, 'approval-1-list.png') });
  await row.click();

  await page.getByRole('tab', { name: 'User Metadata' }).click();
  const card = await cardOf(page);
  await page.screenshot({ path: join(ARTIFACTS, 'approval-2-card.png'), fullPage: true });
  for (const word of [taskId, 'hello-lead', 'helpdesk', 'Was that a question?', 'human-when-unsure', '"decision":"approve"']) expect(card).toContain(word);

  await sendUpdate(page, /decide/, JSON.stringify({ ...(JSON.parse(waiting.json) as object), by: 'ana' }));
  const result = await host.client.wait<{ text: string }>(taskId, { timeoutMs: 20_000 });
  await page.screenshot({ path: join(ARTIFACTS, 'approval-5-done.png') });
  expect([result.state, result.output?.text]).toEqual(['done', 'Was that a question?']);
  expect(result.human).toMatchObject({ decision: 'approve', by: 'ana' });
});
