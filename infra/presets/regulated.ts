// The preset for data of real people: nothing that was said lies anywhere in the clear but in memory and in the system of record.
// Owns: its values. Never weakens a policy: obligations here are the least, policies may ask for more.
// Others may assume: with it every payload at rest needs a key, and every decision a proof of who made it.

import type { Preset } from './preset.ts';

export const regulated: Preset = {
  name: 'regulated',
  about: 'payloads and messages encrypted at rest, proven approvers only, confidential data on this machine only',
  payloadCodec: true,
  storeCipher: true,
  codecServer: true,
  provenApproversOnly: true,
  insideIsThisMachine: true,
  redact: 'standard',
  retention: 'standard',
  record: 'full',
};
