// The agent host process: mailboxes and ephemeral capabilities of the shipped agents, on one connection.
// Owns: opening and closing in order. On SIGTERM it takes no more, ends running turns within five seconds, and is gone within eight.
// Never holds the brain's key: it verifies and narrows mandates, it cannot mint one.
// Others may assume: the line {"msg":"ready"} means that messages are taken, and that killing it at any moment loses nothing:
// another host, or its successor, is given what it held.

import { join } from 'node:path';
import { shippedAgents } from '../../agents/index.ts';
import { createRegistry } from '../../agents/registry.ts';
import type { Interceptor } from '../../agents/runtime/chain.ts';
import { createAgentHost, type AgentHost } from '../../agents/runtime/host.ts';
import type { HostLimits } from '../../agents/runtime/ports.ts';
import { PARTITIONS } from '../../contracts/address.ts';
import type { AnyAgent } from '../../contracts/agent.ts';
import { readableId } from '../../contracts/ids.ts';
import type { CapabilityRegistry } from '../../contracts/ports.ts';
import type { Config } from '../config.ts';
import { waitForKeys, type Keys } from '../crypto/keys.ts';
import { mandatesOf } from '../crypto/mandates.ts';
import { createVerifier } from '../crypto/signer.ts';
import { serveInspection } from '../nats/inspection.ts';
import { connectPorts, type NatsPorts } from '../nats/index.ts';
import { watchRevocations } from '../nats/revocations.ts';
import { createTelemetry, type Telemetry } from '../telemetry/index.ts';
import { startMetricsServer } from '../telemetry/metrics.ts';
import { connectionOf } from './connection.ts';
import { runProcess } from './run-process.ts';

/** Two thirds of it is what a host may stall before it gives its partitions up; all of it, how long they wait when it dies. */
const LEASE_MS = 2_400;
/** The brain makes the keys at its first start; a host that starts beside it waits this long. */

export interface AgentHostDeps {
  readonly agents?: readonly AnyAgent[];
  /** Capabilities of others, for durable asks; from the agents alone unless given. */
  readonly registry?: CapabilityRegistry;
  readonly intercept?: readonly Interceptor[];
  readonly limits?: Partial<HostLimits>;
  /** `'*'` where this is the only host for ever, such as an embedded one: no leases. */
  readonly partitions?: '*' | 'leased';
  readonly telemetry?: Telemetry;
  /** A connection that is shared with other parts of one process; its owner closes it. */
  readonly ports?: NatsPorts;
  readonly keys?: Keys;
}
export interface AgentHostProcess extends AsyncDisposable {
  readonly host: AgentHost;
}

/** Resolves when messages are taken. @throws AIOS_CONFIG_INVALID, AIOS_DISCONNECTED, AIOS_SERVER_TOO_OLD */
export async function startAgentHost(config: Config, deps: AgentHostDeps = {}): Promise<AgentHostProcess> {
  await using opening = new AsyncDisposableStack();
  const telemetry = deps.telemetry ?? opening.use(createTelemetry(config));
  const { logger, metrics, tracer, clock, random } = telemetry;
  const agents = deps.agents ?? shippedAgents;
  const ports = deps.ports ?? opening.use(await connectPorts(connectionOf(config, telemetry)));
  const keys = deps.keys ?? (await waitForKeys(join(config.home, 'keys'), telemetry.clock));
  const { revocations } = opening.use(await watchRevocations(ports.keyValue));
  const mandates = mandatesOf(keys, { clock, random, revocations });
  const policies = opening.use(ports.policyStore(createVerifier(keys.keyring)));
  const host = opening.use(createAgentHost(
    { ...ports, policies, mandates, revocations, clock, random, logger, metrics, tracer },
    { agents, name: readableId(config.name.slice(0, 40), random.bytes(5)), partitions: deps.partitions ?? 'leased', registry: deps.registry ?? createRegistry(agents), limits: { leaseMs: LEASE_MS, acquireStepMax: PARTITIONS, ...deps.limits }, ...(deps.intercept === undefined ? {} : { intercept: deps.intercept }) },
  ));
  opening.use(await ports.startKeepers());
  opening.use(await serveInspection(ports, host));
  await host.start();
  if (config.metricsPort > 0) opening.use(await startMetricsServer(metrics, config.metricsPort));
  opening.defer(() => host.drain());
  const open = opening.move();
  return { host, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

if (import.meta.main) await runProcess('agents', (config, telemetry) => startAgentHost(config, { telemetry }), () => ({ agents: shippedAgents.map((agent) => agent.kind) }));
