// Commands on tasks: start, tasks, show, cancel. What people decide is in approvals.ts.
// Owns: their words. Everything goes through the HTTP API, as every caller does.
// Others may assume: without --as the caller is the service of the home, which never decides.

import { type Command, InvalidArgumentError } from 'commander';
import { fail } from '../../contracts/errors.ts';
import { parseJson } from '../../contracts/parse.ts';
import type { TaskView } from '../../contracts/ports.ts';
import { TASK_STATES, type TaskState } from '../../contracts/task.ts';
import type { Result } from '../client/client.ts';
import type { Endpoints } from '../dev/endpoints.ts';
import { act, approvalLink, type CliContext, dollars, EXIT } from './shared.ts';

export function registerTasks(program: Command): void {
  program
    .command('start <capability> <json>')
    .description('start a governed task and wait for its result')
    .option('--idempotency-key <key>', 'the same key never starts two tasks')
    .option('--wait <ms>', 'how long to wait for the result; 0 = only start', milliseconds, 60_000)
    .option('--deadline <ms>', 'milliseconds from now after which the answer is not wanted', milliseconds)
    .addHelpText('after', '\nExample: aios start support.answer \'{"customer":"c-1001","text":"How do I change my plan?","space":"help-centre"}\'')
    .action(act(start));
  program
    .command('tasks')
    .description('list the latest tasks, with the link and the JSON for those that wait for a person')
    .option('--state <state>', `one of ${TASK_STATES.join(', ')}`, stateOf)
    .option('--limit <count>', 'how many', milliseconds, 20)
    .action(act(list));
  program.command('show <task>').description('show one task').action(act(show));
  program.command('cancel <task>').description('ask for a task to be cancelled').action(act(cancel));
}

interface StartOptions { readonly idempotencyKey?: string; readonly wait: number; readonly deadline?: number }

async function start(context: CliContext, capability: string, json: string, options: StartOptions): Promise<void> {
  const client = await context.client();
  const started = await client.start(capability, parseJson(json), { waitMs: Math.min(options.wait, 55_000), ...(options.idempotencyKey === undefined ? {} : { key: options.idempotencyKey }), ...(options.deadline === undefined ? {} : { deadlineMs: options.deadline }) });
  if (started.result !== undefined) return finished(context, started.result);
  const view = await client.view(started.taskId);
  context.exit(options.wait === 0 ? EXIT.done : EXIT.unfinished);
  context.print({ json: view, text: words(view, await context.endpoints()) });
}

function finished(context: CliContext, result: Result): void {
  context.exit(result.state === 'done' ? EXIT.done : EXIT.failed);
  const error = result.error === undefined ? '' : `\n${result.error.message}  (${result.error.code})`;
  context.print({ json: result, text: `${result.taskId} ${result.state} · ${dollars(result.costMicroUsd)} · rung ${result.rung}${error}\n${result.output === undefined ? '' : JSON.stringify(result.output, null, 2)}` });
}

async function list(context: CliContext, options: { readonly state?: TaskState; readonly limit: number }): Promise<void> {
  const tasks = await (await context.client()).list(options.state === undefined ? { limit: options.limit } : { state: options.state, limit: options.limit });
  const endpoints = await context.endpoints();
  context.print({ json: tasks, text: tasks.length === 0 ? 'no tasks' : tasks.map((view) => words(view, endpoints)).join('\n') });
}

async function show(context: CliContext, task: string): Promise<void> {
  const view = await (await context.client()).view(task);
  const output = view.result?.output === undefined ? '' : `\n${JSON.stringify(view.result.output, null, 2)}`;
  context.print({ json: view, text: `${words(view, await context.endpoints())}${output}` });
}

async function cancel(context: CliContext, task: string): Promise<void> {
  await (await context.client()).cancel(task);
  context.print({ json: { taskId: task, asked: true }, text: `${task}: cancellation asked for` });
}

/** One task in a line; what waits gets what an approver needs below it. */
function words(view: TaskView, endpoints: Endpoints): string {
  const { entry, state, waiting, result } = view;
  const line = [entry.taskId, state.padEnd(9), entry.capability, result === undefined ? '' : dollars(result.costMicroUsd), entry.summary].filter((part) => part !== '').join('  ');
  if (waiting === undefined) return line;
  return `${line}\n    waits for ${waiting.approvers} until ${new Date(waiting.expiresAt).toISOString()}\n    open  ${approvalLink(endpoints, waiting.workflowId)}\n    send  ${waiting.json}`;
}

function milliseconds(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('a whole number of at least 0 is needed.');
  return value;
}

function stateOf(text: string): TaskState {
  const state = TASK_STATES.find((one) => one === text);
  if (state === undefined) throw fail('AIOS_INPUT_INVALID', `state: one of ${TASK_STATES.join(', ')}.`);
  return state;
}
