// Unit vectors as int8 with one scale each, and the flat scan over them: exact order, no graph to build or to keep.
// Owns: the quantised form and the dot product. Never embeds. Others may assume: the cosine of two quantised unit
// vectors is within 0.01 of the exact one, and 100,000 chunks of 384 dimensions scan in under 50 ms on one core.

export interface QuantisedVector {
  readonly values: Int8Array;
  readonly scale: number;
}

/** All vectors of an epoch in one block, row by row. */
export interface VectorBlock {
  readonly dimensions: number;
  readonly values: Int8Array;
  readonly scales: Float32Array;
}

export const NO_VECTORS: VectorBlock = Object.freeze({ dimensions: 0, values: new Int8Array(0), scales: new Float32Array(0) });

/** Only the direction is kept: `values * scale` has length 1. A zero vector stays zero. */
export function quantise(vector: Float32Array): QuantisedVector {
  let largest = 0;
  for (const value of vector) largest = Math.max(largest, Math.abs(value));
  if (largest === 0 || !Number.isFinite(largest)) return { values: new Int8Array(vector.length), scale: 0 };
  const values = Int8Array.from(vector, (value) => Math.round((value / largest) * 127));
  let square = 0;
  for (const value of values) square += value * value;
  return { values, scale: Math.fround(1 / Math.sqrt(square)) };
}

export function blockOf(vectors: readonly QuantisedVector[]): VectorBlock {
  const dimensions = vectors[0]?.values.length ?? 0;
  const values = new Int8Array(dimensions * vectors.length);
  vectors.forEach((vector, row) => values.set(vector.values, row * dimensions));
  return { dimensions, values, scales: Float32Array.from(vectors, (vector) => vector.scale) };
}

export const rowOf = (block: VectorBlock, row: number): QuantisedVector => ({
  values: block.values.subarray(row * block.dimensions, (row + 1) * block.dimensions),
  scale: block.scales[row] ?? 0,
});

export const dequantise = (vector: QuantisedVector): Float32Array => Float32Array.from(vector.values, (value) => value * vector.scale);

/** Cosine of the query with every row; the query need not have length 1. */
export function cosines(block: VectorBlock, query: Float32Array): Float32Array {
  const { dimensions, values, scales } = block;
  const out = new Float32Array(scales.length);
  if (dimensions !== query.length) return out;
  const unit = normalised(query);
  for (let row = 0, at = 0; row < scales.length; row++, at += dimensions) {
    let sum = 0;
    for (let i = 0; i < dimensions; i++) sum += (values[at + i] as number) * (unit[i] as number);
    out[row] = sum * (scales[row] as number);
  }
  return out;
}

function normalised(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return length === 0 ? vector : vector.map((value) => value / length);
}

/** Of two exact vectors of one length; the cosine where both are unit vectors. */
export function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}
