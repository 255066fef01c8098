// Builds of the workflow code on one server: which there are, which takes new tasks, and the change of it.
// Owns: the deployment's name and the promotion. Never stops a build: an old one drains while its brains run.
// Others may assume: a promoted build takes every new task from then on, and under `auto-upgrade` those that wait as well.

import { fail } from '../../contracts/errors.ts';
import type { Clock } from '../../contracts/ports.ts';
import type { TemporalLink } from './connect.ts';
import { convertTemporalError, isNotFound } from './errors.ts';

/** All brains of an installation are one deployment, told apart by build. */
export const DEPLOYMENT = 'aios-brain';
export interface BuildView {
  readonly buildId: string;
  /** Takes new tasks. */
  readonly current: boolean;
  readonly status: string;
}

const KNOWN_MS_MAX = 20_000;
const RETRY_MS = 200;

/** New tasks go to this build from now on. A build whose brain has just started is waited for. @throws AIOS_UNAVAILABLE */
export async function promoteBuild(link: TemporalLink, clock: Clock, buildId: string): Promise<void> {
  const giveUp = clock.monotonic() + KNOWN_MS_MAX;
  for (;;) {
    try {
      await link.connection.workflowService.setWorkerDeploymentCurrentVersion({ namespace: link.namespace, deploymentName: DEPLOYMENT, buildId, version: `${DEPLOYMENT}.${buildId}`, identity: 'aios' });
      return;
    } catch (thrown) {
      if (clock.monotonic() > giveUp) throw isNotFound(thrown) ? fail('AIOS_UNAVAILABLE', `No brain of build ${buildId} runs.`, { cause: thrown }) : convertTemporalError(thrown);
      await clock.sleep(RETRY_MS);
    }
  }
}

/** @throws AIOS_UNAVAILABLE */
export async function listBuilds(link: TemporalLink): Promise<readonly BuildView[]> {
  try {
    const { workerDeploymentInfo } = await link.connection.workflowService.describeWorkerDeployment({ namespace: link.namespace, deploymentName: DEPLOYMENT });
    const current = workerDeploymentInfo?.routingConfig?.currentDeploymentVersion?.buildId;
    return (workerDeploymentInfo?.versionSummaries ?? []).map((one) => {
      const buildId = one.deploymentVersion?.buildId ?? '';
      return { buildId, current: buildId === current, status: STATUS[Number(one.status ?? 0)] ?? 'unknown' };
    });
  } catch (thrown) {
    if (isNotFound(thrown)) return [];
    throw convertTemporalError(thrown);
  }
}

/** `temporal.api.enums.v1.WorkerDeploymentVersionStatus` in the server's order. */
const STATUS = ['unknown', 'inactive', 'current', 'ramping', 'draining', 'drained', 'created'];
