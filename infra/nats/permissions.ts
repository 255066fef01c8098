// From the manifest of a host to permissions of the message server: subjects to publish and to subscribe, nothing else.
// Owns: how each right is spelt in subjects, JetStream's own included, and the private prefix for answers.
// Never widens: a right without subjects here is no right. Others may assume: every subject, stream and bucket this project uses
// is in one of the tables below; a new one is added here or is refused in every process but the operator's.

import { BUCKETS, STREAMS, SUBJECT_ROOT, patterns } from '../../contracts/address.ts';
import type { HostRights, Log, Plane, Store } from '../../policies/hosts.ts';
import { inboxOf } from './credentials.ts';
import { streamOf } from './key-value.ts';
import { ADVISORIES, BLOBS, MARKER } from './topology.ts';
import type { SubjectRights } from './user-jwt.ts';

/** Where budgets keep their state and who hosts them: only brains may write there, whatever else a host may write. */
const BUDGET_STATE = `${SUBJECT_ROOT}.*.st.*.aios_budget.*`;
const BUDGET_LEASE = `$KV.${BUCKETS.leases}.budget.>`;

const PLANE_SUBJECTS: Readonly<Record<Plane, readonly string[]>> = {
  mailbox: [`${SUBJECT_ROOT}.*.mbx.>`],
  state: [`${SUBJECT_ROOT}.*.st.>`],
  budget: [BUDGET_STATE, `${SUBJECT_ROOT}.*.ctl.budget.*`],
  outcome: [`${SUBJECT_ROOT}.*.out.>`],
  event: [`${SUBJECT_ROOT}.*.evt.>`],
  topic: [`${SUBJECT_ROOT}.*.topic.>`],
  'dead-letter': [`${SUBJECT_ROOT}.*.dlq.>`],
  control: [`${SUBJECT_ROOT}.*.ctl.*`],
  timer: [`${SUBJECT_ROOT}.*.tmr.>`],
  model: [`${SUBJECT_ROOT}.sys.model.>`],
  beacon: [`${SUBJECT_ROOT}.sys.beacon.*`],
  alive: [`${SUBJECT_ROOT}.sys.ctl.alive.*`],
  reply: ['_INBOX.>'],
};

const LOG_STREAMS: Readonly<Record<Log, string>> = {
  mailbox: STREAMS.mailbox.name,
  state: STREAMS.state.name,
  outcomes: STREAMS.outcomes.name,
  deadLetters: STREAMS.deadLetters.name,
  topics: STREAMS.topics.name,
  timers: STREAMS.timers.name,
  advisories: ADVISORIES.name,
};

/** The object store of large messages is a stream of another name and subjects of its own. */
const storeStream = (store: Store): string => (store === 'blobs' ? `OBJ_${BLOBS}` : streamOf(BUCKETS[store]));
const storeSubjects = (store: Store): readonly string[] => (store === 'blobs' ? [`$O.${BLOBS}.>`] : [`$KV.${BUCKETS[store]}.>`]);

export function permissionsOf(rights: HostRights, publicKey: string): SubjectRights {
  const inbox = `${inboxOf(publicKey)}.>`;
  const budgets = rights.publishes.includes('budget');
  return {
    publish: unique([
      ...rights.asks.map(asked), ...rights.publishes.flatMap((plane) => PLANE_SUBJECTS[plane]),
      '$JS.API.INFO', `$JS.API.STREAM.INFO.${MARKER}`,
      ...rights.readsLogs.flatMap((log) => readLog(LOG_STREAMS[log])),
      ...Object.entries(rights.consumes).flatMap(([log, durables]) => durables.flatMap((durable) => consume(LOG_STREAMS[log as Log], durable))),
      ...rights.prunes.flatMap((log) => prune(LOG_STREAMS[log])),
      ...rights.reads.flatMap((store) => readStore(storeStream(store))),
      ...rights.writes.flatMap((store) => [...storeSubjects(store), ...(store === 'blobs' ? [`$JS.API.STREAM.PURGE.${storeStream(store)}`] : [])]),
      ...(rights.provisions ? ['$JS.API.STREAM.CREATE.*', '$JS.API.STREAM.UPDATE.*', '$JS.API.STREAM.INFO.*'] : []),
    ]),
    publishDeny: budgets ? [] : [...(rights.publishes.includes('state') ? [BUDGET_STATE] : []), ...(rights.writes.includes('leases') ? [BUDGET_LEASE] : [])],
    subscribe: unique([inbox, ...rights.serves.map(asked), ...rights.hears.filter((plane) => plane !== 'reply').flatMap((plane) => PLANE_SUBJECTS[plane])]),
    subscribeDeny: [],
  };
}

const asked = (capability: string): string => (capability === '*' ? `${SUBJECT_ROOT}.*.cap.*` : patterns.capability(capability));

const readLog = (stream: string): readonly string[] => [`$JS.API.STREAM.INFO.${stream}`, `$JS.API.DIRECT.GET.${stream}`, `$JS.API.DIRECT.GET.${stream}.>`];
/** Values are read directly; watches and lists are short-lived readers that the client opens itself. */
const readStore = (stream: string): readonly string[] => [...readLog(stream), ...consume(stream, '*')];
const prune = (stream: string): readonly string[] => [`$JS.API.STREAM.MSG.DELETE.${stream}`, `$JS.API.STREAM.PURGE.${stream}`];

/** Acknowledgements are published in two forms: up to 2.14 without, from 2.15 with domain and account in front. */
function consume(stream: string, durable: string): readonly string[] {
  const api = (verb: string): string => `$JS.API.CONSUMER.${verb}.${stream}.${durable}`;
  return [`$JS.API.STREAM.INFO.${stream}`, api('CREATE'), `${api('CREATE')}.>`, api('DURABLE.CREATE'), api('INFO'), api('DELETE'), api('MSG.NEXT'), `$JS.ACK.${stream}.${durable}.>`, `$JS.ACK.*.*.${stream}.${durable}.>`];
}

const unique = (subjects: readonly string[]): readonly string[] => [...new Set(subjects)].sort();
