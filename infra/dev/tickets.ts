// Tickets from a file of JSON lines: {"id","customer","text"} each, whatever else is in the line.
// Owns: reading and judging lines. Never loads the whole file when only a part is asked for.
// Others may assume: a bad line is reported by its number and skipped, never fatal; ids are unique.

import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import { z } from 'zod';
import { fail, toErrorBody } from '../../contracts/errors.ts';
import { parseJson, parseValue } from '../../contracts/parse.ts';

const TEXT_MAX = 8_000;
const LINE_CHARACTERS_MAX = 64 * 1024;
const TICKETS_MAX = 100_000;

const ticketSchema = z.looseObject({
  id: z.union([z.string().min(1).max(128), z.number().int().safe().transform(String)]),
  customer: z.union([z.string().min(1).max(128), z.number().int().safe().transform(String)]),
  text: z.string().min(1).max(TEXT_MAX),
});
export interface Ticket { readonly id: string; readonly customer: string; readonly text: string }
export interface BadLine { readonly line: number; readonly reason: string }

export interface ReadTicketsOptions {
  readonly limit?: number;
  /** Only tickets with these ids. */
  readonly only?: ReadonlySet<string>;
}

/** @throws AIOS_CONFIG_INVALID when the file cannot be read */
export async function readTickets(file: string, options: ReadTicketsOptions = {}): Promise<{ readonly tickets: readonly Ticket[]; readonly bad: readonly BadLine[] }> {
  const tickets: Ticket[] = [];
  const bad: BadLine[] = [];
  const seen = new Set<string>();
  let line = 0;
  for await (const text of linesOf(file)) {
    line++;
    if (text.trim() === '') continue;
    if (tickets.length >= Math.min(options.limit ?? TICKETS_MAX, TICKETS_MAX)) break;
    const read = parseLine(text, seen);
    if (typeof read === 'string') bad.push({ line, reason: read });
    else if (options.only === undefined || options.only.has(read.id)) tickets.push(read);
  }
  return { tickets, bad };
}

/** The ticket of a line, or why there is none. */
function parseLine(text: string, seen: Set<string>): Ticket | string {
  if (text.length > LINE_CHARACTERS_MAX) return `longer than ${LINE_CHARACTERS_MAX} characters`;
  try {
    const { id, customer, text: words } = parseValue(ticketSchema, parseJson(text));
    if (seen.has(id)) return 'its id was used on an earlier line';
    seen.add(id);
    return { id, customer, text: words };
  } catch (error) {
    return toErrorBody(error).message;
  }
}

async function* linesOf(file: string): AsyncGenerator<string> {
  const raw = createReadStream(file);
  const opened = new Promise<void>((resolve, reject) => raw.once('open', () => resolve()).once('error', reject));
  await opened.catch((cause: unknown) => {
    throw fail('AIOS_CONFIG_INVALID', `The tickets cannot be read: ${file}.`, { cause });
  });
  yield* createInterface({ input: file.endsWith('.gz') ? raw.pipe(createGunzip()) : raw, crlfDelay: Number.POSITIVE_INFINITY });
}
