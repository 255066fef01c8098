// The client of the HTTP API for business services: start, wait, watch, cancel, decide, list, lineage.
// Owns: retries (only where the error table says that they can help), idempotency keys, typing by capability definitions.
// Never holds state of tasks. Others may assume: every failure is an error of the table; a start is repeated under one key,
// so a lost answer never starts a second task; importing this opens nothing.

import type { z } from 'zod';
import type { BudgetChange, BudgetDetail } from '../../contracts/budget.ts';
import type { Capability } from '../../contracts/capability.ts';
import { type AiosError, ERRORS, type ErrorBody, fail, fromErrorBody, hasCode, isErrorCode } from '../../contracts/errors.ts';
import { parseJson } from '../../contracts/parse.ts';
import type { TaskView } from '../../contracts/ports.ts';
import { type Decision, isTerminal, type TaskResult, type TaskState } from '../../contracts/task.ts';
import type { CostReport, MoneyEntry, ReportKey } from '../../policies/accounting.ts';
import type { BudgetLease } from '../accounting/desk.ts';
import { WAIT_MS_MAX, budgetSchema, capabilitiesSchema, costReportSchema, decidedSchema, leaseSchema, listSchema, moneyEntriesSchema, startedSchema, viewSchema } from '../http/schemas.ts';

export interface ClientOptions {
  /** Of the API, such as http://127.0.0.1:7070 */
  readonly url: string;
  /** API key; what it may do follows from it. */
  readonly key: string;
  /** Tries of one request in all, first one included. */
  readonly triesMax?: number;
  readonly fetch?: typeof fetch;
  readonly sleep?: (ms: number) => Promise<void>;
  readonly newKey?: () => string;
}
export interface StartOptions {
  /** Idempotency key within tenant and capability; made up when absent, so retries of one call never start two tasks. */
  readonly key?: string;
  /** Milliseconds from now after which the answer is not wanted any more. */
  readonly deadlineMs?: number;
  readonly traceparent?: string;
  readonly signal?: AbortSignal;
}
export interface Started<O = unknown> {
  readonly taskId: string;
  readonly workflowId: string;
  /** The key was used before with the same input: this is that task. */
  readonly replayed: boolean;
  /** Present when it finished while the start was waiting. */
  readonly result?: Result<O>;
}
export type Result<O = unknown> = Omit<TaskResult, 'output'> & { readonly output?: O };
export interface CapabilityView { readonly id: string; readonly dataClass: string; readonly sla: string; readonly input: unknown; readonly output: unknown }

export interface Client {
  /** `waitMs` lets the server wait that long for the result before it answers. @throws AIOS_INPUT_INVALID, AIOS_CAPABILITY_UNKNOWN, AIOS_KEY_CONFLICT before anything starts */
  start<I, O>(capability: Capability<I, O> | string, input: I, options?: StartOptions & { readonly waitMs?: number }): Promise<Started<O>>;
  /** Starts, waits, and returns the checked output. @throws the task's own error when it was refused, failed or cancelled; AIOS_DEADLINE_EXCEEDED after `timeoutMs` (10 minutes when absent), with the task going on */
  run<I, O>(capability: Capability<I, O> | string, input: I, options?: StartOptions & { readonly timeoutMs?: number }): Promise<O>;
  /** @throws AIOS_TASK_UNKNOWN, AIOS_DEADLINE_EXCEEDED after `timeoutMs` */
  wait<O = unknown>(taskId: string, options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal }): Promise<Result<O>>;
  /** Every state until the task ends; reconnects, so a state may be repeated. */
  watch(taskId: string, options?: { readonly signal?: AbortSignal }): AsyncIterable<TaskView>;
  view(taskId: string): Promise<TaskView>;
  cancel(taskId: string): Promise<void>;
  /** Decides as the principal of the key, or as the person whose `token` says so; never retried when the answer is lost, since a decision is single-use. */
  decide(taskId: string, decision: Omit<Decision, 'by'> & { readonly by?: string }): Promise<{ readonly accepted: boolean; readonly message: string }>;
  list(options?: { readonly state?: TaskState; readonly limit?: number }): Promise<readonly TaskView[]>;
  lineage(taskId: string): Promise<unknown>;
  capabilities(): Promise<readonly CapabilityView[]>;
  /** For operators: caps, limits, leases, and where the money went. */
  readonly budget: {
    show(): Promise<BudgetDetail>;
    set(change: BudgetChange): Promise<BudgetDetail>;
    entries(options?: { readonly since?: number; readonly limit?: number }): Promise<readonly MoneyEntry[]>;
    report(options?: { readonly since?: number; readonly by?: ReportKey }): Promise<CostReport>;
    lease(wanted: { readonly holder: string; readonly microUsd: number; readonly forMs: number }): Promise<BudgetLease>;
    giveBack(lease: string, spentMicroUsd: number): Promise<BudgetDetail>;
  };
}

