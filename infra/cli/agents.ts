// Commands on agent hosts: list, show, tree, tail, drain.
// Owns: their words and the live view of finished turns. Never changes an agent; a drained host gives its partitions to the others.
// Others may assume: what is shown comes from the hosts themselves, within three seconds, and a host that does not answer is missing.

import { type Command, InvalidArgumentError } from 'commander';
import { STREAMS, tenantOf } from '../../contracts/address.ts';
import { fail } from '../../contracts/errors.ts';
import { outcomeSchema } from '../../contracts/message.ts';
import { parseBytes } from '../../contracts/parse.ts';
import { drainHost, inspectHosts, type HostReport } from '../nats/inspection.ts';
import { withPorts } from './nats.ts';
import { act, type CliContext } from './shared.ts';

const AGENTS_MAX = 500;

export function registerAgents(program: Command): void {
  const agents = program.command('agents').description('the hosts of agents, what they hold and what they do');
  agents.command('list', { isDefault: true }).description('hosts with their partitions and the agents in memory').action(act(list));
  agents.command('show <name>').description('one host, or the agents of one kind or kind/id').action(act(show));
  agents.command('tree').description('agents in memory under the parents that spawned them').option('--for <seconds>', 'look again every second for this long', seconds).action(act(family));
  agents.command('tail').description('turns as they finish').option('--for <seconds>', 'stop after this long', seconds, 3_600).action(act(tail));
  agents.command('drain <host>').description('let a host finish what it runs and give everything else to the others').action(act(drain));
}

async function list(context: CliContext): Promise<void> {
  const reports = await withPorts(context, ({ link }) => inspectHosts(link, AGENTS_MAX));
  context.print({ json: reports, text: reports.length === 0 ? 'no agent host answers' : reports.map(tree).join('\n') });
}

async function show(context: CliContext, name: string): Promise<void> {
  const reports = await withPorts(context, ({ link }) => inspectHosts(link, AGENTS_MAX));
  const host = reports.find((report) => report.host.name === name);
  const agents = reports.flatMap((report) => report.agents.map((agent) => ({ ...agent, host: report.host.name }))).filter((agent) => agent.kind === name || `${agent.kind}/${agent.id}` === name);
  if (host === undefined && agents.length === 0) throw fail('AIOS_AGENT_UNKNOWN', `No host and no agent in memory is named ${name}.`);
  context.print(host === undefined ? { json: agents, text: agents.map((agent) => `${agent.host}  ${agentLine(agent)}`).join('\n') } : { json: host, text: tree(host) });
}

/** With `--for`, a line of JSON or a fresh picture every second. */
async function family(context: CliContext, options: { readonly for?: number }): Promise<void> {
  await withPorts(context, async ({ link }) => {
    const until = performance.now() + (options.for ?? 0) * 1_000;
    do {
      const roots = rootsOf(await inspectHosts(link, AGENTS_MAX));
      context.print({ json: { at: Date.now(), agents: roots }, text: `${options.for === undefined || context.json ? '' : CLEAR}${roots.length === 0 ? 'no agent is in memory' : roots.map((root) => branch(root, 0)).join('\n')}` });
      if (performance.now() < until) await new Promise((resolve) => { setTimeout(resolve, 1_000); });
    } while (performance.now() < until);
  });
}

interface Node { readonly name: string; readonly agent?: HostReport['agents'][number] & { readonly host: string }; readonly children: readonly Node[] }
const CLEAR = '\u001b[2J\u001b[H';
const DEPTH_MAX = 16;

/** Who was spawned stands under its parent; a child that is not in memory is named, since it is there all the same. */
function rootsOf(reports: readonly HostReport[]): readonly Node[] {
  const agents = new Map<string, NonNullable<Node['agent']>>(reports.flatMap((report) => report.agents.map((agent) => [`${agent.tenant}/${agent.kind}/${agent.id}`, { ...agent, host: report.host.name }] as const)));
  const children = new Set([...agents.values()].flatMap((agent) => agent.children.map((child) => `${agent.tenant}/${child}`)));
  const nodeOf = (name: string, depth: number): Node => {
    const agent = agents.get(name);
    return { name, ...(agent === undefined ? {} : { agent }), children: depth >= DEPTH_MAX ? [] : (agent?.children ?? []).map((child) => nodeOf(`${agent?.tenant}/${child}`, depth + 1)) };
  };
  return [...agents.keys()].filter((name) => !children.has(name)).sort().map((name) => nodeOf(name, 0));
}

function branch({ name, agent, children }: Node, depth: number): string {
  const words = agent === undefined ? `${name}  not in memory` : `${agentLine(agent)}  on ${agent.host}`;
  return [`${'  '.repeat(depth)}${words}`, ...children.map((child) => branch(child, depth + 1))].join('\n');
}

async function tail(context: CliContext, options: { readonly for: number }): Promise<void> {
  await withPorts(context, async ({ bus }) => {
    await using _open = await bus.subscribe(STREAMS.outcomes.subjects[0], { concurrencyMax: 1_024 }, (message) => {
      const outcome = parseBytes(outcomeSchema, message.data);
      const turn = outcome.receipts.find((receipt) => receipt.kind === 'turn');
      const words = [tenantOf(message.subject) ?? '-', outcome.task, turn?.kind === 'turn' ? `${turn.agent} ${turn.capability} ${turn.ms} ms` : '-', outcome.status === 'failed' ? outcome.error.code : outcome.status];
      context.print({ json: { at: Date.now(), task: outcome.task, tenant: outcome.tenant, status: outcome.status, turn, ...(outcome.status === 'failed' ? { code: outcome.error.code } : {}) }, text: words.join('  ') });
    });
    await new Promise<void>((resolve) => {
      setTimeout(resolve, options.for * 1_000);
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
    });
  });
}

async function drain(context: CliContext, host: string): Promise<void> {
  const report = await withPorts(context, ({ link }) => drainHost(link, host));
  context.print({ json: report.host, text: `${host} drains ${report.host.running} running turns` });
}

function tree({ host, agents }: HostReport): string {
  const held = host.partitions === '*' ? 'all partitions' : `${host.partitions.length} partitions`;
  return [`${host.name}  ${held}  ${host.agents} agents in memory  ${host.running} running${host.draining ? '  draining' : ''}`, ...agents.map((agent) => `  ${agentLine(agent)}`)].join('\n');
}

function agentLine({ tenant, kind, id, partition, turns, queued, running, restarts, stoppedUntil, behaviour, stashed }: HostReport['agents'][number]): string {
  const marks = [running ? 'running' : '', queued > 0 ? `${queued} queued` : '', restarts > 0 ? `${restarts} restarts` : '', behaviour === '' ? '' : `is ${behaviour}`, stashed > 0 ? `${stashed} put off` : '', stoppedUntil > Date.now() ? 'stopped for a while' : ''].filter((mark) => mark !== '');
  return `${tenant}  ${kind}/${id}  partition ${partition}  ${turns} turns  ${marks.join(' · ')}`.trimEnd();
}

function seconds(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0 || value > 86_400) throw new InvalidArgumentError('seconds, up to a day');
  return value;
}
