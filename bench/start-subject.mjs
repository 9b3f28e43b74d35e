/** One cold process: `start-subject.mjs bare|cls|ours fastify|express [dist]`. Its parent asks for each step and sends the requests. */
import 'reflect-metadata';
import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';

const load = createRequire(import.meta.url);
const [variant, platform, dist = '../dist/index.js'] = process.argv.slice(2);

const MODULES = {
  bare: () => [],
  cls: () => {
    const { ClsModule } = load('nestjs-cls');
    return [() => ClsModule.forRoot({ global: true, middleware: { mount: true } })];
  },
  ours: () => {
    const { AsyncContextModule } = load(dist);
    return [() => AsyncContextModule.forRoot()];
  },
};
const ADAPTERS = {
  fastify: async () => new (await import('@nestjs/platform-fastify')).FastifyAdapter(),
  express: async () => new (await import('@nestjs/platform-express')).ExpressAdapter(),
};

class HelloController {
  hello() {
    return 'Hello World!';
  }
}
Get('hello')(
  HelloController.prototype,
  'hello',
  Object.getOwnPropertyDescriptor(HelloController.prototype, 'hello'),
);
Controller()(HelloController);

// An application that has none of the drivers installed which are installed here.
process.chdir(tmpdir());
const adapter = await ADAPTERS[platform]();
let makers;
let app;

/** Makes, and takes in the one that is made. */
async function start() {
  class AppModule {}
  Module({ imports: makers.map(make => make()), controllers: [HelloController] })(AppModule);
  app = await NestFactory.create(AppModule, adapter, { logger: false });
  await app.listen(0, '127.0.0.1');
}

const STEPS = {
  require: () => void (makers = MODULES[variant]()),
  start,
  requests: () => undefined,
  close: () => app.close(),
};

let before;
process.on('message', async step => {
  const files = Object.keys(load.cache).length;
  const since = performance.now();
  // The requests are sent by the parent: they are counted from the end of the step before.
  if (step !== 'requests') before = process.cpuUsage();
  await STEPS[step]();
  const { user, system } = process.cpuUsage(before);
  const cpuMs = (user + system) / 1000;
  const port = app?.getHttpServer().address()?.port;
  const answer = {
    cpuMs,
    ms: performance.now() - since,
    files: Object.keys(load.cache).length - files,
    port,
  };
  before = process.cpuUsage();
  process.send(answer, () => step === 'close' && process.disconnect());
});
process.send({ ready: true });
