// What governance costs: a governed task through brain, agents and gateway as processes of their own, fsyncs on,
// against a plain eager Temporal workflow with one no-op activity in one worker; same server, same run, interleaved.
// Owns: the rounds and the ratios. Never reports a single figure of one side: load on the machine hits both.
// Others may assume: ratios below 1 mean that the governed task is faster; throughputRatio above 1 that more of them end per second.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { Client } from '@temporalio/client';
import { BENCH_SLOW_MS } from '../../agents/catalog/echo.ts';
import { readConfig } from '../../infra/config.ts';
import { connect, type Client as AiosClient } from '../../infra/client/client.ts';
import { runSystem } from '../../infra/dev/run.ts';

export interface TaskBench {
  readonly p50Ratio: number;
  readonly throughputRatio: number;
  readonly loadedP50Ratio: number;
  readonly slowLaneP50Ratio: number;
  readonly eventsFast: number;
  readonly eventsSlow: number;
}
const TARGETS = { p50Ratio: 0.85, throughputRatio: 6, loadedP50Ratio: 0.3 } as const;

/** Tasks each, one at a time and loaded; in blocks that take turns. */
const ALONE = { total: 300, block: 25 } as const;
const LOADED = { total: 640, block: 160, inFlight: 32 } as const;
const SLOW = { total: 40, inFlight: 4 } as const;
const WARM = 40;
const WAIT_MS = 30_000;

export async function run({ json }: { readonly json: boolean }): Promise<TaskBench> {
  const home = await mkdtemp(join(tmpdir(), 'aios-bench-'));
  try {
    await using side = await openSides(home);
    const result = await measure(side, json);
    return result;
  } finally {
    await rm(home, { recursive: true, force: true, maxRetries: 5 });
  }
}

type Once = () => Promise<unknown>;
interface Sides extends AsyncDisposable {
  readonly governed: Once;
  readonly plain: Once;
  readonly slow: () => Promise<string>;
  readonly aios: AiosClient;
  events(workflowId: string): Promise<number>;
}

async function measure(side: Sides, json: boolean): Promise<TaskBench> {
  await loaded(side.plain, WARM, 8);
  await loaded(side.governed, WARM, 8);
  const alone = await inTurns(side, ALONE, 1);
  const busy = await inTurns(side, LOADED, LOADED.inFlight);
  const slow = await slowLane(side);
  const fast = await side.aios.start('bench.echo', { text: 'events' }, { waitMs: WAIT_MS });
  const result: TaskBench = {
    p50Ratio: ratio(median(alone.governed.ms), median(alone.plain.ms)),
    throughputRatio: ratio(busy.governed.perSecond, busy.plain.perSecond),
    loadedP50Ratio: ratio(median(busy.governed.ms), median(busy.plain.ms)),
    slowLaneP50Ratio: ratio(median(slow.ms) - BENCH_SLOW_MS, median(alone.plain.ms)),
    eventsFast: await side.events(fast.workflowId),
    eventsSlow: await side.events(slow.workflowId),
  };
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
  else report(result, alone, busy);
  return result;
}

interface Sample { readonly ms: readonly number[]; readonly perSecond: number }
type Pair = Record<'governed' | 'plain', Sample>;

/** Both sides take turns in blocks, so that a slow minute of the machine falls on both. */
async function inTurns(side: Sides, size: { readonly total: number; readonly block: number }, inFlight: number): Promise<Pair> {
  const parts: Record<keyof Pair, Sample[]> = { governed: [], plain: [] };
  for (let done = 0; done < size.total; done += size.block) {
    for (const name of ['plain', 'governed'] as const) parts[name].push(await loaded(side[name], size.block, inFlight));
  }
  return { governed: joined(parts.governed), plain: joined(parts.plain) };
}

const joined = (samples: readonly Sample[]): Sample => ({ ms: samples.flatMap((one) => one.ms), perSecond: samples.length / samples.reduce((sum, one) => sum + 1 / one.perSecond, 0) });

