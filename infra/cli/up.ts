// The command `up`: the whole system in one process tree, until Ctrl-C.
// Owns: what is printed while it starts and where things are once it runs. The work is infra/dev/run.ts.
// Others may assume: it ends only when told to, with exit code 0, leaving no process behind.

import type { Command } from 'commander';
import { readConfig } from '../config.ts';
import { untilAsked } from '../dev/until-asked.ts';
import { act, type CliContext } from './shared.ts';

export function registerUp(program: Command): void {
  program
    .command('up')
    .description('start servers, brain, agents, gateway and model worker, and keep them running')
    .option('--any-ports', 'free ports instead of the usual ones')
    .option('--preset <name>', 'how data is protected (AIOS_PRESET)')
    .action(act(up));
}

async function up(context: CliContext, options: { readonly anyPorts?: boolean; readonly preset?: string }): Promise<void> {
  await using asked = untilAsked();
  // The other commands must not pay for loading all of it.
  const { runSystem } = await import('../dev/run.ts');
  const config = options.preset === undefined ? context.config : readConfig('cli', { ...process.env, AIOS_HOME: context.config.home, AIOS_PRESET: options.preset });
  await using system = await runSystem({ config, onProgress: say, ...(options.anyPorts === true ? { anyPorts: true } : {}) });
  const { endpoints } = system;
  context.print({
    json: { endpoints, home: context.config.home },
    text: `\nAIOS is up.\n  API           ${endpoints.api}   (description: ${endpoints.api}/openapi.json)\n  Temporal UI   ${endpoints.temporalUi}${endpoints.codec === undefined ? '' : `\n  codec server  ${endpoints.codec}   (sign in there to read payloads in the Temporal UI)`}\n  NATS          ${endpoints.natsUrl}\n  home          ${context.config.home}   (logs in ${context.config.home}/logs)\n  keys          ${context.config.home}/keys/{helpdesk,ana,ben}.key\nTry: npx aios tasks · npx aios doctor. Ctrl-C stops everything.`,
  });
  await asked.signal;
  say('stopping');
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