/**
 * A client of one API. Opens nothing until it is used.
 * @example
 * const desk = connect({ url: 'http://127.0.0.1:7070', key });
 * const { text } = await desk.run(answer, { question: 'How do I change my plan?' }, { key: 'ticket-42' });
 */
export function connect(options: ClientOptions): Client {
  const call = caller(options);
  const start: Client['start'] = async <I, O>(capability: Capability<I, O> | string, input: I, given: StartOptions & { readonly waitMs?: number } = {}) => {
    const { signal, traceparent, ...rest } = given;
    const body = { capability: nameOf(capability), input, key: options.newKey?.() ?? crypto.randomUUID(), ...rest };
    const started = await call(startedSchema, 'POST', '/v1/tasks', { body, signal, headers: traceparent === undefined ? {} : { traceparent } });
    return started as unknown as Started<O>;
  };
  const wait = async <O>(taskId: string, { timeoutMs = RESULT_MS_MAX, signal }: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {}): Promise<Result<O>> => {
    for (const until = performance.now() + timeoutMs; ; ) {
      const left = Math.max(0, Math.min(WAIT_MS_MAX / 2, Math.round(until - performance.now())));
      const { result } = await call(viewSchema, 'GET', `/v1/tasks/${encodeURIComponent(taskId)}?waitMs=${left}`, { signal });
      if (result !== undefined) return result as unknown as Result<O>;
      if (performance.now() >= until) throw fail('AIOS_DEADLINE_EXCEEDED', `${taskId} is not finished after ${timeoutMs} ms; it goes on.`);
    }
  };
  return {
    start,
    wait,
    budget: budgetOf(call),
    async run<I, O>(capability: Capability<I, O> | string, input: I, given: StartOptions & { readonly timeoutMs?: number } = {}) {
      const { timeoutMs = RESULT_MS_MAX, ...rest } = given;
      const started = await start<I, O>(capability, input, { ...rest, waitMs: Math.min(timeoutMs, WAIT_MS_MAX / 2) });
      const result = started.result ?? (await wait<O>(started.taskId, given.signal === undefined ? { timeoutMs } : { timeoutMs, signal: given.signal }));
      return outputOf(capability, result);
    },
    watch: (taskId, given = {}) => watch(options, taskId, given.signal),
    view: async (taskId) => (await call(viewSchema, 'GET', `/v1/tasks/${encodeURIComponent(taskId)}`)) as unknown as TaskView,
    cancel: async (taskId) => void (await call(undefined, 'POST', `/v1/tasks/${encodeURIComponent(taskId)}/cancel`)),
    decide: (taskId, decision) => call(decidedSchema, 'POST', `/v1/tasks/${encodeURIComponent(taskId)}/decide`, { body: decision, once: true }),
    list: async ({ state, limit = 50 } = {}) => (await call(listSchema, 'GET', `/v1/tasks?limit=${limit}${state === undefined ? '' : `&state=${state}`}`)).tasks as unknown as readonly TaskView[],
    lineage: (taskId) => call(undefined, 'GET', `/v1/tasks/${encodeURIComponent(taskId)}/lineage`),
    capabilities: async () => (await call(capabilitiesSchema, 'GET', '/v1/capabilities')).capabilities as unknown as readonly CapabilityView[],
  };
}

