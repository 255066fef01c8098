// The auth callout: for each connection the message server asks here who it is and what it may do.
// Owns: the service, the life of what it grants (minutes), and the lines of server configuration that make the server ask.
// Never sees a seed or a message of others: it lives in an account of its own. Any number may run; they share the questions.
// Others may assume: a host that is registered is let in with exactly the rights of the manifest, everybody else is refused and
// logged; while no callout answers, open connections go on until their token ends and new ones wait.

import type { Msg } from '@nats-io/nats-core';
import { connect } from '@nats-io/transport-node';
import { fail } from '../../contracts/errors.ts';
import type { Clock, Logger, Metrics } from '../../contracts/ports.ts';
import { type DeployedCapabilities, rightsOf } from '../../policies/hosts.ts';
import { openCredentials } from './credentials.ts';
import { convertNatsError } from './errors.ts';
import type { CalloutKeys, RegisteredHost } from './identities.ts';
import { permissionsOf } from './permissions.ts';
import { admitted, type CalloutQuestion, holdsItsKey, parseQuestion, refused, type SubjectRights } from './user-jwt.ts';

/** Account of everything this engine sends, and the one in which only the callout lives. */
export const ACCOUNT = 'AIOS';
const AUTH_ACCOUNT = 'AIOS_AUTH';
const QUESTIONS = '$SYS.REQ.USER.AUTH';
export const LIFE_MS_DEFAULT = 10 * 60_000;
/** The server gives up on an answer after this; a client tries again by itself. */
const ANSWER_SECONDS = 8;
const FIRST_CONNECT_MS_MAX = 15_000;

export interface CalloutOptions {
  readonly url: string;
  readonly keys: CalloutKeys;
  /** Read anew for every question, so that a change needs no restart. */
  readonly identities: () => Promise<readonly RegisteredHost[]>;
  readonly deployed: DeployedCapabilities;
  readonly lifeMs?: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** Lines of nats-server configuration; without keys everybody is let in, to the same account, so that a home's data stay its data. */
export function accountsConfiguration(keys: Pick<CalloutKeys, 'issuer' | 'callout'> | undefined): string {
  if (keys === undefined) return `accounts {\n  ${ACCOUNT} { jetstream: enabled, users: [ { user: open, password: open } ] }\n}\nno_auth_user: open`;
  return [
    'accounts {',
    `  ${ACCOUNT} { jetstream: enabled }`,
    `  ${AUTH_ACCOUNT} { users: [ { nkey: ${keys.callout.publicKey} } ] }`,
    '}',
    'authorization {',
    `  timeout: ${ANSWER_SECONDS}`,
    `  auth_callout { issuer: ${keys.issuer.publicKey}, auth_users: [ ${keys.callout.publicKey} ], account: ${AUTH_ACCOUNT} }`,
    '}',
  ].join('\n');
}

/** Resolves when questions are answered. @throws AIOS_DISCONNECTED, AIOS_UNAUTHENTICATED */
export async function startAuthCallout(options: CalloutOptions): Promise<AsyncDisposable> {
  const { clock, metrics, logger } = options;
  const nc = await firstConnect(options);
  nc.subscribe(QUESTIONS, {
    queue: 'aios-auth',
    callback: (error, message) => {
      if (error !== null) return logger.error({ error: error.message }, 'connections are not authorised any more');
      void answer(options, message).catch((thrown: unknown) => {
        metrics.count('aios_auth_callout_failed_total');
        logger.error({ error: thrown }, 'a connection could not be authorised');
      });
    },
  });
  await nc.flush();
  return { async [Symbol.asyncDispose]() { await Promise.race([nc.drain().catch(() => undefined), clock.sleep(1_000)]); await nc.close(); } };
}

/** Quick to come back after a restart of the server: nobody else gets in before. */
async function firstConnect({ url, keys, clock }: CalloutOptions): Promise<Awaited<ReturnType<typeof connect>>> {
  const { authenticator, inbox } = openCredentials(keys.calloutFile);
  for (const giveUpAt = clock.monotonic() + FIRST_CONNECT_MS_MAX; ; await clock.sleep(100)) {
    try {
      return await connect({
        servers: url.split(','), name: 'auth-callout', maxReconnectAttempts: -1, ignoreAuthErrorAbort: true, reconnectDelayHandler: () => 20, pingInterval: 5_000, maxPingOut: 2, noAsyncTraces: true,
        ...(authenticator === undefined ? {} : { authenticator }), ...(inbox === undefined ? {} : { inboxPrefix: inbox }),
      });
    } catch (error) {
      const converted = convertNatsError(error, 'connecting the auth callout');
      if (clock.monotonic() >= giveUpAt) throw converted;
    }
  }
}

async function answer(options: CalloutOptions, message: Msg): Promise<void> {
  const { clock, keys, logger, metrics } = options;
  const now = clock.now();
  const question = parseQuestion(message.data, now);
  try {
    const { host, rights } = await admit(options, question);
    message.respond(admitted(keys.issuer, question, { name: host.name, account: ACCOUNT, rights, expiresAt: now + (options.lifeMs ?? LIFE_MS_DEFAULT) }, now));
    metrics.count('aios_auth_callout_total', { role: host.role, admitted: 'true' });
    logger.debug({ host: host.name, role: host.role }, 'a host was let in');
  } catch (thrown) {
    message.respond(refused(keys.issuer, question, 'not admitted', now));
    metrics.count('aios_auth_callout_total', { role: 'none', admitted: 'false' });
    logger.warn({ client: question.client.name.slice(0, 64), from: question.client.host, error: (thrown as Error).message }, 'a connection was refused');
  }
}

/** @throws AIOS_UNAUTHENTICATED, AIOS_CONFIG_INVALID */
async function admit({ identities, deployed }: CalloutOptions, question: CalloutQuestion): Promise<{ readonly host: RegisteredHost; readonly rights: SubjectRights }> {
  if (question.shown.key === '') throw fail('AIOS_UNAUTHENTICATED', 'It showed no key.');
  const host = (await identities()).find(({ key }) => key === question.shown.key);
  if (host === undefined) throw fail('AIOS_UNAUTHENTICATED', 'Its key is not registered.');
  if (!holdsItsKey(question)) throw fail('AIOS_UNAUTHENTICATED', 'It did not prove that it holds its key.');
  return { host, rights: permissionsOf(rightsOf(host, deployed), host.key) };
}
