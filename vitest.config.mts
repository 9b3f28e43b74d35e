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

/** The names that the package is imported by, and the sources that they stand for. */
function sources(): { find: RegExp; replacement: string }[] {
  const { exports } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
    exports: Record<string, string | { default: string }>;
  };
  return Object.entries(exports).flatMap(([subpath, target]) => {
    if (typeof target === 'string') return [];
    const source = target.default.replace('./dist/', `${root}lib/`).replace(/\.js$/, '.ts');
    return { find: new RegExp(`^nestjs-async-context${subpath.slice(1)}$`), replacement: source };
  });
}

// What lib/ loads when it is used, by a literal `require()`, is TypeScript here, which Node cannot load: imported.
function lazyParts(): Plugin {
  return {
    name: 'lazy-parts',
    enforce: 'pre',
    transform(code, id) {
      if (!id.startsWith(`${root}lib/`)) return undefined;
      const imports: string[] = [];
      const text = code.replace(/\brequire\(('\.[^']+')\)/g, (_, path: string) => {
        imports.push(`import * as lazyPart${imports.length} from ${path};`);
        return `lazyPart${imports.length - 1}`;
      });
      // On the first line, so that the others keep their numbers.
      return imports.length === 0 ? undefined : { code: `${imports.join(' ')} ${text}`, map: null };
    },
  };
}

const onNest11 = process.env['NEST'] === '11';

export default defineConfig({
  plugins: [lazyParts(), ...(onNest11 ? [nest11()] : [])],
  resolve: {
    alias: sources(),
  },
  test: {
    include: ['test/**/*.spec.ts'],
    pool: 'forks',
    maxWorkers: 2,
    // For machines that are several times slower; what takes a second here must not fail there.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    setupFiles: onNest11 ? ['test/nest-11/require.mjs'] : [],
    globalSetup: ['test/support/global-setup.ts'],
  },
});
