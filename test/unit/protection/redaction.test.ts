// The one function that redacts: what it finds by its own cases, and how well on data made by others.
// Owns: bounds for what has a form (numbers with check digits, addresses, credentials); names and streets are reported, not promised.
// Skipped, counted, are the measurements when AIOS_DATA_DIR (default ../shared/data) is not there.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { createLogger } from '../../../infra/log/logger.ts';
import { type Finding, findSensitive, type Kind, redactText } from '../../../policies/redaction.ts';

const clean = (text: string): string => redactText(text).text;

describe('redaction - rules', () => {
  test('takes out what has a form, and says how much of which kind', () => {
    expect(redactText('Mail anna@example.org or bob@example.org, card 4242 4242 4242 4242, IBAN DE89 3704 0044 0532 0130 00 in full.')).toEqual({
      text: 'Mail [redacted:email] or [redacted:email], card [redacted:card], IBAN [redacted:iban] in full.', counts: { email: 2, card: 1, iban: 1 },
    });
    expect(clean('call +49 171 5550123 or (415) 555-0132, ssn 536-90-4399, from 203.0.113.9 and 2001:db8::7')).toBe('call [redacted:phone] or [redacted:phone], ssn [redacted:ssn], from [redacted:ip] and [redacted:ip]');
    expect(clean('Authorization: Bearer abcDEF123456ghiJKL789 and postgres://app:s3cr3t-pw@db.internal/x, password = "hunter2!x"')).toBe('Authorization: Bearer [redacted:token] and postgres://app:[redacted:email]/x, password = "[redacted:password]"');
  });

  test('leaves what only looks like it', () => {
    for (const text of ['order 4242424242424241 of 2026-11-23T01:02:03Z', 'version 10.2.3.4-rc1 took 1795399267891 ms', 'bound to 127.0.0.1:4222 and ::1', 'sha256:4a7defc0b1c2d3e4f5', 'the password is required', 'token: $TOKEN, secret: <your secret>', 'task t-enm36kdmjm', 'pages 3-4, 7-8 and 12:30-13:45', 'AIOS_MODEL_UNAVAILABLE']) expect(clean(text), text).toBe(text);
  });

  test('strict takes out names and dates where their surroundings say so, none nothing', () => {
    const text = 'My name is Anna Smith, born 12/03/1984, see www.anna-smith.org. Dr. Ben Jones';
    expect(redactText(text, 'strict').text).toBe('My name is [redacted:person], born [redacted:date], see [redacted:domain]. Dr. [redacted:person]');
    expect(redactText(text, 'standard').text).toBe(text);
    expect(redactText('anna@example.org', 'none')).toEqual({ text: 'anna@example.org', counts: {} });
  });

  test('redacting twice changes nothing more', () => {
    const once = clean('anna@example.org 4242 4242 4242 4242 password=Tr0ub4dor&3 Bearer abcDEF123456ghiJKL789');
    expect(clean(once)).toBe(once);
  });

  test('hostile text of half a megabyte costs no more than ordinary text', () => {
    const cost = (text: string): number => {
      const started = performance.now();
      findSensitive(text, 'strict');
      return performance.now() - started;
    };
    for (const part of ['1 ', 'a.', 'a@', '0-', 'DE12 ', ':', 'password=', '-----BEGIN RSA PRIVATE KEY-----', 'eyJ', 'Mr A', '1:', 'x:x:', '://a:', '12 A ', 'xn--']) {
      cost(part.repeat(100));
      const long = cost(part.repeat(20_000));
      expect(long, part).toBeLessThan(1_500);
    }
  });

  test('every log line passes it, fields and words alike', () => {
    const lines: string[] = [];
    const logger = createLogger({ process: 'p', level: 'debug', write: (line) => lines.push(line) });
    logger.child({ task: 't-1' }).warn({ note: 'asked by anna@example.org', nested: [{ a: 'card 4242424242424242' }], error: new Error('at 203.0.113.9') }, 'call +49 171 5550123');
    expect(lines.join('')).not.toMatch(/anna@|4242|203\.0|5550123/);
    expect(lines.join('')).toContain('"task":"t-1"');
  });
});

const data = resolve(process.env['AIOS_DATA_DIR'] ?? fileURLToPath(new URL('../../../../shared/data', import.meta.url)));
const have = existsSync(join(data, 'pii-presidio-synthetic'));
const unpacked = (path: string): string => gunzipSync(readFileSync(join(data, path))).toString('utf8');
const linesOf = <T>(path: string): readonly T[] => unpacked(path).trim().split('\n').map((line) => JSON.parse(line) as T);
const SECRETS: readonly Kind[] = ['pem', 'token', 'key', 'password'];

interface Span { readonly kind: Kind; readonly start: number; readonly end: number }
const overlap = (a: Finding | Span, b: Finding | Span): number => {
  const both = Math.min(a.end, b.end) - Math.max(a.start, b.start);
  return both <= 0 ? 0 : both / (Math.max(a.end, b.end) - Math.min(a.start, b.start));
};

