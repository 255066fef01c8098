// The brain process: Temporal worker, group former, `Tasks` and the HTTP API on one connection, with ledger, policy and budgets.
// Owns: composition, and opening and closing in order. On SIGTERM it takes no more tasks, drains, and is gone within eight seconds.
// Never serves before a policy bundle is in force. Others may assume: the line {"msg":"ready"} means that tasks are taken,
// and that killing it at any moment loses nothing: another brain, or its successor, goes on from history and the ledger.

import { join } from 'node:path';
import { shippedAgents } from '../../agents/index.ts';
import { createRegistry } from '../../agents/registry.ts';
import { gatewayCapabilities } from '../../agents/gateway/capabilities.ts';
import { createHands } from '../../activities/index.ts';
import type { Canaries } from '../../activities/ports.ts';
import { hasCode } from '../../contracts/errors.ts';
import type { CapabilityRegistry, Effects } from '../../contracts/ports.ts';
import type { LedgerEntry } from '../../contracts/record.ts';
import { type BudgetDesk, createBudgetDesk } from '../accounting/desk.ts';
import type { Config } from '../config.ts';
import { approverVerifier } from '../crypto/approver-keys.ts';
import { loadOrCreateKeys } from '../crypto/keys.ts';
import { mandatesOf } from '../crypto/mandates.ts';
import { createSigner, createVerifier } from '../crypto/signer.ts';
import { openLedger } from '../files/ledger.ts';
import { startHttpApi, type HttpApi } from '../http/api.ts';
import { openApiKeys } from '../http/api-keys.ts';
import { buildLineage } from '../lineage/lineage.ts';
import { connectPorts, type NatsPorts } from '../nats/index.ts';
import { revokeTask, watchRevocations } from '../nats/revocations.ts';
import type { NatsPolicyStore } from '../nats/policy-store.ts';
import { openShippedRecords } from '../records/shipped.ts';
import { createTelemetry, type Telemetry } from '../telemetry/index.ts';
import { startMetricsServer } from '../telemetry/metrics.ts';
import { bootstrapSearch } from '../temporal/bootstrap.ts';
import { connectTemporal, type TemporalLink } from '../temporal/connect.ts';
import { openDataConverter } from '../temporal/converter.ts';
import { createDecisionSigner, createDecisionVerifier } from '../temporal/decision-token.ts';
import { createEnvelopeIds, createSeals } from '../temporal/envelope-id.ts';
import { readHistory } from '../temporal/history.ts';
import { createTasks, type GovernedTasks, type TasksOptions } from '../temporal/tasks.ts';
import { startWorker } from '../temporal/worker.ts';
import { createAttestation } from '../temporal/attestation.ts';
import { createCanaries } from '../temporal/canaries.ts';
import { connectionOf } from './connection.ts';
import { runProcess } from './run-process.ts';

/** The bundle is published right after the servers are up; a brain that starts beside that waits this long. */
const POLICY_MS_MAX = 60_000;

export interface BrainDeps {
  readonly registry?: CapabilityRegistry;
  /** Who applies effects; the shipped system of record unless given. */
  readonly effects?: Effects;
  /** Entry file of further workflows; it must export the shipped ones too. */
  readonly workflows?: URL;
  readonly telemetry?: Telemetry;
  /** Connections shared with other parts of one process; their owner closes them. */
  readonly ports?: NatsPorts;
  readonly temporal?: TemporalLink;
  /** No HTTP API: for embedding. */
  readonly headless?: boolean;
  readonly taskQueue?: string;
  readonly group?: TasksOptions['group'];
}
export interface Brain extends AsyncDisposable {
  readonly tasks: GovernedTasks;
  readonly http: HttpApi | undefined;
  readonly temporal: TemporalLink;
  /** What operators do with budgets; the same as the API's. */
  readonly budgets: BudgetDesk;
  /** Ledger entries of one task. */
  readonly lineage: (tenant: string, taskId: string) => Promise<readonly LedgerEntry[]>;
  /** Opens a made-up approval now, whatever the rate. */
  readonly canary: Canaries['open'];
}

