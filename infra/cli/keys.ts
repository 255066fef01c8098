// The command `keys`: which keys protect data at rest, and changing them.
// Owns: its words. The rings are in infra/crypto; this never prints a key, only ids.
// Never takes a key out: what a key sealed would be lost. Others may assume: a rotation of payload keys needs no restart,
// one of the message server's key holds from its next start.

import type { Command } from 'commander';
import { fail } from '../../contracts/errors.ts';
import { ensurePayloadKeys, openPayloadKeys, rotatePayloadKeys } from '../crypto/payload-keys.ts';
import { ensureStoreKey, rotateStoreKey } from '../crypto/store-key.ts';
import { readEndpoints } from '../dev/endpoints.ts';
import { act, type CliContext } from './shared.ts';

export function registerKeys(program: Command): void {
  const keys = program.command('keys').description('keys of encrypted payloads and of the message server\'s files');
  keys.command('list').description('ids of the payload keys, the one in force first').action(act(list));
  keys
    .command('rotate')
    .description('put a new payload key in force; the others still decrypt')
    .option('--store', 'change the key of the message server\'s files instead; the system must not run')
    .action(act(rotate));
}

async function list(context: CliContext): Promise<void> {
  const ids = (await openPayloadKeys(context.config.payloadKeys)).ids();
  context.print({ json: { ids }, text: ids.map((id, i) => `${id}${i === 0 ? '   in force' : ''}`).join('\n') });
}

async function rotate(context: CliContext, options: { readonly store?: true }): Promise<void> {
  const { config } = context;
  if (options.store === true) {
    if ((await readEndpoints(config.home)) !== undefined) throw fail('AIOS_CONFIG_INVALID', 'The system of this home runs; stop it first, since the message server converts its files when it starts.');
    await ensureStoreKey(config);
    await rotateStoreKey(config);
    return context.print({ json: { rotated: 'store' }, text: 'The message server converts its files to the new key at its next start. Start it before you rotate again.' });
  }
  await ensurePayloadKeys(config.payloadKeys);
  const id = await rotatePayloadKeys(config.payloadKeys);
  context.print({ json: { rotated: 'payloads', id }, text: `${id} is in force: new tasks are sealed with it from the next start of a process, or as soon as it meets a payload of the new key. Copy the ring to every machine before that, and back it up.` });
}
