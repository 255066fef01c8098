// Keys of NATS identities against the client's own library, and the list of hosts on disk.
// Owns: the proof that our encoding is the server's. Never opens a connection.

import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nkeys } from '@nats-io/nats-core';
import { describe, expect, test } from 'vitest';
import { hasCode } from '../../../contracts/errors.ts';
import { openCredentials } from '../../../infra/nats/credentials.ts';
import { ensureCalloutKeys, ensureIdentities, keyFileOf, readIdentities, removeHost } from '../../../infra/nats/identities.ts';
import { createSeed, openSeed, verifiesNkey } from '../../../infra/nats/nkeys.ts';
import { parseQuestion } from '../../../infra/nats/user-jwt.ts';

const bytes = Buffer.from('a nonce');

describe('nkeys', () => {
  test('seeds, public keys and signatures are those of the client library, both ways, for random keys of each kind', () => {
    for (let i = 0; i < 2; i++) {
      for (const kind of ['user', 'account'] as const) {
        const seed = createSeed(kind);
        const ours = openSeed(seed);
        const theirs = nkeys.fromSeed(Buffer.from(seed));
        expect(ours.publicKey).toBe(theirs.getPublicKey());
        expect(theirs.verify(bytes, ours.sign(bytes))).toBe(true);
        expect(verifiesNkey(kind, theirs.getPublicKey(), bytes, theirs.sign(bytes))).toBe(true);
      }
    }
  });

  test('a mistyped seed, a public key in place of a seed and a key of another kind are refused', () => {
    const seed = createSeed('user');
    const typo = `${seed.slice(0, 20)}${seed[20] === 'A' ? 'B' : 'A'}${seed.slice(21)}`;
    for (const wrong of [typo, openSeed(seed).publicKey, '', 'SU', seed.toLowerCase()]) expect(() => openSeed(wrong)).toThrow(/NATS key/);
    const key = openSeed(seed);
    expect(verifiesNkey('account', key.publicKey, bytes, key.sign(bytes))).toBe(false);
    expect(verifiesNkey('user', key.publicKey, Buffer.from('another'), key.sign(bytes))).toBe(false);
    expect(verifiesNkey('user', 'U', bytes, key.sign(bytes))).toBe(false);
  });
});

describe('identities', () => {
  test('keys are made once, are readable by their owner only, and the list holds public keys only', async () => {
    const home = await mkdtemp(join(tmpdir(), 'aios-identities-'));
    try {
      const first = await ensureCalloutKeys(home);
      expect((await ensureCalloutKeys(home)).issuer.publicKey).toBe(first.issuer.publicKey);
      await ensureIdentities(home, [{ name: 'agents-1', role: 'agents' }, { name: 'gateway-1', role: 'gateway' }]);
      const before = await readIdentities(home);
      await ensureIdentities(home, [{ name: 'agents-1', role: 'agents' }]);
      expect(new Map((await readIdentities(home)).map(({ name, key }) => [name, key]))).toEqual(new Map(before.map(({ name, key }) => [name, key])));
      expect((await stat(keyFileOf(home, 'agents-1'))).mode & 0o077).toBe(0);
      expect(await readFile(join(home, 'keys', 'nats', 'identities.json'), 'utf8')).not.toMatch(/S[UA][A-Z2-7]{50}/);
      expect(await removeHost(home, 'agents-1')).toBe(true);
      expect((await readIdentities(home)).map(({ name }) => name)).toEqual(['gateway-1']);
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  });

  test('the seed never travels: what is shown is the public key and a signature of the challenge', async () => {
    const home = await mkdtemp(join(tmpdir(), 'aios-identities-'));
    try {
      await ensureIdentities(home, [{ name: 'agents-1', role: 'agents' }]);
      const { authenticator, inbox } = openCredentials(keyFileOf(home, 'agents-1'));
      const shown = authenticator?.('challenge') as { nkey: string; sig: string };
      expect(Object.keys(shown).sort()).toEqual(['nkey', 'sig']);
      expect(verifiesNkey('user', shown.nkey, Buffer.from('challenge'), Buffer.from(shown.sig, 'base64url'))).toBe(true);
      expect(inbox).toBe(`_INBOX.${shown.nkey.slice(0, 17)}`);
      expect(authenticator?.()).toBeUndefined();
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  });
});

describe('callout questions', () => {
  const server = nkeys.createServer();
  const write = (claims: object, key = server): Buffer => {
    const signed = `${Buffer.from('{"typ":"JWT","alg":"ed25519-nkey"}').toString('base64url')}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
    return Buffer.from(`${signed}.${Buffer.from(key.sign(Buffer.from(signed))).toString('base64url')}`);
  };
  const claims = { iss: server.getPublicKey(), aud: 'nats-authorization-request', exp: 2_000, nats: { user_nkey: 'U', server_id: { id: 'N' }, client_info: { nonce: 'n' }, connect_opts: { nkey: 'U', sig: 's' }, type: 'authorization_request' } };

  test('one signed by its server is read, one forged, stale or for another audience is not', () => {
    expect(parseQuestion(write(claims), 1_999_000)).toMatchObject({ userKey: 'U', server: 'N', shown: { key: 'U', signature: 's' } });
    const refused = [write(claims, nkeys.createServer()), write({ ...claims, aud: 'other' }), write({ ...claims, nats: { ...claims.nats, type: 'user' } }), Buffer.from('a.b'), Buffer.from('a.b.c')];
    for (const data of refused) expect(() => parseQuestion(data, 1_999_000)).toThrow();
    let stale: unknown;
    try {
      parseQuestion(write(claims), 2_001_000);
    } catch (error) {
      stale = error;
    }
    expect(hasCode(stale, 'AIOS_UNAUTHENTICATED')).toBe(true);
  });
});