/** Resolves when tasks are taken. @throws AIOS_CONFIG_INVALID, AIOS_UNAVAILABLE, AIOS_DISCONNECTED, AIOS_POLICY_MISSING, AIOS_LEDGER_BROKEN */
export async function startBrain(config: Config, deps: BrainDeps = {}): Promise<Brain> {
  await using opening = new AsyncDisposableStack();
  const telemetry = deps.telemetry ?? opening.use(createTelemetry(config));
  const { logger, metrics, tracer, clock, random } = telemetry;
  const keys = await loadOrCreateKeys(join(config.home, 'keys'));
  const signer = createSigner(keys.brain);
  const verifier = createVerifier(keys.keyring);
  const ports = deps.ports ?? opening.use(await connectPorts(connectionOf(config, telemetry, true)));
  const policies = opening.use(ports.policyStore(verifier));
  await policyInForce(policies, telemetry);
  const { revocations } = opening.use(await watchRevocations(ports.keyValue));
  const ledger = opening.use(await openLedger({ dir: join(config.home, 'ledger'), log: config.name, signer, clock, logger, metrics }));
  const temporal = deps.temporal ?? opening.use(await connectTemporal({ address: config.temporalAddress, namespace: config.namespace, identity: config.name, clock, logger, dataConverter: await openDataConverter(config) }));
  await bootstrapSearch(temporal, clock);
  const effects = deps.effects ?? opening.use(await openShippedRecords(config, clock)).effects;
  const registry = deps.registry ?? createRegistry(shippedAgents, gatewayCapabilities);
  const queue = deps.taskQueue === undefined ? {} : { taskQueue: deps.taskQueue };
  const budgets = opening.use(await ports.budgets(policies, { name: config.name }));
  const signDecision = createDecisionSigner(signer);
  let governed: GovernedTasks | undefined;
  const sealOf = createSeals(signer);
  const canaries = createCanaries({ client: temporal.client, directory: ports.taskDirectory, registry, clock, random, rateBp: config.approvals.canaryBp, sealOf, pin: (capability, members) => hands.pin(capability, members), ...queue });
  const hands = createHands({
    obligations: { redact: config.protection.redact, retention: config.protection.retention, record: config.protection.record },
    budgets, mandates: mandatesOf(keys, { clock, random, revocations }), dispatcher: ports.dispatcher(registry), outcomes: ports.outcomes, ledger,
    effects, policies, registry, directory: ports.taskDirectory, tokens: ports.waitTokens, clock, logger, metrics, tracer,
    revokeTask: (tenant, taskId, untilMs) => revokeTask(ports.keyValue, tenant, taskId, untilMs, clock.now()),
    envelopeId: createEnvelopeIds(signer), sealOf, decisionToken: createDecisionVerifier(verifier, approverVerifier(join(config.home, 'keys'))), approvals: { provenOnly: config.protection.provenApproversOnly, canaries, ...(config.approvals.principals ? { principalOf: createAttestation(temporal.client) } : {}) }, leftFastLane: (workflowId) => governed?.leftFastLane(workflowId), settled: (workflowId, results) => governed?.settled(workflowId, results),
  });
  const tasks = createTasks({ client: temporal.client, directory: ports.taskDirectory, registry, clock, random, logger, metrics, signDecision, budgets, pin: hands.pin, ...queue, ...(deps.group === undefined ? {} : { group: deps.group }) });
  governed = tasks;
  opening.use(await startWorker({ link: temporal, activities: hands.activities, logger, identity: config.name, cacheDir: config.cacheDir, build: config.build, ...queue, ...(deps.workflows === undefined ? {} : { workflows: deps.workflows }) }));
  opening.use(tasks);
  const lineage = async (tenant: string, taskId: string): Promise<unknown> => {
    const { entry } = await tasks.view(tenant, taskId);
    return buildLineage(taskId, await ledger.find(taskId), await readHistory(temporal.client, [entry.workflowId, `${entry.capability}/${taskId}`]));
  };
  const desk = createBudgetDesk({ budgets, ledger, dir: join(config.home, 'ledger'), clock, random });
  const http = deps.headless === true ? undefined : opening.use(await startHttpApi({ tasks, registry, keys: await openApiKeys(config.apiKeysFile), http: config.http, log: logger, metrics, tracer, metricsText: () => metrics.text(), lineage, budgets: desk }));
  if (config.metricsPort > 0) opening.use(await startMetricsServer(metrics, config.metricsPort));
  const open = opening.move();
  const entries = async (tenant: string, taskId: string) => (await ledger.find(taskId)).filter((one) => one.record.tenant === tenant);
  return { tasks, http, temporal, budgets: desk, lineage: entries, canary: canaries.open, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

async function policyInForce(policies: NatsPolicyStore, { clock, logger }: Telemetry): Promise<void> {
  const giveUp = clock.monotonic() + POLICY_MS_MAX;
  for (let attempt = 1; ; attempt++) {
    try {
      return void (await policies.bundle());
    } catch (thrown) {
      if (!hasCode(thrown, 'AIOS_POLICY_MISSING') || clock.monotonic() > giveUp) throw thrown;
      if (attempt === 10) logger.warn({}, 'waiting for a policy bundle');
      await clock.sleep(200);
    }
  }
}

if (import.meta.main) await runProcess('brain', (config, telemetry) => startBrain(config, { telemetry }), ({ http }) => ({ url: http?.url }));
