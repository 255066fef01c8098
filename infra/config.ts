// Settings of every process: option > environment > default, parsed once, refused at construction.
// Owns: the list of environment variables and their defaults. Never reads a file that holds a secret itself.
// Others may assume: a Config is complete and frozen; no code below reads process.env.

import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { type Orchestration, ORCHESTRATIONS } from '../contracts/capability.ts';
import { fail } from '../contracts/errors.ts';
import { type Preset, presetNamed, PRESETS } from './presets/index.ts';

const port = z.coerce.number().int().min(0).max(65_535);

/** A letter, then 31 to 255 letters and digits. */
export const STORE_KEY_FORM = /^[A-Za-z][A-Za-z0-9]{31,255}$/;

const schema = z.object({
  /** Everything this project writes at run time: server data, keys, ledger, indexes, pid files. */
  AIOS_HOME: z.string().default('.aios'),
  /** Built servers and indexes that several checkouts may share. */
  AIOS_CACHE_DIR: z.string().default(join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'aios')),
  AIOS_NATS_URL: z.string().default('nats://127.0.0.1:4222'),
  AIOS_NATS_CREDENTIALS: z.string().optional(),
  /** How long the message server lets a host's connection live before the host has to show its key again. */
  AIOS_NATS_LIFE_S: z.coerce.number().int().min(5).max(86_400).default(600),
  AIOS_TEMPORAL_ADDRESS: z.string().default('127.0.0.1:7233'),
  AIOS_TEMPORAL_UI: z.string().default('http://127.0.0.1:8233'),
  AIOS_NAMESPACE: z.string().default('default'),
  AIOS_HTTP_HOST: z.string().default('127.0.0.1'),
  AIOS_HTTP_PORT: port.default(7070),
  AIOS_METRICS_PORT: port.default(0),
  AIOS_QDRANT_URL: z.string().optional(),
  AIOS_QDRANT_KEY: z.string().optional(),
  /** OpenAI-compatible server for `text.generate`; absent = extractive answers only. */
  AIOS_GENERATE_URL: z.string().optional(),
  AIOS_GENERATE_MODEL: z.string().default('default'),
  AIOS_GENERATE_KEY: z.string().optional(),
  /** `true` when that server runs inside the boundary and may see confidential data. */
  AIOS_GENERATE_INSIDE: z.stringbool().default(false),
  /** none, console, or an OTLP/HTTP endpoint */
  AIOS_TRACES: z.string().default('none'),
  AIOS_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
  AIOS_MODEL_SLOTS: z.coerce.number().int().min(1).max(64).default(1),
  /** Texts that share one run of a model at most; 1 keeps a vector from depending on its company in the batch. */
  AIOS_MODEL_BATCH_MAX: z.coerce.number().int().min(1).max(64).default(64),
  /** How every team is orchestrated, instead of what its capability declares; read where policies are published. */
  AIOS_ORCHESTRATION: z.enum(ORCHESTRATIONS).optional(),
  /** Name of this process among its siblings: brain-1, agents-2; log, lease and ledger owner. */
  AIOS_NAME: z.string().regex(/^[A-Za-z0-9_-]{1,48}$/).optional(),
  /** Build of the workflow code this brain runs; brains without one take every task. */
  AIOS_BUILD_ID: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/).optional(),
  /** Whether waiting tasks go on with a newer build or stay with theirs. */
  AIOS_BUILD_BEHAVIOR: z.enum(['auto-upgrade', 'pinned']).default('auto-upgrade'),
  /** Of 10,000 approvals, how many are accompanied by a made-up one that should be refused; 0 = none. */
  AIOS_APPROVAL_CANARY_BP: z.coerce.number().int().min(0).max(10_000).default(0),
  /** `true` where the Temporal server stamps authenticated principals on events (`frontend.enablePrincipalPropagation` and a claim mapper). */
  AIOS_TEMPORAL_PRINCIPALS: z.stringbool().default(false),
  /** File of API keys: [{key sha256, principal, type, tenant, roles}]. */
  AIOS_API_KEYS: z.string().optional(),
  /** Name of a member of infra/presets. */
  AIOS_PRESET: z.string().default(PRESETS[0]?.name ?? ''),
  /** Each over what the preset says. */
  AIOS_PAYLOAD_CODEC: z.stringbool().optional(),
  AIOS_PROVEN_APPROVERS: z.stringbool().optional(),
  /** Keys of encrypted payloads: `id:base64,id:base64`, the one in force first; absent = the file of AIOS_PAYLOAD_KEYS_FILE. */
  AIOS_PAYLOAD_KEYS: z.string().optional(),
  AIOS_PAYLOAD_KEYS_FILE: z.string().optional(),
  /** Key of the message server's files, and the one before it while a change of keys is under way; absent = a file in the home. */
  AIOS_NATS_STORE_KEY: z.string().regex(STORE_KEY_FORM).optional(),
  AIOS_NATS_STORE_KEY_PREVIOUS: z.string().regex(STORE_KEY_FORM).optional(),
  AIOS_CODEC_PORT: port.default(8234),
  /** Further origins of Temporal UIs that may ask the codec server, separated by commas. */
  AIOS_CODEC_ORIGINS: z.string().default(''),
  /** Paths of server programs for development; absent = PATH, the cache, a build. */
  AIOS_NATS_SERVER: z.string().optional(),
  AIOS_TEMPORAL_SERVER: z.string().optional(),
});

