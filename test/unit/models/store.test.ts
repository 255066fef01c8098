// The model store and the shipped head: nothing is computed with a file that is not the one the manifest names.
// Owns: proof that tampering is refused by name, and that head, encoder and training data belong together.
// Never loads the graph. Others may assume: the shipped manifest opens on every machine that has the checkout.

import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HeadFile, parseHead } from '../../../agents/model-worker/head.ts';
import { openModelStore, SHIPPED_MODELS } from '../../../infra/onnx/store.ts';
import { accuracyOf, aurocOf, calibrationErrorOf, foldsOf, intervalOf, temperatureOf } from '../../../infra/models/train/evaluate.ts';
import { fitLogistic, logitsOf } from '../../../infra/models/train/logistic.ts';
import { parseExamples, toHeadFile, train } from '../../../infra/models/train/main.ts';
import { createSeededRandom } from '../../kit/random.ts';

const shipped = fileURLToPath(new URL('../../../infra/models', import.meta.url));
const headBytes = readFileSync(join(shipped, 'intents/head.json'));
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'aios-models-'));
  for (const part of ['manifest.json', 'minilm-static-256', 'intents']) cpSync(join(shipped, part), join(dir, part), { recursive: true });
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Manifest { models: { engine: string }[]; heads: { head: string; file: { path: string; sha256: string } }[] }
/** A manifest without the large graph, changed by a test. */
function manifestWith(change: (manifest: Manifest) => void): string {
  const manifest = JSON.parse(readFileSync(SHIPPED_MODELS, 'utf8')) as Manifest;
  manifest.models = manifest.models.filter((model) => model.engine === 'table');
  manifest.heads = [];
  change(manifest);
  const path = join(dir, 'changed.json');
  writeFileSync(path, JSON.stringify(manifest));
  return path;
}

describe('model store', () => {
  it('store - opens what is shipped, with one digest a model and a head that fits its encoder', async () => {
    const { entries, heads, graphs } = await openModelStore();
    expect(entries.map((entry) => entry.model)).toEqual(['minilm-l6-int8', 'minilm-static-256']);
    expect(heads.map((head) => head.encoderDigest)).toEqual([entries[0]?.digest]);
    expect(graphs).toHaveLength(1);
    expect(entries[0]?.wordPiece.pieces('cancel my plan', 9)).toEqual(entries[1]?.wordPiece.pieces('cancel my plan', 9));
  });

  it('store - refuses a file with one byte changed, and names it', async () => {
    const path = join(dir, 'minilm-static-256/vocab.txt');
    const bytes = readFileSync(path);
    const changed = Buffer.from(bytes);
    changed[5_000] = (changed[5_000] as number) ^ 1;
    writeFileSync(path, changed);
    await expect(openModelStore(manifestWith(() => undefined))).rejects.toMatchObject({ code: 'AIOS_CONFIG_INVALID', message: expect.stringContaining('vocab.txt') as string });
    writeFileSync(path, bytes);
    await expect(openModelStore(manifestWith(() => undefined))).resolves.toBeDefined();
  });

  it.each<[string, (manifest: Manifest) => void]>([
    ['a path that leaves the folder', (manifest) => manifest.heads.push({ head: 'x', file: { path: 'a/../../x', sha256: '0'.repeat(64) } })],
    ['a file that is not there', (manifest) => manifest.heads.push({ head: 'x', file: { path: 'gone.json', sha256: '0'.repeat(64) } })],
    ['a head under another name', (manifest) => manifest.heads.push({ head: 'x', file: { path: 'intents/head.json', sha256: createHash('sha256').update(headBytes).digest('hex') } })],
  ])('store - refuses %s', async (_, change) => {
    await expect(openModelStore(manifestWith(change))).rejects.toMatchObject({ code: 'AIOS_CONFIG_INVALID' });
  });
});

describe('intent head', () => {
  it('intent head - was trained on the shipped utterances and knows all their intents', () => {
    const data = readFileSync(fileURLToPath(new URL('../../../data/support/intents.jsonl', import.meta.url)));
    const file = JSON.parse(headBytes.toString('utf8')) as HeadFile;
    expect(file.trainingDigest, 'the utterances changed: run "npm run train"').toBe(`sha256:${createHash('sha256').update(data).digest('hex')}`);
    expect(file.labels).toEqual([...new Set(parseExamples(data.toString('utf8')).map((example) => example.intent))].toSorted());
    expect(file.none).toBe('none');
  });

  it('intent head - gives probabilities', () => {
    const scores = parseHead(headBytes).score(Float32Array.from({ length: 384 }, (_, d) => Math.sin(d) / 14));
    expect(scores.reduce((sum, score) => sum + score, 0)).toBeCloseTo(1, 9);
    expect(Math.min(...scores)).toBeGreaterThanOrEqual(0);
  });

  it('intent head - refuses a file whose parts do not fit together', () => {
    const file = JSON.parse(headBytes.toString('utf8')) as HeadFile;
    const bytes = (over: object): Uint8Array => new TextEncoder().encode(JSON.stringify({ ...file, ...over }));
    expect(() => parseHead(bytes({ bias: file.bias.slice(1) }))).toThrow(expect.objectContaining({ code: 'AIOS_CONFIG_INVALID' }));
    expect(() => parseHead(bytes({ temperature: 0 }))).toThrow(expect.objectContaining({ code: 'AIOS_INPUT_INVALID' }));
    expect(() => parseHead(bytes({ extra: 1 }))).toThrow(expect.objectContaining({ code: 'AIOS_INPUT_INVALID' }));
  });
});

