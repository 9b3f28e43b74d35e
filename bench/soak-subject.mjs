/**
 * `node bench/soak-subject.mjs <on|all|off> <platform>` with an IPC channel: an application on real queries, with
 * what is on by default, with all that can be, or with all diagnoses off. It answers `usage` with its heap after a collection.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Controller, Get, HttpException, Inject, Injectable, Module, UseGuards } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { connectServer } from './postgres.mjs';
import {
  AsyncContextModule,
  ContextLogger,
  ContextService,
  NdjsonFileSink,
  QueryBudget,
  traceProviders,
} from 'nestjs-async-context';

const [mode, platform] = process.argv.slice(2);
const QUERY = 'SELECT n, n * 2 AS twice FROM generate_series(1, $1::int) AS n';

const pool = connectServer();

const file = join(tmpdir(), `soak-${process.pid}.ndjson`);
const COMMON = {
  budget: { queries: 10 },
  sinks: [new NdjsonFileSink({ path: file, maxBytes: 64_000_000, maxFiles: 2 })],
};
/** By mode: what is on by default, what can be switched on besides, and counting with all diagnoses off. */
const OPTIONS = {
  on: COMMON,
  all: {
    ...COMMON,
    serverTiming: true,
    providerCalls: true,
    answerUnhandledErrors: true,
    canonicalLog: true,
    resourceMonitor: { sample: 0.05 },
  },
  off: { ...COMMON, slowAfterMs: 0, stallMs: 0, poolWaitMs: 0, connectionLeakMs: 0, lateAfterMs: 0 },
};

class UserGuard {
  async canActivate(execution) {
    await pool.query(QUERY, [4]);
    execution.switchToHttp().getRequest().user = { id: 'u1' };
    return true;
  }
}
Injectable()(UserGuard);

class OrdersService {
  async list() {
    const { rows } = await pool.query(QUERY, [5]);
    return rows;
  }

  async items(n) {
    return (await pool.query(QUERY, [n])).rows.length;
  }
}
Injectable()(OrdersService);

class OrdersController {
  constructor(orders, context) {
    this.orders = orders;
    this.context = context;
  }

  async five() {
    for (let i = 0; i < 5; i++) await this.orders.items(3);
    return { id: this.context.requestId, user: this.context.user?.id };
  }

  /** One query for the list and one for each of its rows: over its budget with the guard's. */
  async repeats() {
    const rows = await this.orders.list();
    let sum = 0;
    for (const row of [...rows, ...rows]) sum += await this.orders.items(row.n);
    return { sum, id: this.context.requestId };
  }

  async fails() {
    await this.orders.items(1);
    throw new HttpException('no', 409);
  }
}
Inject(OrdersService)(OrdersController, undefined, 0);
Inject(ContextService)(OrdersController, undefined, 1);
UseGuards(UserGuard)(OrdersController);
Controller()(OrdersController);
for (const [method, ...decorators] of [
  ['five', Get('five')],
  ['repeats', Get('repeats'), QueryBudget(10)],
  ['fails', Get('fails')],
]) {
  const descriptor = Object.getOwnPropertyDescriptor(OrdersController.prototype, method);
  for (const decorate of decorators) decorate(OrdersController.prototype, method, descriptor);
}

// oxlint-disable-next-line typescript/no-extraneous-class -- a module is what its decorator says
class AppModule {}
Module({
  imports: [AsyncContextModule.forRoot(OPTIONS[mode])],
  controllers: [OrdersController],
  providers: [OrdersService],
})(AppModule);

const { ExpressAdapter } = await import('@nestjs/platform-express');
const { FastifyAdapter } = await import('@nestjs/platform-fastify');
const adapter = platform === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
const app = await NestFactory.create(AppModule, adapter, {
  logger: new ContextLogger({ json: true, logLevels: ['error', 'warn'] }),
  ...(mode === 'all' && { instrument: traceProviders() }),
});
await app.listen(0, '127.0.0.1');

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc');
process.on('disconnect', () => process.exit());
process.on('message', () => {
  gc();
  const { user, system } = process.cpuUsage();
  process.send({ heapMb: process.memoryUsage().heapUsed / 1_048_576, cpuMicros: user + system });
});
process.send({ port: app.getHttpServer().address().port });
