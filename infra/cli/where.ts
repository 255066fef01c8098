// Conditions on the facts of waiting tasks, as a person types them: `amountMicroUsd<=50000000`, `effectKind=refund`.
// Owns: their grammar and meaning. Never looks at words of a customer or a model: only at the facts policy looked at.
// Others may assume: a fact that a task does not have fulfils no condition.

import { fail } from '../../contracts/errors.ts';
import type { Facts } from '../../contracts/verdict.ts';

export type Condition = (facts: Facts) => boolean;

/** @throws AIOS_INPUT_INVALID */
export function parseCondition(text: string): Condition {
  const found = /^([a-z][A-Za-z0-9]{0,63})(<=|>=|!=|=|<|>)([A-Za-z0-9._-]{1,64})$/.exec(text.trim());
  if (found === null) throw fail('AIOS_INPUT_INVALID', `--where: "${text.slice(0, 80)}" is not a fact, one of = != < <= > >=, and a value.`);
  const [, name = '', operator = '', value = ''] = found;
  const wanted = value === 'true' ? true : value === 'false' ? false : /^-?\d+$/.test(value) ? Number(value) : value;
  if (operator.length > 0 && '<>'.includes(operator[0] ?? '') && typeof wanted !== 'number') throw fail('AIOS_INPUT_INVALID', `--where: ${operator} needs a whole number.`);
  return (facts) => (Object.hasOwn(facts, name) ? holds(facts[name], operator, wanted) : false);
}

function holds(fact: unknown, operator: string, wanted: string | number | boolean): boolean {
  const has = Array.isArray(fact) ? fact.includes(String(wanted)) : fact === wanted;
  if (operator === '=') return has;
  if (operator === '!=') return !has;
  if (typeof fact !== 'number' || typeof wanted !== 'number') return false;
  return operator === '<' ? fact < wanted : operator === '<=' ? fact <= wanted : operator === '>' ? fact > wanted : fact >= wanted;
}