/** Three clouds that overlap a little, on the unit circle of four dimensions. */
function clouds(count: number, spread: number, seed: number): { readonly vectors: Float32Array[]; readonly intents: string[] } {
  const random = createSeededRandom(seed);
  const intents = Array.from({ length: count }, (_, i) => ['a', 'b', 'none'][i % 3] as string);
  const vectors = intents.map((intent) => {
    const raw = [0, 1, 2, 3].map((d) => (d === ['a', 'b', 'none'].indexOf(intent) ? 1 : 0) + spread * (random.next() - 0.5));
    return Float32Array.from(raw, (value) => value / Math.hypot(...raw));
  });
  return { vectors, intents };
}

describe('training', () => {
  it('training - the fit has no gradient left: moving any weight makes the loss worse', () => {
    const { vectors, intents } = clouds(90, 2, 1);
    const y = intents.map((intent) => ['a', 'b', 'none'].indexOf(intent));
    const { rows, loss } = fitLogistic(vectors, y, { classes: 3, l2: 1e-2 });
    const lossOf = (moved: readonly Float64Array[]): number => {
      const fit = vectors.reduce((sum, x, i) => {
        const logits = logitsOf({ rows: moved }, x);
        return sum + Math.log(logits.reduce((total, logit) => total + Math.exp(logit), 0)) - (logits[y[i] as number] as number);
      }, 0) / vectors.length;
      return fit + (1e-2 / 2) * moved.reduce((sum, row) => sum + row.slice(0, 4).reduce((part, value) => part + value ** 2, 0), 0);
    };
    expect(lossOf(rows)).toBeCloseTo(loss, 10);
    for (let k = 0; k < 3; k++) {
      for (let d = 0; d < 5; d++) {
        for (const step of [-0.01, 0.01]) expect(lossOf(rows.map((row, i) => (i === k ? row.map((value, j) => (j === d ? value + step : value)) : row)))).toBeGreaterThan(loss);
      }
    }
  });

  it('training - the same data give the same head, and rounding to int8 changes no decision', () => {
    const { vectors, intents } = clouds(150, 1.5, 2);
    const [one, two] = [train(vectors, intents), train(vectors, intents)];
    expect(one).toEqual(two);
    const file = toHeadFile(one, { model: 'm', digest: `sha256:${'0'.repeat(64)}`, dimensions: 4 }, `sha256:${'1'.repeat(64)}`);
    const head = parseHead(new TextEncoder().encode(JSON.stringify(file)));
    const same = vectors.filter((vector) => {
      const exact = logitsOf(one.fit, vector);
      const scores = head.score(vector);
      return exact.indexOf(Math.max(...exact)) === scores.indexOf(Math.max(...scores));
    });
    expect(same.length / vectors.length).toBeGreaterThan(0.98);
  });

  it('training - held-out confidence is calibrated, and held-out figures are worse than those on the training rows', () => {
    const { vectors, intents } = clouds(600, 3, 3);
    const { figures, fit, labels } = train(vectors, intents, 11, [1e-6]);
    const trained = intents.filter((intent, i) => {
      const logits = logitsOf(fit, vectors[i] as Float32Array);
      return labels[logits.indexOf(Math.max(...logits))] === intent;
    }).length / intents.length;
    expect(figures.ece).toBeLessThan(0.08);
    expect(figures.accuracy).toBeLessThanOrEqual(trained + 0.02);
    expect(figures.accuracyInterval[0]).toBeLessThan(figures.accuracy);
  });

  it('training - folds hold their part of each class and depend on the seed only', () => {
    const y = Array.from({ length: 100 }, (_, i) => (i < 80 ? 0 : 1));
    const fold = foldsOf(y, 5, 1);
    for (let held = 0; held < 5; held++) expect([0, 1].map((label) => y.filter((value, i) => value === label && fold[i] === held).length)).toEqual([16, 4]);
    expect(foldsOf(y, 5, 1)).toEqual(fold);
    expect(foldsOf(y, 5, 2)).not.toEqual(fold);
  });

  it('training - the temperature undoes a known overconfidence', () => {
    const random = createSeededRandom(4);
    const logits = Array.from({ length: 4_000 }, () => [0, 8 * (random.next() - 0.5)]);
    const y = logits.map(([, logit]) => (random.next() < 1 / (1 + Math.exp(-(logit as number) / 3)) ? 1 : 0));
    expect(temperatureOf(logits, y)).toBeCloseTo(3, 0);
  });

  it('training - figures are what they say', () => {
    expect(calibrationErrorOf([{ right: true, confidence: 0.95 }, { right: false, confidence: 0.95 }])).toBeCloseTo(0.45);
    expect(accuracyOf([{ right: true, confidence: 1 }, { right: false, confidence: 1 }])).toBe(0.5);
    expect(aurocOf([3, 2], [1, 2])).toBe(0.875);
    const [low, high] = intervalOf(50, 100);
    expect([low, high].map((value) => Math.round(value * 100))).toEqual([40, 60]);
  });
});
