// Makes sure that both development servers are there before tests or a run need them, with words while they are built.
// Owns: nothing but that. Never starts a server.
// Others may assume: exit code 0 means that `findServer` answers at once from now on.

import { ERRORS, toErrorBody } from '../../contracts/errors.ts';
import { readConfig } from '../config.ts';
import { findServer } from './servers.ts';

try {
  const config = readConfig('dev');
  for (const name of ['nats', 'temporal'] as const) {
    const { version, source, path } = await findServer(name, { config, onProgress: (line) => console.error(line) });
    console.error(`${name} ${version} (${source}: ${path})`);
  }
} catch (error) {
  const body = toErrorBody(error);
  console.error(`aios: ${body.message}\n      ${ERRORS[body.code].todo}`);
  process.exitCode = 2;
}
