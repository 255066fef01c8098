// The auth callout on a real server: who gets in, with which rights, and for how long.
// Owns: the matrix identity x subject x verb, expected from the manifest alone and found by trying each on the broker.
// Never derives an expectation from the table of subjects it tests. Others may assume: nothing is left behind.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type NatsConnection, nkeys, PermissionViolationError } from '@nats-io/nats-core';
import { connect } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PARTITIONS } from '../../contracts/address.ts';
import { OPERATOR, shippedDeployment } from '../../infra/dev/authority.ts';
import { type NatsServer, startNatsServer } from '../../infra/dev/servers.ts';
import { startAuthCallout } from '../../infra/nats/auth-callout.ts';
import { connectNats, type NatsLink } from '../../infra/nats/connect.ts';
import { inboxOf, openCredentials } from '../../infra/nats/credentials.ts';
import { type CalloutKeys, ensureCalloutKeys, ensureIdentities, keyFileOf, readIdentities, registerHost, removeHost } from '../../infra/nats/identities.ts';
import { createSeed, openSeed } from '../../infra/nats/nkeys.ts';
import { ensureTopology } from '../../infra/nats/topology.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { type HostIdentity, type HostRights, LOGS, rightsOf, STORES } from '../../policies/hosts.ts';
import { createCounters } from './counters.ts';
import { silent } from './nats-server.ts';

const HOSTS: readonly HostIdentity[] = [
  { name: OPERATOR, role: 'operator' }, { name: 'brain-1', role: 'brain' }, { name: 'bridge-1', role: 'bridge' }, { name: 'agents-1', role: 'agents' },
  { name: 'agents-echo', role: 'agents', capabilities: ['echo.say'] }, { name: 'gateway-1', role: 'gateway' }, { name: 'model-worker-1', role: 'model-worker' },
];
const deployed = shippedDeployment();

interface Fixture { readonly home: string; readonly keys: CalloutKeys; readonly server: NatsServer; readonly operator: NatsLink; callout: AsyncDisposable }
let fixture: Fixture;
const quiet = { logger: silent, metrics: createCounters(), clock: systemClock, random: systemRandom };

const openCallout = (keys: CalloutKeys, home: string, url: string, lifeMs?: number): Promise<AsyncDisposable> =>
  startAuthCallout({ url, keys, identities: () => readIdentities(home), deployed, ...quiet, ...(lifeMs === undefined ? {} : { lifeMs }) });
const linkAs = (name: string, lifeMs?: number): Promise<NatsLink> =>
  connectNats({ url: fixture.server.url, name, credentials: keyFileOf(fixture.home, name), firstConnectMsMax: 5_000, ...quiet, ...(lifeMs === undefined ? {} : { lifeMs }) });
/** The plain client, so that nothing of ours stands between a subject and the broker. */
async function plain(file: string): Promise<NatsConnection> {
  const { authenticator } = openCredentials(file);
  return connect({ servers: fixture.server.url, reconnect: false, timeout: 5_000, ...(authenticator === undefined ? {} : { authenticator }) });
}

beforeAll(async () => {
  const home = await mkdtemp(join(tmpdir(), 'aios-auth-'));
  const keys = await ensureCalloutKeys(home);
  await ensureIdentities(home, HOSTS);
  const server = await startNatsServer({ dir: join(home, 'nats'), auth: keys });
  const callout = await openCallout(keys, home, server.url);
  const operator = await connectNats({ url: server.url, name: OPERATOR, credentials: keyFileOf(home, OPERATOR), ...quiet });
  await ensureTopology(operator);
  fixture = { home, keys, server, operator, callout };
}, 30_000);

afterAll(async () => {
  await fixture.operator[Symbol.asyncDispose]();
  await fixture.callout[Symbol.asyncDispose]();
  await fixture.server.stop();
  await rm(fixture.home, { recursive: true, force: true });
});

