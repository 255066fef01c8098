// The Temporal UI in headless Chromium, as a person uses it: find a decision by its link, read the card, send an Update by the form.
// Owns: the browser and the clicks. Never sends anything past the UI. Others may assume: screenshots go to test-artifacts/,
// and a page that changed its words fails here by name.

import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { expect } from 'vitest';
import { approvalLink } from '../../infra/cli/shared.ts';
import { ARTIFACTS, fillUpdate, openBrowser, submitUpdate } from './payload-reader.ts';

const PAGE_MS_MAX = 60_000;

export interface Ui extends AsyncDisposable {
  readonly page: Page;
  /** Opens the approval from its own link, on the tab that holds the card; the page that is open already is loaded anew. */
  open(workflowId: string): Promise<void>;
  card(containing?: string): Promise<string>;
  /** Through the form; `answer` is waited for on the page when it is given. */
  send(json: object, answer?: RegExp): Promise<void>;
  shot(name: string): Promise<void>;
}

export async function openUi(endpoints: { readonly temporalUi: string; readonly namespace: string }): Promise<Ui> {
  const browser = await openBrowser();
  const page = await browser.newPage({ viewport: { width: 1400, height: 1000 } });
  page.setDefaultTimeout(PAGE_MS_MAX);
  return {
    page,
    async open(workflowId) {
      if (page.url().includes(encodeURIComponent(workflowId)) && page.url().includes('metadata')) return void (await page.reload());
      await page.goto(approvalLink(endpoints, workflowId));
      await page.getByRole('link', { name: workflowId, exact: true }).first().click();
      await page.getByRole('tab', { name: 'User Metadata' }).click();
    },
    card: (containing = 'A decision is needed') => cardOf(page, containing),
    send: (json, answer) => sendUpdate(page, /decide/, JSON.stringify(json), answer),
    shot: async (name) => void (await page.screenshot({ path: join(ARTIFACTS, name), fullPage: true })),
    [Symbol.asyncDispose]: () => browser.close(),
  };
}

async function sendUpdate(page: Page, name: RegExp, json: string, answer: RegExp | undefined): Promise<void> {
  await fillUpdate(page, name, json, PAGE_MS_MAX);
  await submitUpdate(page);
  if (answer === undefined) return page.locator('#update-id:visible').waitFor({ state: 'hidden' });
  await page.getByText(answer).first().waitFor();
}

/** Markdown is rendered in frames of its own. */
async function cardOf(page: Page, containing: string): Promise<string> {
  const texts = async (): Promise<string> => (await Promise.all(page.frames().slice(1).map((frame) => frame.locator('body').innerText().catch(() => '')))).join('\n');
  await expect.poll(texts, { timeout: PAGE_MS_MAX, interval: 500 }).toContain(containing);
  return texts();
}
