// Calendar periods in UTC without a calendar library: when the hour, day or month of an instant began.
// Owns: that arithmetic. Never reads a clock.
// Others may assume: pure, and the start of a later instant is never earlier.

import type { BudgetPeriod } from '../contracts/budget.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

/** ms since 1970. */
export function periodStart(period: BudgetPeriod, at: number): number {
  switch (period) {
    case 'hour': return at - (at % HOUR_MS);
    case 'day': return at - (at % DAY_MS);
    case 'month': return (Math.floor(at / DAY_MS) - dayOfMonth(at) + 1) * DAY_MS;
  }
}

/** 1 to 31. Days to civil date after Howard Hinnant, "chrono-compatible low-level date algorithms". */
function dayOfMonth(at: number): number {
  const days = Math.floor(at / DAY_MS) + 719_468;
  const era = Math.floor(days / 146_097);
  const dayOfEra = days - era * 146_097;
  const yearOfEra = Math.floor((dayOfEra - Math.floor(dayOfEra / 1_460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365);
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shifted = Math.floor((5 * dayOfYear + 2) / 153);
  return dayOfYear - Math.floor((153 * shifted + 2) / 5) + 1;
}
