// The commands `hosts list|add|remove|server`: who may connect to the message server of a home, and as what.
// Owns: reading and changing the list of the home. Never shows a seed: it stays in the key file, or on the machine that made it.
// Others may assume: a change counts for the next connection, and for open ones when their token ends; no restart is needed.

import type { Command } from 'commander';
import { z } from 'zod';
import { fail } from '../../contracts/errors.ts';
import { parseValue } from '../../contracts/parse.ts';
import { ROLES, rightsOf } from '../../policies/hosts.ts';
import { shippedDeployment } from '../dev/authority.ts';
import { accountsConfiguration } from '../nats/auth-callout.ts';
import { ensureCalloutKeys, keyFileOf, readIdentities, registerHost, removeHost } from '../nats/identities.ts';
import { permissionsOf } from '../nats/permissions.ts';
import { act, type CliContext } from './shared.ts';

export function registerHosts(program: Command): void {
  const hosts = program.command('hosts').description('who may connect to the message server, and as what');
  hosts.command('list').description('the registered hosts').option('--rights', 'with every subject they may publish and subscribe').action(act(list));
  hosts
    .command('add <name>')
    .description('register a host, or change its role; makes a key file unless --public-key names a public key made elsewhere')
    .requiredOption('--role <role>', ROLES.join(', '))
    .option('--capability <name...>', 'the capabilities whose agents it runs; all that are deployed when absent')
    .option('--public-key <key>', 'public key U… of a host that keeps its own seed')
    .action(act(add));
  hosts.command('remove <name>').description('take the right to connect away').action(act(remove));
  hosts.command('server').description('the lines of nats-server configuration that make a server ask this home').action(act(server));
}

async function list(context: CliContext, { rights }: { readonly rights?: boolean }): Promise<void> {
  const deployed = shippedDeployment();
  const hosts = (await readIdentities(context.config.home)).map((host) => ({ ...host, ...(rights === true ? { rights: permissionsOf(rightsOf(host, deployed), host.key) } : {}) }));
  const lines = hosts.flatMap((host) => [`${host.name}  ${host.role}  ${host.key}${host.capabilities === undefined ? '' : `  ${host.capabilities.join(' ')}`}`, ...rightsLines(host.rights)]);
  context.print({ json: hosts, text: lines.length === 0 ? 'no host is registered; "aios up" registers those of this home' : lines.join('\n') });
}

const rightsLines = (rights: ReturnType<typeof permissionsOf> | undefined): readonly string[] =>
  rights === undefined ? [] : [...rights.publish.map((subject) => `    publish    ${subject}`), ...rights.publishDeny.map((subject) => `    never      ${subject}`), ...rights.subscribe.map((subject) => `    subscribe  ${subject}`)];

async function add(context: CliContext, name: string, { role, capability, publicKey: key }: { readonly role: string; readonly capability?: readonly string[]; readonly publicKey?: string }): Promise<void> {
  const { home } = context.config;
  const host = { name: parseValue(z.string().regex(/^[A-Za-z0-9_-]{1,48}$/), name), role: parseValue(z.enum(ROLES), role), ...(capability === undefined ? {} : { capabilities: capability }) };
  rightsOf(host, shippedDeployment());
  const registered = await registerHost(home, host, key === undefined ? undefined : parseValue(z.string().regex(/^U[A-Z2-7]{55}$/), key));
  context.print({ json: registered, text: `${name} may connect as ${role}${key === undefined ? `; its key is ${keyFileOf(home, name)} (AIOS_NATS_CREDENTIALS on its machine)` : ''}` });
}

async function remove(context: CliContext, name: string): Promise<void> {
  if (!(await removeHost(context.config.home, name))) throw fail('AIOS_INPUT_INVALID', `No host ${name} is registered.`);
  context.print({ json: { removed: name }, text: `${name} may not connect any more; an open connection ends within ${Math.ceil(context.config.natsLifeMs / 60_000)} minutes` });
}

async function server(context: CliContext): Promise<void> {
  const lines = accountsConfiguration(await ensureCalloutKeys(context.config.home));
  context.print({ json: { configuration: lines }, text: lines });
}
