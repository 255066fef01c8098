// The Temporal worker of the brain: bundled workflows, injected activities, bounded slots, an orderly end.
// Owns: bundling (once, kept in a cache folder under the digest of its sources) and the worker's settings.
// Never reads settings from the environment. Others may assume: disposing drains within the grace period and never hangs.

import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, Worker, type WorkflowBundleWithSourceMap } from '@temporalio/worker';
import { fail, isAiosError } from '../../contracts/errors.ts';
import type { GovernedActivities } from '../../contracts/governed.ts';
import type { Logger } from '../../contracts/ports.ts';
import { TASK_QUEUE } from '../../contracts/task.ts';
import type { TemporalLink } from './connect.ts';
import { DEPLOYMENT } from './deployment.ts';
import { convertTemporalError } from './errors.ts';

export interface WorkerOptions {
  readonly link: TemporalLink;
  readonly activities: GovernedActivities;
  readonly logger: Logger;
  readonly identity: string;
  /** Folder for the bundle; absent = bundled at every start. */
  readonly cacheDir?: string;
  readonly taskQueue?: string;
  /** Entry file of the workflows; the shipped ones unless told. */
  readonly workflows?: URL;
  /** This worker's build; absent = unversioned, and every worker takes everything. */
  readonly build?: WorkerBuild | undefined;
}
export interface WorkerBuild {
  readonly id: string;
  /** Tasks that wait go on with the newest build (their histories are replayed by it), or stay with theirs, whose brains then have to run on. */
  readonly behavior: 'auto-upgrade' | 'pinned';
}

/** Source runs under a condition of its own; the published build is plain JavaScript. */
const fromSource = import.meta.url.endsWith('.ts');
/** Part of the cache key: grows when the way of bundling changes. */
const BUNDLE_VERSION = 6;
const SHIPPED = new URL(`../../workflows/index.${fromSource ? 'ts' : 'js'}`, import.meta.url);
/** Drained within this, or left to the other brains: their replay takes over. */
const GRACE_MS = 4_000;
const CLOSE_MS_MAX = 6_000;

export async function startWorker(options: WorkerOptions): Promise<AsyncDisposable> {
  const { link, logger } = options;
  try {
    const worker = await Worker.create({
      connection: link.connection, namespace: link.namespace, taskQueue: options.taskQueue ?? TASK_QUEUE, identity: options.identity,
      workflowBundle: await workflowBundle(options.workflows ?? SHIPPED, options.cacheDir, link.dataConverter?.failureConverterPath),
      ...(link.dataConverter === undefined ? {} : { dataConverter: link.dataConverter }),
      ...(options.build === undefined ? {} : { workerDeploymentOptions: deploymentOf(options.build) }),
      activities: options.activities,
      shutdownGraceTime: GRACE_MS,
      /** A worker that died keeps its sticky workflows this long from the others. */
      stickyQueueScheduleToStartTimeout: 2_000,
      maxConcurrentWorkflowTaskExecutions: 64, maxConcurrentLocalActivityExecutions: 256, maxConcurrentActivityTaskExecutions: 512,
      maxCachedWorkflows: 512,
    });
    let failed: unknown;
    const running = worker.run().catch((thrown: unknown) => {
      failed = thrown;
      logger.error({ code: convertTemporalError(thrown).code }, 'the Temporal worker stopped');
    });
    return {
      async [Symbol.asyncDispose]() {
        if (failed === undefined && worker.getState() === 'RUNNING') worker.shutdown();
        await Promise.race([running, new Promise<void>((resolve) => { setTimeout(resolve, CLOSE_MS_MAX).unref(); })]);
      },
    };
  } catch (thrown) {
    throw isAiosError(thrown) ? thrown : convertTemporalError(thrown);
  }
}

