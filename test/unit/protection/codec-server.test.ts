// The codec server: who reads payloads, of which tenant, from which page, and what everybody else gets.
// Owns: its refusals and the form of Temporal's remote codecs. In a browser it is test/scenario/regulated.test.ts.

import { defaultPayloadConverter, type Payload } from '@temporalio/common';
import { beforeEach, describe, expect, test } from 'vitest';
import { createApiKeys, hashKey } from '../../../infra/http/api-keys.ts';
import { createCodecApp } from '../../../infra/http/codec-server.ts';
import { createRing, newPayloadKey } from '../../../infra/crypto/payload-keys.ts';
import { createPayloadCodec, ENCRYPTED, METADATA, SHARED } from '../../../infra/temporal/codec.ts';
import { recordingLogger, silentMetrics } from '../../kit/silent.ts';
import { createSimulatedClock } from '../../kit/clock.ts';

const UI = 'http://127.0.0.1:8233';
const codec = createPayloadCodec(createRing([newPayloadKey()]));
const person = (principal: string, tenant: string, roles: readonly string[]) => ({ sha256: hashKey(`key-${principal}`), principal, type: 'user' as const, tenant, roles: [...roles] });
const keys = createApiKeys([person('ana', 'acme', ['payload-reader']), person('olga', 'acme', ['payload-reader', 'operator']), person('zoe', 'globex', ['payload-reader']), person('helpdesk', 'acme', ['service'])]);
const sealed = (tenant: string, value: unknown): Payload => codec.encodeFor(tenant, [defaultPayloadConverter.toPayload(value)])[0] as Payload;
const wire = ({ metadata, data }: Payload) => ({ metadata: Object.fromEntries(Object.entries(metadata ?? {}).map(([name, value]) => [name, Buffer.from(value).toString('base64')])), data: Buffer.from(data ?? []).toString('base64') });
const textOf = (payload: { data: string }): string => Buffer.from(payload.data, 'base64').toString();
const encodingOf = (payload: { metadata: Record<string, string> }): string => Buffer.from(payload.metadata['encoding'] ?? '', 'base64').toString();

let app: ReturnType<typeof createCodecApp>;
let log: ReturnType<typeof recordingLogger>;
let clock: ReturnType<typeof createSimulatedClock>;
beforeEach(() => {
  log = recordingLogger();
  clock = createSimulatedClock();
  app = createCodecApp({ codec, keys, namespace: 'default', shared: SHARED, origins: [UI], http: { host: '127.0.0.1', port: 0 }, clock, log: log.logger, metrics: silentMetrics });
});
const ask = (route: string, payloads: readonly Payload[], headers: Readonly<Record<string, string>> = {}) => app.request(`http://127.0.0.1:8234${route}`, { method: 'POST', headers: { 'content-type': 'application/json', 'x-namespace': 'default', ...headers }, body: JSON.stringify({ payloads: payloads.map(wire) }) });
const as = (who: string) => ({ authorization: `Bearer key-${who}` });
const payloadsOf = async (answer: Response) => ((await answer.json()) as { payloads: { metadata: Record<string, string>; data: string }[] }).payloads;

