import { createRequire } from 'node:module';
import { basename } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { DriverInstrumentation, QueryReporter } from 'nestjs-async-context';
import { giveModules } from '../../lib/kernel/given-modules';
import { lazyDriver, type LazyDriver } from '../../lib/instrumentation/lazy-driver';
import { PackageCopies } from '../support/package-copies';

const load = createRequire(import.meta.url);
const reporter = {} as QueryReporter;
const PATH = '/nowhere/node_modules/not-installed/index.js'.split('/').join(load('node:path').sep as string);

afterEach(() => void delete load.cache[PATH]);

function watched(driver: Omit<LazyDriver, 'name' | 'load'>): DriverInstrumentation & { loads: number } {
  const result = {
    loads: 0,
    ...lazyDriver({
      name: 'a driver',
      ...driver,
      load: () => {
        result.loads++;
        return { name: 'a driver', install: () => () => undefined };
      },
    }),
  };
  return result;
}

describe('the file of a driver', () => {
  it('is loaded once a package of it is loaded, and no second time', () => {
    const driver = watched({ packages: ['another', 'not-installed'] });
    expect(driver.install(reporter)).toBeUndefined();
    expect(driver.loads).toBe(0);
    (load.cache as Record<string, unknown>)[PATH] = { exports: {} };
    expect(driver.install(reporter)).toBeTypeOf('function');
    delete load.cache[PATH];
    expect(driver.install(reporter)).toBeTypeOf('function');
    expect(driver.loads).toBe(1);
  });

  it('is loaded when the package is given', () => {
    const driver = watched({ packages: ['pg-pool'] });
    giveModules('pg', [load('pg') as object]);
    driver.install(reporter);
    expect(driver.loads).toBe(1);
  });

  it.each([
    ['not-installed', true, 0],
    ['@electric-sql/pglite', true, 1],
    ['@electric-sql/pglite', undefined, 0],
  ] as const)(
    'is loaded when a package is installed that has an ES module build: %s, %s',
    (name, hasModuleBuild, loads) => {
      const driver = watched({ packages: [name], ...(hasModuleBuild && { hasModuleBuild }) });
      driver.install(reporter);
      expect(driver.loads).toBe(loads);
    },
  );

  it('is loaded when a module of Node is, or when it needs none', () => {
    const of = (...packages: string[]): number => {
      const driver = watched({ packages });
      driver.install(reporter);
      return driver.loads;
    };
    expect(of('node:trace_events')).toBe(0);
    expect(of('node:fs')).toBe(1);
    const always = watched({});
    always.install(reporter);
    expect(always.loads).toBe(1);
  });
});

describe('the drivers of the package', () => {
  const copies = new PackageCopies();
  afterAll(() => copies.remove());

  it('are loaded with those that the process has loaded, and no others', () => {
    const known = new Set(Object.keys(load.cache));
    const drivers = (): string[] =>
      Object.keys(load.cache)
        .filter(path => !known.has(path) && path.endsWith('.driver.js'))
        .map(path => basename(path, '.driver.js'))
        .sort();
    copies.load();
    expect(drivers()).toEqual([]);
    load('dataloader');
    const { defaultInstrumentations } = copies.load<{ defaultInstrumentations(): DriverInstrumentation[] }>(
      undefined,
      'drivers/drivers.js',
    );
    const found = defaultInstrumentations().filter(({ name }) =>
      ['ioredis', 'dataloader', 'kafkajs'].includes(name),
    );
    const undo = found.map(driver => driver.install(reporter));
    expect(drivers()).toEqual(['dataloader']);
    for (const one of undo) one?.();
  });
});