function budgetOf(call: Call): Client['budget'] {
  const query = (given: Readonly<Record<string, string | number | undefined>>): string => new URLSearchParams(Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)] as [string, string]]))).toString();
  const detail = async (method: string, path: string, options?: CallOptions): Promise<BudgetDetail> => (await call(budgetSchema, method, path, options)) as unknown as BudgetDetail;
  return {
    show: () => detail('GET', '/v1/budget'),
    set: (change) => detail('POST', '/v1/budget', { body: change }),
    entries: async ({ since, limit } = {}) => (await call(moneyEntriesSchema, 'GET', `/v1/budget/entries?${query({ since, limit })}`)).entries as unknown as readonly MoneyEntry[],
    report: async ({ since, by } = {}) => (await call(costReportSchema, 'GET', `/v1/budget/report?${query({ since, by })}`)) as unknown as CostReport,
    lease: async (wanted) => (await call(leaseSchema, 'POST', '/v1/budget/leases', { body: wanted, once: true })) as unknown as BudgetLease,
    giveBack: (lease, spentMicroUsd) => detail('POST', `/v1/budget/leases/${encodeURIComponent(lease)}/return`, { body: { spentMicroUsd } }),
  };
}

const RESULT_MS_MAX = 10 * 60_000;
const TRIES_MAX = 4;
const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 5_000;

interface CallOptions {
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  /** A lost answer is not asked for again. */
  readonly once?: boolean;
}
interface Call {
  <T>(schema: z.ZodType<T>, method: string, path: string, options?: CallOptions): Promise<T>;
  (schema: undefined, method: string, path: string, options?: CallOptions): Promise<unknown>;
}

function caller(options: ClientOptions): Call {
  const sleep = options.sleep ?? ((ms: number) => new Promise((resolve) => setTimeout(resolve, ms)));
  const attempt = async (schema: z.ZodType | undefined, method: string, path: string, given: CallOptions): Promise<unknown> => {
    const response = await send(options, method, path, given);
    const value = await jsonOf(response);
    if (!response.ok) throw errorOf(value, response);
    return schema === undefined ? value : checked(schema, value);
  };
  return (async (schema: z.ZodType | undefined, method: string, path: string, given: CallOptions = {}) => {
    for (let tries = 1; ; tries++) {
      try {
        return await attempt(schema, method, path, given);
      } catch (error) {
        if (given.signal?.aborted === true || tries >= (options.triesMax ?? TRIES_MAX) || !mayRetry(error, given)) throw error;
        await sleep(pauseMs(error as AiosError, tries));
      }
    }
  }) as Call;
}

/** Only what the table calls `later` or `again`; a lost connection says nothing about whether the request arrived. */
function mayRetry(error: unknown, given: CallOptions): boolean {
  if (hasCode(error, 'AIOS_DISCONNECTED')) return given.once !== true;
  const { code } = error as { code?: unknown };
  return isErrorCode(code) && ERRORS[code].retry !== 'never' && code !== 'AIOS_INTERNAL';
}

const pauseMs = (error: AiosError, tries: number): number => Math.min(error.retryAfterMs ?? PAUSE_MS_MIN * 2 ** tries, PAUSE_MS_MAX);

