// The three NATS tokens of an auth callout: the server's question, the answer to it, and the user token inside the answer.
// Owns: reading the first and writing the others. Never decides who may connect. Version 2 of the claims, as in nats-io/jwt v2.
// Others may assume: a question that parses was signed by the server key it names, is meant for a callout and is not stale;
// a token written here ends at `expiresAt` at the latest, when the server closes the connection by itself.

import { z } from 'zod';
import { fail } from '../../contracts/errors.ts';
import { decodeText, parseJson, parseValue } from '../../contracts/parse.ts';
import { type Nkey, verifiesNkey } from './nkeys.ts';

/** What a user may do, in subjects of NATS. Absent and not allowed are the same. */
export interface SubjectRights {
  readonly publish: readonly string[];
  readonly publishDeny: readonly string[];
  readonly subscribe: readonly string[];
  readonly subscribeDeny: readonly string[];
}
export interface CalloutQuestion {
  /** The key the answer must be made out to: fresh for every connection, so an answer cannot be used twice. */
  readonly userKey: string;
  readonly server: string;
  readonly client: { readonly host: string; readonly name: string; readonly nonce: string };
  /** What the client showed: its public key and its signature of the nonce. */
  readonly shown: { readonly key: string; readonly signature: string };
}

const BYTES_MAX = 64 * 1024;
const HEADER = Buffer.from(JSON.stringify({ typ: 'JWT', alg: 'ed25519-nkey' })).toString('base64url');
const text = z.string().max(1_024).default('');
const questionSchema = z.object({
  iss: z.string(), aud: z.literal('nats-authorization-request'), exp: z.number().optional(),
  nats: z.object({
    user_nkey: z.string(),
    server_id: z.object({ id: z.string() }),
    client_info: z.object({ host: text, name: text, nonce: text }),
    connect_opts: z.object({ nkey: text, sig: text }),
    type: z.literal('authorization_request'),
  }),
});

/** @param now ms since 1970. @throws AIOS_UNAUTHENTICATED for a question that is forged, stale or none */
export function parseQuestion(data: Uint8Array, now: number): CalloutQuestion {
  const [header, payload, signature, ...rest] = decodeText(data, BYTES_MAX).split('.');
  if (header === undefined || payload === undefined || signature === undefined || rest.length > 0) throw fail('AIOS_UNAUTHENTICATED', 'A callout question is no token.');
  const { iss, exp, nats } = parseValue(questionSchema, parseJson(Buffer.from(payload, 'base64url').toString()));
  if (!verifiesNkey('server', iss, Buffer.from(`${header}.${payload}`), Buffer.from(signature, 'base64url'))) throw fail('AIOS_UNAUTHENTICATED', 'A callout question is not signed by its server.');
  if (exp !== undefined && exp * 1_000 < now) throw fail('AIOS_UNAUTHENTICATED', 'A callout question came too late.');
  const { client_info: client, connect_opts: shown } = nats;
  return { userKey: nats.user_nkey, server: nats.server_id.id, client, shown: { key: shown.nkey, signature: shown.sig } };
}

/** The client proves that it holds the seed by signing the nonce of this very connection. */
export const holdsItsKey = ({ client, shown }: CalloutQuestion): boolean => client.nonce !== '' && verifiesNkey('user', shown.key, Buffer.from(client.nonce), Buffer.from(shown.signature, 'base64url'));

export interface UserToken {
  /** Shows as the user in the server's connection list. */
  readonly name: string;
  readonly account: string;
  readonly rights: SubjectRights;
  /** ms since 1970 */
  readonly expiresAt: number;
}

/** The answer that lets the connection in. */
export function admitted(issuer: Nkey, question: CalloutQuestion, user: UserToken, now: number): string {
  const { publish, publishDeny, subscribe, subscribeDeny } = user.rights;
  const token = write(issuer, {
    iat: seconds(now), exp: Math.ceil(user.expiresAt / 1_000), name: user.name, sub: question.userKey, aud: user.account,
    nats: { pub: { allow: publish, deny: publishDeny }, sub: { allow: subscribe, deny: subscribeDeny }, subs: -1, data: -1, payload: -1, type: 'user', version: 2 },
  });
  return answer(issuer, question, { jwt: token }, now);
}

/** The answer that does not. The words go into the server's log, not to the client. */
export const refused = (issuer: Nkey, question: CalloutQuestion, why: string, now: number): string => answer(issuer, question, { error: why }, now);

const answer = (issuer: Nkey, { userKey, server }: CalloutQuestion, content: Readonly<Record<string, string>>, now: number): string =>
  write(issuer, { iat: seconds(now), sub: userKey, aud: server, nats: { ...content, type: 'authorization_response', version: 2 } });

const seconds = (ms: number): number => Math.floor(ms / 1_000);

function write(issuer: Nkey, claims: Readonly<Record<string, unknown>>): string {
  const signed = `${HEADER}.${Buffer.from(JSON.stringify({ ...claims, iss: issuer.publicKey })).toString('base64url')}`;
  return `${signed}.${issuer.sign(Buffer.from(signed)).toString('base64url')}`;
}
