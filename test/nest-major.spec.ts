import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { Controller, Get, type HttpServer, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import nestCore from '@nestjs/core/package.json';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { AsyncContextModule, ContextService } from 'nestjs-async-context';
import { describe, expect, it } from 'vitest';

const major = process.env['NEST'] ?? '12';

@Controller()
class IdController {
  constructor(private readonly context: ContextService) {}

  @Get()
  id() {
    return { requestId: this.context.requestId };
  }
}

@Module({ imports: [AsyncContextModule.forRoot()], controllers: [IdController] })
class AppModule {
  constructor(readonly context: ContextService) {}
}

const platforms: [string, () => HttpServer][] = [
  ['Express', () => new ExpressAdapter()],
  ['Fastify', () => new FastifyAdapter()],
];

describe(`Nest ${major}`, () => {
  it('is what the packages say', () => {
    expect(nestCore.version.split('.')[0]).toBe(major);
  });

  for (const [name, makeAdapter] of platforms) {
    it(`injects and runs on ${name}`, async () => {
      const app = await NestFactory.create(AppModule, makeAdapter() as never, { logger: false });
      try {
        await app.listen(0, '127.0.0.1');
        const { port } = app.getHttpServer().address() as AddressInfo;
        const response = await fetch(`http://127.0.0.1:${port}/`);
        const id = response.headers.get('x-request-id');
        expect(id).toMatch(/^\S+$/);
        expect(await response.json()).toEqual({ requestId: id });
      } finally {
        await app.close();
      }
    });
  }

  it('is the only copy of Nest in the process', () => {
    const folders = Object.keys(createRequire(import.meta.url).cache)
      .filter(path => /\/node_modules\/@nestjs\//.test(path))
      .map(path => (path.includes('/test/nest-11/') ? '11' : '12'));
    expect(folders.filter(found => found !== major)).toEqual([]);
  });
});
