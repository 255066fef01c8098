// A person at the Temporal UI, for the scenarios: headless Chromium, the UI's own controls, no client of ours.
// Owns: where the controls of UI 2.50 are. Never knows what a test is about.
// Others may assume: screenshots are in test-artifacts/ under the name that was given, and the browser ends with the test.

import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { expect } from 'vitest';

export const ARTIFACTS = fileURLToPath(new URL('../../test-artifacts/', import.meta.url));
const BROWSERS = [process.env['AIOS_CHROMIUM'], '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
export const PAGE_MS_MAX = 120_000;

export async function openBrowser(): Promise<Browser & AsyncDisposable> {
  const executablePath = BROWSERS.find((path) => path !== undefined && existsSync(path));
  if (executablePath === undefined) throw new Error('no Chromium: install the package "chromium", or name one with AIOS_CHROMIUM');
  mkdirSync(ARTIFACTS, { recursive: true });
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'] });
  return Object.assign(browser, { [Symbol.asyncDispose]: () => browser.close() });
}

export async function newPage(browser: Browser): Promise<Page> {
  const page = await browser.newPage({ viewport: { width: 1400, height: 1000 } });
  page.setDefaultTimeout(PAGE_MS_MAX);
  return page;
}

export const picture = (page: Page, name: string): Promise<unknown> => page.screenshot({ path: join(ARTIFACTS, `${name}.png`), fullPage: true });

/** The page holds the same controls once for each width of the window; a person sees one of each. */
export const seen = (page: Page, selector: string, text: RegExp) => page.locator(`${selector}:visible`, { hasText: text }).last();

/** Everything a person can read: the page, and the frames in which it renders Markdown. */
export async function wordsOf(page: Page): Promise<string> {
  return (await Promise.all(page.frames().map((frame) => frame.locator('body').innerText().catch(() => '')))).join('\n');
}

export async function untilWords(page: Page, words: string): Promise<string> {
  await expect.poll(() => wordsOf(page), { timeout: PAGE_MS_MAX, interval: 250 }).toContain(words).catch(async (error: unknown) => {
    await picture(page, 'page-without-the-words');
    throw error;
  });
  return wordsOf(page);
}

/** The form of the UI, filled in and not sent: its modal lists the handlers, has one JSON editor and a button. */
export async function fillUpdate(page: Page, name: RegExp, json: string, msMax: number): Promise<void> {
  await seen(page, 'button', /More Actions/).click();
  await seen(page, '*', /^\s*Send an Update\s*$/).click();
  await page.locator('#update-select:visible').locator('xpath=ancestor::*[@role="combobox" or self::button][1]').or(seen(page, '*', /^\s*Select an Update\s*$/)).last().click();
  await seen(page, '[role=option]', name).click();
  await page.locator('.cm-content:visible').last().fill(json);
  // The editor lays the JSON out when it loses the focus, which moves the button under a pointer that is quicker.
  await page.locator('#update-id:visible').focus();
  await expect.poll(() => page.locator('.cm-content:visible').last().innerText(), { timeout: msMax }).toContain('\n');
}

export const submitUpdate = (page: Page): Promise<void> => seen(page, 'button', /^\s*Submit\s*$/).click();

/** `shot` keeps what it looked like. */
export async function sendUpdate(page: Page, name: RegExp, json: string, shot?: { readonly form: string; readonly answer: string }): Promise<void> {
  await fillUpdate(page, name, json, PAGE_MS_MAX);
  if (shot !== undefined) await page.screenshot({ path: join(ARTIFACTS, `${shot.form}.png`) });
  await submitUpdate(page);
  if (shot === undefined) return;
  await page.locator('[role=dialog] .cm-content:visible, dialog .cm-content:visible').waitFor({ state: 'hidden' }).catch(() => undefined);
  await page.screenshot({ path: join(ARTIFACTS, `${shot.answer}.png`) });
}

/** What a reader does once: sign in to the codec server with a key, and tell the UI to use that session. */
export async function readPayloads(page: Page, codec: string, ui: string, key: string): Promise<void> {
  await page.goto(codec);
  await page.getByLabel('API key').fill(key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('Signed in as').waitFor();
  await page.goto(`${ui}/namespaces`);
  await page.locator('[data-testid^=data-encoder-status]:visible').first().click();
  await page.locator('#use-local-endpoint-radio').check({ force: true });
  await page.getByPlaceholder('Paste your endpoint here').fill(codec);
  await seen(page, 'label', /Include cross-origin credentials/).click();
  await page.locator('[data-testid=confirm-modal-button]:visible').click();
  await page.locator('#use-local-endpoint-radio:visible').waitFor({ state: 'hidden' });
}
