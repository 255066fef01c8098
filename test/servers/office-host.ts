// A host of the back office example, as a process that tests kill and drain.
// Owns: starting it and saying when it serves. Never handles signals: it is meant to be killed.
// Others may assume: a message `ready` to the parent means that mailboxes are taken.

import { agents } from '../../examples/back-office/office.ts';
import { readConfig } from '../../infra/config.ts';
import { startAgentHost } from '../../infra/processes/agents.ts';

await startAgentHost(readConfig('agents'), { agents });
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
