// Admission of a task: the place it holds in its capability's rate and concurrency, as a reservation of no money.
// Owns: the names of admissions, the refusal with its wait, and which team a principal spends for.
// Never decides: the budget's reducer does. Others may assume: pure; one task holds at most one place, whoever asks for it.

import { type AiosError, fail } from '../contracts/errors.ts';
import type { ReserveAnswer, ReserveRequest, SettleRequest } from '../contracts/ports.ts';
import type { Principal } from '../contracts/verdict.ts';

/** A place outlives its task's deadline by this, or a late end would find it gone; one that waits for a person holds none. */
const SLACK_MS = 5_000;
const TEAM_ROLE = 'team:';

const placeOf = (taskId: string): string => `place.${taskId}`;

export function admissionOf(task: { readonly tenant: string; readonly capability: string; readonly taskId: string; readonly deadline: number }): ReserveRequest {
  return { tenant: task.tenant, task: task.taskId, attempt: placeOf(task.taskId), capability: task.capability, microUsd: 0, expiresAt: task.deadline + SLACK_MS, kind: 'admission' };
}

/** The task ended, or waits for a person. */
export const leaveOf = (tenant: string, taskId: string): SettleRequest => ({ tenant, reservation: placeOf(taskId), spentMicroUsd: 0 });

/** The task was not started after all. */
export const voidOf = (tenant: string, taskId: string): SettleRequest => ({ ...leaveOf(tenant, taskId), void: true });

/** What the caller is told; undefined when the task may start. */
export function admissionRefusal(capability: string, answer: ReserveAnswer | undefined): AiosError | undefined {
  if (answer === undefined || answer.granted) return undefined;
  const { by, retryAfterMs = 500 } = answer;
  if (by === 'open-reservations') return fail('AIOS_OVERLOADED', 'This tenant has as many tasks open as its budget keeps.', { retryAfterMs });
  return fail('AIOS_RATE_LIMITED', `${capability}: refused by ${by.split('/')[0] ?? by}.`, { retryAfterMs });
}

/** A team itself, or the first role of the form `team:<id>`. */
export function teamOf({ type, id, roles }: Principal): string | undefined {
  if (type === 'team') return id;
  return roles.find((role) => role.startsWith(TEAM_ROLE))?.slice(TEAM_ROLE.length);
}
