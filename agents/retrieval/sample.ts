// An even sample of what the pages of a space are about: headings as questions, to set thresholds from the corpus itself.
// Owns: which chunks are taken. Never uses chance: the same chunks give the same sample.
// Others may assume: one per document while there are documents left, in the order of the epoch.

import type { SpaceSample } from '../../contracts/ports.ts';

export interface Sampled {
  readonly document: string;
  readonly heading: string;
}

export function sampleHeadings(chunks: readonly Sampled[], count: number): SpaceSample['headings'] {
  const taken = new Set<number>();
  const documents = new Set<string>();
  for (let i = 0; i < Math.min(count, chunks.length); i++) {
    const from = Math.floor(((i + 0.5) * chunks.length) / count);
    const row = nextRow(chunks, from, (at) => !taken.has(at) && !documents.has(chunks[at]?.document ?? '')) ?? nextRow(chunks, from, (at) => !taken.has(at));
    if (row === undefined) break;
    taken.add(row);
    documents.add(chunks[row]?.document ?? '');
  }
  return [...taken].sort((a, b) => a - b).map((row) => toQuestion(chunks[row] as Sampled));
}

/** The first row from `from` on, and round again, that will do. */
function nextRow(chunks: readonly Sampled[], from: number, will: (row: number) => boolean): number | undefined {
  for (let step = 0; step < chunks.length; step++) {
    const row = (from + step) % chunks.length;
    if (will(row)) return row;
  }
  return undefined;
}

/** Title and section, the last two parts of the path. */
const toQuestion = ({ document, heading }: Sampled): SpaceSample['headings'][number] => ({ document, question: heading.split(' > ').slice(-2).join(' ') });
