import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { createRequire } from 'node:module';
import { basename } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { AsyncContextOptions } from 'nestjs-async-context';
import { PackageCopies } from './support/package-copies';

/** What only applications have that ask for it. */
const PARTS = [
  'canonical-log',
  'cost-limiter',
  'graphql.entry',
  'held-slot-report',
  'http-propagation',
  'overload-monitor',
  'overload.entry',
  'provider-tracer',
  'resource-watch',
  'rotated-files',
  'rpc-handlers',
];

describe('the files of the package', () => {
  const { cache } = createRequire(import.meta.url);
  const copies = new PackageCopies();
  afterAll(() => copies.remove());

  /** The names of the files that `work` has loaded of the package. */
  async function loadedBy(work: () => unknown): Promise<string[]> {
    const known = new Set(Object.keys(cache));
    await work();
    return Object.keys(cache)
      .filter(path => !known.has(path) && /[\\/]copy-/.test(path))
      .map(path => basename(path, '.js'));
  }

  function start(options: AsyncContextOptions): Promise<string[]> {
    const { AsyncContextModule } = copies.load();
    return loadedBy(async () => {
      class AppModule {}
      Module({ imports: [AsyncContextModule.forRoot(options)] })(AppModule);
      const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
      await app.close();
    });
  }

  it('are at most ninety for who loads it, and none of the runtime', async () => {
    const names = await loadedBy(() => copies.load());
    expect(names.length).toBeLessThanOrEqual(90);
    expect(names).not.toContain('runtime');
    expect(names).not.toContain('units-of-work');
  });

  it('are loaded with an application that has use for them', async () => {
    const names = await start({ stallMs: 0 });
    expect(names).toContain('runtime');
    expect(names.filter(name => PARTS.includes(name))).toEqual([]);
  });

  it.each([
    [{ canonicalLog: true }, ['canonical-log']],
    [{ overload: {} }, ['overload-monitor', 'overload.entry']],
    [{ propagate: { hosts: ['127.0.0.1'] } }, ['http-propagation']],
    [{ providerCalls: true }, ['provider-tracer']],
  ])('come with what asks for them: %j', async (options, parts) => {
    const names = await start({ stallMs: 0, ...(options as AsyncContextOptions) });
    expect(names.filter(name => PARTS.includes(name)).sort()).toEqual(parts);
  });
});
