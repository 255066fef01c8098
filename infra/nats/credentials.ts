// What a process shows the message server: nothing, a key file for an auth callout, or a .creds file of an operator's making.
// Owns: reading those files and answering the server's challenge. Never keeps a seed in memory between connections.
// Others may assume: the seed itself never travels, a changed file is used at the next connection, and who shows a key
// takes its answers under a prefix that belongs to the key.

import { readFileSync } from 'node:fs';
import { type Authenticator, credsAuthenticator } from '@nats-io/nats-core';
import { fail } from '../../contracts/errors.ts';
import { openSeed } from './nkeys.ts';

export interface Credentials {
  readonly authenticator: Authenticator | undefined;
  /** Prefix that only this key may listen under. */
  readonly inbox: string | undefined;
}

/** Where a client with this key takes its answers; nobody else may listen there. 80 bits of the key name it. */
export const inboxOf = (publicKey: string): string => `_INBOX.${publicKey.slice(0, 17)}`;

/** @throws AIOS_CONFIG_INVALID for a file that cannot be read or holds no key */
export function openCredentials(path: string | undefined): Credentials {
  if (path === undefined) return { authenticator: undefined, inbox: undefined };
  const content = read(path);
  if (content.includes('BEGIN NATS USER JWT')) return { authenticator: credsAuthenticator(() => Buffer.from(read(path))), inbox: undefined };
  return { authenticator: (nonce) => signed(path, nonce), inbox: inboxOf(openSeed(content).publicKey) };
}

/** A server that sends no challenge asks for no key. */
function signed(path: string, nonce: string | undefined): { readonly nkey: string; readonly sig: string } | undefined {
  if (nonce === undefined || nonce === '') return undefined;
  const key = openSeed(read(path));
  return { nkey: key.publicKey, sig: key.sign(Buffer.from(nonce)).toString('base64url') };
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw fail('AIOS_CONFIG_INVALID', 'The file of this host\'s NATS credentials cannot be read.', { cause });
  }
}
