// What every conformance suite needs: two clients of one server, and names that no other test uses.
// Owns: the shape a member of a port's family is opened in. Never knows which member it is.
// Others may assume: suites use real time, pass against a server that other tests use too, and clean up after themselves.

import type { AgentId, AgentKind, TaskId, TenantId } from '../../contracts/ids.ts';

/** Two processes on one server. */
export interface Pair<T> extends AsyncDisposable {
  readonly first: T;
  readonly second: T;
}
export type MakePair<T> = () => Promise<Pair<T>>;

let names = 0;
const run = Date.now().toString(36);
/** Unique in this run and most likely in the life of the server. */
export const unique = (prefix: string): string => `${prefix}-${run}-${process.pid}-${names++}`;
export const uniqueTenant = (): TenantId => unique('tn') as TenantId;
export const uniqueTask = (): TaskId => unique('t') as TaskId;
export const kindNamed = (name: string): AgentKind => name as AgentKind;
export const idNamed = (name: string): AgentId => name as AgentId;

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
export const textOf = (bytes: Uint8Array | undefined): string | undefined => (bytes === undefined ? undefined : new TextDecoder().decode(bytes));

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `done`, at most `ms`; the assertion that follows says what was missing. */
export async function until(done: () => boolean, ms = 5_000): Promise<void> {
  for (const end = Date.now() + ms; !done() && Date.now() < end; ) await pause(5);
}

/** The code a promise rejects with. */
export const codeOf = (work: Promise<unknown>): Promise<string | undefined> => work.then(() => undefined, (error: unknown) => String((error as { code?: unknown }).code));
