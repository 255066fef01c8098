// Ports: every interface behind which a vendor, a clock, a disk or another process stands.
// Owns: the seams between rings. No implementation here; members are in infra, in-memory ones in test/kit (`aios/testing`).
// Others may assume: each port has one conformance suite, every method rejects with errors of the table only,
// and everything that opens something is closed by `Symbol.asyncDispose`.

import type { BudgetChange, BudgetDetail } from './budget.ts';
import type { PolicySlice, SignedBundle } from './bundle.ts';
import type { Capability, SlaTier } from './capability.ts';
import type { LedgerEntry, LedgerRecord, SignedHead } from './record.ts';
import type { Grant, MandateToken, PresentedCall, VerifiedMandate } from './mandate.ts';
import type { ErrorCode } from './errors.ts';
import type { Envelope, Outcome, ProposedEffect, Trace } from './message.ts';
import type { ModelReceipt, RetrievalReceipt } from './receipt.ts';
import type { AppliedEffect, Decision, LedgerAnchor, TaskEntry, TaskResult, TaskState } from './task.ts';
import type { Facts, Principal } from './verdict.ts';

// ---- time, chance, words

export interface Clock {
  /** ms since 1970 */
  now(): number;
  /** ms, never goes back, unrelated to the calendar */
  monotonic(): number;
  /** Resolves early, without error, when the signal aborts. 0 lets what is ready to be read and written go first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls once after `ms`; the returned function cancels. */
  after(ms: number, run: () => void): () => void;
}
export interface Random {
  /** [0, 1) */
  next(): number;
  bytes(count: number): Uint8Array;
}
/** Structured words for operators. Fields pass the redaction function before they are written. */
export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  child(fields: LogFields): Logger;
}
export type LogFields = Readonly<Record<string, unknown>>;

/** Counters, gauges and histograms by name; names end in their unit. */
export interface Metrics {
  count(name: string, labels?: Labels, by?: number): void;
  gauge(name: string, value: number, labels?: Labels): void;
  observe(name: string, value: number, labels?: Labels): void;
}
export type Labels = Readonly<Record<string, string>>;

export interface Tracer {
  /** Runs `work` inside a span; `parent` continues a trace that came over the wire. Ends the span with the error if one is thrown. */
  span<T>(name: string, options: { readonly parent?: Trace | undefined; readonly attributes?: Readonly<Record<string, string | number | boolean>> }, work: (trace: Trace | undefined) => Promise<T>): Promise<T>;
}

// ---- messages

export interface BusMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
  /** Present when the sender waits for a reply. */
  respond?(data: Uint8Array, headers?: Readonly<Record<string, string>>): void;
}
/** Core messages: fast, at most once. */
export interface Bus extends AsyncDisposable {
  /** @throws AIOS_UNAVAILABLE at once when nobody listens, AIOS_DEADLINE_EXCEEDED, AIOS_DISCONNECTED */
  request(subject: string, data: Uint8Array, options: { readonly timeoutMs: number; readonly headers?: Readonly<Record<string, string>>; readonly signal?: AbortSignal }): Promise<BusMessage>;
  publish(subject: string, data: Uint8Array, headers?: Readonly<Record<string, string>>): void;
  /** Handlers run concurrently up to `concurrencyMax`; past it messages are answered AIOS_OVERLOADED. Wildcards allowed here only. */
  subscribe(subject: string, options: { readonly queue?: string; readonly concurrencyMax?: number }, handle: (message: BusMessage) => void | Promise<void>): Promise<AsyncDisposable>;
  readonly connected: boolean;
}

