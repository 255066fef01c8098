// Streams and buckets: what must exist in JetStream before any port works, with every bound written down.
// Owns: their settings. Never deletes data; changing a setting that JetStream cannot change is reported, not forced.
// Others may assume: after `ensureTopology` every stream of contracts/address.ts exists, on disk, with these limits,
// and calling it again, from many processes at once, is harmless.

import type { StreamConfig } from '@nats-io/jetstream';
import { Objm } from '@nats-io/obj';
import { BUCKETS, STREAMS } from '../../contracts/address.ts';
import { fail } from '../../contracts/errors.ts';
import type { NatsLink } from './connect.ts';
import { convertNatsError } from './errors.ts';

const NS_PER_MS = 1_000_000;
const DAY_MS = 86_400_000;
const days = (count: number): number => count * DAY_MS * NS_PER_MS;
const minutes = (count: number): number => count * 60_000 * NS_PER_MS;
const GIB = 1024 ** 3;

export const MAILBOX_MESSAGES_MAX = 1_000;
export const STATE_HISTORY_MAX = 4;
/** Events of one topic and tenant that some group has not ended yet. */
export const TOPIC_MESSAGES_MAX = 10_000;
export const TOPIC_AGE_MS = 7 * DAY_MS;
/** A task has at most a few outcomes: one an attempt and rung. */
export const OUTCOMES_PER_TASK_MAX = 16;
export const ADVISORIES = { name: 'AIOS_ADVISORIES', subject: `$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.${STREAMS.mailbox.name}.>` } as const;

export type StreamSettings = Omit<Partial<StreamConfig>, 'subjects'> & { readonly name: string; readonly subjects: readonly string[] };

const shared = { storage: 'file', num_replicas: 1, allow_direct: true } as const;

/** Settings as data, so that `aios doctor` can show them and a test can hold them. */
export const STREAM_SETTINGS: readonly StreamSettings[] = [
  {
    ...shared, name: STREAMS.mailbox.name, subjects: STREAMS.mailbox.subjects, retention: 'workqueue',
    discard: 'new', discard_new_per_subject: true, max_msgs_per_subject: MAILBOX_MESSAGES_MAX, max_bytes: 4 * GIB,
    duplicate_window: minutes(2), allow_msg_schedules: false,
  },
  { ...shared, name: STREAMS.state.name, subjects: STREAMS.state.subjects, retention: 'limits', discard: 'old', max_msgs_per_subject: STATE_HISTORY_MAX, max_bytes: 8 * GIB, allow_msg_ttl: true },
  { ...shared, name: STREAMS.outcomes.name, subjects: STREAMS.outcomes.subjects, retention: 'limits', discard: 'old', max_msgs_per_subject: OUTCOMES_PER_TASK_MAX, max_age: days(7), max_bytes: 4 * GIB, duplicate_window: minutes(2) },
  { ...shared, name: STREAMS.deadLetters.name, subjects: STREAMS.deadLetters.subjects, retention: 'limits', discard: 'old', max_msgs: 100_000, max_age: days(30), max_bytes: GIB, duplicate_window: minutes(2) },
  { ...shared, name: STREAMS.topics.name, subjects: STREAMS.topics.subjects, retention: 'interest', discard: 'new', discard_new_per_subject: true, max_msgs_per_subject: TOPIC_MESSAGES_MAX, max_age: TOPIC_AGE_MS * NS_PER_MS, max_bytes: GIB, duplicate_window: minutes(2) },
  { ...shared, name: STREAMS.timers.name, subjects: STREAMS.timers.subjects, retention: 'limits', discard: 'old', max_msgs_per_subject: 1, max_bytes: GIB, allow_msg_schedules: true, allow_msg_ttl: true, allow_rollup_hdrs: true },
  { ...shared, name: ADVISORIES.name, subjects: [ADVISORIES.subject], retention: 'workqueue', discard: 'old', max_age: days(7), max_bytes: GIB / 16 },
];

