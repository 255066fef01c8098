// The shipped company's records, as the brain and the gateway open them: one file in the home folder, seeded once.
// Owns: where the file and its seeds lie, from a checkout and from a built package alike.
// Others may assume: every process of one home shares the same file, for the tenant the development keys belong to.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fail } from '../../contracts/errors.ts';
import type { Clock } from '../../contracts/ports.ts';
import { openRecords, type CompanyRecords } from './records.ts';

export const SHIPPED_TENANT = 'demo';

/** @throws AIOS_CONFIG_INVALID when the seeds are missing or the file cannot be opened */
export function openShippedRecords(config: { readonly home: string }, clock: Pick<Clock, 'now'>): CompanyRecords {
  return openRecords({ path: join(config.home, 'records', 'company.db'), seedDir: shippedSeeds(), tenant: SHIPPED_TENANT, now: () => clock.now() });
}

/** `data/` is beside the rings in a checkout, and one level further up when the rings were compiled into a folder. */
function shippedSeeds(): string {
  const found = ['../../data/support/records', '../../../data/support/records']
    .map((path) => fileURLToPath(new URL(path, import.meta.url)))
    .find((path) => existsSync(join(path, 'accounts.json')));
  if (found === undefined) throw fail('AIOS_CONFIG_INVALID', 'The shipped records are missing: data/support/records.');
  return found;
}