/** One message taken from a mailbox. Exactly one of ack, nak, term ends it. */
export interface MailboxDelivery {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
  /** 1 on the first delivery */
  readonly attempt: number;
  readonly sequence: number;
  ack(): Promise<void>;
  nak(delayMs: number): void;
  /** Never deliver again; the caller has dead-lettered it. */
  term(reason: string): void;
  /** Still at it: extends the ack wait. */
  working(): void;
}
export interface Mailboxes {
  /** Resolves when the message is stored. `messageId` dedups. @throws AIOS_MAILBOX_FULL, AIOS_DISCONNECTED */
  publish(subject: string, data: Uint8Array, options: { readonly messageId: string; readonly headers?: Readonly<Record<string, string>> }): Promise<{ readonly sequence: number; readonly duplicate: boolean }>;
  /** One supervised pull loop over one partition (or `'*'` in a single-host setup). */
  consume(partition: number | '*', options: { readonly inFlightMax: number }, handle: (delivery: MailboxDelivery) => Promise<void>): Promise<AsyncDisposable>;
}

/** Published events with durable subscriptions: stored once, delivered to every group that subscribed before. */
export interface Topics {
  /** Resolves when the event is stored; without any group it is gone at once. `messageId` dedups. @throws AIOS_MAILBOX_FULL when a group is too far behind, AIOS_DISCONNECTED */
  publish(subject: string, data: Uint8Array, options: { readonly messageId: string }): Promise<{ readonly duplicate: boolean }>;
  /** The topic's events of all tenants, each at least once to one member of the group; a group keeps its place while nobody of it is there. */
  subscribe(topic: string, group: string, options: { readonly inFlightMax: number }, handle: (delivery: MailboxDelivery) => Promise<void>): Promise<AsyncDisposable>;
}

/** Messages for later: at `at` the bytes are stored in the mailbox `subject`, surviving every process. */
export interface Timers {
  /** The same key replaces. `messageId` dedups the delivery. @throws AIOS_DISCONNECTED */
  schedule(timer: { readonly key: string; readonly subject: string; readonly at: number; readonly data: Uint8Array; readonly messageId: string }): Promise<void>;
  /** Nothing happens when the timer fired already or never was. */
  cancel(key: string): Promise<void>;
}

/** Per-subject append log with optimistic concurrency. `revision` 0 means empty. */
export interface StateLog {
  /** The last record of the subject. */
  read(subject: string): Promise<{ readonly revision: number; readonly data: Uint8Array } | undefined>;
  /** @throws AIOS_STATE_CONFLICT when `expected` is not the subject's revision any more */
  append(subject: string, expected: number, data: Uint8Array): Promise<number>;
}

export interface Lease {
  readonly name: string;
  /** Grows with every change of owner: the fence. */
  readonly fence: number;
  /** The owner before, if there was one, did not give it back: it was lost with what it held in memory. */
  readonly orphaned: boolean;
  /** Aborts when the lease is lost or can no longer be proven held (2/3 of its life on the monotonic clock). */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}
export interface Leases {
  /** `undefined` when another owner holds it. */
  acquire(name: string, owner: string, ttlMs: number): Promise<Lease | undefined>;
  holders(): Promise<ReadonlyMap<string, { readonly owner: string; readonly fence: number }>>;
  /** Ends every lease of an owner that is known to be gone, so that nobody waits for them to expire. Should it live after all, it finds them lost. */
  endAll?(owner: string): Promise<void>;
  /** Calls `run` soon after a lease was released or expired. Best effort: who relies on it looks at `holders` now and then too. */
  watch?(run: () => void): Promise<AsyncDisposable>;
}

/** Keys and values with compare-and-set; small values only. */
export interface KeyValue {
  get(bucket: string, key: string): Promise<{ readonly value: Uint8Array; readonly revision: number } | undefined>;
  /** `undefined` when the key exists already. */
  create(bucket: string, key: string, value: Uint8Array, ttlMs?: number): Promise<number | undefined>;
  /** @throws AIOS_STATE_CONFLICT */
  update(bucket: string, key: string, value: Uint8Array, revision: number, ttlMs?: number): Promise<number>;
  put(bucket: string, key: string, value: Uint8Array): Promise<number>;
  delete(bucket: string, key: string): Promise<void>;
  keys(bucket: string, filter?: string): Promise<readonly string[]>;
  watch(bucket: string, filter: string, handle: (key: string, value: Uint8Array | undefined) => void): Promise<AsyncDisposable>;
}