const deploymentOf = ({ id, behavior }: WorkerBuild) => ({ version: { deploymentName: DEPLOYMENT, buildId: id }, useWorkerVersioning: true, defaultVersioningBehavior: behavior === 'pinned' ? 'PINNED' : 'AUTO_UPGRADE' }) as const;

/** Bundling takes a second or two, so an unchanged source is bundled once in the life of the cache. */
export async function workflowBundle(entry: URL, cacheDir: string | undefined, failureConverterPath?: string): Promise<WorkflowBundleWithSourceMap | { readonly codePath: string }> {
  const workflowsPath = fileURLToPath(entry);
  if (cacheDir === undefined) return bundle(workflowsPath, failureConverterPath);
  const codePath = join(cacheDir, 'workflows', `${await digestOfSources(workflowsPath)}${failureConverterPath === undefined ? '' : '-encoded'}.js`);
  if (await exists(codePath)) return { codePath };
  const { code } = await bundle(workflowsPath, failureConverterPath);
  await mkdir(dirname(codePath), { recursive: true });
  const draft = `${codePath}.${process.pid}`;
  await writeFile(draft, code);
  await rename(draft, codePath);
  return { codePath };
}

const packages = join(dirname(createRequire(import.meta.url).resolve('@temporalio/workflow/package.json')), '..', '..');

const EMPTY_MAP = `//# sourceMappingURL=data:application/json;charset=utf-8;base64,${Buffer.from(JSON.stringify({ version: 3, file: 'workflows.js', sources: [], names: [], mappings: '' })).toString('base64')}`;

/**
 * An entry file may lie in a home that has no packages of its own, so ours are looked into last. The shipped workflows are
 * preloaded: their modules hold no state, so every run shares one evaluation of them instead of making its own (several
 * milliseconds a run). The inline source map gives way to an empty one (the worker wants one): with stack
 * traces off nothing reads it, and it was two thirds of the bundle.
 */
const bundle = (workflowsPath: string, failureConverterPath: string | undefined): Promise<WorkflowBundleWithSourceMap> =>
  bundleWorkflowCode({
    workflowsPath,
    ...(failureConverterPath === undefined ? {} : { failureConverterPath }),
    preloadModules: [fileURLToPath(SHIPPED)],
    logger: quiet,
    webpackConfigHook: (config) => ({ ...config, resolve: { ...config.resolve, modules: [...(config.resolve?.modules ?? ['node_modules']), packages], conditionNames: [...(fromSource ? ['aios-source'] : []), 'node', 'import', 'require', 'default'] } }),
  }).then((made) => ({ ...made, code: made.code.replace(/\n\/\/# sourceMappingURL=data:[^\n]*/, `\n${EMPTY_MAP}`) })).catch((cause: unknown) => {
    throw fail('AIOS_CONFIG_INVALID', `The workflows in ${workflowsPath} cannot be bundled: ${cause instanceof Error ? cause.message.slice(0, 400) : ''}`, { cause });
  });

const say = (): void => undefined;
const quiet = { log: say, trace: say, debug: say, info: say, warn: say, error: say };

/** Everything the sandbox can hold: the rings it may import, the SDK's version, and the entry with its neighbours. */
async function digestOfSources(entry: string): Promise<string> {
  const hash = createHash('sha256');
  const root = fileURLToPath(new URL('../../', import.meta.url));
  const version = (createRequire(import.meta.url)('@temporalio/workflow/package.json') as { version: string }).version;
  hash.update(`${version} ${BUNDLE_VERSION}`);
  for (const folder of new Set([join(root, 'contracts'), join(root, 'policies'), join(root, 'workflows'), dirname(entry)])) {
    const files = (await readdir(folder, { recursive: true })).filter((name) => /\.[cm]?[jt]s$/.test(name)).sort();
    for (const name of files) hash.update(`${name}\0`).update(await readFile(join(folder, name)));
  }
  return hash.digest('hex').slice(0, 32);
}

const exists = (path: string): Promise<boolean> => readFile(path).then(() => true, () => false);