describe('the matrix identity x subject x verb', () => {
  interface Sample { readonly subject: string; readonly allowed: (rights: HostRights, own: string) => boolean }
  const sends = (plane: HostRights['publishes'][number]) => (rights: HostRights): boolean => rights.publishes.includes(plane);
  const hears = (plane: HostRights['hears'][number]) => (rights: HostRights): boolean => rights.hears.includes(plane);
  const names = (list: 'asks' | 'serves', capability: string) => (rights: HostRights): boolean => rights[list].includes('*') || rights[list].includes(capability);
  const never = (): boolean => false;
  const capabilities = [...deployed.agents, ...deployed.gateway].map(({ id }) => id as string);
  const capabilitySubject = (tenant: string, name: string): string => `ai.v1.${tenant}.cap.${name.replaceAll('.', '_')}`;
  const streams = { mailbox: 'AIOS_MBX', state: 'AIOS_STATE', outcomes: 'AIOS_OUT', deadLetters: 'AIOS_DLQ', topics: 'AIOS_TOPICS', timers: 'AIOS_TIMERS', advisories: 'AIOS_ADVISORIES' } as const;
  const storeStream = (store: string): string => (store === 'blobs' ? 'OBJ_AIOS_BLOBS' : `KV_aios_${store}`);
  const readsLog = (rights: HostRights, log: (typeof LOGS)[number]): boolean => rights.readsLogs.includes(log);
  const takes = (rights: HostRights, log: (typeof LOGS)[number], durable: string): boolean => (rights.consumes[log] ?? []).some((one) => one === '*' || one === durable);

  const published: readonly Sample[] = [
    { subject: 'ai.v1.demo.mbx.3.support-desk.t-1', allowed: sends('mailbox') },
    { subject: `ai.v1.other.mbx.${PARTITIONS - 1}.echo.x`, allowed: sends('mailbox') },
    { subject: 'ai.v1.demo.st.3.support-desk.t-1', allowed: sends('state') },
    { subject: 'ai.v1.demo.st.9.aios_budget.demo', allowed: (rights) => sends('budget')(rights) },
    { subject: 'ai.v1.demo.ctl.budget.brain-1', allowed: sends('budget') },
    { subject: '$KV.aios_leases.budget.demo', allowed: (rights) => rights.writes.includes('leases') && sends('budget')(rights) },
    { subject: 'ai.v1.demo.out.t-1', allowed: sends('outcome') },
    { subject: 'ai.v1.demo.evt.task.t-1', allowed: sends('event') },
    { subject: 'ai.v1.demo.topic.ticket_closed', allowed: sends('topic') },
    { subject: 'ai.v1.demo.dlq.poison', allowed: sends('dead-letter') },
    { subject: 'ai.v1.sys.ctl.drain', allowed: sends('control') },
    { subject: 'ai.v1.sys.tmr.at.abc', allowed: sends('timer') },
    { subject: 'ai.v1.sys.model.minilm-l6-int8', allowed: sends('model') },
    { subject: 'ai.v1.sys.model.minilm-l6-int8.worker-1', allowed: sends('model') },
    { subject: 'ai.v1.sys.beacon.worker-1', allowed: sends('beacon') },
    { subject: '_INBOX.USOMEBODY.abc.R.1', allowed: sends('reply') },
    ...capabilities.flatMap((name) => ['demo', 'other'].map((tenant): Sample => ({ subject: capabilitySubject(tenant, name), allowed: names('asks', name) }))),
    { subject: 'ai.v1.demo.cap.nobody_knows', allowed: (rights) => rights.asks.includes('*') },
    { subject: 'ai.v2.demo.mbx.3.support-desk.t-1', allowed: never },
    { subject: 'evil.subject', allowed: never },
    { subject: '$SYS.REQ.USER.AUTH', allowed: never },
    { subject: '$SYS.REQ.SERVER.PING', allowed: never },
    { subject: '$JS.API.INFO', allowed: () => true },
    { subject: '$JS.API.STREAM.DELETE.AIOS_MBX', allowed: never },
    { subject: '$JS.API.STREAM.CREATE.AIOS_MBX', allowed: (rights) => rights.provisions },
    { subject: '$JS.API.STREAM.UPDATE.KV_aios_policy', allowed: (rights) => rights.provisions },
    { subject: '$JS.API.STREAM.CREATE.OTHER', allowed: (rights) => rights.provisions },
    { subject: '$JS.API.STREAM.SNAPSHOT.AIOS_MBX', allowed: never },
    { subject: '$JS.API.STREAM.RESTORE.AIOS_MBX', allowed: never },
    ...LOGS.flatMap((log): readonly Sample[] => [
      { subject: `$JS.API.DIRECT.GET.${streams[log]}`, allowed: (rights) => readsLog(rights, log) },
      { subject: `$JS.API.DIRECT.GET.${streams[log]}.ai.v1.demo.x`, allowed: (rights) => readsLog(rights, log) },
      { subject: `$JS.API.STREAM.MSG.DELETE.${streams[log]}`, allowed: (rights) => rights.prunes.includes(log) },
      { subject: `$JS.API.STREAM.PURGE.${streams[log]}`, allowed: (rights) => rights.prunes.includes(log) },
      ...['bridge', 'timers', 'dead-letters', 'mailboxes-p7', 'spy'].flatMap((durable): readonly Sample[] => ['CREATE', 'MSG.NEXT', 'INFO', 'DELETE'].map((verb) => (
        { subject: `$JS.API.CONSUMER.${verb}.${streams[log]}.${durable}`, allowed: (rights) => takes(rights, log, durable) }))),
      { subject: `$JS.ACK.${streams[log]}.bridge.1.2.3.4.5`, allowed: (rights) => takes(rights, log, 'bridge') },
      { subject: `$JS.ACK._.acc.${streams[log]}.bridge.1.2.3.4.5`, allowed: (rights) => takes(rights, log, 'bridge') },
    ]),
    ...STORES.flatMap((store): readonly Sample[] => [
      { subject: store === 'blobs' ? '$O.AIOS_BLOBS.C.abc' : `$KV.aios_${store}.some.key`, allowed: (rights) => rights.writes.includes(store) },
      { subject: `$JS.API.DIRECT.GET.${storeStream(store)}`, allowed: (rights) => rights.reads.includes(store) },
      { subject: `$JS.API.CONSUMER.CREATE.${storeStream(store)}.watch1.$KV.x`, allowed: (rights) => rights.reads.includes(store) },
      { subject: `$JS.API.STREAM.DELETE.${storeStream(store)}`, allowed: never },
    ]),
  ];
  const subscribed: readonly Sample[] = [
    { subject: '>', allowed: never }, { subject: '*', allowed: never }, { subject: 'ai.v1.>', allowed: never }, { subject: '$SYS.>', allowed: never }, { subject: '$JS.>', allowed: never }, { subject: '$KV.>', allowed: never },
    { subject: '_INBOX.>', allowed: never }, { subject: '$SYS.REQ.USER.AUTH', allowed: never }, { subject: '$JS.API.>', allowed: never },
    { subject: 'ai.v1.*.mbx.>', allowed: hears('mailbox') }, { subject: 'ai.v1.*.st.>', allowed: hears('state') }, { subject: 'ai.v1.*.out.>', allowed: hears('outcome') },
    { subject: 'ai.v1.*.evt.>', allowed: hears('event') }, { subject: 'ai.v1.*.topic.>', allowed: hears('topic') }, { subject: 'ai.v1.*.dlq.>', allowed: hears('dead-letter') },
    { subject: 'ai.v1.sys.ctl.hosts', allowed: hears('control') }, { subject: 'ai.v1.*.ctl.budget.brain-1', allowed: hears('budget') }, { subject: 'ai.v1.*.tmr.>', allowed: hears('timer') }, { subject: 'ai.v1.sys.model.minilm-l6-int8', allowed: hears('model') },
    { subject: 'ai.v1.sys.model.minilm-l6-int8.worker-1', allowed: hears('model') }, { subject: 'ai.v1.sys.beacon.*', allowed: hears('beacon') },
    ...capabilities.map((name): Sample => ({ subject: capabilitySubject('*', name), allowed: names('serves', name) })),
    { subject: 'ai.v1.*.cap.*', allowed: (rights) => rights.serves.includes('*') },
  ];

  test('the broker lets every identity do what the manifest says and nothing else: 0 differences', async () => {
    const registered = await readIdentities(fixture.home);
    const inboxes = registered.map(({ key }): Sample => ({ subject: `${inboxOf(key)}.r.1`, allowed: (_rights, own) => own === key }));
    const differences: string[] = [];
    let checked = 0;
    for (const host of registered) {
      const rights = rightsOf(host, deployed);
      const found = await tried(keyFileOf(fixture.home, host.name), published.map(({ subject }) => subject), [...subscribed, ...inboxes].map(({ subject }) => subject));
      const compare = (verb: string, samples: readonly Sample[], denied: ReadonlySet<string>): void => {
        for (const { subject, allowed } of samples) {
          checked++;
          const expected = allowed(rights, host.key);
          if (expected === denied.has(subject)) differences.push(`${host.name} ${verb} ${subject}: the manifest ${expected ? 'allows' : 'refuses'} it, the broker does not`);
        }
      };
      compare('publish', published, found.publish);
      compare('subscribe', [...subscribed, ...inboxes], found.subscribe);
    }
    expect(differences).toEqual([]);
    expect(checked).toBeGreaterThan(1_500);
  }, 30_000);

  test('an agent host may ask only what its agents declare to use', () => {
    const echo = rightsOf({ name: 'e', role: 'agents', capabilities: ['echo.say'] }, deployed);
    const all = rightsOf({ name: 'a', role: 'agents' }, deployed);
    expect(echo.asks).toEqual([]);
    expect(all.asks).toContain('space.search');
    expect(all.asks).not.toContain('space.index');
    expect(rightsOf({ name: 'g', role: 'gateway' }, deployed).serves).toEqual(expect.arrayContaining(['space.index', 'text.embed']));
  });

  /** Everything at once, then one round trip: refusals come back before its answer. */
  async function tried(file: string, publish: readonly string[], subscribe: readonly string[]): Promise<{ readonly publish: ReadonlySet<string>; readonly subscribe: ReadonlySet<string> }> {
    const nc = await plain(file);
    const denied = { publish: new Set<string>(), subscribe: new Set<string>() };
    void (async () => {
      for await (const status of nc.status()) if (status.type === 'error' && status.error instanceof PermissionViolationError && status.error.operation === 'publish') denied.publish.add(status.error.subject);
    })();
    for (const subject of subscribe) nc.subscribe(subject, { callback: (error) => { if (error !== null) denied.subscribe.add(subject); } });
    // A body that no API accepts: what is allowed must not do anything here.
    for (const subject of publish) nc.publish(subject, '!');
    await nc.flush();
    await nc.flush();
    await sleep(20);
    await nc.close();
    return denied;
  }
});

