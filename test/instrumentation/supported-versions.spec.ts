import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ioredisInstrumentation, mysql2Instrumentation } from 'nestjs-async-context';
import { startApp } from '../support/platforms';

const root = join(import.meta.dirname, '../..');
let folder: string;
let copies = 0;

beforeAll(() => {
  mkdirSync(join(root, '.cache'), { recursive: true });
  folder = mkdtempSync(join(root, '.cache', 'versions-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Loads a copy of a package that says that it is of some version; gives what forgets it. */
function loadVersion(name: string, version: string): () => void {
  const at = join(folder, `copy-${(copies += 1)}`, 'node_modules', name);
  mkdirSync(at, { recursive: true });
  writeFileSync(join(at, 'package.json'), JSON.stringify({ name, version }));
  const file = join(at, 'index.js');
  writeFileSync(file, '');
  const load = createRequire(file);
  load(file);
  return () => void delete load.cache[file];
}

async function warningsWith(name: string, version: string): Promise<string[]> {
  const forget = loadVersion(name, version);
  const test = await startApp({});
  const said = test.logs.of('warn', 'AsyncContext').filter(line => line.startsWith(`${name} ${version}`));
  await test.close();
  forget();
  return said;
}

describe('a client in a version that is not supported', () => {
  it.each([
    ['redis', '3.1.2', '5 to 6.x'],
    ['redis', '4.7.1', '5 to 6.x'],
    ['redis', '7.0.0', '5 to 6.x'],
    ['ioredis', '4.28.5', '5 to 6.x'],
    ['mysql2', '3.19.9', '3.20 to 3.x'],
    ['amqplib', '0.9.1', '0.10 to 2.x'],
    ['tedious', '21.0.0', '15 to 20.x'],
    ['@nats-io/transport-node', '4.0.0-1', '3.x'],
    ['pg', '7.18.2', '8.x'],
  ])('is named once at start, with the versions that are: %s %s', async (name, version, range) => {
    expect(await warningsWith(name, version)).toEqual([
      `${name} ${version} is not supported: use ${range}, or its calls may not be counted, or be charged to other requests`,
    ]);
  });

  it.each([
    ['redis', '5.0.0'],
    ['redis', '6.99.0'],
    ['mysql2', '3.20.0'],
    ['amqplib', '0.10.0'],
    ['amqplib', '1.0.0'],
    ['tedious', '15.0.0'],
    ['@nats-io/transport-node', '3.0.0'],
    ['pg', '8.0.3'],
    ['redis', 'of tomorrow'],
    ['express', '1.0.0'],
  ])('is not one that is supported, or not known: %s %s', async (name, version) => {
    expect(await warningsWith(name, version)).toEqual([]);
  });

  it('is not named where its instrumentation is not wanted', async () => {
    const forget = [loadVersion('redis', '2.8.0'), loadVersion('mysql2', '1.0.0')];
    const test = await startApp({ instrumentations: [ioredisInstrumentation(), mysql2Instrumentation()] });
    const said = test.logs.of('warn', 'AsyncContext').filter(line => line.includes('is not supported'));
    expect(said).toEqual([expect.stringMatching(/^mysql2 1\.0\.0 is not supported/)]);
    await test.close();
    for (const one of forget) one();
  });
});