export type DeadLetterReason = 'overflow' | 'expired' | 'malformed' | 'policy' | 'max-deliveries' | 'unknown-kind' | 'poison';
export interface DeadLetter {
  readonly id: string;
  readonly at: number;
  readonly tenant: string;
  readonly reason: DeadLetterReason;
  readonly code: string;
  readonly subject: string;
  readonly trace?: string;
  readonly task?: string;
  readonly attempts: number;
  /** The letter whose replay came to this. */
  readonly replayOf?: string;
  /** Base64 of the bytes that arrived, so that replay publishes the very same. */
  readonly data: string;
}
export interface DeadLetters {
  add(letter: Omit<DeadLetter, 'id' | 'at'>): Promise<string>;
  list(options: { readonly tenant?: string; readonly limit: number }): Promise<readonly DeadLetter[]>;
  get(id: string): Promise<DeadLetter | undefined>;
  /** Publishes the message again to its subject and removes the letter. */
  replay(id: string): Promise<void>;
  discard(id: string): Promise<void>;
}

/** Outcomes of dispatches: kept, and heard at once by who waits. */
export interface Outcomes {
  publish(outcome: Outcome): Promise<void>;
  /** The stored outcome with this envelope id, if it arrived. */
  find(tenant: string, task: string, envelopeId: string): Promise<Outcome | undefined>;
  /** Resolves with the outcome of this envelope id, or undefined after `timeoutMs` or abort. Must be called before the publish it waits for. */
  wait(tenant: string, task: string, envelopeId: string, timeoutMs: number, signal?: AbortSignal): Promise<Outcome | undefined>;
  /** Durable subscription: every outcome at least once, until `handle` resolves. */
  consume(durable: string, handle: (outcome: Outcome) => Promise<void>): Promise<AsyncDisposable>;
}

// ---- governance

export interface Signer {
  readonly kid: string;
  /** Raw Ed25519 signature, base64url. */
  sign(bytes: Uint8Array): string;
}
export interface SignatureVerifier {
  /** False for unknown keys as for wrong signatures. */
  verify(kid: string, bytes: Uint8Array, signature: string): boolean;
}

export interface PolicyStore {
  /** The slice of the bundle in force. @throws AIOS_POLICY_MISSING, AIOS_CAPABILITY_UNKNOWN */
  slice(capability: string): Promise<PolicySlice>;
  current(): Promise<SignedBundle>;
  publish(bundle: SignedBundle): Promise<void>;
}

export interface Mandates {
  /** Root mandate of a task, signed by the brain. */
  mint(grant: Grant): MandateToken;
  /** Narrower by construction; refuses a wider caveat. */
  attenuate(token: MandateToken, caveat: Partial<Grant>): MandateToken;
  /** Cached by digest until expiry. @throws AIOS_MANDATE_INVALID */
  verify(token: MandateToken): VerifiedMandate;
  /** The same mandate shown for one call: proven by its last key, useless for any other call. @throws AIOS_MANDATE_EXCEEDED for a sealed one */
  present(token: MandateToken, call: PresentedCall): MandateToken;
  /** @throws AIOS_MANDATE_INVALID for one that is not proven for this very call, or was proven too long ago */
  verifyPresented(token: MandateToken, call: PresentedCall): VerifiedMandate;
}

