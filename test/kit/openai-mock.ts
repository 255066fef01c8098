// A local OpenAI-compatible server for tests: answers by script, and holds every request against the published description.
// Owns: `/v1/chat/completions` and `/v1/embeddings` over real HTTP on a free port.
// Never guesses: a request that does not fit the description is answered 400 and kept in `problems`.
// Others may assume: without a script it repeats the last user message back; each scripted answer is used once, in order.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Schema, schemaProblems } from './json-schema.ts';

export interface MockRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: Readonly<Record<string, unknown>>;
}
export interface MockAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it is when a string, as JSON otherwise. Absent: the ordinary answer. */
  readonly body?: unknown;
  readonly delayMs?: number;
  /** The connection is cut instead. */
  readonly cut?: boolean;
}
export interface OpenAiMock extends AsyncDisposable {
  /** With the version, as a provider wants it. */
  readonly url: string;
  readonly requests: readonly MockRequest[];
  /** Requests and ordinary answers that do not fit the description. */
  readonly problems: readonly string[];
  script(...answers: readonly MockAnswer[]): void;
}
export interface OpenAiMockOptions {
  /** The parsed OpenAPI document; without it only the shape we know ourselves is checked. */
  readonly description?: Schema;
}

const BODY_BYTES_MAX = 1024 * 1024;

export async function startOpenAiMock({ description }: OpenAiMockOptions = {}): Promise<OpenAiMock> {
  const requests: MockRequest[] = [];
  const problems: string[] = [];
  const scripted: MockAnswer[] = [];

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = request.url ?? '';
    const body = JSON.parse(await bodyOf(request)) as Record<string, unknown>;
    requests.push({ path, headers: request.headers, body });
    const wrong = checked(description, path, 'request', body);
    problems.push(...wrong);
    const step = scripted.shift() ?? {};
    if (step.delayMs !== undefined) await new Promise((resolve) => setTimeout(resolve, step.delayMs));
    if (step.cut === true) return void request.socket.destroy();
    if (wrong.length > 0) return send(response, 400, { error: { message: wrong.join('; '), type: 'invalid_request_error', param: null, code: null } });
    const ordinary = path.endsWith('/embeddings') ? embeddings(body) : completion(body);
    problems.push(...checked(description, path, 'answer', ordinary));
    send(response, step.status ?? 200, step.body ?? (step.status === undefined ? ordinary : { error: { message: 'scripted', type: 'test', param: null, code: null } }), step.headers);
  };

  const server = createServer((request, response) => void answer(request, response).catch(() => response.destroy()));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    requests,
    problems,
    script: (...answers) => void scripted.push(...answers),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

const OPERATIONS: Readonly<Record<string, string>> = { '/v1/chat/completions': '/chat/completions', '/v1/embeddings': '/embeddings' };

function checked(description: Schema | undefined, path: string, side: 'request' | 'answer', value: unknown): string[] {
  const operation = OPERATIONS[path];
  if (operation === undefined) return [`${path}: no such operation`];
  if (description === undefined) return [];
  const post = at(description, ['paths', operation, 'post']);
  const holder = side === 'request' ? at(post, ['requestBody']) : at(post, ['responses', '200']);
  return schemaProblems(at(holder, ['content', 'application/json', 'schema']), value, description).map((problem) => `${side} of ${operation}: ${problem}`);
}

const at = (from: Schema, keys: readonly string[]): Schema => keys.reduce<Schema>((part, key) => part[key] as Schema, from);

function completion(body: Readonly<Record<string, unknown>>): object {
  const messages = body['messages'] as readonly { readonly role: string; readonly content: string }[];
  const content = messages.findLast((message) => message.role === 'user')?.content ?? '';
  return {
    id: 'chatcmpl-1', object: 'chat.completion', created: 1_767_225_600, model: body['model'], system_fingerprint: 'fp_mock',
    choices: [{ index: 0, message: { role: 'assistant', content, refusal: null, annotations: [] }, logprobs: null, finish_reason: 'stop' }],
    usage: { prompt_tokens: 100, completion_tokens: 30, total_tokens: 130, prompt_tokens_details: { cached_tokens: 40, audio_tokens: 0 }, completion_tokens_details: { reasoning_tokens: 10, audio_tokens: 0, accepted_prediction_tokens: 0, rejected_prediction_tokens: 0 } },
  };
}

/** Rows in reverse, as the description allows: the index says which is which. */
function embeddings(body: Readonly<Record<string, unknown>>): object {
  const input = body['input'] as readonly string[];
  const data = input.map((text, index) => ({ object: 'embedding', index, embedding: [text.length, 1, 0.5] })).toReversed();
  return { object: 'list', model: body['model'], data, usage: { prompt_tokens: 5 * input.length, total_tokens: 5 * input.length } };
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += (chunk as Buffer).byteLength;
    if (bytes > BODY_BYTES_MAX) throw new Error('too large');
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function send(response: ServerResponse, status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}
