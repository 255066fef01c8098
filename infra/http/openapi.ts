// The OpenAPI 3.1 description of the HTTP API, generated from the schemas that parse it.
// Owns: the list of operations as data. Never serves anything. Others may assume: a test holds that every route of
// infra/http/api.ts is described here and nothing else, and that the document is valid.

import { z } from 'zod';
import { ERRORS } from '../../contracts/errors.ts';
import { changeBodySchema, leaseBodySchema, returnBodySchema } from './budget-routes.ts';
import { budgetSchema, capabilitiesSchema, costReportSchema, decideBodySchema, decidedSchema, errorAnswerSchema, healthSchema, leaseSchema, listSchema, moneyEntriesSchema, startBodySchema, startedSchema, viewSchema } from './schemas.ts';

interface Operation {
  readonly method: 'get' | 'post';
  readonly path: string;
  readonly id: string;
  readonly summary: string;
  readonly open?: true;
  readonly query?: Readonly<Record<string, { readonly type: string; readonly description: string }>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: z.ZodType;
  readonly answers: Readonly<Record<string, { readonly description: string; readonly schema?: z.ZodType; readonly type?: string }>>;
}

const wait = { waitMs: { type: 'integer', description: 'Wait up to this many milliseconds for the result; at most 60000' } };

export const OPERATIONS: readonly Operation[] = [
  { method: 'post', path: '/v1/tasks', id: 'startTask', summary: 'Starts a governed task, once per idempotency key', body: startBodySchema, headers: { 'Idempotency-Key': 'Same as "key" in the body; refused when both are given and differ', traceparent: 'W3C trace context to continue' }, answers: { 200: { description: 'Finished while waiting', schema: startedSchema }, 202: { description: 'Accepted', schema: startedSchema } } },
  { method: 'get', path: '/v1/tasks', id: 'listTasks', summary: 'Lists the latest tasks of the tenant', query: { state: { type: 'string', description: 'Only tasks in this state' }, limit: { type: 'integer', description: '1 to 500, 50 if absent' } }, answers: { 200: { description: 'Newest first', schema: listSchema } } },
  { method: 'get', path: '/v1/tasks/{id}', id: 'getTask', summary: 'Shows one task', query: wait, answers: { 200: { description: 'The task as it stands', schema: viewSchema } } },
  { method: 'get', path: '/v1/tasks/{id}/events', id: 'watchTask', summary: 'Streams the states of a task until it ends', answers: { 200: { description: 'Server-sent events named "state", each a task view', type: 'text/event-stream' } } },
  { method: 'post', path: '/v1/tasks/{id}/cancel', id: 'cancelTask', summary: 'Asks for a task to be cancelled', answers: { 202: { description: 'Asked' } } },
  { method: 'post', path: '/v1/tasks/{id}/decide', id: 'decideTask', summary: 'Decides a waiting approval as the principal of the key', body: decideBodySchema, answers: { 200: { description: 'What became of the decision; every attempt is recorded', schema: decidedSchema } } },
  { method: 'get', path: '/v1/tasks/{id}/lineage', id: 'getLineage', summary: 'Everything that informed the decisions of a task', answers: { 200: { description: 'Ledger and workflow history joined', schema: z.looseObject({}) } } },
  { method: 'get', path: '/v1/budget', id: 'getBudget', summary: 'Caps, limits and leases of the tenant with what is reserved, spent and left; role operator', answers: { 200: { description: 'As it stands', schema: budgetSchema } } },
  { method: 'post', path: '/v1/budget', id: 'changeBudget', summary: 'Sets or unsets a cap or a limit; on record before it holds; role operator', body: changeBodySchema, answers: { 200: { description: 'The budget after the change', schema: budgetSchema } } },
  { method: 'get', path: '/v1/budget/entries', id: 'listBudgetEntries', summary: 'What tasks reserved and spent and what operators changed, from the ledger; role operator', query: { since: { type: 'integer', description: 'Milliseconds since 1970; all if absent' }, limit: { type: 'integer', description: '1 to 1000, 50 if absent' } }, answers: { 200: { description: 'Newest first', schema: moneyEntriesSchema } } },
  { method: 'get', path: '/v1/budget/report', id: 'reportCost', summary: 'Cost by call, model, space, capability, agent or tenant, and for each effective task; role operator', query: { by: { type: 'string', description: 'One of call, model, space, capability, agent, tenant; capability if absent' }, since: { type: 'integer', description: 'Milliseconds since 1970; all if absent' } }, answers: { 200: { description: 'Largest cost first', schema: costReportSchema } } },
  { method: 'post', path: '/v1/budget/leases', id: 'leaseBudget', summary: 'Hands part of the budget to a box that spends it out of sight; role operator', body: leaseBodySchema, answers: { 201: { description: 'What the box takes along', schema: leaseSchema } } },
  { method: 'post', path: '/v1/budget/leases/{id}/return', id: 'returnLease', summary: 'Ends a lease with what was spent of it; role operator, or its holder with the role edge', body: returnBodySchema, answers: { 200: { description: 'The budget after it', schema: budgetSchema } } },
  { method: 'get', path: '/v1/capabilities', id: 'listCapabilities', summary: 'Capabilities on offer, with their schemas', answers: { 200: { description: 'All of them', schema: capabilitiesSchema } } },
  { method: 'get', path: '/openapi.json', id: 'getDescription', summary: 'This description', open: true, answers: { 200: { description: 'OpenAPI 3.1', schema: z.looseObject({}) } } },
  { method: 'get', path: '/healthz', id: 'getHealth', summary: 'Whether the API answers', open: true, answers: { 200: { description: 'It does', schema: healthSchema } } },
  { method: 'get', path: '/metrics', id: 'getMetrics', summary: 'Counters of this process for Prometheus', open: true, answers: { 200: { description: 'Text exposition format', type: 'text/plain' } } },
];

