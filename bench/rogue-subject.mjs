/**
 * `node bench/rogue-subject.mjs <mode> <platform>` with an IPC channel: an application whose `rogue` blocks the
 * event loop, beside `light`, which waits a little and works a little. It answers `usage` with what became of it.
 */
import { createRequire } from 'node:module';
import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { AsyncContextModule, ContextService, MemorySink } from 'nestjs-async-context';

const [mode, platform, blockMs, workMs] = process.argv.slice(2);
const sink = new MemorySink({ capacity: 100_000 });
const OPTIONS = {
  nothing: { guards: { breaker: false } },
  'under-pressure': { guards: { breaker: false } },
  breaker: { guards: { breaker: { dryRun: false } } },
  overload: { guards: {}, overload: {} },
  both: { guards: { breaker: { dryRun: false } }, overload: {} },
};

const spin = ms => {
  const end = performance.now() + ms;
  while (performance.now() < end);
};

class MixController {
  async light() {
    await new Promise(resolve => setTimeout(resolve, 5));
    spin(Number(workMs));
    return 'ok';
  }

  rogue() {
    spin(Number(blockMs));
    return 'ok';
  }
}
Controller()(MixController);
for (const method of ['light', 'rogue']) {
  Get(method)(
    MixController.prototype,
    method,
    Object.getOwnPropertyDescriptor(MixController.prototype, method),
  );
}

// oxlint-disable-next-line typescript/no-extraneous-class -- a module is what its decorator says
class AppModule {}
Module({
  imports: [AsyncContextModule.forRoot({ ...OPTIONS[mode], sinks: [sink] })],
  controllers: [MixController],
})(AppModule);

const { ExpressAdapter } = await import('@nestjs/platform-express');
const { FastifyAdapter } = await import('@nestjs/platform-fastify');
const adapter = platform === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
const app = await NestFactory.create(AppModule, adapter, {
  logger: process.env.LOUD ? ['warn'] : false,
});
if (mode === 'under-pressure') {
  // `npm install --prefix <folder> @fastify/under-pressure`, and that folder in BENCH_MODULES.
  const load = createRequire(`${process.env.BENCH_MODULES ?? process.cwd()}/`);
  await app.register(load('@fastify/under-pressure'), { maxEventLoopDelay: 100 });
}
await app.listen(0, '127.0.0.1');

process.on('disconnect', () => process.exit());
process.on('message', () => {
  const blocked = {};
  for (const { handler, blockedMs = 0 } of sink.records)
    blocked[handler] = (blocked[handler] ?? 0) + blockedMs;
  process.send({ refusals: app.get(ContextService).refusals, blocked });
});
process.send({ port: app.getHttpServer().address().port });