export interface ReserveRequest {
  readonly tenant: string;
  /** Of a lease: who holds it. */
  readonly task: string;
  /** Idempotency: the same attempt never reserves twice. */
  readonly attempt: string;
  readonly capability: string;
  readonly microUsd: number;
  readonly expiresAt: number;
  /** Levels between tenant and task. */
  readonly team?: string | undefined;
  readonly agent?: string | undefined;
  /**
   * `work` (when absent) holds money for one attempt and is released when it expires. `admission` holds a place in the rate and
   * the concurrency of a capability. `lease` holds money for a holder that spends out of sight: expired, it is charged in full until it reports.
   */
  readonly kind?: 'work' | 'admission' | 'lease' | undefined;
}
export type ReserveAnswer = { readonly granted: true; readonly reservation: string; readonly leftMicroUsd: number } | { readonly granted: false; readonly leftMicroUsd: number; readonly by: string; readonly retryAfterMs?: number | undefined };
export interface SettleRequest {
  readonly tenant: string;
  readonly reservation: string;
  readonly spentMicroUsd: number;
  /** What was admitted did not start after all: its place in the rate is given back. */
  readonly void?: true | undefined;
}
export interface BudgetView { readonly tenant: string; readonly capMicroUsd: number; readonly spentMicroUsd: number; readonly reservedMicroUsd: number }
/** Hierarchical budgets; a batch is decided member by member, in order, in one atomic step. */
export interface Budgets {
  reserve(requests: readonly ReserveRequest[]): Promise<readonly ReserveAnswer[]>;
  settle(requests: readonly SettleRequest[]): Promise<void>;
  view(tenant: string): Promise<BudgetView>;
  /** Whether starting tasks of this capability is limited for the tenant; where not, nobody reserves an admission. Seen late by a few seconds at most. */
  limited?(tenant: string, capability: string): Promise<boolean>;
}
/** What operators do with budgets, beside what tasks do. */
export interface BudgetRoots extends Budgets, AsyncDisposable {
  detail(tenant: string): Promise<BudgetDetail>;
  configure(tenant: string, change: BudgetChange): Promise<void>;
  limited(tenant: string, capability: string): Promise<boolean>;
}

export interface Ledger extends AsyncDisposable {
  /** Resolves after fsync; appends that wait together share one. @throws AIOS_LEDGER_UNAVAILABLE */
  append(records: readonly LedgerRecord[]): Promise<readonly LedgerAnchor[]>;
  head(): SignedHead | undefined;
  /** Every entry of a task over all logs of this directory, in log order. */
  find(task: string): Promise<readonly LedgerEntry[]>;
  /**
   * The decision of a task, if it was settled: what a driven-again settlement returns instead of a second record.
   * `elsewhere` looks at the logs of the other writers of this directory too, which costs reading what they wrote since the last look.
   */
  decision(task: string, options?: { readonly elsewhere?: boolean }): Promise<LedgerAnchor | undefined>;
}

/** Who applies effects. Implementations commit the change and the key in one transaction. */
export interface Effects {
  readonly kinds: readonly string[];
  /** At most once per (tenant, key): a second call returns the first answer. @throws AIOS_EFFECT_REFUSED, AIOS_EFFECT_UNKNOWN */
  apply(tenant: string, effect: ProposedEffect): Promise<AppliedEffect>;
}

export interface CapabilityRegistry {
  get(capability: string): Capability | undefined;
  list(): readonly Capability[];
  /** The agent kind that handles a capability. */
  kindOf(capability: string): string | undefined;
}

export interface TaskDirectory {
  /** Claims a key; returns the entry that holds it, ours or an earlier one. */
  claim(entry: TaskEntry): Promise<{ readonly entry: TaskEntry; readonly ours: boolean }>;
  find(tenant: string, taskId: string): Promise<TaskEntry | undefined>;
  /** Who holds a key, without claiming it. */
  claimed?(tenant: string, capability: string, key: string): Promise<TaskEntry | undefined>;
  /** The task goes on in another workflow. */
  moved(tenant: string, taskId: string, workflowId: string): Promise<void>;
  list(tenant: string, limit: number): Promise<readonly TaskEntry[]>;
}

