// Commands `builds` and `builds promote`: which builds of the workflow code run, and which takes new tasks.
// Owns: the words. Never starts or stops a brain.
// Others may assume: without AIOS_BUILD_ID there are no builds, and every brain takes everything.

import type { Command } from 'commander';
import { createTelemetry } from '../telemetry/index.ts';
import { openDataConverter } from '../temporal/converter.ts';
import { connectTemporal, type TemporalLink } from '../temporal/connect.ts';
import { listBuilds, promoteBuild } from '../temporal/deployment.ts';
import { act, type CliContext } from './shared.ts';

export function registerBuilds(program: Command): void {
  const builds = program.command('builds').description('builds of the workflow code on the server').action(act(list));
  builds.command('promote <build>').description('let this build take new tasks, and by its setting those that wait').action(act(promote));
}

async function list(context: CliContext): Promise<void> {
  await using at = await connected(context);
  const found = await listBuilds(at.link);
  context.print({ json: found, text: found.length === 0 ? 'no brain runs with a build id (AIOS_BUILD_ID)' : found.map(({ buildId, current, status }) => `${buildId}  ${status}${current ? '  takes new tasks' : ''}`).join('\n') });
}

async function promote(context: CliContext, buildId: string): Promise<void> {
  await using at = await connected(context);
  await promoteBuild(at.link, at.clock, buildId);
  context.print({ json: { promoted: buildId }, text: `${buildId} takes new tasks` });
}

async function connected(context: CliContext): Promise<AsyncDisposable & { readonly link: TemporalLink; readonly clock: ReturnType<typeof createTelemetry>['clock'] }> {
  const { temporalAddress: address, namespace } = await context.endpoints();
  const telemetry = createTelemetry({ ...context.config, logLevel: 'error' });
  const link = await connectTemporal({ address, namespace, identity: 'cli', clock: telemetry.clock, logger: telemetry.logger, firstConnectMsMax: 5_000, dataConverter: await openDataConverter(context.config) });
  return { link, clock: telemetry.clock, async [Symbol.asyncDispose]() { await link[Symbol.asyncDispose](); await telemetry[Symbol.asyncDispose](); } };
}