async function loaded(once: Once, total: number, inFlight: number): Promise<Sample> {
  const ms: number[] = [];
  let left = total;
  const started = performance.now();
  const lane = async (): Promise<void> => {
    while (left-- > 0) {
      const at = performance.now();
      await once();
      ms.push(performance.now() - at);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return { ms, perSecond: (total * 1_000) / (performance.now() - started) };
}

/** Time beyond the agent's own. The first tasks teach the brain that the capability is slow; they are not counted. */
async function slowLane(side: Sides): Promise<{ readonly ms: readonly number[]; readonly workflowId: string }> {
  let workflowId = '';
  await loaded(side.slow, 24, 8);
  const { ms } = await loaded(async () => { workflowId = await side.slow(); }, SLOW.total, SLOW.inFlight);
  return { ms, workflowId };
}

async function openSides(home: string): Promise<Sides> {
  const stack = new AsyncDisposableStack();
  try {
    const config = readConfig('bench', { AIOS_HOME: join(home, 'home'), AIOS_LOG_LEVEL: 'info', ...(process.env['AIOS_CACHE_DIR'] === undefined ? {} : { AIOS_CACHE_DIR: process.env['AIOS_CACHE_DIR'] }) });
    const system = stack.use(await runSystem({ config, processes: ['gateway', 'agents', 'bridge', 'brain'], anyPorts: true }));
    const aios = connect({ url: system.endpoints.api, key: system.keys.helpdesk });
    const client = stack.use(await plainWorker(system.endpoints.temporalAddress)).client;
    let count = 0;
    const finish = async (capability: string): Promise<string> => {
      const started = await aios.start(capability, { text: 'x' }, { waitMs: WAIT_MS });
      if (started.result?.state !== 'done') throw new Error(`${capability} ended ${JSON.stringify(started)}`);
      return started.workflowId;
    };
    const open = stack.move();
    return {
      aios, governed: () => finish('bench.echo'), slow: () => finish('bench.slow'),
      plain: async () => {
        const handle = await client.workflow.start('plain', { workflowId: `plain-${++count}`, taskQueue: 'plain', args: ['x'], requestEagerStart: true });
        return handle.result();
      },
      async events(workflowId) {
        await client.workflow.getHandle(workflowId).result();
        return (await client.workflow.getHandle(workflowId).fetchHistory()).events?.length ?? 0;
      },
      [Symbol.asyncDispose]: () => open.disposeAsync(),
    };
  } catch (thrown) {
    await stack.disposeAsync();
    throw thrown;
  }
}

const quiet = (): void => undefined;

async function plainWorker(address: string): Promise<{ readonly client: Client } & AsyncDisposable> {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const connection = await NativeConnection.connect({ address });
  const logger = { log: quiet, trace: quiet, debug: quiet, info: quiet, warn: quiet, error: quiet };
  const workflowBundle = await bundleWorkflowCode({ workflowsPath: new URL('./plain.part.ts', import.meta.url).pathname, logger });
  const worker = await Worker.create({ connection, taskQueue: 'plain', workflowBundle, activities: { nothing: async (text: string) => text } });
  const running = worker.run();
  return {
    client: new Client({ connection }),
    async [Symbol.asyncDispose]() {
      worker.shutdown();
      await running;
      await connection.close();
    },
  };
}

const line = (name: string, one: Sample): string => `${name.padEnd(34)} p50 ${median(one.ms).toFixed(1).padStart(7)} ms   p95 ${percentile(one.ms, 0.95).toFixed(1).padStart(7)} ms   ${one.perSecond.toFixed(1).padStart(7)}/s\n`;

function report(result: TaskBench, alone: Pair, busy: Pair): void {
  process.stdout.write(line('plain workflow, 1 in flight', alone.plain) + line('governed task, 1 in flight', alone.governed) + line(`plain workflow, ${LOADED.inFlight} in flight`, busy.plain) + line(`governed task, ${LOADED.inFlight} in flight`, busy.governed));
  for (const [name, value] of Object.entries(result)) process.stdout.write(`${name.padEnd(18)} ${value}${name in TARGETS ? `   (target ${name === 'throughputRatio' ? '>=' : '<='} ${TARGETS[name as keyof typeof TARGETS]})` : ''}\n`);
}

const percentile = (values: readonly number[], share: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
};
const median = (values: readonly number[]): number => percentile(values, 0.5);
const ratio = (a: number, b: number): number => Math.round((a / b) * 1_000) / 1_000;
