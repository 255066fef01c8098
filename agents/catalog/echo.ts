// The smallest agent: says back what it heard, so that the whole line can be tried without a model.
// Owns: `echo.say` (durable), `echo.ask` (ephemeral), and `bench.echo` and `bench.slow`, which measurements use.
// Never keeps state. Others may assume: it costs nothing, uses nothing and proposes no effect.

import { z } from 'zod';
import { defineCapability } from '../../contracts/capability.ts';
import { defineAgent } from '../define.ts';

const input = z.strictObject({ text: z.string().max(16_384) });
const output = z.strictObject({ text: z.string().max(16_384) });

export const echoSay = defineCapability('echo.say', { input, output, dataClass: 'public', budget: { latencyMsMax: 2_000, microUsdMax: 0 }, ladder: ['model', 'human'] });
export const echoAsk = defineCapability('echo.ask', { input, output, dataClass: 'public', delivery: 'ephemeral', budget: { latencyMsMax: 2_000, microUsdMax: 0 } });
export const benchEcho = defineCapability('bench.echo', { input, output, dataClass: 'public', budget: { latencyMsMax: 2_000, microUsdMax: 100 } });
/** Takes `BENCH_SLOW_MS`, longer than any patience, so its tasks are all in the slow lane. */
export const benchSlow = defineCapability('bench.slow', { input, output, dataClass: 'public', budget: { latencyMsMax: 10_000, microUsdMax: 100 } });
export const BENCH_SLOW_MS = 1_600;

export const echoAgent = defineAgent('echo')
  .handle(echoSay, ({ text }) => ({ text }))
  .handle(echoAsk, ({ text }) => ({ text }))
  .handle(benchEcho, ({ text }) => ({ text }))
  .handle(benchSlow, ({ text }) => new Promise((resolve) => { setTimeout(() => resolve({ text }), BENCH_SLOW_MS); }));
