// What a preset is: the protective settings of a deployment under one name, as plain data.
// Owns: the shape. Never holds a secret or an address: those are settings of their own.
// Others may assume: a member says everything, so two presets differ only in what their files show.

import type { RecordDetail, Redaction, Retention } from '../../contracts/verdict.ts';

export interface Preset {
  readonly name: string;
  /** One line for `aios doctor` and the guide. */
  readonly about: string;
  /** Payloads in Temporal are encrypted, failures and memos too. */
  readonly payloadCodec: boolean;
  /** The message server that this project starts encrypts its files; a server of yours is yours to set up. */
  readonly storeCipher: boolean;
  /** People read payloads in the Temporal UI through a codec server. */
  readonly codecServer: boolean;
  /** A decision counts only where it is proven who made it. */
  readonly provenApproversOnly: boolean;
  /** "Inside the boundary" means this machine: a model server at another address is outside, whatever it is declared to be, so confidential data never reaches it. */
  readonly insideIsThisMachine: boolean;
  /** Obligations of a decision for which no policy says otherwise. */
  readonly redact: Redaction;
  readonly retention: Retention;
  readonly record: RecordDetail;
}
