// The house rules as a test: rings, cycles, file headers, no stray `any`, and a docs page that equals the error table.
// Owns: what may import what, and what every source file must look like. Never checks taste.
// Others may assume: a file that passes here may be moved within its ring without asking anybody.

import { readFileSync, readdirSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { errorsPage } from '../infra/docs/errors-page.ts';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const RINGS = ['contracts', 'policies', 'workflows', 'activities', 'agents', 'infra'] as const;
type Ring = (typeof RINGS)[number];

/** Which rings, and which packages, a ring may import. Node built-ins are named as `node:`. */
const MAY: Readonly<Record<Ring, { readonly rings: readonly Ring[]; readonly packages: readonly string[] | 'any' }>> = {
  contracts: { rings: ['contracts'], packages: ['zod', '@noble/hashes'] },
  policies: { rings: ['contracts', 'policies'], packages: ['zod'] },
  workflows: { rings: ['contracts', 'policies', 'workflows'], packages: ['@temporalio/workflow', '@temporalio/common'] },
  activities: { rings: ['contracts', 'policies', 'activities'], packages: ['@temporalio/activity', '@temporalio/common'] },
  agents: { rings: ['contracts', 'policies', 'agents'], packages: ['zod', '@noble/hashes'] },
  infra: { rings: [...RINGS], packages: 'any' },
};

/** Vendors and the folders that may know them. */
const VENDORS: readonly (readonly [RegExp, readonly string[]])[] = [
  [/^@nats-io\//, ['infra/nats']],
  [/^@temporalio\//, ['infra/temporal', 'infra/processes', 'infra/doors', 'infra/dev']],
  [/^@qdrant\//, ['infra/qdrant']],
  [/^onnxruntime-node$/, ['infra/onnx', 'infra/models']],
  [/^pino$/, ['infra/log']],
  [/^@opentelemetry\//, ['infra/telemetry']],
  [/^prom-client$/, ['infra/telemetry']],
  [/^@cedar-policy\//, ['infra/cedar']],
  [/^(hono|@hono\/.*)$/, ['infra/http']],
  [/^commander$/, ['infra/cli', 'infra/dev']],
];

interface Source { readonly path: string; readonly text: string; readonly imports: readonly { readonly from: string; readonly typeOnly: boolean }[] }

const IMPORT = /^(?:import|export)\s+(type\s+)?(?:[^'"]*?from\s+)?['"]([^'"]+)['"]/gm;

function sources(): Source[] {
  return RINGS.flatMap((ring) => list(join(root, ring))).map((path) => {
    const text = readFileSync(path, 'utf8');
    const imports = [...text.matchAll(IMPORT)].map((match) => ({ from: match[2] ?? '', typeOnly: match[1] !== undefined }));
    return { path: relative(root, path), text, imports };
  });
}

function list(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : list(path);
    return /\.(ts|mjs)$/.test(entry.name) ? [path] : [];
  });
}

const all = sources();
const ringOf = (path: string): Ring => path.split('/')[0] as Ring;
const packageOf = (from: string): string => from.split('/').slice(0, from.startsWith('@') ? 2 : 1).join('/');

describe('tidy - rings', () => {
  test('a file imports only what its ring may', () => {
    const wrong = all.flatMap(({ path, imports }) => imports.filter(({ from }) => !allowed(path, from)).map(({ from }) => `${path} imports ${from}`));
    expect(wrong).toEqual([]);
  });

  test('a vendor is known to its own folder only', () => {
    const wrong = all.flatMap(({ path, imports }) => imports
      .filter(({ from }) => VENDORS.some(([vendor, folders]) => ringOf(path) === 'infra' && vendor.test(packageOf(from)) && !folders.some((folder) => path.startsWith(`${folder}/`))))
      .map(({ from }) => `${path} imports ${from}`));
    expect(wrong).toEqual([]);
  });

  test('no import cycles, type imports left out', () => {
    expect(cycles(all)).toEqual([]);
  });
});

describe('tidy - files', () => {
  test('every file opens with a header of 3 to 8 comment lines', () => {
    const wrong = all.filter(({ text }) => {
      const lines = text.startsWith('#!') ? text.split('\n').slice(1) : text.split('\n');
      const end = lines.findIndex((line) => !line.startsWith('//'));
      return end < 3 || end > 8;
    });
    expect(wrong.map(({ path }) => path)).toEqual([]);
  });

  test('no stray any, no suppressed type error, no TODO without an issue', () => {
    const bad = /(?::\s*|<\s*|\bas\s+)any\b(?=\s*(?:[;,)>\]=&{[]|$))|@ts-(?:ignore|nocheck|expect-error)|\bTODO\b(?!\(#\d+\))|\bFIXME\b/;
    const wrong = all.flatMap(({ path, text }) => text.split('\n').flatMap((line, i) => (bad.test(line.replace(/\/\/.*|'(?:[^'\\]|\\.)*'|`[^`]*`/g, '')) ? [`${path}:${i + 1}: ${line.trim()}`] : [])));
    expect(wrong).toEqual([]);
  });

  test('file names are kebab-case', () => {
    expect(all.map(({ path }) => path).filter((path) => !/^[a-z0-9./-]+$/.test(path))).toEqual([]);
  });
});

describe('tidy - documents', () => {
  test('docs/errors.md equals the error table', () => {
    expect(readFileSync(join(root, 'docs/errors.md'), 'utf8')).toBe(errorsPage());
  });
});

function allowed(path: string, from: string): boolean {
  const may = MAY[ringOf(path)];
  if (from.startsWith('.')) {
    const target = relative(root, resolve(root, dirname(path), from));
    return may.rings.some((ring) => target.startsWith(`${ring}/`)) || target === 'package.json' || (ringOf(path) === 'infra' && /^(test\/kit|data|examples)\//.test(target));
  }
  if (may.packages === 'any') return true;
  if (from.startsWith('node:') || builtinModules.includes(from)) return false;
  return may.packages.includes(packageOf(from));
}

/** Strongly connected files by value imports (Tarjan). */
function cycles(files: readonly Source[]): string[][] {
  const known = new Set(files.map(({ path }) => path));
  const edges = new Map(files.map(({ path, imports }) => [path, imports.filter(({ from, typeOnly }) => from.startsWith('.') && !typeOnly).map(({ from }) => relative(root, resolve(root, dirname(path), from))).filter((target) => known.has(target))]));
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  const visit = (at: string): void => {
    index.set(at, index.size);
    low.set(at, index.get(at) ?? 0);
    stack.push(at);
    for (const next of edges.get(at) ?? []) {
      if (!index.has(next)) visit(next);
      if (stack.includes(next)) low.set(at, Math.min(low.get(at) ?? 0, low.get(next) ?? 0));
    }
    if (low.get(at) !== index.get(at)) return;
    const group = stack.splice(stack.indexOf(at));
    if (group.length > 1) found.push(group.sort());
  };
  for (const { path } of files) if (!index.has(path)) visit(path);
  return found;
}
