// What a slot's parent and child say to each other over the fork's channel (structured clone, so typed arrays travel as they are).
// Owns: the four message shapes. Never crosses a machine: both ends are one build.
// Others may assume: the child answers every `run` with exactly one `done` or `fault` of the same id, in order.

import type { GraphSpec } from './store.ts';

export type ToSlot =
  | { readonly kind: 'open'; readonly graphs: readonly GraphSpec[]; readonly threads: number }
  | { readonly kind: 'run'; readonly id: number; readonly model: string; readonly rows: number; readonly width: number; readonly ids: Int32Array; readonly lengths: Int32Array };

export type FromSlot =
  | { readonly kind: 'ready'; readonly warmUp: readonly { readonly model: string; readonly tokens: number; readonly ms: number }[] }
  | { readonly kind: 'refused'; readonly message: string }
  | { readonly kind: 'done'; readonly id: number; readonly vectors: Float32Array; readonly deviceUs: number; readonly rssBytes: number }
  | { readonly kind: 'fault'; readonly id: number; readonly message: string };