describe('who gets in', () => {
  test('a host with a registered key, as itself', async () => {
    await using link = await linkAs('gateway-1');
    await expect(link.jsm.streams.info('KV_aios_policy')).resolves.toBeDefined();
  });

  test('nobody without a key, with an unknown one, or with the key of another and a signature of its own', async () => {
    const unknown = createSeed('user');
    const known = (await readIdentities(fixture.home)).find(({ name }) => name === OPERATOR)?.key ?? '';
    const as = (authenticator: (nonce?: string) => object): Promise<unknown> => connect({ servers: fixture.server.url, reconnect: false, timeout: 5_000, authenticator: authenticator as never });
    const signedBy = (seed: string, nkey: string) => (nonce = ''): object => ({ nkey, sig: openSeed(seed).sign(Buffer.from(nonce)).toString('base64url') });
    await expect(connect({ servers: fixture.server.url, reconnect: false })).rejects.toThrow();
    await expect(as(signedBy(unknown, openSeed(unknown).publicKey))).rejects.toThrow(/authorization/i);
    await expect(as(signedBy(unknown, known))).rejects.toThrow(/authorization/i);
    await expect(as(() => ({ nkey: known }))).rejects.toThrow();
    await expect(as(() => ({ user: 'open', pass: 'open' }))).rejects.toThrow(/authorization/i);
  });

  test('an answer of the callout admits one connection: another connection cannot use it', async () => {
    // The token is made out to a key that the server draws anew for each connection, and never leaves the server.
    const { admitted } = await import('../../infra/nats/user-jwt.ts');
    const question = { userKey: nkeys.createUser().getPublicKey(), server: 'N', client: { host: '', name: '', nonce: '' }, shown: { key: '', signature: '' } };
    const token = admitted(fixture.keys.issuer, question, { name: 'x', account: 'AIOS', rights: { publish: ['>'], publishDeny: [], subscribe: ['>'], subscribeDeny: [] }, expiresAt: Date.now() + 60_000 }, Date.now());
    const user = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { nats: { jwt: string } };
    await expect(connect({ servers: fixture.server.url, reconnect: false, authenticator: () => ({ jwt: user.nats.jwt }) })).rejects.toThrow(/authorization/i);
  });
});

