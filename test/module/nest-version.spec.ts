import { createRequire } from 'node:module';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { NestFactory } from '@nestjs/core';
import { afterAll, describe, expect, it } from 'vitest';
import { AsyncContextModule } from 'nestjs-async-context';
import { unsupportedNest } from '../../lib/module/nest-version';
import { LogLines } from '../support/platforms';

describe('a version of Nest', () => {
  it.each(['11.1.6', '11.2.10', '12.0.0', '12.99.1', '12.0.0-next.1', undefined])(
    'says nothing of %s',
    version => {
      expect(unsupportedNest(version)).toBeUndefined();
    },
  );

  it.each(['10.4.22', '11.0.20', '11.1.5', '13.0.0'])('is named with what to do: %s', version => {
    expect(unsupportedNest(version)).toMatch(
      new RegExp(
        `^@nestjs/core ${version} is installed, .+ supports 11 from 11\\.1\\.6 on, and 12\\. .+ Install `,
      ),
    );
  });
});

// As npm installs it where Nest is only a dependency of a dependency: ours is another one.
describe('an application that runs on another copy of Nest', () => {
  const resolve = createRequire(import.meta.url).resolve;
  // Inside the repository, so that the copy finds its own dependencies.
  const folder = join(import.meta.dirname, '..', '.cache', `other-nest-${process.pid}`);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('is told so when it starts, with what to do', async () => {
    for (const name of ['@nestjs/common', '@nestjs/core']) {
      const copy = join(folder, 'node_modules', name);
      mkdirSync(copy, { recursive: true });
      cpSync(dirname(resolve(`${name}/package.json`)), copy, { recursive: true });
    }
    const url = pathToFileURL(join(folder, 'node_modules/@nestjs/core/index.js')).href;
    const other = (await import(/* @vite-ignore */ url)) as { NestFactory: typeof NestFactory };
    expect(other.NestFactory).not.toBe(NestFactory);
    const start = other.NestFactory.createApplicationContext(AsyncContextModule.forRoot({}), {
      logger: new LogLines(),
      abortOnError: false,
    });
    await expect(start).rejects.toThrow(
      /^ASYNC_CONTEXT_OTHER_NEST: two copies of @nestjs\/core are installed: .+ version 1[12]\.\d+\.\d+ \(.+\), but the application runs on another one\. Add @nestjs\/common and @nestjs\/core to the dependencies of the application/,
    );
  });
});
