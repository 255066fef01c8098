// Vectors for training: each text alone through the shipped encoder, as the worker would do it.
// Owns: one slot for the length of a training run. Never batches: dynamic quantisation makes a vector depend a little on its company.
// Others may assume: order is kept, and the encoder was verified by digest.

import type { ModelEntry } from '../../../agents/model-worker/worker.ts';
import { fail } from '../../../contracts/errors.ts';
import { createOnnxSlots } from '../../onnx/slot.ts';
import { openModelStore } from '../../onnx/store.ts';

export interface Encoder extends AsyncDisposable {
  readonly entry: ModelEntry;
  embed(text: string): Promise<Float32Array>;
}

export async function openEncoder(model: string): Promise<Encoder> {
  const store = await openModelStore(undefined, { heads: false });
  const entry = store.entries.find((each) => each.model === model);
  if (entry === undefined) throw fail('AIOS_MODEL_UNKNOWN', model);
  const slot = await createOnnxSlots({ graphs: store.graphs, slots: 1 }).spawn(0);
  return {
    entry,
    async embed(text) {
      const ids = Int32Array.from(entry.wordPiece.encode(text, entry.tokensMax));
      return (await slot.run({ model, rows: 1, width: ids.length, ids, lengths: Int32Array.of(ids.length) })).vectors;
    },
    async [Symbol.asyncDispose]() {
      slot.kill();
      await slot.gone;
    },
  };
}