interface BucketSettings { readonly history?: number; readonly ageMs?: number; readonly bytesMax?: number; readonly markers?: boolean }
const BUCKET_SETTINGS: Readonly<Record<keyof typeof BUCKETS, BucketSettings>> = {
  policy: { history: 32 },
  tasks: { ageMs: 30 * DAY_MS },
  tokens: { ageMs: 30 * DAY_MS },
  leases: { markers: true, bytesMax: GIB / 16 },
  revoked: { ageMs: 30 * DAY_MS },
  watches: { ageMs: 30 * DAY_MS, bytesMax: GIB / 16 },
  slices: { ageMs: 31 * DAY_MS, bytesMax: GIB / 4 },
};

/** Object store of messages too large to travel. */
export const BLOBS = 'AIOS_BLOBS';
const BLOBS_AGE_MS = 2 * DAY_MS;
/** Made last, so that it says that everything is there; every host may ask for it. */
export const MARKER = `KV_${BUCKETS.revoked}`;
const WAIT_MS_MAX = 30_000;

/** @throws AIOS_CONFIG_INVALID when a stream of that name exists with settings that cannot become ours */
export async function ensureTopology(link: NatsLink): Promise<void> {
  const all = [...STREAM_SETTINGS, ...Object.entries(BUCKETS).map(([key, bucket]) => bucketStream(bucket, BUCKET_SETTINGS[key as keyof typeof BUCKETS]))];
  await Promise.all([...all.filter((settings) => !isMarker(settings)).map((settings) => ensureStream(link, settings)), ensureBlobs(link)]);
  for (const settings of all.filter(isMarker)) await ensureStream(link, settings);
}

const isMarker = ({ name }: StreamSettings): boolean => name === MARKER;

async function ensureBlobs(link: NatsLink): Promise<void> {
  await new Objm(link.js).create(BLOBS, { ttl: BLOBS_AGE_MS * NS_PER_MS, storage: 'file' }).catch((error: unknown) => { throw convertNatsError(error, 'creating the object store'); });
}

/** For hosts that may not create anything: the control plane does, and they wait for it. @throws AIOS_UNAVAILABLE */
export async function awaitTopology({ jsm, clock }: Pick<NatsLink, 'jsm' | 'clock'>): Promise<void> {
  for (const giveUpAt = clock.monotonic() + WAIT_MS_MAX; ; await clock.sleep(200)) {
    const found = await jsm.streams.info(MARKER).then(() => true, (error: unknown) => clock.monotonic() < giveUpAt ? false : Promise.reject(fail('AIOS_UNAVAILABLE', 'The streams are not there; start the brain, which creates them.', { cause: error })));
    if (found) return;
  }
}

/** A bucket laid out as the KV clients of NATS expect it. Message TTL is allowed everywhere, so that any key may expire. */
export function bucketStream(bucket: string, settings: BucketSettings = {}): StreamSettings {
  return {
    ...shared, name: `KV_${bucket}`, subjects: [`$KV.${bucket}.>`], retention: 'limits', discard: 'new', deny_delete: true, allow_rollup_hdrs: true, allow_msg_ttl: true,
    max_msgs_per_subject: settings.history ?? 1,
    max_bytes: settings.bytesMax ?? GIB,
    ...(settings.ageMs === undefined ? {} : { max_age: settings.ageMs * NS_PER_MS }),
    ...(settings.markers === true ? { subject_delete_marker_ttl: minutes(1) } : {}),
  };
}

export async function ensureStream(link: NatsLink, settings: StreamSettings): Promise<void> {
  try {
    await link.jsm.streams.add({ ...settings, subjects: [...settings.subjects] });
  } catch (error) {
    if (!alreadyThere(error)) throw convertNatsError(error, `creating the stream ${settings.name}`);
    await updateStream(link, settings);
  }
}

const NAME_IN_USE = 10_058;
const alreadyThere = (error: unknown): boolean => (error as { code?: number }).code === NAME_IN_USE;

/** JetStream changes neither the storage nor to or from a work queue. */
async function updateStream(link: NatsLink, { name, retention, storage: _storage, subjects, ...changeable }: StreamSettings): Promise<void> {
  try {
    await link.jsm.streams.update(name, { ...changeable, ...(retention === 'workqueue' ? {} : { retention }), subjects: [...subjects] });
  } catch (error) {
    throw fail('AIOS_CONFIG_INVALID', `The stream ${name} exists with settings that cannot be changed to ours. Export what it holds and remove it.`, { cause: error });
  }
}
