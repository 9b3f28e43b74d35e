import { createRequire } from 'node:module';
import { join, sep } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { loadedAddons, loadedCopies } from '../../lib/kernel/loaded-copies';
import { loadedFiles, lookAgain, lookingOnce } from '../../lib/kernel/loaded-files';

const { cache } = createRequire(import.meta.url);
const made: string[] = [];

/** A file as `require()` keeps it, of a package that exists nowhere. */
function load(path: string, exports: unknown = {}): string {
  const full = join(sep, 'nowhere', ...path.split('/'));
  (cache as Record<string, unknown>)[full] = { exports };
  made.push(full);
  return full;
}

afterEach(() => {
  for (const path of made.splice(0)) delete cache[path];
});

describe('what the process has loaded', () => {
  it('has each copy of a file, by the package that it lies in', () => {
    load('node_modules/shop/lib/a.js', 1);
    load('node_modules/orm/node_modules/shop/lib/a.js', 2);
    load('node_modules/.pnpm/shop@3/node_modules/shop/lib/a.js', 3);
    load('node_modules/shop/node_modules/other/lib/a.js', 4);
    load('node_modules/my-shop/lib/a.js', 5);
    load('node_modules/shop/lib/lib/a.js', 6);
    load('elsewhere/shop/lib/a.js', 7);
    expect(loadedCopies('shop', 'lib/a.js')).toEqual([1, 2, 3]);
  });

  it('knows a package by its scope', () => {
    load('node_modules/@nowhere/shop/a.js', 1);
    load('node_modules/@elsewhere/shop/a.js', 2);
    expect(loadedCopies('@nowhere/shop', 'a.js')).toEqual([1]);
  });

  it('has the native code of a package, and of what it brings', () => {
    load('node_modules/shop/build/a.node', 1);
    load('node_modules/shop/node_modules/bindings/b.node', 2);
    load('node_modules/other/c.node', 3);
    expect(loadedAddons('shop')).toEqual([1, 2]);
  });

  it('finds what is loaded later, and forgets what is taken out', () => {
    const path = load('node_modules/shop/a.js', 1);
    expect(loadedCopies('shop', 'a.js')).toEqual([1]);
    load('node_modules/orm/node_modules/shop/a.js', 2);
    expect(loadedCopies('shop', 'a.js')).toEqual([1, 2]);
    // As many as before: one has gone, one has come.
    delete cache[path];
    load('node_modules/dao/node_modules/shop/a.js', 3);
    expect(loadedCopies('shop', 'a.js')).toEqual([2, 3]);
  });

  it('finds what has been loaded anew in its place', () => {
    load('node_modules/shop/a.js', 1);
    expect(loadedCopies('shop', 'a.js')).toEqual([1]);
    load('node_modules/shop/a.js', 2);
    expect(loadedCopies('shop', 'a.js')).toEqual([2]);
  });

  it('is looked at once for all who ask together, and again where one of them has loaded more', () => {
    const looks = vi.spyOn(Object, 'keys');
    const looksAt = (): number => looks.mock.calls.filter(([given]) => given === cache).length;
    lookingOnce(() => {
      for (let i = 0; i < 50; i++) loadedCopies('shop', `${i}.js`);
      expect(looksAt()).toBe(1);
      load('node_modules/shop/a.js');
      lookAgain();
      expect(loadedFiles('shop')).toHaveLength(1);
    });
    expect(looksAt()).toBe(2);
    load('node_modules/shop/b.js');
    expect(loadedFiles('shop')).toHaveLength(2);
    looks.mockRestore();
  });

  it('is looked at by the next who ask when one has failed', () => {
    expect(() =>
      lookingOnce(() => {
        loadedFiles('shop');
        throw new Error('not of ours');
      }),
    ).toThrow('not of ours');
    load('node_modules/shop/a.js');
    expect(loadedFiles('shop')).toHaveLength(1);
  });
});
