// Copies what the sample application needs to run, and nothing else: node sample-app/deploy/runtime-tree.mjs <folder>
// With --list it prints the folders of the packages instead.
// `npm ci --omit=dev` would leave nothing: here the packages of the sample are development dependencies.
import { cpSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOTS = [
  '@apollo/server',
  '@as-integrations/express5',
  '@nats-io/transport-node',
  '@nestjs/apollo',
  '@nestjs/common',
  '@nestjs/core',
  '@nestjs/graphql',
  '@nestjs/microservices',
  '@nestjs/platform-express',
  '@nestjs/platform-ws',
  '@nestjs/schedule',
  '@nestjs/terminus',
  '@nestjs/websockets',
  'graphql',
  'ioredis',
  'pg',
  'pg-query-stream',
  'prom-client',
  'reflect-metadata',
  'rxjs',
  'ws',
  'zod',
];

const root = resolve(import.meta.dirname, '../..');
const to = process.argv[2];
if (to === undefined) throw new Error('Say where to: node sample-app/deploy/runtime-tree.mjs <folder>');

const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));

/** The entry of the lock file that `name` means inside the package at `from`. */
function find(name, from) {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('node_modules/') - 1))) {
    const path = `${at === '' ? '' : `${at}/`}node_modules/${name}`;
    if (path in packages) return path;
    if (at === '') return undefined;
  }
}

const kept = new Set();
const waiting = ROOTS.map(name => find(name, ''));
for (let path = waiting.pop(); waiting.length > 0 || path !== undefined; path = waiting.pop()) {
  if (path === undefined || kept.has(path)) continue;
  kept.add(path);
  const { dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta = {} } = packages[path];
  const peers = Object.keys(peerDependencies ?? {}).filter(
    name => peerDependenciesMeta[name]?.optional !== true,
  );
  const names = [...Object.keys(dependencies ?? {}), ...Object.keys(optionalDependencies ?? {}), ...peers];
  waiting.push(...names.map(name => find(name, path)));
}

// Optional dependencies may be of another platform.
const installed = [...kept].filter(path => existsSync(join(root, path)));

function copy() {
  rmSync(to, { recursive: true, force: true });
  for (const path of installed) {
    // Packages inside of packages are in the list themselves.
    cpSync(join(root, path), join(to, path), {
      recursive: true,
      filter: source => !source.slice(join(root, path).length).startsWith('/node_modules'),
    });
  }
  for (const path of ['package.json', 'LICENSE', 'dist', 'sample-app/dist']) {
    cpSync(join(root, path), join(to, path), { recursive: true });
  }
}

if (to === '--list') console.log(installed.join('\n'));
else copy();
