// A host of the conversation example, as a process that the test kills.
// Owns: starting it and saying when it serves. Never handles signals: it is meant to be killed.
// Others may assume: a message `ready` to the parent means that mailboxes are taken.

import { memory } from '../../examples/conversation-memory/memory.ts';
import { readConfig } from '../../infra/config.ts';
import { startAgentHost } from '../../infra/processes/agents.ts';

await startAgentHost(readConfig('agents'), { agents: [memory] });
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