/** Names one wait: the outcome of this envelope is what somebody was told to wait for. */
export interface Wait {
  readonly tenant: string;
  readonly task: string;
  readonly envelopeId: string;
}
/** Task tokens of workflows that were told to wait. */
export interface WaitTokens {
  /** Reports each wait that is there or comes, and then its end; each at least once. */
  watch(handle: (wait: Wait, there: boolean) => void): Promise<AsyncDisposable>;
  put(tenant: string, task: string, envelopeId: string, token: Uint8Array): Promise<void>;
  get(tenant: string, task: string, envelopeId: string): Promise<Uint8Array | undefined>;
  delete(tenant: string, task: string, envelopeId: string): Promise<void>;
}

/** Sends envelopes to the mailboxes of agents. */
export interface Dispatcher {
  publish(envelope: Envelope): Promise<{ readonly duplicate: boolean }>;
}

// ---- models and retrieval

export interface EmbedRequest { readonly texts: readonly string[]; readonly model?: string; readonly deadline: number; readonly tenant: string; readonly trace?: Trace | undefined; readonly sla?: SlaTier | undefined }
export interface EmbedAnswer { readonly vectors: readonly Float32Array[]; readonly receipt: ModelReceipt }
export interface GenerateRequest { readonly system: string; readonly prompt: string; readonly maxTokens: number; readonly deadline: number; readonly tenant: string; readonly trace?: Trace | undefined }
export interface GenerateAnswer { readonly text: string; readonly receipt: ModelReceipt }
/** `head` names a trained classifier; confidence is calibrated, scores are sorted, largest first. */
export interface ClassifyRequest { readonly texts: readonly string[]; readonly head: string; readonly deadline: number; readonly tenant: string; readonly trace?: Trace | undefined; readonly sla?: SlaTier | undefined }
export interface Classification { readonly label: string; readonly confidence: number; readonly scores: readonly { readonly label: string; readonly score: number }[] }
export interface ClassifyAnswer { readonly results: readonly Classification[]; readonly receipt: ModelReceipt }

/** Who runs models: local workers, OpenAI-compatible servers. Declares traits; shared code reads traits, never names. */
export interface ModelProvider {
  readonly name: string;
  readonly inside: boolean;
  readonly region: string;
  embed?(request: EmbedRequest): Promise<EmbedAnswer>;
  generate?(request: GenerateRequest): Promise<GenerateAnswer>;
  classify?(request: ClassifyRequest): Promise<ClassifyAnswer>;
  /** Models it offers, when it knows; the first is its default. */
  readonly models?: readonly string[];
}

export interface SourceDocument { readonly id: string; readonly title: string; readonly text: string; readonly version?: string; readonly labels?: Readonly<Record<string, string>> }
export interface Fragment {
  readonly document: string;
  readonly chunk: string;
  readonly title: string;
  readonly heading: string;
  readonly text: string;
  readonly digest: string;
  /** Fused score, larger is better; comparable within one answer only. */
  readonly score: number;
  /** Raw signals for calibration: cosine of the query, BM25, ranks (1-based, 0 = absent). */
  readonly signals: { readonly cosine: number; readonly bm25: number; readonly denseRank: number; readonly lexicalRank: number };
}
export interface SearchRequest { readonly tenant: string; readonly space: string; readonly query: string; readonly limit: number; readonly principal: Principal; readonly deadline: number; readonly lexicalOnly?: boolean; readonly trace?: Trace | undefined }
/** `weights`: inverse document frequency of each distinct query term in the space's statistics; a term the space never uses weighs most. */
export interface SearchAnswer { readonly fragments: readonly Fragment[]; readonly receipt: RetrievalReceipt; readonly model?: ModelReceipt; readonly weights?: Readonly<Record<string, number>> }
export interface SampleRequest { readonly tenant: string; readonly space: string; readonly count: number; readonly principal: Principal }
/** What pages of a space are about, spread evenly over it; the same for the same epoch and principal. */
export interface SpaceSample { readonly epoch: string; readonly headings: readonly { readonly document: string; readonly question: string }[] }
export interface IndexManifest {
  readonly v: 1;
  readonly space: string;
  readonly tenant: string;
  readonly epoch: string;
  readonly engine: string;
  readonly embedder: string;
  readonly tokenizer: string;
  readonly chunker: string;
  readonly documents: number;
  readonly chunks: number;
  /** Digest over (document id, content digest), in document order. */
  readonly corpusDigest: string;
  readonly builtAt: number;
}
export interface IndexProgress { readonly done: number; readonly total: number; readonly stage: 'chunk' | 'embed' | 'write' }
/** The filter by tenant and slice is compiled from the principal and added by the engine, never by the caller. */
export interface Retrieval extends AsyncDisposable {
  readonly engine: string;
  /** Builds an epoch and switches to it; an unchanged corpus returns the manifest in force without work. */
  index(tenant: string, space: string, documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>, onProgress?: (progress: IndexProgress) => void): Promise<{ readonly manifest: IndexManifest; readonly rebuilt: boolean }>;
  search(request: SearchRequest): Promise<SearchAnswer>;
  manifest(tenant: string, space: string): Promise<IndexManifest | undefined>;
  /** @throws AIOS_SPACE_UNKNOWN */
  sample?(request: SampleRequest): Promise<SpaceSample>;
  /** Hidden from reads at once. */
  erase(tenant: string, space: string, document: string): Promise<void>;
}

