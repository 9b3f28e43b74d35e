import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('.', import.meta.url));

// NEST=11: what test/nest-11/package.json names comes from there, for lib/ and for the specs, so that
// one process holds one copy of Nest, rxjs and reflect-metadata.
function nest11(): Plugin {
  const manifest = `${root}test/nest-11/package.json`;
  const { dependencies } = JSON.parse(readFileSync(manifest, 'utf8')) as { dependencies: object };
  const names = Object.keys(dependencies);
  return {
    name: 'nest-11',
    enforce: 'pre',
    async resolveId(source, _importer, options) {
      if (!names.some(name => source === name || source.startsWith(`${name}/`))) return undefined;
      return this.resolve(source, manifest, { ...options, skipSelf: true });
    },
  };
}

const onNest11 = process.env['NEST'] === '11';

export default defineConfig({
  plugins: onNest11 ? [nest11()] : [],
  resolve: {
    alias: [
      { find: /^nestjs-async-context\/(pino|winston)$/, replacement: `${root}lib/logging/$1.ts` },
      { find: /^nestjs-async-context$/, replacement: `${root}lib/index.ts` },
    ],
  },
  test: {
    include: ['test/**/*.spec.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    setupFiles: onNest11 ? ['test/nest-11/require.mjs'] : [],
    globalSetup: ['test/support/global-setup.ts'],
  },
});
