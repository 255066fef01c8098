// The static word-piece table: a sentence is the normalised sum of its pieces' rows. Cheap rung, prefilter, routing, cache keys.
// Owns: reading the .npy table (int8, C order) and the sum. Needs no native code, so it runs at the edge and in tests.
// Never reads a file: bytes are passed in. Blind to word order and negation; never the only retriever.
// Others may assume: vectors have length `dimensions` and L2 norm 1, or are all zero for text without any known piece.

import { fail } from '../../contracts/errors.ts';
import type { WordPiece } from './wordpiece.ts';

export interface StaticTable {
  readonly dimensions: number;
  embed(text: string): Float32Array;
  /** The same for pieces that are already known. */
  embedPieces(ids: readonly number[]): Float32Array;
}

/** Pieces looked at in one text; past it the rest does not count. */
const PIECES_MAX = 512;

/** @throws AIOS_CONFIG_INVALID when the bytes are not an int8 table with one row per piece */
export function createStaticTable(npy: Uint8Array, wordPiece: WordPiece): StaticTable {
  const { rows, dimensions, data } = parseInt8Npy(npy);
  if (rows !== wordPiece.size) throw fail('AIOS_CONFIG_INVALID', `the table has ${rows} rows, the vocabulary ${wordPiece.size} pieces`);
  const embedPieces = (ids: readonly number[]): Float32Array => normalised(sumRows(data, dimensions, ids));
  return { dimensions, embedPieces, embed: (text) => embedPieces(wordPiece.pieces(text, PIECES_MAX)) };
}

function sumRows(data: Int8Array, dimensions: number, ids: readonly number[]): Float32Array {
  const sum = new Float32Array(dimensions);
  for (let i = 0; i < ids.length; i++) {
    const row = (ids[i] as number) * dimensions;
    for (let d = 0; d < dimensions; d++) sum[d] = (sum[d] as number) + (data[row + d] as number);
  }
  return sum;
}

function normalised(vector: Float32Array): Float32Array {
  let square = 0;
  for (const value of vector) square += value * value;
  if (square === 0) return vector;
  const scale = 1 / Math.sqrt(square);
  for (let d = 0; d < vector.length; d++) vector[d] = (vector[d] as number) * scale;
  return vector;
}

const MAGIC = '\x93NUMPY';

/** NumPy format 1.0: magic, version, header length (little endian), a Python dict, then the values. */
function parseInt8Npy(bytes: Uint8Array): { readonly rows: number; readonly dimensions: number; readonly data: Int8Array } {
  const magic = String.fromCharCode(...bytes.subarray(0, 6));
  if (magic !== MAGIC || bytes[6] !== 1) throw fail('AIOS_CONFIG_INVALID', 'the table is not a NumPy 1.0 file');
  const start = 10 + (bytes[8] as number) + 256 * (bytes[9] as number);
  const header = new TextDecoder().decode(bytes.subarray(10, start));
  const shape = /'shape': \((\d+), (\d+)\)/.exec(header);
  if (!header.includes("'|i1'") || !header.includes("'fortran_order': False") || shape === null) throw fail('AIOS_CONFIG_INVALID', 'the table is not a two-dimensional int8 array in C order');
  const [rows, dimensions] = [Number(shape[1]), Number(shape[2])];
  if (bytes.byteLength - start !== rows * dimensions) throw fail('AIOS_CONFIG_INVALID', 'the table is cut off');
  return { rows, dimensions, data: new Int8Array(bytes.buffer, bytes.byteOffset + start, rows * dimensions) };
}