describe('for how long', () => {
  const LIFE_MS = 2_000;

  test('a host that lost its right is cut off when its token ends, and one that kept it loses no call over two renewals', async () => {
    await fixture.callout[Symbol.asyncDispose]();
    fixture.callout = await openCallout(fixture.keys, fixture.home, fixture.server.url, LIFE_MS);
    await registerHost(fixture.home, { name: 'gateway-2', role: 'gateway' });
    await using kept = await linkAs('bridge-1', LIFE_MS);
    await using lost = await linkAs('gateway-2');
    await removeHost(fixture.home, 'gateway-2');
    const failures: unknown[] = [];
    const endsAt = Date.now() + 4_500;
    while (Date.now() < endsAt) {
      await kept.last('KV_aios_tokens', '$KV.aios_tokens.none').catch((error: unknown) => failures.push(error));
      await sleep(3);
    }
    expect(failures).toEqual([]);
    expect(lost.connected).toBe(false);
    expect(kept.connected).toBe(true);
    expect(quiet.metrics.total('aios_nats_status_total', { type: 'forceReconnect' })).toBeGreaterThanOrEqual(2);
  }, 20_000);

  test('while the callout is away, connected hosts go on and new ones wait for it', async () => {
    await using link = await linkAs('brain-1');
    await fixture.callout[Symbol.asyncDispose]();
    await expect(link.last('AIOS_OUT', 'ai.v1.demo.out.none')).resolves.toBeUndefined();
    const waiting = connectNats({ url: fixture.server.url, name: 'gateway-1', credentials: keyFileOf(fixture.home, 'gateway-1'), firstConnectMsMax: 15_000, ...quiet });
    await sleep(300);
    await expect(link.last('AIOS_OUT', 'ai.v1.demo.out.none')).resolves.toBeUndefined();
    fixture.callout = await openCallout(fixture.keys, fixture.home, fixture.server.url);
    await using late = await waiting;
    expect(late.connected).toBe(true);
  }, 20_000);
});