export function describeApi(version: string): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const operation of OPERATIONS) (paths[operation.path] ??= {})[operation.method] = describe(operation);
  return {
    openapi: '3.1.0',
    info: { title: 'AIOS', version, description: 'Start governed tasks, watch them, decide what waits for a person.', license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
    servers: [{ url: '/' }],
    paths,
    components: { securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'API key' } }, schemas: { Error: jsonSchema(errorAnswerSchema) } },
    security: [{ key: [] }],
  };
}

/** JSON Schema without the `$schema` line, which OpenAPI 3.1 implies; what cannot be said becomes "anything". */
export function jsonSchema(schema: z.ZodType): Record<string, unknown> {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  return rest;
}

const CODES_BY_STATUS = Object.entries(ERRORS).reduce<Record<string, string[]>>((found, [code, { http }]) => {
  (found[http] ??= []).push(code);
  return found;
}, {});

function describe(operation: Operation): Record<string, unknown> {
  return {
    operationId: operation.id,
    summary: operation.summary,
    ...(operation.open === true ? { security: [] } : {}),
    parameters: parametersOf(operation),
    ...(operation.body === undefined ? {} : { requestBody: { required: true, content: { 'application/json': { schema: jsonSchema(operation.body) } } } }),
    responses: { ...Object.fromEntries(Object.entries(operation.answers).map(([status, answer]) => [status, answerOf(answer)])), ...(operation.open === true ? {} : errors()) },
  };
}

function parametersOf(operation: Operation): readonly unknown[] {
  const inPath = [...operation.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({ name, in: 'path', required: true, schema: { type: 'string', pattern: '^[A-Za-z0-9_-]{1,64}$' } }));
  const inQuery = Object.entries(operation.query ?? {}).map(([name, { type, description }]) => ({ name, in: 'query', required: false, description, schema: { type } }));
  const inHeader = Object.entries(operation.headers ?? {}).map(([name, description]) => ({ name, in: 'header', required: false, description, schema: { type: 'string' } }));
  return [...inPath, ...inQuery, ...inHeader];
}

function answerOf(answer: Operation['answers'][string]): Record<string, unknown> {
  if (answer.type !== undefined) return { description: answer.description, content: { [answer.type]: { schema: { type: 'string' } } } };
  return answer.schema === undefined ? { description: answer.description } : { description: answer.description, content: { 'application/json': { schema: jsonSchema(answer.schema) } } };
}

/** Errors are the same table everywhere, so each operation lists every status with the codes that have it. */
function errors(): Record<string, unknown> {
  return Object.fromEntries(Object.entries(CODES_BY_STATUS).map(([status, codes]) => [status, { description: codes.join(', '), content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } } }]));
}
