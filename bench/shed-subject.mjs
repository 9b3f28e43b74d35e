/**
 * `node bench/shed-subject.mjs <bare|none|overload|breaker> <platform>` with an IPC channel: what answers 503 as
 * quickly as `node:http` can, or an application that sheds. It answers `usage` with its processor time.
 */
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const [mode, platform] = process.argv.slice(2);

async function listen() {
  if (mode === 'bare') {
    const server = createServer((_request, response) => {
      response.writeHead(503, { 'retry-after': '1', 'content-length': '0' });
      response.end();
    });
    await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
    return server;
  }
  const { Controller, Get, Module } = await import('@nestjs/common');
  const { NestFactory } = await import('@nestjs/core');
  const { AsyncContextModule } = await import('nestjs-async-context');
  const { ExpressAdapter } = await import('@nestjs/platform-express');
  const { FastifyAdapter } = await import('@nestjs/platform-fastify');
  if (mode === 'overload') {
    // As if the loop were late for ever; the five of a hundred that are let in then would blur the figure.
    const { OverloadControl } = createRequire(import.meta.url)('../dist/guards/overload-control.js');
    const { sample, sheds } = OverloadControl.prototype;
    OverloadControl.prototype.sheds = function (priority) {
      return sheds.call(this, priority) || this.isOverloaded;
    };
    OverloadControl.prototype.sample = function (_delayMs, waitMs, nowMs) {
      return sample.call(this, 10_000, waitMs, nowMs);
    };
  }
  let isBroken = mode === 'breaker';
  class HelloController {
    hello() {
      if (isBroken) throw new Error('of the application');
      return 'ok';
    }
  }
  Controller()(HelloController);
  Get()(
    HelloController.prototype,
    'hello',
    Object.getOwnPropertyDescriptor(HelloController.prototype, 'hello'),
  );
  // oxlint-disable-next-line typescript/no-extraneous-class -- a module is what its decorator says
  class AppModule {}
  Module({
    imports: [
      AsyncContextModule.forRoot({
        guards: {
          breaker: mode === 'breaker' && { dryRun: false, minRequests: 1, openMs: 3_600_000 },
        },
        ...(mode === 'overload' && { overload: {} }),
      }),
    ],
    controllers: [HelloController],
  })(AppModule);
  const adapter = platform === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
  const app = await NestFactory.create(AppModule, adapter, { logger: false });
  await app.listen(0, '127.0.0.1');
  const server = app.getHttpServer();
  if (mode === 'breaker') {
    await fetch(`http://127.0.0.1:${server.address().port}/`);
    isBroken = false;
  }
  return server;
}

const server = await listen();
process.on('disconnect', () => process.exit());
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send({ cpuMicros: user + system });
});
// The control takes a while to shed as many as it may.
setTimeout(() => process.send({ port: server.address().port }), mode === 'overload' ? 2_000 : 100);
