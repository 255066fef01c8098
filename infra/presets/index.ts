// The presets on offer: one file a member, one line here.
// Owns: the list and the look-up by name. Never knows what a member means.
// Others may assume: the first is the one that holds when nobody chooses.

import { development } from './development.ts';
import type { Preset } from './preset.ts';
import { regulated } from './regulated.ts';

export type { Preset } from './preset.ts';

export const PRESETS: readonly Preset[] = [development, regulated];

export const presetNamed = (name: string): Preset | undefined => PRESETS.find((one) => one.name === name);
