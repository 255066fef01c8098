// Teams: ways for agents to work together, as small functions over `ctx.delegate`.
// Owns: handoff, parallel map with quorum, vote and debate. Holds no state and knows no transport: depth, cost and time are capped by
// the mandate of the turn they run in, and every hop is a child in the lineage.
// Others may assume: each function makes a bounded number of delegations that its options name, and notes its decision as a token.

import type { AgentContext, AskOptions } from '../../contracts/agent.ts';
import type { Capability } from '../../contracts/capability.ts';
import { fail, isAiosError } from '../../contracts/errors.ts';

/** Members of one team call at most. */
export const TEAM_MEMBERS_MAX = 32;
export const ROUNDS_MAX = 8;

/** Gives the work to another agent for good: its answer is this turn's answer. Ping-pong ends at the mandate's depth. */
export async function handoff<I, O>(ctx: AgentContext<unknown>, capability: Capability<I, O>, input: I, options: AskOptions = {}): Promise<O> {
  ctx.note(`handoff:${capability.id}`);
  return ctx.delegate(capability, input, options);
}

export interface ParallelOptions extends AskOptions {
  /** Delegations at once. Default 8. */
  readonly concurrencyMax?: number;
  /** Answers that are enough; the rest is abandoned when the turn ends. Default: all. */
  readonly quorum?: number;
}
export interface ParallelAnswer<O> {
  /** In the order of the inputs; `undefined` where a member failed or was not waited for. */
  readonly outputs: readonly (O | undefined)[];
  readonly answered: number;
  readonly failed: readonly { readonly index: number; readonly error: unknown }[];
}

/**
 * Scatter and gather: one delegation per input, until a quorum has answered.
 * @throws the first refusal when the quorum cannot be reached any more, AIOS_INPUT_INVALID for more than 32 inputs
 */
export async function parallel<I, O>(ctx: AgentContext<unknown>, capability: Capability<I, O>, inputs: readonly I[], options: ParallelOptions = {}): Promise<ParallelAnswer<O>> {
  const { concurrencyMax = 8, quorum = inputs.length, ...asked } = options;
  if (inputs.length > TEAM_MEMBERS_MAX) throw fail('AIOS_INPUT_INVALID', `a team has at most ${TEAM_MEMBERS_MAX} members.`);
  if (quorum > inputs.length) throw fail('AIOS_INPUT_INVALID', `a quorum of ${quorum} cannot come from ${inputs.length}.`);
  const outputs: (O | undefined)[] = inputs.map(() => undefined);
  const failed: { index: number; error: unknown }[] = [];
  let next = 0;
  let answered = 0;
  const enough = (): boolean => answered >= quorum || failed.length > inputs.length - quorum;
  await new Promise<void>((resolve) => {
    let running = 0;
    const more = (): void => {
      if (enough() || (next >= inputs.length && running === 0)) return resolve();
      while (running < concurrencyMax && next < inputs.length) start(next++);
    };
    const start = (index: number): void => {
      running++;
      ctx.delegate(capability, inputs[index] as I, asked).then(
        (output) => {
          outputs[index] = output;
          answered++;
        },
        (error: unknown) => void failed.push({ index, error }),
      ).finally(() => {
        running--;
        more();
      });
    };
    more();
  });
  if (answered < quorum) throw failed[0]?.error ?? fail('AIOS_UNAVAILABLE', 'the quorum was not reached.');
  return { outputs, answered, failed };
}

export interface VoteOptions<O> extends AskOptions {
  /** What two answers must share to be the same vote. */
  readonly ballot: (output: O) => string;
  /** Votes for one answer that decide. Default: more than half of the voters. */
  readonly majority?: number;
}
export interface Vote<O> {
  /** `undefined`: no answer got the majority; a person, or the next rung, decides. */
  readonly winner: O | undefined;
  readonly votes: Readonly<Record<string, number>>;
  readonly abstained: number;
}

/** Every voter answers alone; failures abstain. @throws AIOS_INPUT_INVALID for more than 32 voters */
export async function vote<I, O>(ctx: AgentContext<unknown>, voters: readonly Capability<I, O>[], input: I, options: VoteOptions<O>): Promise<Vote<O>> {
  const { ballot, majority = Math.floor(voters.length / 2) + 1, ...asked } = options;
  if (voters.length > TEAM_MEMBERS_MAX) throw fail('AIOS_INPUT_INVALID', `a team has at most ${TEAM_MEMBERS_MAX} members.`);
  const answers = await Promise.allSettled(voters.map((voter) => ctx.delegate(voter, input, asked)));
  const votes = new Map<string, { count: number; readonly output: O }>();
  for (const answer of answers) {
    if (answer.status === 'rejected') continue;
    const key = ballot(answer.value);
    const known = votes.get(key);
    if (known === undefined) votes.set(key, { count: 1, output: answer.value });
    else known.count++;
  }
  const winner = [...votes.values()].find(({ count }) => count >= majority);
  ctx.note(winner === undefined ? 'vote:undecided' : `vote:${winner.count}-of-${voters.length}`);
  return { winner: winner?.output, votes: Object.fromEntries([...votes].map(([key, { count }]) => [key, count])), abstained: answers.filter(({ status }) => status === 'rejected').length };
}

export interface DebateOptions<I, P, C> extends AskOptions {
  readonly proposer: Capability<{ readonly question: I; readonly objections: readonly C[] }, P>;
  readonly critic: Capability<{ readonly question: I; readonly proposal: P }, C>;
  /** The critic has nothing left to object to. */
  readonly accepts: (criticism: C) => boolean;
  /** At most 8. Default 3. */
  readonly roundsMax?: number;
}
export interface Debate<P> {
  readonly proposal: P;
  readonly accepted: boolean;
  readonly rounds: number;
}

/**
 * One proposes, the other objects, until the critic accepts or the rounds are over; the last proposal is the answer either way,
 * marked as not accepted. A critic that cannot answer ends the debate: an unchallenged proposal is not an accepted one.
 */
export async function debate<I, P, C>(ctx: AgentContext<unknown>, question: I, options: DebateOptions<I, P, C>): Promise<Debate<P>> {
  const { proposer, critic, accepts, roundsMax = 3, ...asked } = options;
  if (roundsMax < 1 || roundsMax > ROUNDS_MAX) throw fail('AIOS_INPUT_INVALID', `a debate has 1 to ${ROUNDS_MAX} rounds.`);
  const objections: C[] = [];
  for (let rounds = 1; ; rounds++) {
    const proposal = await ctx.delegate(proposer, { question, objections: [...objections] }, asked);
    const criticism = await criticise(ctx, critic, { question, proposal }, asked);
    const accepted = criticism !== undefined && accepts(criticism);
    if (accepted || criticism === undefined || rounds === roundsMax) {
      ctx.note(`debate:${accepted ? 'accepted' : 'open'}-after-${rounds}`);
      return { proposal, accepted, rounds };
    }
    objections.push(criticism);
  }
}

/** Refusals by policy or budget end the turn; a critic that is merely not there does not. */
async function criticise<I, P, C>(ctx: AgentContext<unknown>, critic: DebateOptions<I, P, C>['critic'], input: { question: I; proposal: P }, asked: AskOptions): Promise<C | undefined> {
  try {
    return await ctx.delegate(critic, input, asked);
  } catch (error) {
    if (isAiosError(error) && (error.code === 'AIOS_UNAVAILABLE' || error.code === 'AIOS_DEADLINE_EXCEEDED' || error.code === 'AIOS_OVERLOADED')) return undefined;
    throw error;
  }
}