async function send(options: ClientOptions, method: string, path: string, given: CallOptions): Promise<Response> {
  const headers = { authorization: `Bearer ${options.key}`, ...(given.body === undefined ? {} : { 'content-type': 'application/json' }), ...given.headers };
  const request: RequestInit = { method, headers, ...(given.body === undefined ? {} : { body: JSON.stringify(given.body) }), ...(given.signal === undefined ? {} : { signal: given.signal }) };
  try {
    return await (options.fetch ?? fetch)(new URL(path, options.url), request);
  } catch (cause) {
    throw fail('AIOS_DISCONNECTED', `${options.url} does not answer; is "aios up" running?`, { cause });
  }
}

async function jsonOf(response: Response): Promise<unknown> {
  const text = await response.text().catch((cause: unknown) => {
    throw fail('AIOS_DISCONNECTED', 'the answer broke off.', { cause });
  });
  try {
    return parseJson(text);
  } catch (cause) {
    throw fail('AIOS_UNAVAILABLE', `the answer of the API (status ${response.status}) is not JSON; is this the right address?`, { cause });
  }
}

function errorOf(value: unknown, response: Response): AiosError {
  const body = value as Partial<ErrorBody> | null;
  if (isErrorCode(body?.code) && typeof body?.message === 'string') return fromErrorBody(body as ErrorBody);
  return fail('AIOS_UNAVAILABLE', `the API answered with status ${response.status}.`);
}

function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw fail('AIOS_VERSION_UNKNOWN', 'the answer of the API has a form this client does not know.', { cause: parsed.error });
}

function outputOf<I, O>(capability: Capability<I, O> | string, result: Result<O>): O {
  if (result.state !== 'done') throw result.error === undefined ? fail('AIOS_POLICY_DENIED', `${result.taskId} ended as ${result.state}.`) : fromErrorBody(result.error);
  return typeof capability === 'string' ? (result.output as O) : checked(capability.output, result.output);
}

const nameOf = <I, O>(capability: Capability<I, O> | string): string => (typeof capability === 'string' ? capability : capability.id);

async function* watch(options: ClientOptions, taskId: string, signal: AbortSignal | undefined): AsyncGenerator<TaskView> {
  const sleep = options.sleep ?? ((ms: number) => new Promise((resolve) => setTimeout(resolve, ms)));
  for (let tries = 1; !ended(signal); tries++) {
    try {
      for await (const view of stream(options, taskId, signal)) {
        tries = 0;
        yield view;
        if (isTerminal(view.state)) return;
      }
    } catch (error) {
      if (ended(signal)) return;
      if (tries >= (options.triesMax ?? TRIES_MAX) || !mayRetry(error, {})) throw error;
    }
    await sleep(PAUSE_MS_MIN * 2 ** tries);
  }
}

const ended = (signal: AbortSignal | undefined): boolean => signal?.aborted === true;

async function* stream(options: ClientOptions, taskId: string, signal: AbortSignal | undefined): AsyncGenerator<TaskView> {
  const response = await send(options, 'GET', `/v1/tasks/${encodeURIComponent(taskId)}/events`, { signal });
  if (!response.ok || response.body === null) throw errorOf(await jsonOf(response), response);
  for await (const { event, data } of serverSentEvents(response.body)) {
    if (event === 'state') yield checked(viewSchema, parseJson(data)) as unknown as TaskView;
    if (event === 'error') throw errorOf(parseJson(data), response);
  }
}

const EVENT_CHARACTERS_MAX = 4 * 1024 * 1024;

async function* serverSentEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<{ event: string; data: string }> {
  let rest = '';
  const decoder = new TextDecoder();
  for await (const bytes of body) {
    rest += decoder.decode(bytes, { stream: true });
    if (rest.length > EVENT_CHARACTERS_MAX) throw fail('AIOS_INPUT_TOO_LARGE', 'an event of the stream has no end.');
    const blocks = rest.split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const fields = block.split('\n');
      const data = fields.filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trimStart()).join('\n');
      if (data !== '') yield { event: fields.find((line) => line.startsWith('event:'))?.slice(6).trim() ?? 'message', data };
    }
  }
}
