// A shorter spelling of Cedar's JSON expressions, because a slice is recorded in every workflow's history.
// Owns: `[operator, …operands]` in place of `{"operator": {"left": …, "right": …}}`, and the way back.
// Never changes meaning: `expand(compact(e))` is `e`, for every expression the evaluator supports (a property test).
// Others may assume: the compiler takes both spellings; a bundle holds Cedar's own, a slice the short one.

import type { CedarPolicyJson } from '../../contracts/bundle.ts';

type Body = Readonly<Record<string, unknown>>;
const UNARY = ['!', 'neg', 'isEmpty'];
const CHAINS = ['&&', '||'];

/** `id` is the key under which the policy stands, so it is not repeated. */
export function compactPolicy(policy: CedarPolicyJson): CedarPolicyJson {
  const conditions = policy.conditions.map(({ kind, body }) => ({ kind, body: compact(body) }));
  const { id: _id, ...annotations } = policy.annotations ?? {};
  const { annotations: _all, ...rest } = policy;
  return { ...rest, conditions, ...(Object.keys(annotations).length === 0 ? {} : { annotations }) };
}

/**
 * Literals that are no lists or records stand for themselves, `["@", "x"]` is `context.x`, `["@?", "x"]` is `context has x`,
 * and a chain of `&&` or `||` that leans to the left is one list.
 */
export function compact(expression: unknown): unknown {
  const [operator, given] = Object.entries(expression as Body)[0] as [string, unknown];
  const body = given as Body;
  if (operator === 'Value') return typeof given === 'object' ? ['Value', given] : given;
  if (operator === 'Var') return ['Var', given];
  if (operator === 'Set') return ['Set', ...(given as readonly unknown[]).map(compact)];
  if (operator === 'Record') return ['Record', Object.fromEntries(Object.entries(body).map(([name, value]) => [name, compact(value)]))];
  if (operator === 'if-then-else') return [operator, ...BRANCHES.map((name) => compact(body[name]))];
  if (operator === 'like') return [operator, compact(body['left']), body['pattern']];
  if (operator === 'is') return [operator, compact(body['left']), body['entity_type'], ...(body['in'] === undefined ? [] : [compact(body['in'])])];
  if (operator === '.' || operator === 'has') return compactAccess(operator, body);
  if (UNARY.includes(operator)) return [operator, compact(body['arg'])];
  return CHAINS.includes(operator) ? chain(operator, body) : [operator, compact(body['left']), compact(body['right'])];
}

const BRANCHES = ['if', 'then', 'else'];

function compactAccess(operator: '.' | 'has', body: Body): unknown {
  const left = body['left'] as Body;
  if (left['Var'] === 'context') return [operator === '.' ? '@' : '@?', body['attr']];
  return [operator, compact(left), body['attr']];
}

function chain(operator: string, body: Body): unknown {
  const left = compact(body['left']);
  const right = compact(body['right']);
  return Array.isArray(left) && left[0] === operator ? [...(left as unknown[]), right] : [operator, left, right];
}

/** Cedar's own spelling again; what is not in the short one is returned as it is. */
export function expand(short: unknown): unknown {
  if (typeof short !== 'object' || short === null) return { Value: short };
  if (!Array.isArray(short)) return short;
  const [operator, ...operands] = short as [string, ...unknown[]];
  if (operator === 'Value' || operator === 'Var') return { [operator]: operands[0] };
  if (operator === '@' || operator === '@?') return { [operator === '@' ? '.' : 'has']: { left: { Var: 'context' }, attr: operands[0] } };
  if (operator === 'Set') return { Set: operands.map(expand) };
  if (operator === 'Record') return { Record: Object.fromEntries(Object.entries(operands[0] as Body).map(([name, value]) => [name, expand(value)])) };
  if (operator === 'if-then-else') return { [operator]: Object.fromEntries(BRANCHES.map((name, i) => [name, expand(operands[i])])) };
  if (operator === 'like') return { like: { left: expand(operands[0]), pattern: operands[1] } };
  if (operator === 'is') return { is: { left: expand(operands[0]), entity_type: operands[1], ...(operands.length < 3 ? {} : { in: expand(operands[2]) }) } };
  if (operator === '.' || operator === 'has') return { [operator]: { left: expand(operands[0]), attr: operands[1] } };
  if (UNARY.includes(operator)) return { [operator]: { arg: expand(operands[0]) } };
  return operands.slice(1).reduce((left, right) => ({ [operator]: { left, right: expand(right) } }), expand(operands[0]));
}
