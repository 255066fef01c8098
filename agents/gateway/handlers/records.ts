// `records.find`: agents look something up in a system of record before they propose a change.
// Owns: nothing but the translation; the lookup is read only and its tenant comes from the checked envelope.
// Never changes a record. Others may assume: rows are flat scalars of the caller's own tenant.

import type { Records } from '../../../contracts/ports.ts';
import { recordsFind } from '../capabilities.ts';
import type { GatewayHandler } from './handler.ts';
import { untyped } from './handler.ts';

export function recordHandlers(records: Records): readonly GatewayHandler[] {
  return [
    untyped({
      capability: recordsFind,
      cacheable: false,
      async handle(query, call) {
        return { output: { records: [...(await records.find(call.envelope.tenant, query))] }, receipts: [] };
      },
    }),
  ];
}
