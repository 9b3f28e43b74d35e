import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import Module, { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { ioredisInstrumentation, mysql2Instrumentation } from 'nestjs-async-context';
import { isOwnDependency } from '../../lib/instrumentation/own-dependencies';
import { startApp } from '../support/platforms';

const root = join(import.meta.dirname, '../..');
let folder: string;
let copies = 0;

beforeAll(() => {
  mkdirSync(join(root, '.cache'), { recursive: true });
  folder = mkdtempSync(join(root, '.cache', 'versions-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => vi.restoreAllMocks());

/** An application in a folder of its own, which lists what it depends on. */
function applicationWith(...names: string[]): string {
  const at = join(folder, `application-${(copies += 1)}`);
  write(join(at, 'package.json'), { dependencies: Object.fromEntries(names.map(name => [name, '*'])) });
  vi.spyOn(process, 'cwd').mockReturnValue(at);
  return at;
}

function write(file: string, content: object | string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
}

/** Loads a copy of a package that says that it is of some version; gives what forgets it. */
function loadVersion(name: string, version: string, at: string): () => void {
  write(join(at, 'package.json'), { name, version });
  write(join(at, 'index.js'), '');
  const file = realpathSync(join(at, 'index.js'));
  const load = createRequire(file);
  load(file);
  return () => void delete load.cache[file];
}

/** What is said of clients when an application starts that has loaded these. */
async function warningsOf(...forget: (() => void)[]): Promise<string[]> {
  const test = await startApp({});
  const said = test.logs.of('warn', 'AsyncContext').filter(line => line.includes(' is not supported: '));
  await test.close();
  for (const one of forget) one();
  return said;
}

async function warningsWith(name: string, version: string): Promise<string[]> {
  const at = applicationWith(name);
  const said = await warningsOf(loadVersion(name, version, join(at, 'node_modules', name)));
  return said.filter(line => line.startsWith(`${name} ${version}`));
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
      `${name} ${version} is not supported: use ${range}; otherwise its calls may not be counted, or may be charged to other requests`,
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
    const at = applicationWith('redis', 'mysql2');
    const forget = [
      loadVersion('redis', '2.8.0', join(at, 'node_modules/redis')),
      loadVersion('mysql2', '1.0.0', join(at, 'node_modules/mysql2')),
    ];
    const test = await startApp({ instrumentations: [ioredisInstrumentation(), mysql2Instrumentation()] });
    const said = test.logs.of('warn', 'AsyncContext').filter(line => line.includes('is not supported'));
    expect(said).toEqual([expect.stringMatching(/^mysql2 1\.0\.0 is not supported/)]);
    await test.close();
    for (const one of forget) one();
  });
});

describe('a client that the application does not depend on itself', () => {
  const OF_REDIS = [expect.stringMatching(/^redis 3\.1\.2 is not supported/)];

  it('is not named: npm has hoisted what another package depends on', async () => {
    const at = applicationWith('@elastic/elasticsearch');
    expect(await warningsOf(loadVersion('undici', '5.29.0', join(at, 'node_modules/undici')))).toEqual([]);
  });

  it('is not named: it lies below another package, beside one that is supported', async () => {
    const at = applicationWith('redis');
    const own = loadVersion('redis', '6.0.0', join(at, 'node_modules/redis'));
    const other = loadVersion('redis', '3.1.2', join(at, 'node_modules/cache-manager/node_modules/redis'));
    expect(await warningsOf(own, other)).toEqual([]);
  });

  it('is told from its own behind the links of pnpm', async () => {
    const at = applicationWith('redis');
    const [own, other] = ['3.1.2', '2.8.0'].map(version => {
      const real = join(at, `node_modules/.pnpm/redis@${version}/node_modules/redis`);
      return [loadVersion('redis', version, real), real] as const;
    });
    symlinkSync(own![1], join(at, 'node_modules/redis'));
    expect(await warningsOf(own![0], other![0])).toEqual(OF_REDIS);
  });

  it('is told from its own by the map of Yarn PnP, which has no folder that is searched', async () => {
    const at = applicationWith('redis');
    const archive = (version: string): string =>
      join(folder, `.yarn/cache/redis-npm-${version}.zip/node_modules/redis`);
    const forget = ['3.1.2', '2.8.0'].map(version => loadVersion('redis', version, archive(version)));
    // It replaces this function of Node's, as its own `.pnp.cjs` does.
    const loader = Module as unknown as { _resolveFilename(request: string, ...rest: unknown[]): string };
    const { _resolveFilename: resolve } = loader;
    vi.spyOn(loader, '_resolveFilename').mockImplementation(function (this: unknown, request, ...rest) {
      const [parent] = rest as [{ filename?: string } | undefined];
      return request === 'redis' && parent?.filename === join(at, 'package.json')
        ? join(archive('3.1.2'), 'index.js')
        : resolve.call(this, request, ...rest);
    });
    expect(await warningsOf(...forget)).toEqual(OF_REDIS);
  });

  it('is told from its own where the main file is that of a package of a workspace', async () => {
    const at = applicationWith();
    write(join(at, 'apps/shop/package.json'), { dependencies: { redis: '3' } });
    write(join(at, 'apps/shop/dist/package.json'), { type: 'commonjs' });
    const [runner] = process.argv.splice(1, 1, join(at, 'apps/shop/dist/main.js'));
    try {
      const hoisted = loadVersion('redis', '3.1.2', join(at, 'node_modules/redis'));
      const other = loadVersion('ioredis', '3.0.0', join(at, 'node_modules/ioredis'));
      expect(await warningsOf(hoisted, other)).toEqual(OF_REDIS);
    } finally {
      process.argv.splice(1, 1, runner!);
    }
  });

  it.each(['', '[]', 'null', '{', '{"dependencies":null}', '{"dependencies":5}'])(
    'is not named where that cannot be known: %s',
    async text => {
      const at = applicationWith('redis');
      write(join(at, 'package.json'), text);
      expect(await warningsOf(loadVersion('redis', '3.1.2', join(at, 'node_modules/redis')))).toEqual([]);
    },
  );

  it('is not asked for where there is no working directory', () => {
    vi.spyOn(process, 'cwd').mockImplementation(() => {
      throw Object.assign(new Error('ENOENT: uv_cwd'), { code: 'ENOENT' });
    });
    expect(isOwnDependency('pg', join(root, 'node_modules/pg'))).toBe(false);
    vi.restoreAllMocks();
    expect(isOwnDependency('pg', join(root, 'node_modules/pg'))).toBe(true);
  });
});
