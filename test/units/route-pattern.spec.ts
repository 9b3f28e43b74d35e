import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import type { FastifyInstance } from 'fastify';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { Registry } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import { AsyncContextModule, MemorySink } from 'nestjs-async-context';
import { PrometheusSink } from 'nestjs-async-context/prometheus';
import { LogLines, startApp, type TestApp, until } from '../support/platforms';

const SECRET = 's3cr3t';

type Handler = (request: unknown, response: { end(text: string): void }, next: () => void) => void;
interface Router extends Handler {
  use(...args: unknown[]): unknown;
  get(path: unknown, handler: Handler): unknown;
}
interface Express {
  (): Router & { listen(port: number, host: string, then: () => void): import('node:http').Server };
  Router(): Router;
}

const load = createRequire(createRequire(import.meta.url).resolve('@nestjs/platform-express'));
const express = load('express') as Express;

let test: TestApp | undefined;
afterEach(async () => {
  await test?.close();
  test = undefined;
});

@Controller('orders')
class OrdersController {
  @Get(':id')
  one(): string {
    return 'one';
  }
}

const answer: Handler = (_request, response) => response.end('answered');

function routed(path: unknown): Router {
  const router = express.Router();
  router.get(path, answer);
  return router;
}

/** Asks for paths, and gives the routes of their records and all that was written of them. */
async function routesOf(paths: readonly string[], mount: (app: Router) => void): Promise<unknown[]> {
  const registry = new Registry();
  test = await startApp({
    controllers: [OrdersController],
    sinks: [new PrometheusSink({ registry })],
    canonicalLog: true,
    configure: app => mount(app as unknown as Router),
  });
  for (const path of paths) await (await fetch(`${test.url}${path}`)).text();
  const records = await test.records(paths.length);
  const written = JSON.stringify([records, test.logs.lines, await registry.metrics()]);
  expect(written.includes('orders')).toBe(true);
  expect(written.includes(SECRET)).toBe(false);
  return records.slice(0, -1).map(({ route }) => route);
}

const LAST = '/orders/1';

describe('the route of a router beside Nest, on Express', () => {
  it('is the pattern that it was mounted with, not what was asked for', async () => {
    const inner = express.Router();
    inner.use('/deep/:more', routed('/y'));
    const outer = routed('/x');
    outer.use('/in', inner);
    expect(
      await routesOf(
        [
          `/reset/${SECRET}/x`,
          `/RESET/${SECRET}/x`,
          `/reset/${SECRET}/in/deep/${SECRET}/y`,
          '/admin/panel',
          '/open',
          `/a/${SECRET}/z`,
          `/b/z`,
          `/list/${SECRET}`,
          `/regular/7`,
          LAST,
        ],
        app => {
          app.use('/reset/:token', outer);
          app.use('/admin', routed('/panel'));
          app.use(routed('/open'));
          app.use(['/a/:of', '/b'], routed('/z'));
          app.use('/list', routed(['/:id', '/:id/more']));
          app.use('/regular', routed(/^\/\d+$/));
        },
      ),
    ).toEqual([
      'GET /reset/:token/x',
      'GET /reset/:token/x',
      'GET /reset/:token/in/deep/:more/y',
      'GET /admin/panel',
      'GET /open',
      'GET /a/:of/z',
      'GET /b/z',
      'GET /list/:id,/:id/more',
      'GET /regular/^\\/\\d+$/',
    ]);
  });

  it('is (unmatched) where that cannot be known', async () => {
    const twice = routed('/x');
    const app2 = express();
    app2.use('/in/:of', routed('/x'));
    const hidden = express.Router();
    const within: Handler = (request, response, next) => routed('/x')(request, response, next);
    hidden.use('/:token', within);
    expect(
      await routesOf(
        [
          `/wild/${SECRET}/x`,
          `/some/${SECRET}/x`,
          `/number-${SECRET}/x`,
          `/twice/${SECRET}/x`,
          `/hidden/${SECRET}/x`,
          `/late/${SECRET}/in/${SECRET}/x`,
          `/nowhere/${SECRET}`,
          `/file/${SECRET}`,
          LAST,
        ],
        app => {
          app.use('/wild/*rest', routed('/'));
          app.use('/some{/:token}', routed('/x'));
          app.use(/^\/number-[^/]+/, routed('/x'));
          app.use('/twice/:one', twice);
          app.use('/twice/:other', twice);
          app.use('/hidden', hidden);
          app.use('/late/:token', (request: unknown, response: never, next: never) =>
            app2(request, response, next),
          );
          app.use('/file/:token', answer);
        },
      ),
    ).toEqual([
      'GET (unmatched)',
      'GET (unmatched)',
      'GET (unmatched)',
      'GET (unmatched)',
      'GET (unmatched)',
      'GET (unmatched)',
      undefined,
      undefined,
    ]);
  });

  it('makes one label value of 150 tokens', async () => {
    const registry = new Registry();
    test = await startApp({
      sinks: [new PrometheusSink({ registry })],
      configure: app => {
        app.use('/reset/:token', routed('/x'));
        app.use('/some{/:token}', routed('/x'));
      },
    });
    for (let n = 0; n < 150; n += 1) {
      await (await fetch(`${test.url}/reset/${SECRET}${n}/x`)).text();
      await (await fetch(`${test.url}/some/${SECRET}${n}/x`)).text();
    }
    await test.records(300);
    const text = await until(async () => registry.metrics(), 'metrics');
    expect(new Set([...text.matchAll(/route="([^"]*)"/g)].map(([, route]) => route))).toEqual(
      new Set(['/reset/:token/x', '(unmatched)']),
    );
  });
});

it('is the whole pattern where Nest is mounted in another application of Express', async () => {
  const sink = new MemorySink();
  @Module({
    imports: [AsyncContextModule.forRoot({ sinks: [sink], sinkQueue: { intervalMs: 5 } })],
    controllers: [OrdersController],
  })
  class AppModule {}
  const own = express();
  const app = await NestFactory.create(AppModule, new ExpressAdapter(own), { logger: new LogLines() });
  await app.init();
  const outer = express();
  outer.use('/t/:tenant', own);
  const server = await new Promise<import('node:http').Server>(resolve => {
    const listening = outer.listen(0, '127.0.0.1', () => resolve(listening));
  });
  const { port } = server.address() as AddressInfo;
  await (await fetch(`http://127.0.0.1:${port}/t/${SECRET}/orders/1`)).text();
  await until(() => sink.records.length === 1, 'a record');
  expect(sink.records[0]).toMatchObject({
    route: 'GET /t/:tenant/orders/:id',
    handler: 'OrdersController.one',
  });
  server.close();
  await app.close();
});

it('is the pattern of Fastify beside Nest, prefixes and wildcards with it', async () => {
  test = await startApp({
    platform: 'fastify',
    configure: async app => {
      const fastify = app.getHttpAdapter().getInstance() as unknown as FastifyInstance;
      await fastify.register(
        async scope => {
          scope.get('/x', async () => 'x');
          scope.get('/files/*', async () => 'file');
        },
        { prefix: '/reset/:token' },
      );
    },
  });
  for (const path of ['x', `files/${SECRET}`, SECRET]) {
    await (await fetch(`${test.url}/reset/${SECRET}/${path}`)).text();
  }
  const records = await test.records(3);
  expect(records.map(({ route }) => route)).toEqual([
    'GET /reset/:token/x',
    'GET /reset/:token/files/*',
    undefined,
  ]);
  expect(JSON.stringify([records, test.logs.lines]).includes(SECRET)).toBe(false);
});