describe('codec server', () => {
  test('a reader gets the words of the own tenant; other tenants\' payloads come back as they came', async () => {
    const payloads = [sealed('acme', 'mine'), sealed('globex', 'theirs'), defaultPayloadConverter.toPayload('plain')];
    const answer = await payloadsOf(await ask('/decode?preserveStorageRefs=true', payloads, as('ana')));
    expect([textOf(answer[0] as never), encodingOf(answer[1] as never), textOf(answer[2] as never)]).toEqual(['"mine"', ENCRYPTED, '"plain"']);
    expect(answer[1]).toEqual(wire(payloads[1] as Payload));
  });

  test('what belongs to no tenant is read by operators only', async () => {
    const shared = [sealed(SHARED, 'arguments')];
    expect(encodingOf((await payloadsOf(await ask('/decode', shared, as('ana'))))[0] as never)).toBe(ENCRYPTED);
    expect(textOf((await payloadsOf(await ask('/decode', shared, as('olga'))))[0] as never)).toBe('"arguments"');
  });

  test('what a person sends is sealed for their tenant', async () => {
    const [encoded] = await payloadsOf(await ask('/encode', [defaultPayloadConverter.toPayload({ decision: 'approve' })], as('zoe')));
    expect(Buffer.from(encoded?.metadata[METADATA.tenant] ?? '', 'base64').toString()).toBe('globex');
    const opened = await payloadsOf(await ask('/decode', [{ metadata: Object.fromEntries(Object.entries(encoded?.metadata ?? {}).map(([name, value]) => [name, Buffer.from(value, 'base64')])), data: Buffer.from(encoded?.data ?? '', 'base64') }], as('zoe')));
    expect(textOf(opened[0] as never)).toBe('{"decision":"approve"}');
  });

  test('nobody, an unknown key, a key without the right, another namespace and nonsense are refused by name', async () => {
    const one = [sealed('acme', 'x')];
    const codeOf = async (answer: Response) => [answer.status, ((await answer.json()) as { code: string }).code];
    expect(await codeOf(await ask('/decode', one))).toEqual([401, 'AIOS_UNAUTHENTICATED']);
    expect(await codeOf(await ask('/decode', one, { authorization: 'Bearer nope' }))).toEqual([401, 'AIOS_UNAUTHENTICATED']);
    expect(await codeOf(await ask('/encode', one, as('helpdesk')))).toEqual([403, 'AIOS_FORBIDDEN']);
    expect(await codeOf(await ask('/decode', one, { ...as('ana'), 'x-namespace': 'other' }))).toEqual([403, 'AIOS_FORBIDDEN']);
    expect(await codeOf(await app.request('http://127.0.0.1:8234/decode', { method: 'POST', headers: as('ana'), body: '{"payloads":7}' }))).toEqual([400, 'AIOS_INPUT_INVALID']);
    expect(await codeOf(await app.request('http://127.0.0.1:8234/decode', { method: 'POST', headers: as('ana'), body: `{"payloads":[${'['.repeat(40)}` }))).toEqual([400, 'AIOS_INPUT_TOO_DEEP']);
  });

  test('only the Temporal UI may ask from a browser, and its preflight names the four headers', async () => {
    const preflight = await app.request('http://127.0.0.1:8234/decode', { method: 'OPTIONS', headers: { origin: UI, 'access-control-request-method': 'POST' } });
    expect([preflight.status, preflight.headers.get('access-control-allow-origin'), preflight.headers.get('access-control-allow-credentials')]).toEqual([204, UI, 'true']);
    for (const name of ['Content-Type', 'X-Namespace', 'Authorization', 'Authorization-Extras']) expect(preflight.headers.get('access-control-allow-headers')).toContain(name);
    const elsewhere = await ask('/decode', [sealed('acme', 'x')], { ...as('ana'), origin: 'https://evil.example' });
    expect([elsewhere.status, elsewhere.headers.get('access-control-allow-origin')]).toEqual([403, null]);
  });

  test('a session is signed in to with a key, is not readable by scripts, and ends', async () => {
    const signIn = (key: string) => app.request('http://127.0.0.1:8234/sign-in', { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded', origin: 'http://127.0.0.1:8234' }, body: new URLSearchParams({ key }).toString() });
    expect([(await signIn('wrong')).status, (await signIn('key-helpdesk')).status]).toEqual([401, 403]);
    const welcome = await signIn('key-ana');
    const cookie = welcome.headers.get('set-cookie') ?? '';
    expect([welcome.status, /HttpOnly/.test(cookie), /SameSite=Strict/.test(cookie)]).toEqual([303, true, true]);
    const session = { cookie: cookie.split(';')[0] ?? '', origin: UI };
    expect(textOf((await payloadsOf(await ask('/decode', [sealed('acme', 'mine')], session)))[0] as never)).toBe('"mine"');
    await clock.advance(8 * 3_600_000);
    expect((await ask('/decode', [sealed('acme', 'mine')], session)).status).toBe(401);
  });

  test('every reading is logged with who read, never with what or with the key', async () => {
    await ask('/decode', [sealed('acme', 'the secret words')], as('ana'));
    const words = JSON.stringify(log.lines);
    expect(words).toContain('"principal":"ana"');
    expect(words).not.toMatch(/secret words|key-ana/);
  });
});