export interface Config {
  readonly home: string;
  readonly cacheDir: string;
  readonly natsUrl: string;
  readonly natsCredentials: string | undefined;
  readonly natsLifeMs: number;
  readonly temporalAddress: string;
  readonly temporalUi: string;
  readonly namespace: string;
  readonly http: { readonly host: string; readonly port: number };
  readonly metricsPort: number;
  readonly qdrant: { readonly url: string; readonly key: string | undefined } | undefined;
  readonly generate: { readonly url: string; readonly model: string; readonly key: string | undefined; readonly inside: boolean } | undefined;
  readonly traces: string;
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent';
  readonly modelSlots: number;
  readonly modelBatchMax: number;
  readonly orchestration: Orchestration | undefined;
  readonly name: string;
  readonly apiKeysFile: string;
  readonly build: { readonly id: string; readonly behavior: 'auto-upgrade' | 'pinned' } | undefined;
  readonly approvals: { readonly canaryBp: number; readonly principals: boolean };
  readonly servers: { readonly nats: string | undefined; readonly temporal: string | undefined };
  /** The preset with the settings over it. */
  readonly protection: Preset;
  readonly payloadKeys: { readonly text: string | undefined; readonly file: string };
  readonly storeKey: { readonly current: string; readonly previous: string | undefined } | undefined;
  readonly codec: { readonly port: number; readonly origins: readonly string[] };
}

/** @throws AIOS_CONFIG_INVALID naming the variable */
export function readConfig(role: string, environment: Readonly<Record<string, string | undefined>> = process.env): Config {
  const parsed = schema.safeParse(Object.fromEntries(Object.entries(environment).filter(([key, value]) => key.startsWith('AIOS_') && value !== '')));
  if (!parsed.success) throw fail('AIOS_CONFIG_INVALID', parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
  const env = parsed.data;
  const home = resolve(env.AIOS_HOME);
  const protection = protectionOf(env);
  return Object.freeze({
    home,
    cacheDir: resolve(env.AIOS_CACHE_DIR),
    natsUrl: env.AIOS_NATS_URL,
    natsCredentials: env.AIOS_NATS_CREDENTIALS,
    natsLifeMs: env.AIOS_NATS_LIFE_S * 1_000,
    temporalAddress: env.AIOS_TEMPORAL_ADDRESS,
    temporalUi: env.AIOS_TEMPORAL_UI,
    namespace: env.AIOS_NAMESPACE,
    http: { host: env.AIOS_HTTP_HOST, port: env.AIOS_HTTP_PORT },
    metricsPort: env.AIOS_METRICS_PORT,
    qdrant: env.AIOS_QDRANT_URL === undefined ? undefined : { url: env.AIOS_QDRANT_URL, key: env.AIOS_QDRANT_KEY },
    generate: env.AIOS_GENERATE_URL === undefined ? undefined : { url: env.AIOS_GENERATE_URL, model: env.AIOS_GENERATE_MODEL, key: env.AIOS_GENERATE_KEY, inside: env.AIOS_GENERATE_INSIDE && mayBeInside(env.AIOS_GENERATE_URL, protection) },
    traces: env.AIOS_TRACES,
    logLevel: env.AIOS_LOG_LEVEL,
    modelSlots: env.AIOS_MODEL_SLOTS,
    modelBatchMax: env.AIOS_MODEL_BATCH_MAX,
    orchestration: env.AIOS_ORCHESTRATION,
    name: env.AIOS_NAME ?? role,
    build: env.AIOS_BUILD_ID === undefined ? undefined : { id: env.AIOS_BUILD_ID, behavior: env.AIOS_BUILD_BEHAVIOR },
    approvals: { canaryBp: env.AIOS_APPROVAL_CANARY_BP, principals: env.AIOS_TEMPORAL_PRINCIPALS },
    apiKeysFile: env.AIOS_API_KEYS ?? join(home, 'keys', 'api-keys.json'),
    servers: { nats: env.AIOS_NATS_SERVER, temporal: env.AIOS_TEMPORAL_SERVER },
    protection,
    payloadKeys: { text: env.AIOS_PAYLOAD_KEYS, file: env.AIOS_PAYLOAD_KEYS_FILE ?? join(home, 'keys', 'payload-keys.json') },
    storeKey: env.AIOS_NATS_STORE_KEY === undefined ? undefined : { current: env.AIOS_NATS_STORE_KEY, previous: env.AIOS_NATS_STORE_KEY_PREVIOUS },
    codec: { port: env.AIOS_CODEC_PORT, origins: env.AIOS_CODEC_ORIGINS.split(',').map((one) => one.trim()).filter((one) => one !== '') },
  });
}

function protectionOf(env: z.infer<typeof schema>): Preset {
  const preset = presetNamed(env.AIOS_PRESET);
  if (preset === undefined) throw fail('AIOS_CONFIG_INVALID', `AIOS_PRESET: one of ${PRESETS.map(({ name }) => name).join(', ')}.`);
  const payloadCodec = env.AIOS_PAYLOAD_CODEC ?? preset.payloadCodec;
  return { ...preset, payloadCodec, codecServer: payloadCodec, provenApproversOnly: env.AIOS_PROVEN_APPROVERS ?? preset.provenApproversOnly };
}

/** Where the preset keeps confidential data on the machine, an address elsewhere is outside, whatever it is declared to be. */
function mayBeInside(url: string, { insideIsThisMachine }: Preset): boolean {
  return !insideIsThisMachine || /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(URL.parse(url)?.hostname ?? '');
}
