// Commands on dead letters: list, show, replay, discard. A person decides what happens to each.
// Owns: their words. Never prints a mandate: whoever can read a terminal must not be able to act under it.
// Others may assume: replay publishes the very bytes again under a new id, so an expired deadline or mandate refuses them again.

import { type Command, InvalidArgumentError } from 'commander';
import { fail } from '../../contracts/errors.ts';
import type { DeadLetter } from '../../contracts/ports.ts';
import { withPorts } from './nats.ts';
import { act, type CliContext } from './shared.ts';

export function registerDeadLetters(program: Command): void {
  const letters = program.command('dead-letters').description('messages that could not be handled, waiting for a person');
  letters.command('list', { isDefault: true }).description('the newest first').option('--tenant <tenant>', 'of one tenant').option('--limit <count>', 'how many', count, 20).action(act(list));
  letters.command('show <id>').description('one letter with the message that arrived').action(act(show));
  letters.command('replay <id>').description('put the message back into its mailbox and remove the letter').action(act((context, id: string) => change(context, 'replay', id)));
  letters.command('discard <id>').description('remove the letter for good').action(act((context, id: string) => change(context, 'discard', id)));
}

async function list(context: CliContext, { tenant, limit }: { readonly tenant?: string; readonly limit: number }): Promise<void> {
  const found = await withPorts(context, ({ deadLetters }) => deadLetters.list(tenant === undefined ? { limit } : { tenant, limit }));
  context.print({ json: found.map(withoutData), text: found.length === 0 ? 'no dead letters' : found.map(line).join('\n') });
}

async function show(context: CliContext, id: string): Promise<void> {
  const letter = await withPorts(context, ({ deadLetters }) => deadLetters.get(id));
  if (letter === undefined) throw unknown(id);
  const message = messageOf(letter);
  context.print({ json: { ...withoutData(letter), message }, text: `${line(letter)}\nsubject   ${letter.subject}\ntrace     ${letter.trace ?? '-'}\ntask      ${letter.task === undefined ? '-' : `${letter.task} (what the task waits for: aios show ${letter.task})`}\nmessage   ${JSON.stringify(message, null, 2)}\nreplay    aios dead-letters replay ${id}\ndiscard   aios dead-letters discard ${id}` });
}

async function change(context: CliContext, verb: 'replay' | 'discard', id: string): Promise<void> {
  await withPorts(context, async ({ deadLetters }) => {
    if ((await deadLetters.get(id)) === undefined) throw unknown(id);
    await deadLetters[verb](id);
  });
  context.print({ json: { id, done: verb }, text: verb === 'replay' ? `${id} is back in its mailbox` : `${id} is discarded` });
}

const unknown = (id: string): Error => fail('AIOS_INPUT_INVALID', `There is no dead letter ${id}.`);

function line({ id, at, tenant, reason, code, task, attempts, subject }: DeadLetter): string {
  return `${id.padStart(6)}  ${new Date(at).toISOString().slice(0, 19)}  ${tenant}  ${reason}  ${code}  ${task ?? '-'}  ${subject.split('.').slice(5).join('/') || subject}  after ${attempts}`;
}

function withoutData({ data, ...letter }: DeadLetter): object {
  return { ...letter, bytes: Math.floor((data.length * 3) / 4) };
}

/** The message as JSON without its mandate, or as text with what cannot be printed replaced. */
function messageOf({ data }: DeadLetter): unknown {
  const text = Buffer.from(data, 'base64').toString('utf8');
  try {
    const value = JSON.parse(text) as unknown;
    return typeof value === 'object' && value !== null && 'mandate' in value ? { ...value, mandate: 'not shown' } : value;
  } catch {
    return text.slice(0, 4_000);
  }
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1_000) throw new InvalidArgumentError('a whole number from 1 to 1000');
  return value;
}
