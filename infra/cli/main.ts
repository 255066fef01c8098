// The program `aios`: registers every command and runs the one that was asked for.
// Owns: the list of command modules, global options and the exit code of wrong use. Commands live in files beside it.
// Others may assume: adding a command is one file and one line here.

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { registerAgents } from './agents.ts';
import { registerApprovals } from './approvals.ts';
import { registerAudit } from './audit.ts';
import { registerBuilds } from './builds.ts';
import { registerBudget } from './budget.ts';
import { registerDeadLetters } from './dead-letters.ts';
import { registerDoctor } from './doctor.ts';
import { registerHosts } from './hosts.ts';
import { registerKeys } from './keys.ts';
import { registerLineage } from './lineage.ts';
import { registerPolicy } from './policy.ts';
import { EXIT, report } from './shared.ts';
import { registerTasks } from './tasks.ts';
import { registerUp } from './up.ts';

const COMMANDS = [registerUp, registerTasks, registerApprovals, registerBuilds, registerLineage, registerAudit, registerDoctor, registerKeys, registerPolicy, registerAgents, registerDeadLetters, registerHosts, registerBudget];

export function createProgram(): Command {
  const program = new Command('aios')
    .description('Models, agents and retrieval as governed platform primitives.')
    .version(version())
    .option('--json', 'print one JSON value on standard output')
    .option('--home <folder>', 'folder of the system (AIOS_HOME, .aios in the current folder if absent)')
    .option('--url <url>', 'address of the API (AIOS_URL, that of the running system if absent)')
    .option('--key <key>', 'API key (AIOS_KEY)')
    .option('--as <principal>', 'use the key of this principal of the home, such as helpdesk, ana or ben')
    .addHelpText('after', '\nExit codes: 0 done · 1 refused or failed · 2 wrong use or setting · 3 not finished, or waiting for a person · 4 the system cannot be reached')
    .showHelpAfterError('(add --help for the parameters)')
    .exitOverride();
  for (const register of COMMANDS) register(program);
  inherit(program);
  return program;
}

/** Global options are accepted after the command too, as people write them. */
function inherit(parent: Command, options = parent.options.filter((option) => option.long !== '--version')): void {
  for (const command of parent.commands) {
    command.exitOverride();
    for (const option of options) if (!command.options.some((own) => own.long === option.long)) command.addOption(option);
    inherit(command, options);
  }
}

function version(): string {
  const here = import.meta.url;
  const file = new URL(here.includes('/dist/infra/') ? '../../../package.json' : '../../package.json', here);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

try {
  await createProgram().parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
  else report(error, process.argv.includes('--json'));
}
// Kept-alive connections of `fetch` would hold the process for seconds.
process.exit();
