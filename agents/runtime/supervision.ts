// Supervision: what a failure means and what happens next.
// Owns: the four kinds of failure, restart intensity and back-off. Pure but for the random number passed in.
// Never looks at an agent's name. Others may assume: an error of the table decides by its traits `retry` and `blame`,
// anything else that a handler throws is a fault of the agent.

import type { Supervision } from '../../contracts/agent.ts';
import { ERRORS, isAiosError } from '../../contracts/errors.ts';

/**
 * `invalid`: answer it, trying again cannot help. `transient`: what the agent needs is not there just now.
 * `fault`: the agent broke. A provider's failure counts as invalid here: the gateway has spent the attempts already,
 * and the next rung of the ladder is the brain's to take.
 */
export type FailureKind = 'invalid' | 'transient' | 'fault';

export function classify(thrown: unknown): FailureKind {
  if (!isAiosError(thrown) || thrown.code === 'AIOS_INTERNAL' || thrown.code === 'AIOS_AGENT_FAULT') return 'fault';
  const { retry, blame } = ERRORS[thrown.code];
  if (retry === 'never' || blame === 'provider' || thrown.code === 'AIOS_LADDER_EXHAUSTED') return 'invalid';
  return 'transient';
}

/** Doubles from `backoffMs` to `backoffMsMax`; the upper half is random, so that those who failed together do not come back together. */
export function backoffMs(supervision: Pick<Supervision, 'backoffMs' | 'backoffMsMax'>, tries: number, random: number): number {
  const ceiling = Math.min(supervision.backoffMsMax, supervision.backoffMs * 2 ** Math.min(16, Math.max(0, tries - 1)));
  return Math.round(ceiling / 2 + (ceiling / 2) * random);
}

/** Restart intensity as in OTP: a sliding window of restarts. */
export interface Intensity {
  /** Notes a restart; false when there were more than `restartsMax` within `withinMs`. */
  allow(now: number): boolean;
  readonly count: number;
}

export function createIntensity({ restartsMax, withinMs }: Pick<Supervision, 'restartsMax' | 'withinMs'>): Intensity {
  let times: number[] = [];
  return {
    allow(now) {
      times = times.filter((time) => now - time < withinMs);
      times.push(now);
      return times.length <= restartsMax;
    },
    get count() {
      return times.length;
    },
  };
}
