// `budgets.yaml` of a policy folder: caps by tenant, and caps and limits below them, as people write them.
// Owns: its grammar. Never decides a budget.
// Others may assume: a folder without the file says nothing about money.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { tenantTermsSchema } from '../../contracts/budget.ts';
import type { PolicyBundle } from '../../contracts/bundle.ts';
import { fail } from '../../contracts/errors.ts';

const FILE = 'budgets.yaml';
const fileSchema = z.strictObject({
  /** Micro-USD a period; `*` for tenants not named. */
  budgets: z.record(z.string(), z.number().int().nonnegative().safe()).optional(),
  limits: z.record(z.string(), tenantTermsSchema).optional(),
});

/** @throws AIOS_POLICY_INVALID naming what is wrong with the file */
export async function readMoney(dir: string): Promise<Partial<Pick<PolicyBundle, 'budgets' | 'limits'>>> {
  const text = await readFile(join(dir, FILE), 'utf8').catch(() => undefined);
  if (text === undefined) return {};
  try {
    const { budgets, limits } = fileSchema.parse(parseYaml(text));
    // Through JSON, since a bundle is canonical JSON: what was left out is absent and not undefined.
    return JSON.parse(JSON.stringify({ budgets, limits })) as Partial<Pick<PolicyBundle, 'budgets' | 'limits'>>;
  } catch (thrown) {
    const issue = thrown instanceof z.ZodError ? thrown.issues[0] : undefined;
    throw fail('AIOS_POLICY_INVALID', `${FILE}: ${issue === undefined ? 'it is no YAML' : `${issue.path.join('.')}: ${issue.message}`}.`, { cause: thrown });
  }
}
