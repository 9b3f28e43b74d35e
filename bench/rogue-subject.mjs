/**
 * `node bench/rogue-subject.mjs <mode> <platform> <blockMs> <workMs> <rogue>` with an IPC channel: an application
 * whose `rogue` blocks the event loop (`block`), holds a connection (`pool`) or makes 30,000 queries (`queries`),
 * beside `light`, which waits a little, or asks the database, and works a little. It answers `usage` with what
 * became of it.
 */
import { createRequire } from 'node:module';
import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { AsyncContextModule, MemorySink, ProcessFigures, QueryBudget } from 'nestjs-async-context';
import { Pool } from 'pg';
import { SERVER_URL } from './postgres.mjs';

const [mode, platform, blockMs, workMs, kind] = process.argv.slice(2);
const pool = kind === 'block' ? undefined : new Pool({ connectionString: SERVER_URL, max: 4 });
const wait = ms => new Promise(resolve => setTimeout(resolve, ms));
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
    await (pool === undefined ? wait(5) : pool.query('SELECT 1'));
    spin(Number(workMs));
    return 'ok';
  }

  async rogue() {
    if (kind === 'block') spin(Number(blockMs));
    else if (kind === 'pool') await this.hold();
    else for (let i = 0; i < 30_000; i++) await pool.query('SELECT 1');
    return 'ok';
  }

  async hold() {
    const client = await pool.connect();
    await wait(Number(blockMs)).finally(() => client.release());
  }
}
if (kind === 'queries' && (mode === 'breaker' || mode === 'both')) {
  const rogue = Object.getOwnPropertyDescriptor(MixController.prototype, 'rogue');
  QueryBudget({ hard: { queries: 1_000 } })(MixController.prototype, 'rogue', rogue);
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
  process.send({ refusals: app.get(ProcessFigures).refusals, blocked });
});
process.send({ port: app.getHttpServer().address().port });
