// The preset a home starts with: everything can be read with the tools at hand.
// Owns: its values. Never meant for data of real people.
// Others may assume: nothing here needs a key or a second login.

import type { Preset } from './preset.ts';

export const development: Preset = {
  name: 'development',
  about: 'payloads in the clear, any claimed approver of the group',
  payloadCodec: false,
  storeCipher: false,
  codecServer: false,
  provenApproversOnly: false,
  insideIsThisMachine: false,
  redact: 'none',
  retention: 'standard',
  record: 'full',
};