describe.skipIf(!have)('redaction - measured on data of others', () => {
  test('synthetic texts - spans of what has a form are found, and little else is', () => {
    const kinds: Readonly<Record<string, Kind>> = { CREDIT_CARD: 'card', PHONE_NUMBER: 'phone', EMAIL_ADDRESS: 'email', US_SSN: 'ssn', IBAN_CODE: 'iban', IP_ADDRESS: 'ip', DOMAIN_NAME: 'domain', DATE_TIME: 'date', PERSON: 'person', ADDRESS: 'address' };
    const tally = new Map<Kind, { gold: number; hit: number; found: number; right: number }>();
    const of = (kind: Kind) => tally.get(kind) ?? tally.set(kind, { gold: 0, hit: 0, found: 0, right: 0 }).get(kind) as { gold: number; hit: number; found: number; right: number };
    const texts = JSON.parse(unpacked('pii-presidio-synthetic/generated_large.json.gz')) as readonly { full_text: string; spans: readonly { entity_type: string; start_position: number; end_position: number }[] }[];
    for (const { full_text: text, spans } of texts) {
      const gold = spans.flatMap(({ entity_type, start_position: start, end_position: end }): Span[] => (kinds[entity_type] === undefined ? [] : [{ kind: kinds[entity_type], start, end }]));
      const found = findSensitive(text, 'strict');
      const matches = (a: Finding | Span, others: readonly (Finding | Span)[]): boolean => others.some((b) => a.kind === b.kind && overlap(a, b) >= 0.5);
      for (const span of gold) Object.assign(of(span.kind), { gold: of(span.kind).gold + 1, hit: of(span.kind).hit + Number(matches(span, found)) });
      for (const one of found) Object.assign(of(one.kind), { found: of(one.kind).found + 1, right: of(one.kind).right + Number(matches(one, gold)) });
    }
    const table = Object.fromEntries([...tally].map(([kind, { gold, hit, found, right }]) => [kind, { spans: gold, precision: right / Math.max(1, found), recall: hit / Math.max(1, gold) }]));
    console.table(table);
    for (const kind of ['card', 'email', 'ssn', 'iban', 'ip'] as const) {
      expect(table[kind]?.precision, `${kind} precision`).toBeGreaterThanOrEqual(0.97);
      expect(table[kind]?.recall, `${kind} recall`).toBeGreaterThanOrEqual(0.99);
    }
    expect(table['phone']?.precision).toBeGreaterThanOrEqual(0.95);
    expect(table['phone']?.recall).toBeGreaterThanOrEqual(0.7);
    expect(table['person']?.precision).toBeGreaterThanOrEqual(0.9);
  });

  test('recogniser cases - what must be found is, and what must give nothing gives nothing', () => {
    const kinds: Readonly<Record<string, Kind>> = { IBAN_CODE: 'iban', IP_ADDRESS: 'ip', PHONE_NUMBER: 'phone', MAC_ADDRESS: 'mac', CREDIT_CARD: 'card', US_SSN: 'ssn', EMAIL_ADDRESS: 'email' };
    const cases = linesOf<{ entities: readonly string[]; text: string; expected_count: number }>('pii-recogniser-cases/cases.jsonl.gz').filter(({ entities }) => entities.length === 1 && kinds[entities[0] ?? ''] !== undefined);
    const nobodys = /::(?![\da-f])|::1\b|\b(?:127\.|0\.0\.0\.0)/i;
    const judged = cases.filter(({ text }) => !nobodys.test(text)).map(({ entities: [entity = ''], text, expected_count: expected }) => ({ entity, expected, right: findSensitive(text).filter(({ kind }) => kind === kinds[entity]).length === expected }));
    const nothing = judged.filter(({ expected }) => expected === 0);
    console.log(`recogniser cases: ${judged.filter(({ right }) => right).length} of ${judged.length} right; of ${nothing.length} that must give nothing ${nothing.filter(({ right }) => right).length}`);
    expect(nothing.filter(({ right }) => !right)).toEqual([]);
    expect(judged.filter(({ right }) => right).length / judged.length).toBeGreaterThanOrEqual(0.97);
  });

  test('credentials - most are found, the grave ones first, and documentation raises few alarms', () => {
    const samples = linesOf<{ text: string; expected: readonly { severity: string; value: string }[] }>('secrets-credsweeper/samples.jsonl.gz');
    const judged = samples.flatMap(({ text, expected }) => {
      const found = findSensitive(text).filter(({ kind }) => SECRETS.includes(kind));
      return expected.map(({ severity, value }) => {
        const at = text.indexOf(value);
        return { severity, hit: found.some(({ start, end }) => text.slice(start, end).includes(value) || (at >= 0 && start < at + value.length && end > at)) };
      });
    });
    const high = judged.filter(({ severity }) => severity === 'high');
    const near = linesOf<{ text: string }>('secrets-credsweeper/gitleaks-must-not-match.jsonl.gz');
    const alarms = near.filter(({ text }) => findSensitive(text).some(({ kind }) => SECRETS.includes(kind)));
    const pages = ['docs-nats', 'docs-otel', 'docs-kserve'].flatMap((folder) => readdirSync(join(data, folder)).filter((name) => name.endsWith('.jsonl.gz')).flatMap((name) => linesOf<Record<string, unknown>>(`${folder}/${name}`).map((page) => JSON.stringify(page))));
    const perPage = pages.reduce((sum, page) => sum + findSensitive(page).length, 0) / Math.max(1, pages.length);
    console.log(`credentials: high ${high.filter(({ hit }) => hit).length} of ${high.length}, all ${judged.filter(({ hit }) => hit).length} of ${judged.length}; near misses taken for secrets ${alarms.length} of ${near.length}; findings on ${pages.length} pages of documentation ${perPage.toFixed(2)} a page`);
    expect(high.filter(({ hit }) => hit).length / high.length).toBeGreaterThanOrEqual(0.8);
    expect(alarms.length / near.length).toBeLessThanOrEqual(0.12);
    expect(perPage).toBeLessThan(1.5);
  });
});