// ---- systems of record, read only

export type RecordRow = Readonly<Record<string, string | number | boolean | null>>;
export interface RecordQuery { readonly kind: string; readonly where: Readonly<Record<string, string | number | boolean>>; readonly limit: number }
/** What agents may look up before they propose anything; changes go through `Effects` only. */
export interface Records {
  readonly kinds: readonly string[];
  /** Rows of this tenant that equal every field of `where`. @throws AIOS_INPUT_INVALID for a kind or field that is not offered */
  find(tenant: string, query: RecordQuery): Promise<readonly RecordRow[]>;
}

// ---- the brain as its clients see it

export interface StartRequest {
  readonly principal: Principal;
  readonly capability: string;
  readonly input: unknown;
  /** Idempotency key within tenant and capability; made up when absent. */
  readonly key?: string;
  readonly deadlineMs?: number;
  readonly trace?: Trace | undefined;
}
export interface TaskView {
  readonly entry: TaskEntry;
  readonly state: TaskState;
  /** Present while a person is waited for. */
  readonly waiting?: { readonly approvers: string; readonly quorum: number; readonly expiresAt: number; readonly workflowId: string; readonly card: string; readonly json: string;
    /** Digest of the action as it stands: what a decision token names. */
    readonly action?: string;
    readonly reason?: string; readonly costMicroUsd?: number;
    /** What policy looked at, and the machine's words with what they rest on. */
    readonly facts?: Facts; readonly proposal?: string; readonly citations?: readonly { readonly document: string; readonly quote: string }[];
  };
  readonly result?: TaskResult;
}
/** Idempotent start by key, wait, watch, cancel, decide: what the HTTP API, the CLI and embedded hosts share. */
export interface Tasks {
  /** @throws AIOS_INPUT_INVALID, AIOS_CAPABILITY_UNKNOWN, AIOS_KEY_CONFLICT before anything starts */
  start(request: StartRequest): Promise<{ readonly entry: TaskEntry; readonly replayed: boolean }>;
  /** `undefined` when the task is not finished within `timeoutMs`. */
  result(tenant: string, taskId: string, timeoutMs: number): Promise<TaskResult | undefined>;
  view(tenant: string, taskId: string): Promise<TaskView>;
  watch(tenant: string, taskId: string, signal: AbortSignal): AsyncIterable<TaskView>;
  cancel(tenant: string, taskId: string, by: string): Promise<void>;
  list(tenant: string, options: { readonly state?: TaskState; readonly limit: number }): Promise<readonly TaskView[]>;
  decide(tenant: string, taskId: string, decision: Decision): Promise<{ readonly accepted: boolean; readonly message: string; readonly code?: ErrorCode }>;
}
