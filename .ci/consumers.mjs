// Applications that install the tarball as a user does: {ESM, CommonJS} on {Nest 11, Nest 12}.
// node .ci/consumers.mjs [file for the counts], after `npm run build`. Their source is test/consumers/.
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { check, none, report } from './checks.mjs';
import { pack } from './pack.mjs';

const root = resolve(import.meta.dirname, '..');
const manifest = path => JSON.parse(readFileSync(resolve(root, path), 'utf8'));
const ours = manifest('package.json').devDependencies;
const nests = { 11: manifest('test/nest-11/package.json').dependencies, 12: ours };
const NEST = ['common', 'core', 'platform-express', 'platform-fastify'].map(name => `@nestjs/${name}`);

// What the entries beside the root want; the others do without, so that the root cannot depend on them.
const PEERS_OF_ENTRIES = [
  '@nestjs/microservices',
  '@opentelemetry/api',
  '@opentelemetry/api-logs',
  'pg',
  'pino',
  'prom-client',
  'winston',
];

const TYPESCRIPTS = { 5.9: '5.9.3', 6: ours.typescript, 7: '7.0.2' };
const JEST = { jest: '30.5.2', 'ts-jest': '29.4.15' };

const CONSUMERS = [
  { name: 'nest-11-commonjs', nest: 11, type: 'commonjs', compiler: '5.9', jest: true, entries: true },
  { name: 'nest-11-esm', nest: 11, type: 'module', compiler: '6' },
  { name: 'nest-12-commonjs', nest: 12, type: 'commonjs', compiler: '6' },
  { name: 'nest-12-esm', nest: 12, type: 'module', compiler: '7', entries: true },
];

// Not a file of test/consumers/: there it would add `id` to the user in every spec.
const USER = `import type { ContextService } from 'nestjs-async-context';

declare module 'nestjs-async-context' {
  interface ContextUser {
    id: string;
  }
}

export const userId = (context: ContextService): string | undefined => context.user?.id;
// @ts-expect-error: what the application did not declare is not there.
export const userAge = (context: ContextService): unknown => context.user?.age;
`;

const COMPILER_OPTIONS = {
  target: 'ES2022',
  module: 'nodenext',
  types: ['node'],
  rootDir: '.',
  outDir: 'build',
  strict: true,
  isolatedModules: true,
  exactOptionalPropertyTypes: true,
  experimentalDecorators: true,
  emitDecoratorMetadata: true,
  // The declarations of the package are checked as well, not only its use.
  skipLibCheck: false,
};

async function run(cwd, command, ...args) {
  try {
    const { stdout } = await promisify(execFile)(command, args, { cwd, timeout: 1_800_000 });
    return stdout;
  } catch (error) {
    throw new Error(`${error.stdout}${error.stderr}`.trim() || error.message, { cause: error });
  }
}

const tsc = version => ['node', `node_modules/typescript-${version}/bin/tsc`];
const pick = (versions, names) => Object.fromEntries(names.map(name => [name, versions[name]]));

// Errors in the application or in the package fail; in the declarations of Nest they are not ours.
async function compile(folder, version, ...args) {
  try {
    await run(folder, ...tsc(version), '--pretty', 'false', ...args);
  } catch (error) {
    const lines = error.message.split('\n').filter(line => /error TS\d+/.test(line));
    if (lines.length === 0) throw error;
    none(
      lines.filter(
        line => !line.startsWith('node_modules/') || line.startsWith('node_modules/nestjs-async-context/'),
      ),
      `TypeScript ${version}`,
    );
  }
}

function lay(folder, { name, nest, type, jest, entries }, tarball) {
  mkdirSync(folder);
  cpSync(resolve(root, 'test/consumers'), folder, { recursive: true });
  writeFileSync(join(folder, 'user.ts'), USER);
  const compilers = Object.entries(TYPESCRIPTS).map(([key, version]) => [
    `typescript-${key}`,
    `npm:typescript@${version}`,
  ]);
  const files = {
    'package.json': {
      name,
      private: true,
      type,
      dependencies: {
        ...pick(nests[nest], [...NEST, 'reflect-metadata', 'rxjs']),
        ...(entries && { ...pick(ours, PEERS_OF_ENTRIES), ...pick(nests[nest], ['@nestjs/microservices']) }),
        'nestjs-async-context': `file:${tarball}`,
      },
      devDependencies: {
        ...Object.fromEntries(compilers),
        '@types/node': ours['@types/node'],
        ...(entries && { '@types/pg': ours['@types/pg'] }),
        ...(jest && { ...JEST, typescript: TYPESCRIPTS['5.9'] }),
      },
      ...(jest && {
        jest: {
          testMatch: ['**/*.jest.js'],
          transform: { '\\.ts$': 'ts-jest' },
          modulePathIgnorePatterns: ['<rootDir>/build/'],
        },
      }),
    },
    'tsconfig.json': {
      compilerOptions: COMPILER_OPTIONS,
      files: ['main.ts', 'user.ts', ...(entries ? ['subpaths.ts'] : [])],
    },
  };
  for (const [file, content] of Object.entries(files)) {
    writeFileSync(join(folder, file), JSON.stringify(content, null, 2));
  }
}

