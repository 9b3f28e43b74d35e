// What is published: the tarball, its types, its names; and what must not be in the repository.
// node .ci/check-package.mjs [file for the counts], after `npm run build`.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import ts from 'typescript';
import { check, none, report } from './checks.mjs';
import { pack } from './pack.mjs';

const MAX_PACKED_BYTES = 660_000;
const PEERS = ['@nestjs/common', '@nestjs/core', 'rxjs', 'reflect-metadata'];
const PACKED =
  /^(?:package\.json|README\.md|LICENSE|CHANGELOG\.md|SECURITY\.md|dist\/.+\.(?:js|js\.map|d\.ts))$/;

const root = resolve(import.meta.dirname, '..');
const read = path => readFileSync(resolve(root, path), 'utf8');
const manifest = JSON.parse(read('package.json'));

function run(command, ...args) {
  try {
    return execFileSync(command, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    throw new Error(`${error.stdout}${error.stderr}`.trim() || error.message, { cause: error });
  }
}
const bin = (name, ...args) => run(process.execPath, binPath(name), ...args);
function binPath(name) {
  const entry = JSON.parse(read(`node_modules/${name}/package.json`)).bin;
  return resolve(root, 'node_modules', name, typeof entry === 'string' ? entry : Object.values(entry)[0]);
}

// A program that prints the sorted names of an object; only `import` adds the three that are left out.
const printNames = object =>
  `const names = Object.keys(${object}).filter(name => !/^(__esModule|default|module\\.exports)$/.test(name));
  console.log(JSON.stringify(names.sort()));`;

const packageOf = name => name.split('/', name.startsWith('@') ? 2 : 1).join('/');

// Specifiers that a declaration file imports; the scanner of TypeScript skips the examples in comments.
function imports(file) {
  const found = ts.preProcessFile(readFileSync(file, 'utf8'), true, true);
  return [...found.importedFiles, ...found.typeReferenceDirectives].map(reference => reference.fileName);
}

// What the declarations reachable from one file import from outside the package and the packages named.
function foreignTypes(entry, packages) {
  const seen = new Set();
  const foreign = [];
  const visit = file => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const name of imports(file)) {
      if (name.startsWith('.')) {
        const base = resolve(dirname(file), name).replace(/\.js$/, '');
        const next = [`${base}.d.ts`, join(base, 'index.d.ts')].find(path => existsSync(path));
        if (next === undefined) foreign.push(`${relative(root, file)}: ${name} does not exist`);
        else visit(next);
      } else if (!packages.includes(packageOf(name)) && !name.startsWith('node:') && name !== 'node') {
        foreign.push(`${relative(root, file)}: ${name}`);
      }
    }
  };
  visit(resolve(root, entry));
  return foreign;
}

const packed = await check('npm pack', pack);
if (packed !== undefined) {
  const { tarball, size, files } = packed;
  await check(`the tarball has ${size} of at most ${MAX_PACKED_BYTES} bytes`, () => {
    if (size > MAX_PACKED_BYTES) throw new Error(`${size} bytes`);
  });
  await check(`the tarball holds what it should and nothing else (${files.length} files)`, () => {
    none(
      files.filter(path => !PACKED.test(path) || /\.spec\.|tsbuildinfo/.test(path)),
      'not to be published',
    );
    none(
      ['README.md', 'LICENSE', manifest.main, manifest.types]
        .map(path => path.replace(/^\.\//, ''))
        .filter(path => !files.includes(path)),
      'missing',
    );
  });
  await check('source maps carry their sources and point into the package', () => {
    const bad = [];
    for (const path of files.filter(name => name.endsWith('.map'))) {
      const map = JSON.parse(read(path));
      for (const [index, source] of map.sources.entries()) {
        const target = join(dirname(path), map.sourceRoot ?? '', source);
        if (isAbsolute(source) || source.includes(':') || target.startsWith('..'))
          bad.push(`${path}: ${source}`);
        if (typeof map.sourcesContent?.[index] !== 'string') bad.push(`${path}: ${source} is not inlined`);
      }
    }
    none(bad, 'source maps');
  });
  await check('publint --strict', () => bin('publint', 'run', tarball, '--strict', '--pack', 'false'));
  // node10 knows no `exports`: the root works there through `main` and `types`, a subpath cannot.
  await check('attw: the root entry under node10, node16 and bundler', () =>
    bin('@arethetypeswrong/cli', tarball, '--profile', 'strict', '--entrypoints', '.'),
  );
  await check('attw: every entry under node16 and bundler', () =>
    bin('@arethetypeswrong/cli', tarball, '--profile', 'node16'),
  );
}

await check('no runtime dependencies', () =>
  none(Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }), 'dependencies'),
);
await check('the required peers are the four of Nest, the others optional', () => {
  const optional = name => manifest.peerDependenciesMeta?.[name]?.optional === true;
  const required = Object.keys(manifest.peerDependencies).filter(name => !optional(name));
  none(
    required.filter(name => !PEERS.includes(name)),
    'required',
  );
});
await check('the types of the root import nothing but the peers and Node', () =>
  none(foreignTypes(manifest.types, PEERS), 'imported by the types'),
);
// Everything else is a file of its own, so that an application has to have what it uses and no more.
const entries = Object.entries(manifest.exports).filter(([, target]) => typeof target === 'object');
// Of an optional peer that only the second list names, npm asks nothing; pnpm and yarn let it be found.
const peers = Object.keys({ ...manifest.peerDependencies, ...manifest.peerDependenciesMeta });
for (const [subpath, { types, default: main }] of entries) {
  const name = `${manifest.name}${subpath.slice(1)}`;
  await check(`${name}: the types import nothing but peers and Node`, () =>
    none(foreignTypes(types, peers), 'imported by the types'),
  );
  await check(`${name}: require() and import give the same names`, () => {
    const entry = JSON.stringify(resolve(root, main));
    const required = run('node', '--input-type=commonjs', '-e', printNames(`require(${entry})`));
    const imported = run(
      'node',
      '--input-type=module',
      '-e',
      `import * as m from ${entry}; ${printNames('m')}`,
    );
    if (required !== imported) throw new Error(`require: ${required}import:  ${imported}`);
    if (JSON.parse(required).length === 0) throw new Error('no name at all');
  });
}

const tracked = run('git', 'ls-files', '-z')
  .split('\0')
  .filter(path => path !== '' && existsSync(resolve(root, path)));
await check('no registry address in a lock file', () =>
  none(
    tracked.filter(path => path.endsWith('package-lock.json') && read(path).includes('"resolved": "http')),
    '"resolved" (npm config omit-lockfile-registry-resolved)',
  ),
);
await check('no path of a machine in a tracked file', () => {
  const machinePath = /(?<![\w.~-])\/(?:work|home|root|Users)\/[\w.-]+/;
  const found = [];
  for (const path of tracked) {
    const text = read(path);
    if (text.includes('\0')) continue;
    for (const [index, line] of text.split('\n').entries()) {
      const match = machinePath.exec(line);
      if (match !== null) found.push(`${path}:${index + 1}: ${match[0]}`);
    }
  }
  none(found, 'paths');
});

report(process.argv[2]);
