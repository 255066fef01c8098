// Hello world as its reader runs it: from the sources, and from the packed package in an empty project.
// Owns: the proof that the examples work as printed and that the package is complete.
// The second test packs, installs through npm and runs on the Node that comes with the package.

import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../', import.meta.url));
const hello = join(root, 'examples', 'hello');
const SAYS = /^You asked: Where is my order\?\n(t-\w+ \w+\n)*t-\w+ waiting\nAccepted: approved\.\n(t-\w+ \w+\n)*t-\w+ done\nWas that a question\?\n$/;

async function temporaryFolder(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'aios-hello-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) };
}

test('hello world - runs a governed workflow, waits for a person and ends, from the sources', { timeout: 240_000 }, async () => {
  await using home = await temporaryFolder();
  const { stdout } = await run(process.execPath, ['--conditions=aios-source', join(hello, 'main.ts')], { cwd: root, env: { ...process.env, NODE_OPTIONS: '', AIOS_HOME: home.path } });
  expect(stdout).toMatch(SAYS);
});

test('packed package - installs into an empty project and runs hello world there', { timeout: 900_000 }, async () => {
  await using folder = await temporaryFolder();
  const env = { ...process.env, NODE_OPTIONS: '', VITEST: '', AIOS_HOME: join(folder.path, '.aios') };
  const packed = await run('npm', ['pack', '--pack-destination', folder.path, '--json', '--loglevel=error'], { cwd: root, env, maxBuffer: 16 * 1024 * 1024 });
  const name = /"filename":\s*"([^"]+)"/.exec(packed.stdout)?.[1] ?? 'aios-0.1.0.tgz';
  const project = join(folder.path, 'project');
  await mkdir(project);
  await writeFile(join(project, 'package.json'), JSON.stringify({ name: 'empty', version: '1.0.0', type: 'module' }));
  await writeFile(join(project, '.npmrc'), 'onnxruntime-node-install=skip\n');
  await run('npm', ['install', join(folder.path, name), '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: project, env, maxBuffer: 16 * 1024 * 1024 });
  await cp(join(hello, 'policies'), join(project, 'policies'), { recursive: true });
  for (const file of ['desk', 'main']) await writeFile(join(project, `${file}.js`), stripTypeScriptTypes(await readFile(join(hello, `${file}.ts`), 'utf8')).replaceAll('./desk.ts', './desk.js'));

  const node = join(project, 'node_modules', 'node', 'bin', 'node');
  const { stdout } = await run(node, ['main.js'], { cwd: project, env });
  expect(stdout).toMatch(SAYS);
  const cli = await run(node, [join(project, 'node_modules', 'aios', 'infra', 'cli', 'bin.mjs'), 'audit', 'verify', '--json'], { cwd: project, env });
  expect(JSON.parse(cli.stdout)).toMatchObject({ ok: true, records: expect.any(Number) as number });
});