// What an application installs that has Nest through another package alone, as one on Vendure 3.7 does.
const SHOP = {
  '@apollo/server': '^4.12.2',
  '@nestjs/apollo': '~13.1.0',
  '@nestjs/common': '^11.1.6',
  '@nestjs/core': '^11.1.6',
  '@nestjs/graphql': '~13.1.0',
  '@nestjs/platform-express': '^11.1.6',
  '@nestjs/typeorm': '^11.0.0',
  graphql: '^16.11.0',
  'reflect-metadata': '^0.2.2',
  rxjs: '^7.8.1',
  typeorm: '^0.3.21',
};

async function installBeside(folder, tarball) {
  for (const [name, dependencies] of [
    ['shop', SHOP],
    ['app', { shop: 'file:../shop' }],
  ]) {
    mkdirSync(join(folder, name), { recursive: true });
    const content = JSON.stringify({ name, version: '1.0.0', private: true, dependencies });
    writeFileSync(join(folder, name, 'package.json'), content);
  }
  const app = join(folder, 'app');
  const install = (...args) =>
    run(app, 'npm', 'install', '--package-lock-only', '--install-links', '--no-audit', '--no-fund', ...args);
  await install();
  await install(tarball);
  const { packages } = JSON.parse(readFileSync(join(app, 'package-lock.json'), 'utf8'));
  const copies = Object.keys(packages).filter(path => path.endsWith('node_modules/@nestjs/core'));
  if (copies.length !== 1) throw new Error(`copies of Nest: ${copies.join(', ')}`);
}

const SAME_INSTANCE = `
import { createRequire } from 'node:module';
import * as imported from 'nestjs-async-context';
const required = createRequire(import.meta.url)('nestjs-async-context');
const names = Object.keys(required);
if (names.length === 0) throw new Error('no names');
for (const name of names) if (required[name] !== imported[name]) throw new Error(name + ' exists twice');
`;

/** Takes one after another out of the list. */
async function checkAll(waiting, tarball) {
  for (let consumer = waiting.shift(); consumer !== undefined; consumer = waiting.shift()) {
    const { name, compiler, jest, entries } = consumer;
    const folder = join(temporary, name);
    const installed = await check(`${name}: npm install`, async () => {
      lay(folder, consumer, tarball);
      await run(folder, 'npm', 'install', '--no-audit', '--no-fund', '--prefer-offline');
      return true;
    });
    if (installed === undefined) continue;
    for (const version of Object.keys(TYPESCRIPTS)) {
      await check(`${name}: types with TypeScript ${version}`, () => compile(folder, version, '--noEmit'));
    }
    await check(`${name}: compiled with TypeScript ${compiler}, answers the id of each request`, async () => {
      await compile(folder, compiler);
      await run(folder, 'node', 'build/main.js');
    });
    await check(`${name}: import and require give one instance`, () =>
      run(folder, 'node', '--input-type=module', '-e', SAME_INSTANCE),
    );
    if (entries)
      await check(`${name}: makes what the other entries export`, () =>
        run(folder, 'node', 'build/subpaths.js'),
      );
    if (jest)
      await check(`${name}: Jest 30`, () => run(folder, 'node', 'node_modules/jest/bin/jest.js', '--ci'));
  }
}

const temporary = mkdtempSync(join(tmpdir(), 'consumers-'));
try {
  const packed = await check('npm pack', pack);
  if (packed)
    await check('npm install where Nest 11 is a dependency of a dependency', () =>
      installBeside(join(temporary, 'beside'), packed.tarball),
    );
  // Two at a time: each waits for the registry, or has one core at work.
  const waiting = packed ? [...CONSUMERS] : [];
  await Promise.all([0, 1].map(() => checkAll(waiting, packed?.tarball)));
} finally {
  rmSync(temporary, { recursive: true, force: true });
}

report(process.argv[2]);
