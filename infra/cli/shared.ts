// What every command shares: where the system is, who calls, how an answer is printed and how a failure ends.
// Owns: global options, exit codes, the words of an error. Never does the work of a command.
// Others may assume: `act` prints every failure once, with what to do next, and sets the exit code; `--json` prints one JSON value.

import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { ERRORS, fail, isAiosError, toErrorBody } from '../../contracts/errors.ts';
import { type Client, connect } from '../client/client.ts';
import { type Config, readConfig } from '../config.ts';
import { type Endpoints, readEndpoints } from '../dev/endpoints.ts';
import { keyFileOf } from '../http/api-keys.ts';

/** 0 done · 1 refused or failed · 2 wrong use or setting · 3 not finished, or waiting for a person · 4 the system cannot be reached */
export const EXIT = { done: 0, failed: 1, usage: 2, unfinished: 3, unreachable: 4 } as const;

export interface CliContext {
  readonly config: Config;
  readonly json: boolean;
  /** @throws AIOS_UNAVAILABLE when no system of this home runs and no address is set */
  endpoints(): Promise<Endpoints>;
  /** A client as this principal of the home, or with the key of `--key` or AIOS_KEY. */
  client(principal?: string): Promise<Client>;
  /** `json` with `--json`, otherwise `text`. */
  print(answer: { readonly json: unknown; readonly text: string }): void;
  exit(code: number): void;
}

interface GlobalOptions { readonly json?: boolean; readonly home?: string; readonly url?: string; readonly key?: string; readonly as?: string }

/** Wraps the action of a command: `act(async (context, ...parameters) => …)`. */
export function act<P extends readonly unknown[]>(run: (context: CliContext, ...parameters: P) => Promise<void>): (...parameters: unknown[]) => Promise<void> {
  return async (...given) => {
    const command = given.at(-1) as Command;
    const globals = command.optsWithGlobals<GlobalOptions>();
    try {
      await run(contextOf(globals), ...(given.slice(0, -1) as unknown as P));
    } catch (error) {
      report(error, globals.json === true);
    }
  };
}

export function report(error: unknown, json: boolean): void {
  const body = toErrorBody(error);
  const todo = ERRORS[body.code].todo;
  if (json) process.stdout.write(`${JSON.stringify({ error: { ...body, todo } })}\n`);
  else process.stderr.write(`aios: ${isAiosError(error) ? body.message : `${body.message} ${error instanceof Error ? error.message : ''}`}\n      ${todo}  (${body.code})\n`);
  process.exitCode = exitOf(body.code);
}

/** Micro-USD for people. */
export const dollars = (microUsd: number): string => `$${(microUsd / 1_000_000).toFixed(microUsd !== 0 && microUsd < 10_000 ? 6 : 4)}`;

/** The page of the Temporal UI that lists exactly what waits for a decision on this task. */
export function approvalLink(endpoints: Pick<Endpoints, 'temporalUi' | 'namespace'>, workflowId: string): string {
  const query = encodeURIComponent(`WorkflowId="${workflowId}"`);
  return `${endpoints.temporalUi}/namespaces/${encodeURIComponent(endpoints.namespace)}/workflows?query=${query}`;
}

function contextOf(globals: GlobalOptions): CliContext {
  const config = readConfig('cli', { ...process.env, ...(globals.home === undefined ? {} : { AIOS_HOME: resolve(globals.home) }) });
  const json = globals.json === true;
  const endpoints = async (): Promise<Endpoints> => {
    const url = globals.url ?? process.env['AIOS_URL'];
    if (url !== undefined) return { natsUrl: config.natsUrl, temporalAddress: config.temporalAddress, temporalUi: config.temporalUi, namespace: config.namespace, api: url };
    const found = await readEndpoints(config.home);
    if (found === undefined) throw fail('AIOS_UNAVAILABLE', `no system runs in ${config.home}. Start one with "aios up", or name one with --url or AIOS_URL.`);
    return found;
  };
  return {
    config,
    json,
    endpoints,
    client: async (principal = 'helpdesk') => connect({ url: (await endpoints()).api, key: keyFor(config.home, globals, principal), triesMax: 2 }),
    print: (answer) => process.stdout.write(json ? `${JSON.stringify(answer.json)}\n` : `${answer.text.trimEnd()}\n`),
    exit: (code) => { process.exitCode = code; },
  };
}

function keyFor(home: string, globals: GlobalOptions, principal: string): string {
  // Where a command signs, its --key may name the file of a signing key; an API key is never the name of a file.
  const key = (globals.key !== undefined && existsSync(globals.key) ? undefined : globals.key) ?? process.env['AIOS_KEY'];
  if (key !== undefined) return key;
  const file = keyFileOf(home, globals.as ?? principal);
  if (!existsSync(file)) throw fail('AIOS_UNAUTHENTICATED', `there is no key at ${file}; give one with --key or AIOS_KEY, or another principal with --as.`);
  return readFileSync(file, 'utf8').trim();
}

function exitOf(code: keyof typeof ERRORS): number {
  if (code === 'AIOS_UNAVAILABLE' || code === 'AIOS_DISCONNECTED') return EXIT.unreachable;
  if (code === 'AIOS_CONFIG_INVALID' || code === 'AIOS_INPUT_INVALID' || code === 'AIOS_INPUT_NOT_JSON') return EXIT.usage;
  return code === 'AIOS_DEADLINE_EXCEEDED' ? EXIT.unfinished : EXIT.failed;
}
