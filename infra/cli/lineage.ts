// The command `lineage`: why a task ended as it did, as a tree, as JSON or as a page.
// Owns: asking the running system, or reading the ledger files of the home when none runs.
// Never changes anything. Others may assume: without a system the tree has no workflow history, and says so.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { fail } from '../../contracts/errors.ts';
import { readEndpoints } from '../dev/endpoints.ts';
import { readLogs } from '../files/ledger.ts';
import { buildLineage, type LineageNode } from '../lineage/lineage.ts';
import { toHtml, toText } from '../lineage/render.ts';
import { act, type CliContext } from './shared.ts';

export function registerLineage(program: Command): void {
  program
    .command('lineage <task>')
    .description('show everything that informed the decisions of a task')
    .option('--html [file]', 'write a page; the name of the task and .html when no file is given')
    .option('--offline', 'read the ledger files only, even while the system runs')
    .action(act(lineage));
}

async function lineage(context: CliContext, task: string, options: { readonly html?: string | true; readonly offline?: boolean }): Promise<void> {
  const offline = options.offline === true || ((await readEndpoints(context.config.home)) === undefined && process.env['AIOS_URL'] === undefined);
  const tree = offline ? await fromFiles(context, task) : ((await (await context.client()).lineage(task)) as LineageNode);
  const note = offline ? '(read from the ledger files; without the workflow history)\n' : '';
  if (options.html === undefined) return context.print({ json: tree, text: `${note}${toText(tree)}` });
  const file = options.html === true ? join(context.config.home, 'lineage', `${task}.html`) : options.html;
  await mkdir(join(file, '..'), { recursive: true });
  await writeFile(file, toHtml(tree));
  context.print({ json: { file }, text: file });
}

async function fromFiles(context: CliContext, task: string): Promise<LineageNode> {
  const logs = await readLogs(join(context.config.home, 'ledger'));
  const entries = logs.flatMap(({ lines }) => lines.flatMap((line) => ('entry' in line && line.entry.record.task === task ? [line.entry] : [])));
  const tree = buildLineage(task, entries, []);
  if (tree === undefined) throw fail('AIOS_TASK_UNKNOWN', `The ledger in ${context.config.home} has no record of it.`);
  return tree;
}
